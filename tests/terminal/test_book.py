"""Rows are joined and counted as the page shows them, and only changes are handed out."""

from typing import Any

import pytest

from okxsync.mirror.screen import Account, Coverage, Daemon
from okxsync.terminal import topics
from okxsync.terminal.book import FILLS_SHOWN, Book, Row
from okxsync.terminal.head import head
from okxsync.terminal.health import ENTRIES
from okxsync.terminal.proof import Evidence, Proofs
from okxsync.terminal.topics import Topic

S = 1_000_000
NOW = 1_800_000_000 * S
RUNNING = Daemon("running", None, "", "1", NOW, NOW, None, None, 0)


def account(name: str) -> Account:
    return Account(name, "global", False, "2", "net_mode")


def row(topic: Topic, shown: bool = True, **values: object) -> Row:
    return (*(values.get(column) for column in topic.columns), shown)


def position(number: int = 1, *, shown: bool = True, **values: object) -> Row:
    fields: dict[str, object] = {"account": "alpha", "pos_id": str(number), "inst_id": "BTC-USDT-SWAP",
                                 "inst_type": "SWAP", "pos": "-3", "notional_usd": "10.5"}  # fmt: skip
    return row(topics.POSITIONS, shown, **(fields | values))


def order(number: int = 1, kind: str = "order", name: str = "alpha", *, shown: bool = True) -> Row:
    return row(topics.ORDERS, shown, account=name, kind=kind, id=str(number), state="live")


LATER = ("fills", "connections", "requests", "plans", "plan_orders")
SWAP = row(topics.INSTRUMENTS, inst_type="SWAP", inst_id="BTC-USDT-SWAP", ct_val="0.01", ct_mult="1", ct_val_ccy="BTC")


def fill(number: int, at: int, name: str = "alpha") -> Row:
    return row(topics.FILLS, account=name, inst_id="I", ord_id="1", trade_id=str(number), fill_time=at)[:-1]


def found(**rows: list[Row]) -> dict[str, list[Row]]:
    return {name: [] for name in ("equity", "balances", "instruments", "marks", "orders", "positions")} | rows


def proofs(
    *names: str, age_s: dict[str, float] | None = None, channels: tuple[str, ...] = ("orders", "positions", "account")
) -> Proofs:
    ages = age_s or {}
    coverage = [
        Coverage(name, channel, NOW - int(ages.get(name, 1) * S), name not in ages, 1, None)
        for name in names
        for channel in channels
    ]
    return Proofs(Evidence(NOW, RUNNING, [account(name) for name in names], coverage, (), ()))


def loaded(*names: str, **rows: list[Row]) -> Book:
    book = Book()
    book.load({name: account(name) for name in names or ("alpha",)}, found(**rows))
    book.prove(proofs(*(names or ("alpha",))))
    return book


def shown(book: Book, topic: Topic) -> list[dict[str, Any]]:
    return [topic.record(one) for one in book[topic].rows.values()]


def test_only_changes_are_taken() -> None:
    book = loaded(orders=[order(1), order(2)])
    first = {diff.topic.name: diff for diff in book.take()}
    assert [*first] == [name for name in topics.TOPICS if name not in LATER]  # those are not loaded yet
    assert first["freshness"].put
    assert not first["instruments"].put
    assert book.take() == []
    book.change(found(orders=[order(1), order(2, shown=False), order(3, shown=False)]))
    (orders, accounts) = book.take()
    assert (orders.put, orders.gone) == ({}, [("alpha", "order", "2")])
    assert topics.ACCOUNTS.record(accounts.put["alpha",])["open_orders"] == 1


def test_a_reload_removes_what_is_gone() -> None:
    book = loaded("alpha", "beta", orders=[order(1), order(2, name="beta")])
    book.take()
    book.load({"alpha": account("alpha")}, found(orders=[order(3), order(2, name="beta")]))
    book.prove(proofs("alpha", "beta"))
    gone = {diff.topic.name: diff.gone for diff in book.take()}
    assert sorted(gone["orders"]) == [("alpha", "order", "1"), ("beta", "order", "2")]
    assert gone["accounts"] == [("beta",)]
    assert {key[0] for key in gone["freshness"]} == {"beta"}


def test_size_in_coin_is_exact_and_unknown_without_its_factors() -> None:
    book = loaded(instruments=[SWAP], positions=[position(pos="-1234567890123456789.123456789")])
    (one,) = shown(book, topics.POSITIONS)
    assert (one["coin"], one["coin_ccy"]) == ("-12345678901234567.89123456789", "BTC")
    for values in ({"inst_id": "ETH-USDT-SWAP"}, {"pos": None}, {"pos": "many"}, {"inst_type": "MARGIN"}):
        (one,) = shown(loaded(instruments=[SWAP], positions=[position(**values)]), topics.POSITIONS)
        assert (one["coin"], one["coin_ccy"]) == (None, None)


def test_an_instrument_that_comes_later_completes_its_positions() -> None:
    book = loaded(positions=[position()])
    assert shown(book, topics.POSITIONS)[0]["coin"] is None
    book.change(found(instruments=[SWAP]))
    assert shown(book, topics.POSITIONS)[0]["coin"] == "-0.03"


def test_zero_is_what_was_proved_and_unknown_is_none() -> None:
    book = Book()
    book.load({"alpha": account("alpha")}, found(orders=[order(1)]))
    book.prove(proofs("alpha", channels=("positions",)))
    book.take()
    (one,) = shown(book, topics.ACCOUNTS)
    assert (one["open_orders"], one["open_algos"], one["positions"], one["equity"]) == (1, None, 0, None)


