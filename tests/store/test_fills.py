"""However OKX cuts an order's fills into pushes and into REST's rows, the stored fills add up to what is filled."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from random import Random

import msgspec
import pytest

from okxsync.messages import Message, Rows
from okxsync.store.fills import Fill, find_replaced, synthetic_id
from tests.support.desk import MS, NOW, Desk, order

OF_ORDER = {"ordId": "1", "instId": "BTC-USDT-SWAP", "instType": "SWAP"}


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.begin("orders")
    return desk


def pushes(sizes: Sequence[int], trade_ids: Sequence[str], at: Sequence[int]) -> list[dict[str, str]]:
    """Return what ``orders`` pushes of one order that is filled in these steps."""
    filled = list(accumulate(sizes))
    states = ["partially_filled"] * (len(sizes) - 1) + ["filled"]
    return [
        order(1, sz=str(filled[-1]), state=state, accFillSz=str(so_far), fillSz=str(size), tradeId=trade_id,
              fillTime=str(ms), uTime=str(ms))
        for state, so_far, size, trade_id, ms in zip(states, filled, sizes, trade_ids, at, strict=True)
    ]  # fmt: skip


def report(sizes: Sequence[int], trade_ids: Sequence[str], at: Sequence[int]) -> list[dict[str, str]]:
    """Return the rows of ``trade/fills``."""
    return [
        OF_ORDER
        | {"tradeId": trade_id, "billId": f"9{number}", "fillSz": str(size), "fillTime": str(ms), "ts": str(ms)}
        for number, (size, trade_id, ms) in enumerate(zip(sizes, trade_ids, at, strict=True))
    ]


def by_rest(*rows: dict[str, str]) -> Rows:
    return Rows("alpha", "fills", msgspec.json.encode(rows).decode(), NOW)


def stored(desk: Desk) -> dict[str, str]:
    return dict(desk.rows("SELECT trade_id, fill_sz FROM fills"))


def in_some_order(desk: Desk, rng: Random, messages: list[Message]) -> None:
    rng.shuffle(messages)
    while messages:
        cut = rng.randint(1, len(messages))
        desk.apply(*messages[:cut])
        messages = messages[cut:]


@pytest.mark.parametrize("seed", range(40))
def test_a_liquidation_is_stored_once_however_it_is_cut_and_timed(desk: Desk, seed: int) -> None:
    rng = Random(seed)
    steps = [rng.randint(1, 5) for _ in range(rng.randint(1, 4))]
    at = list(accumulate(rng.choice([0, 1, 200, 5000]) for _ in steps))
    merged, times = [0], [0]  # REST's rows: some hold several steps
    for size, ms in zip(steps, at, strict=True):
        if merged[-1] and rng.random() < 0.5:
            merged.append(0)
            times.append(0)
        merged[-1] += size
        times[-1] = ms + rng.choice([-1, 0, 1, 3])
    told = pushes(steps, ["0"] * len(steps), [MS + ms for ms in at])
    repeated = [row | {"uTime": str(int(row["uTime"]) + 40)} for row in told if rng.random() < 0.5]
    rows = report(merged, [f"-{number + 1}" for number in range(len(merged))], [MS + ms for ms in times])
    messages: list[Message] = [desk.frame("orders", row) for row in told + repeated]
    in_some_order(desk, rng, messages + [by_rest(row) for row in rows])
    assert stored(desk) == {row["tradeId"]: row["fillSz"] for row in rows}
    assert desk.rows("SELECT DISTINCT source FROM fills") == [("ws",)]


@pytest.mark.parametrize("seed", range(20))
def test_executions_that_were_pushed_as_one_are_stored_as_rest_reports_them(desk: Desk, seed: int) -> None:
    rng = Random(seed)
    sizes = [rng.randint(1, 5) for _ in range(3)]
    told = pushes([sum(sizes)], ["103"], [MS])[0] | {"fillFee": "-0.3", "execType": "T"}
    rows = [row | {"fee": "-0.1"} for row in report(sizes, ["101", "102", "103"], [MS] * 3)]
    in_some_order(desk, rng, [desk.frame("orders", told), *map(by_rest, rows)])
    assert stored(desk) == {row["tradeId"]: row["fillSz"] for row in rows}
    last = desk.rows("SELECT fee, exec_type, pushed_sz FROM fills WHERE trade_id = '103'")
    assert last == [("-0.1", "T", str(sum(sizes)))]


def test_the_same_size_in_another_format_is_no_other_size(desk: Desk) -> None:
    desk.push("orders", pushes([4], ["7"], [MS])[0])
    desk.apply(by_rest(report([4], ["7"], [MS])[0] | {"fillSz": "4.00"}))
    assert desk.rows("SELECT fill_sz, pushed_sz FROM fills") == [("4.00", None)]


def test_a_liquidation_in_progress_is_stored_once_though_rest_gives_it_a_later_time(desk: Desk) -> None:
    first, second = pushes([2, 3], ["0", "0"], [MS, MS + 200])
    desk.push("orders", first)
    reported = report([2, 3], ["-1", "-2"], [MS + 1, MS + 201])
    desk.apply(by_rest(reported[0]))
    assert stored(desk) == {"-1": "2"}
    desk.push("orders", second)
    desk.push("orders", first)  # once more: it stays replaced
    assert stored(desk) == {"-1": "2", synthetic_id("5", "3", str(MS + 200)): "3"}
    desk.apply(by_rest(reported[1]))
    assert stored(desk) == {"-1": "2", "-2": "3"}


@pytest.mark.parametrize("sizes", [(12, 12, 14), (14, 12, 12), (1, 2, 3, 6), (5, 5), (6, 3, 2, 1)])
@pytest.mark.parametrize("seed", range(6))
def test_pages_of_a_liquidation_within_one_millisecond_lose_nothing(desk: Desk, sizes: list[int], seed: int) -> None:
    """REST's lists arrive page by page, the newest first; a part of them must not replace what it does not hold."""
    rng = Random(seed)
    desk.apply(*(desk.frame("orders", row) for row in pushes(sizes, ["0"] * len(sizes), [MS] * len(sizes))))
    rows = report(sizes, [f"-{number}" for number in range(8, 8 + len(sizes))], [MS] * len(sizes))
    rows = rows if seed == 0 else rng.sample(rows, len(rows))
    while rows:
        cut = rng.randint(1, len(rows)) if seed else 1
        desk.apply(by_rest(*rows[-cut:]))
        rows = rows[:-cut]
        assert sum(int(size) for size in stored(desk).values()) >= sum(sizes)
    assert list(stored(desk).values()).count("12") == list(sizes).count(12)
    assert sum(int(size) for size in stored(desk).values()) == sum(sizes)
    assert desk.rows("SELECT DISTINCT source, pushed_sz FROM fills") == [("ws", None)]


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("apart", [0, 1, 5000])
@pytest.mark.parametrize("pages", [1, 2])
def test_only_the_fill_that_was_not_pushed_counts_as_not_pushed(desk: Desk, lost: int, apart: int, pages: int) -> None:
    """It was filled in a gap, for instance: then those after it must not look like lost pushes."""
    sizes, trade_ids = [12, 7, 14, 12], ["-1", "-2", "-3", "-4"]
    at = [MS + apart * number for number in range(4)]
    told = pushes(sizes, ["0"] * 4, at)
    rows = report(sizes, trade_ids, at)
    del told[lost]
    if pages == 2 and lost == 0:
        desk.apply(by_rest(rows[0]))
        desk.apply(desk.frame("orders", told[-1]))  # REST has no other row yet, and this one's size is the same
    desk.apply(*(desk.frame("orders", row) for row in told))
    desk.apply(by_rest(*rows))
    if lost == 3:  # the order's end was reported by REST alone
        desk.apply(Rows("alpha", "orders", msgspec.json.encode(pushes(sizes, ["0"] * 4, at)[3:]).decode(), NOW))
        desk.apply(by_rest(*rows))
    assert stored(desk) == {row["tradeId"]: row["fillSz"] for row in rows}
    assert desk.rows("SELECT trade_id, pushed_sz FROM fills WHERE source = 'rest'") == [(trade_ids[lost], None)]


