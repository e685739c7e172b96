"""Pictures from a database: what the daemon wrote, as the page gets it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from okxsync.messages import ConfiguredAccount, GapResult, Lost, Subscribed
from okxsync.store.database import StoreError
from okxsync.terminal.gallery import FILLS, GAPS, draw, matches, step_for
from okxsync.terminal.parameters import DAY, HOUR, MINUTE, BadRequest
from okxsync.terminal.pictures import Window
from tests.support.desk import MS, NOW, Desk, order, phase

SECOND = 1_000_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin("orders", "account", pid=os.getpid())
    return desk


def picture(desk: Desk, kind: str, *, at: int = NOW + HOUR, **given: Any) -> dict[str, Any]:
    desk.apply(desk.heartbeat(at))
    answer = json.loads(draw(desk.path, kind, {name: str(value) for name, value in given.items()}, lambda: at))
    assert answer["now"] == at
    return dict(answer)


def hour(**more: Any) -> dict[str, Any]:
    return {"from": NOW, "until": NOW + HOUR, "width": 60, **more}


def lose(desk: Desk, begin: int, end: int, outcome: str | None = "filled", channel: str = "orders") -> None:
    """Channel ``orders`` is lost for some time; coverage before that was proved at its begin."""
    desk.db.execute("UPDATE coverage SET covered_until = ? WHERE channel = ?", [NOW + begin * MINUTE, channel])
    desk.apply(Lost(1, "alpha", [channel], NOW + begin * MINUTE, "reset"))
    desk.apply(Subscribed(1, "alpha", [channel], NOW + end * MINUTE))
    (number,) = desk.rows("SELECT max(id) FROM gaps")[0]
    if outcome:
        desk.apply(GapResult(number, NOW + (end + 1) * MINUTE, outcome, 3, None))


def test_the_lanes_of_an_account(desk: Desk) -> None:
    lose(desk, 10, 20)
    lose(desk, 30, 31, None)
    ((account, lanes, covered, wanted, since),) = picture(desk, "coverage", **hour())["accounts"]
    assert (account, since) == ("alpha", NOW + 30 * MINUTE)
    channels = {channel: rest for channel, *rest in lanes}
    assert channels["orders"] == [[0, 1, 10, 3, 20, 1, 30, 5, 31, 2], 30 * MINUTE, 31 * MINUTE]
    assert (covered, wanted) == (30 * MINUTE, 31 * MINUTE)


def test_an_account_that_was_never_covered_has_no_lane_and_is_not_left_out(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    names = [account for account, *_ in picture(desk, "coverage", **hour())["accounts"]]
    assert names == ["beta", "alpha"]
    assert picture(desk, "coverage", **hour())["accounts"][0] == ["beta", [], 0, 0, None]


def test_a_daemon_that_is_killed_leaves_open_lanes(desk: Desk) -> None:
    at = NOW + HOUR
    answer = json.loads(draw(desk.path, "coverage", {n: str(v) for n, v in hour().items()}, lambda: at))
    ((_, lanes, covered, wanted, since),) = answer["accounts"]
    assert {tuple(runs) for _, runs, _, _ in lanes} == {(0, 5)}
    assert (covered, wanted, since) == (0, 2 * HOUR, NOW)


def test_the_gaps_of_an_account_are_listed_newest_first_with_what_closed_them(desk: Desk) -> None:
    lose(desk, 10, 20)
    lose(desk, 30, 31, "partial")
    answer = picture(desk, "gaps", account="alpha", **hour())
    rows = [dict(zip(answer["cols"], row, strict=True)) for row in answer["rows"]]
    assert [(row["from_at"], row["outcome"], row["rows"]) for row in rows] == [
        (NOW + 30 * MINUTE, "partial", 3),
        (NOW + 10 * MINUTE, "filled", 3),
    ]
    assert rows[1]["filled_at"] == NOW + 21 * MINUTE
    assert rows[1]["reason"] == "reset"
    assert not answer["more"]
    assert picture(desk, "gaps", account="alpha", channel="account", **hour())["rows"] == []
    assert picture(desk, "gaps", account="beta", **hour())["rows"] == []
    only = {"from": NOW + 12 * MINUTE, "until": NOW + 13 * MINUTE}
    assert len(picture(desk, "gaps", account="alpha", **only)["rows"]) == 1


def test_a_long_list_of_gaps_says_that_there_are_more(desk: Desk) -> None:
    desk.db.executemany(
        "INSERT INTO gaps (account, channel, from_at, to_at, reason, outcome, filled_at, rows, attempts)"
        " VALUES ('alpha', 'orders', ?, ?, 'x', 'filled', ?, 0, 1)",
        [(NOW + number, NOW + number + 1, NOW) for number in range(GAPS + 1)],
    )
    answer = picture(desk, "gaps", account="alpha", **hour())
    assert (len(answer["rows"]), answer["more"]) == (GAPS, True)


def test_a_market_has_candles_fills_and_the_time_that_was_not_covered(desk: Desk) -> None:
    market = "market"
    desk.apply(phase(NOW, number=2, listener=market), Subscribed(2, market, ["mark-price:instId=X"], NOW))
    for minute, price in enumerate(("10", "12.5", "11", "9.75")):
        desk.push("mark-price", {"instId": "X", "instType": "SWAP", "markPx": price, "ts": str(MS + minute * 60_000)})
    desk.apply(Lost(2, market, ["mark-price:instId=X"], NOW + 5 * MINUTE, "reset"))
    desk.push("orders", order(1, instId="X", side="buy", state="filled", accFillSz="1", fillSz="1", fillPx="10.1",
                              tradeId="7", fillTime=str(MS + 1234)))  # fmt: skip
    answer = picture(desk, "market", inst="X", **hour(width=20))
    assert answer["step"] == 15 * MINUTE
    assert answer["candles"] == [[NOW, "10", "12.5", "9.75", "9.75", 4]]
    assert answer["since"] == NOW
    assert answer["fills"] == [[NOW + 1234_000, "alpha", "buy", "10.1", "1", "ws"]]
    assert not answer["more"]
    assert answer["holes"] == [[NOW, NOW + HOUR, "open"]]
    other = picture(desk, "market", inst="Y", **hour())
    assert (other["candles"], other["since"], other["fills"], other["holes"]) == ([], None, [], [])


def test_more_fills_than_a_chart_holds_are_said_to_be_more(desk: Desk) -> None:
    desk.db.executemany(
        "INSERT INTO fills (account, inst_id, ord_id, trade_id, fill_time, trade_id_made, source, received_at)"
        " VALUES ('alpha', 'X', '1', ?, ?, 0, 'ws', 1)",
        [(str(number), MS + number) for number in range(FILLS + 1)],
    )
    answer = picture(desk, "market", inst="X", **hour())
    assert (len(answer["fills"]), answer["more"]) == (FILLS, True)
    assert answer["fills"][0][0] == NOW + FILLS * 1000


def equity(desk: Desk, minute: int, total: str, account: str = "alpha") -> None:
    values = (account, NOW + minute * MINUTE, total, MS + minute * 60_000)
    desk.db.execute("INSERT INTO equity_history (account, at, total_eq, as_of) VALUES (?, ?, ?, ?)", values)


def test_equity_is_a_point_for_each_step_and_breaks_where_nobody_was_known(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    desk.apply(phase(NOW, number=2, listener="beta"), Subscribed(2, "beta", ["account"], NOW))
    for minute in (0, 1, 2, 4):
        equity(desk, minute, f"10{minute}.5")
    equity(desk, 1, "50", "beta")
    answer = picture(desk, "equity", **{"from": NOW, "until": NOW + 10 * MINUTE, "width": 40})
    assert answer["step"] == MINUTE
    assert answer["points"] == [
        [NOW, "100.5", 1, None, 0],
        [NOW + MINUTE, "151.5", 2, None, 0],
        [NOW + 2 * MINUTE, "102.5", 1, "50", 1],
        [NOW + 4 * MINUTE, "104.5", 1, "50", 1],
    ]
    assert answer["breaks"] == [NOW + 2 * MINUTE]
    assert (answer["since"], answer["never"]) == (NOW, 2)  # these minutes are not of a row that was pushed
    running = picture(desk, "equity", at=NOW + 5 * MINUTE, **{"from": NOW, "until": NOW + 10 * MINUTE, "width": 40})
    assert running["points"][-1][0] == NOW + 2 * MINUTE  # the minute that has just ended may not be complete
    chosen = picture(desk, "equity", acct="b*", **{"from": NOW, "until": NOW + 10 * MINUTE, "width": 40})
    assert [point[1] for point in chosen["points"]] == [None, "50", None, None]


def test_an_account_that_was_known_before_is_held(desk: Desk) -> None:
    desk.push("account", {"totalEq": "70", "uTime": str(MS), "details": []})
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    desk.apply(phase(NOW, number=2, listener="beta"), Subscribed(2, "beta", ["account"], NOW))
    equity(desk, 20, "5", "beta")
    answer = picture(desk, "equity", **{"from": NOW + 10 * MINUTE, "until": NOW + HOUR, "width": 400})
    assert answer["points"] == [[NOW + 20 * MINUTE, "5", 1, "70", 1]]


def test_the_day_of_an_account(desk: Desk) -> None:
    day = NOW + 30 * MINUTE
    for minute in (0, 28, 29, 31):
        equity(desk, minute, f"1{minute}")
    desk.db.execute(
        "INSERT INTO balances (account, ccy, coin_usd_price, source, received_at)"
        " VALUES ('alpha', 'BTC', '2.5', 'ws', 1)"
    )
    for number, (kind, ts, change, ccy) in enumerate(
        [("1", MS + 31 * 60_000, "4", "BTC"), ("1", MS, "9", "BTC"), ("2", MS + 31 * 60_000, "9", "BTC")]
    ):
        desk.db.execute(
            "INSERT INTO bills (account, bill_id, type, ts, bal_chg, ccy, received_at)"
            " VALUES ('alpha', ?, ?, ?, ?, ?, 1)",
            (str(number), kind, ts, change, ccy),
        )
    shown = picture(desk, "equity", **hour())["transfers"]
    assert shown == [[NOW, "alpha", "9", "BTC"], [NOW + 31 * MINUTE, "alpha", "4", "BTC"]]
    answer = picture(desk, "accounts", day=day, width=24)
    row = dict(zip(answer["cols"], answer["rows"][0], strict=True))
    assert (row["account"], row["began"], row["transfers"]) == ("alpha", "129", "10.0")
    assert row["runs"] == [0, 0, 23, 2]  # an hour ago it began
    desk.db.execute("UPDATE bills SET ccy = 'XYZ'")
    assert picture(desk, "accounts", day=day, width=24)["rows"][0][2] is None
    assert picture(desk, "accounts", day=NOW + HOUR, width=24)["rows"][0][1] is None  # too long before


def test_steps_are_usual_times_and_wide_enough() -> None:
    for span, width, step in ((HOUR, 600, MINUTE), (DAY, 1440, 5 * MINUTE), (30 * DAY, 1000, 240 * MINUTE)):
        assert step_for(Window(0, span, width, span), 4) == step


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("nothing", hour()),
        ("../../etc/passwd", hour()),
        ("coverage", {}),
        ("coverage", hour(until=NOW)),
        ("coverage", hour(until=NOW + 401 * DAY)),
        ("coverage", hour(width=0)),
        ("coverage", hour(width=5000)),
        ("coverage", hour(width="1e3")),
        ("coverage", {**hour(), "from": -1}),
        ("coverage", {**hour(), "from": "\u0663"}),
        ("coverage", {**hour(), "from": "9" * 4000}),
        ("gaps", hour()),
        ("gaps", hour(account="x" * 201)),
        ("market", hour()),
        ("accounts", {"day": 1}),
        ("accounts", {"day": 1, "width": 101}),
    ],
)
def test_what_is_no_picture_is_refused(desk: Desk, kind: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        picture(desk, kind, **given)


def test_a_database_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        draw(tmp_path / "none.db", "coverage", {name: str(value) for name, value in hour().items()})


def test_hostile_names_are_names(desk: Desk) -> None:
    name = "\"'; DROP TABLE gaps; --"
    assert picture(desk, "gaps", account=name, **hour())["rows"] == []
    assert picture(desk, "market", inst=name, **hour())["candles"] == []
    assert picture(desk, "equity", acct="[" * 50 + "*" * 50, **hour())["points"] == []


def test_accounts_are_chosen_as_in_the_filters_of_the_page() -> None:
    for patterns, chosen in (("desk0*", True), ("DESK01", True), ("x,desk01", True), ("desk0", False), ("[d]*", False),
                             ("desk0?", False), ("*", True), ("*1", True)):  # fmt: skip
        assert matches("desk01", patterns) == chosen
