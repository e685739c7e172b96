"""The ledger adds up, for any sequence of operations."""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.sandbox.exchange.catalogue import INSTRUMENTS
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.positions import Position
from okxsync.sandbox.exchange.trader import Trader

SWAP = next(each for each in INSTRUMENTS if each.is_swap)
ZERO = Decimal(0)


def changes() -> st.SearchStrategy[list[tuple[Decimal, Decimal]]]:
    """Signed fills with prices: small sizes, so that positions close and flip often."""
    size = st.integers(-5, 5).filter(bool).map(Decimal)
    price = st.integers(1, 10_000).map(lambda each: Decimal(each) / 10)
    return st.lists(st.tuples(size, price), max_size=30)


@given(changes())
def test_a_position_is_the_sum_of_its_fills(fills: list[tuple[Decimal, Decimal]]) -> None:
    position = Position(SWAP, "1", "10")
    money, pnl = Fraction(0), ZERO
    for at, (change, px) in enumerate(fills):
        money -= Fraction(change * px * SWAP.ct_val)
        pnl += position.apply(change, px, Decimal(-1), at).pnl
    assert position.pos == sum(change for change, _ in fills)
    # Bought and sold for `money` net, and what is still held is worth its average: the rest was realized.
    held = Fraction(position.pos * position.avg_px * SWAP.ct_val) if position.pos else Fraction(0)
    assert abs(Fraction(pnl) - (money + held)) < Fraction(1, 10**9)
    assert sum(cycle.pnl for cycle in position.cycles) == pnl
    assert sum(cycle.fee for cycle in position.cycles) == -len(fills)
    assert [cycle.done for cycle in position.cycles[:-1]] == [True] * len(position.cycles[:-1])
    assert not position.cycles or position.cycles[-1].done == (not position.pos)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**9), max_value=10**9))
def test_numbers_are_written_plainly_and_exactly(number: Decimal) -> None:
    written = text(number)
    assert Decimal(written) == number
    assert "E" not in written.upper()
    assert written != "-0"
    assert "." not in written or not written.endswith("0")


def crash(exchange: Exchange, turn: int) -> None:
    """Move a mark far, and take somebody's position away."""
    inst_id = sorted(exchange.instruments)[turn % 4]
    exchange.set_mark(inst_id, text(exchange.mark(inst_id) * (2 if turn % 3 else Decimal("0.5"))))
    uid = sorted(exchange.members)[turn % 3]
    for position in exchange.position_rows(uid)[:1]:
        exchange.liquidate(uid, position, adl=bool(turn % 2))


def run(seed: int, steps: int) -> Exchange:
    """Let three members trade, with funding every second and time standing still at every third step."""
    now = [1_700_000_000_000]
    exchange = Exchange(lambda: now[0], seed, funding_ms=1_000)
    for name in ("alice", "bob", "carol"):
        exchange.add_member(name, deposit={"USDT": "20000"} if name == "carol" else {"USDT": "100000", "BTC": "1"})
    trader = Trader(exchange, seed)
    for step in range(steps):
        trader.step()
        if step % 50 == 49:
            crash(exchange, seed + step)
        if step % 3:
            now[0] += 40
            exchange.tick()
    return exchange


def total(rows: list[dict[str, Any]], name: str) -> Decimal:
    return sum((Decimal(row[name]) for row in rows), ZERO)


@given(seed=st.integers(0, 10**6), steps=st.integers(0, 300))
@settings(max_examples=25)
def test_everything_adds_up(seed: int, steps: int) -> None:
    exchange = run(seed, steps)
    for uid in exchange.members:
        check_bills(exchange, uid)
        check_orders(exchange, uid)
        check_positions(exchange, uid)


def check_bills(exchange: Exchange, uid: str) -> None:
    """Each balance is the sum of its bills, and each bill says the balance that it left."""
    for bills, balances in (
        (exchange.bill_rows(uid), {row["ccy"]: row["cashBal"] for row in exchange.account_row(uid)["details"]}),
        (exchange.asset_bill_rows(uid), {row["ccy"]: row["bal"] for row in exchange.asset_balance_rows(uid)}),
    ):
        running: defaultdict[str, Decimal] = defaultdict(Decimal)
        for bill in reversed(bills):
            running[bill["ccy"]] += Decimal(bill["balChg"])
            assert Decimal(bill["bal"]) == running[bill["ccy"]]
        for ccy, balance in running.items():
            assert Decimal(balances.get(ccy, "0")) == balance
        ids = [int(bill["billId"]) for bill in bills]
        assert ids == sorted(set(ids), reverse=True)


def check_orders(exchange: Exchange, uid: str) -> None:
    """An order's totals are those of its fills, and every fill has its bills."""
    fills: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for fill in exchange.fill_rows(uid):
        fills[fill["ordId"]].append(fill)
    for order in exchange.order_rows(uid):
        mine = fills.pop(order["ordId"], [])
        assert Decimal(order["accFillSz"]) == total(mine, "fillSz")
        assert Decimal(order["fee"]) == total(mine, "fee")
        assert Decimal(order["pnl"]) == total(mine, "fillPnl")
        assert (order["avgPx"] == "") == (not mine)
        if mine:
            last = mine[0]["tradeId"] if order["category"] == "normal" else "0"
            assert (order["tradeId"], order["fillSz"]) == (last, mine[0]["fillSz"])
        if order["state"] == "filled" and order["tgtCcy"] != "quote_ccy":
            assert order["accFillSz"] == order["sz"]
    assert not fills
    bill_ids = {bill["billId"] for bill in exchange.bill_rows(uid)}
    assert {fill["billId"] for fill in exchange.fill_rows(uid)} <= bill_ids


def check_positions(exchange: Exchange, uid: str) -> None:
    """A position is the sum of signed fills; its realized pnl is in the bills."""
    pos: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in exchange.fill_rows(uid):
        if fill["instType"] == "SWAP":
            pos[fill["instId"]] += Decimal(fill["fillSz"]) * (1 if fill["side"] == "buy" else -1)
    assert {row["instId"]: Decimal(row["pos"]) for row in exchange.position_rows(uid)} == {
        inst_id: size for inst_id, size in pos.items() if size
    }
    realized = sum(
        (cycle.realized for position in exchange.account(uid).positions.values() for cycle in position.cycles), ZERO
    )
    assert realized == total([bill for bill in exchange.bill_rows(uid) if bill["instType"] == "SWAP"], "balChg")