def fill(trade_id: str, size: int, at: int, pushed: int = 0) -> Fill:
    return Fill(trade_id, Decimal(size), at, Decimal(pushed))


def test_one_row_of_rest_replaces_one_synthetic_fill_of_its_size() -> None:
    synthetic = [fill("12:2@1", 2, 1), fill("14:2@2", 2, 2)]  # 10 were filled before all that is stored
    assert find_replaced(synthetic, [fill("-1", 2, 1)], Decimal(14)) == (synthetic[:1], [fill("-1", 2, 1, pushed=2)])
    assert find_replaced(synthetic, [fill("-1", 2, 5000)], Decimal(14)) == ([], [])
    assert find_replaced(synthetic, [fill("7", 2, 3, pushed=2)], Decimal(14)) == ([], [])  # pushed under its own id


def test_the_nearest_row_of_the_size_of_a_fill_replaces_it() -> None:
    reported = [fill("-1", 2, 1), fill("-2", 2, 900)]
    found = find_replaced([fill("14:2@890", 2, 890)], reported, Decimal(14))
    assert found == ([fill("14:2@890", 2, 890)], [fill("-2", 2, 900, pushed=2)])


def test_rows_that_hold_a_fill_replace_it_only_as_far_as_they_were_not_pushed() -> None:
    first, second = fill("2:2@1", 2, 1), fill("5:3@1", 3, 1)
    newest = fill("-2", 3, 1)
    assert find_replaced([first, second], [newest], Decimal(9)) == ([second], [fill("-2", 3, 1, pushed=3)])
    assert find_replaced([first], [fill("-2", 3, 1, pushed=3)], Decimal(9)) == ([], [])


def test_a_fill_counts_as_pushed_in_its_place_among_the_rows() -> None:
    reported = [fill("-1", 4, 1), fill("-2", 1, 1), fill("-3", 5, 1)]
    found = find_replaced([fill("7:4@1", 4, 1)], reported, Decimal(10))  # from 3 to 7
    assert found[1] == [fill("-1", 4, 1, pushed=1), fill("-2", 1, 1, pushed=1), fill("-3", 5, 1, pushed=2)]


def test_no_more_counts_as_pushed_than_was_pushed() -> None:
    reported = [fill("-1", 2, 1), fill("-2", 3, 2, pushed=1), fill("-3", 2, 3)]
    found = find_replaced([fill("3:3@1", 3, 1)], reported, Decimal(7))
    assert found[1] == [fill("-1", 2, 1, pushed=2), fill("-2", 3, 2, pushed=2)]