EQUITY = ("alpha", "100.5", None, None, None, NOW, NOW, True)


def test_money_is_the_account_s_own_where_okx_gives_it() -> None:
    own = ("alpha", "100.5", "-1.50", "33", "8.6", NOW, NOW, True)
    balances = [("alpha", "USDT", "3.1", "7", "1", True)]
    book = loaded(equity=[own], balances=balances, positions=[position()])
    book.take()
    (one,) = shown(book, topics.ACCOUNTS)
    assert [one[name] for name in ("equity", "upl", "notional_usd", "derived", "mgn_ratio", "mgn_ccy")] == [
        "100.5", "-1.50", "33", None, "8.6", None,
    ]  # fmt: skip


def test_money_is_summed_up_where_okx_gives_none() -> None:
    balances = [("alpha", "USDT", "9.5", "-2", "1.001", True), ("alpha", "BTC", "3.1", "0.001", "68000", True),
                ("alpha", "ETH", None, None, "2500", True), ("alpha", "XRP", "", "0", None, True)]  # fmt: skip
    book = loaded(equity=[EQUITY], balances=balances, positions=[position(1), position(2)])
    book.take()
    (one,) = shown(book, topics.ACCOUNTS)
    assert [one[name] for name in ("upl", "notional_usd", "derived", "mgn_ratio", "mgn_ccy")] == [
        "65.998", "21.0", "upl notional_usd", "3.1", "BTC",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "balance", [("alpha", "BTC", None, "0.001", None, True), ("alpha", "BTC", None, "x", "1", True)]
)
def test_a_sum_with_an_unknown_part_is_unknown(balance: Row) -> None:
    balances = [("alpha", "USDT", None, "-2", "1", True), balance]
    book = loaded(equity=[EQUITY], balances=balances, positions=[position(1), position(2, notional_usd=None)])
    book.take()
    (one,) = shown(book, topics.ACCOUNTS)
    assert (one["upl"], one["notional_usd"], one["derived"]) == (None, None, None)


def test_totals_name_what_they_leave_out() -> None:
    names = ("alpha", "beta", "gamma", "delta")
    equity = [(name, amount, None, None, None, NOW, NOW, True) for name, amount in
              (("alpha", "0.1"), ("beta", "0.2"), ("gamma", "1e-30"))]  # fmt: skip
    book = Book()
    book.load({name: account(name) for name in names}, found(equity=equity))
    proved = proofs(*names, age_s={"gamma": 60})
    book.prove(proved)
    book.take()
    line = head(book, proved)
    assert line["equity"] == {
        "live": [2, "0.3"],
        "unproved": [0, "0", None],
        "stale": [1, "0.000000000000000000000000000001", NOW - 60 * S],
        "never": 1,
    }
    assert line["upl"]["never"] == 4
    assert line["accounts"] == {"live": 3, "stale": 1}


def test_an_account_whose_equity_is_no_number_makes_the_total_unknown() -> None:
    book = Book()
    book.load({"alpha": account("alpha")}, found(equity=[("alpha", "many", *EQUITY[2:])]))
    book.prove(proofs("alpha"))
    book.take()
    assert head(book, proofs("alpha"))["equity"]["live"] == [1, None]


def test_the_newest_fills_are_shown_each_under_its_number() -> None:
    book = loaded()
    book.load_fills([fill(number, at=number) for number in range(FILLS_SHOWN)])
    book.take()
    assert book.oldest_fill == 0
    late = FILLS_SHOWN // 2  # found by REST after others
    book.add_fills([fill(9_001, at=late), fill(9_002, at=9_002), fill(5, at=5, name="removed")], [])
    (diff,) = book.take()
    assert len(book[topics.FILLS].rows) == FILLS_SHOWN
    assert [topics.FILLS.record(one)["trade_id"] for one in diff.put.values()] == ["9001", "9002"]
    assert diff.gone == [(1,), (2,)]
    assert book.oldest_fill == 2
    book.add_fills([fill(9_002, at=9_002)], [("alpha", "I", "1", "9001")])
    (diff,) = book.take()
    assert (diff.put, diff.gone) == ({}, [(FILLS_SHOWN + 1,)])


def test_a_reload_keeps_the_numbers_of_fills() -> None:
    book = loaded()
    book.load_fills([fill(1, at=1), fill(2, at=2)])
    book.take()
    book.load_fills([fill(2, at=2), fill(3, at=3)])
    (diff,) = book.take()
    assert [*diff.put] == [(3,)]
    assert diff.gone == [(1,)]


def test_the_newest_entries_of_the_journal_are_shown() -> None:
    book = loaded()
    book.take()

    def entry(number: int) -> Row:
        return (number, *[None] * (len(topics.JOURNAL.columns) - 1))

    book.show_health([], [entry(number) for number in range(ENTRIES, 0, -1)])
    book.take()
    assert book.last_entry == ENTRIES
    book.show_health([], [entry(ENTRIES + 2), entry(ENTRIES + 1)])
    (diff,) = book.take()
    assert sorted(diff.put) == [(ENTRIES + 1,), (ENTRIES + 2,)]
    assert sorted(diff.gone) == [(1,), (2,)]
    book.show_health([], [])
    assert book.take() == []
