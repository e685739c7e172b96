"""In whatever order pushes, pages, repeats, losses and crashes arrive, the final tables equal the exchange's state.

One history of trade is made once: every pushed frame, and what REST would have answered after some of the steps. Each
example gives these to the writer in its own order: runs of frames are lost and repeated later, pages arrive late,
orders that REST did not know yet are reported as not found, the writer crashes and starts again from the file. Then
REST is asked for everything, as after every gap, and the snapshots of a new subscription arrive; after them only old
and late messages.

Some orders are liquidations: their fills are pushed without a trade id. REST drops some of the canceled orders, as OKX
does after two hours: those that are stored as pending become ``gone``.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.messages import Frames, Message, OrdersNotFound, Rows
from okxsync.mirror.ledger import check_ledger
from okxsync.reconcile.held import Held
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.faults.rules import Terms
from okxsync.sandbox.server.channels import CHANNELS
from okxsync.sandbox.server.hub import Hub, Subscription
from okxsync.store.engines import Reader
from tests.support.desk import MS, Desk
from tests.support.truth import differences

STEPS = 120
PAGE_EVERY = 10
ARGS: dict[str, dict[str, str]] = {"orders": {"instType": "ANY"}, "positions": {"instType": "ANY"}}
PUSHED = ("account", "positions", "balance_and_position", "orders", "orders-algo")

TableRows = dict[str, list[dict[str, Any]]]
COMPLETE = {"account", "positions"}


class Pages(msgspec.Struct):
    """What REST answers as of a time."""

    as_of_ms: int
    rows: TableRows


class History(msgspec.Struct):
    """What happened to one account: frames, and REST's pages by the number of frames that came before them."""

    exchange: Exchange
    frames: list[str]
    pages: list[tuple[int, Pages]]
    last_pages: Pages
    snapshots: list[str]
    remembered: Pages  # the rows of orders that REST has dropped


class Recorder:
    """Keeps the frames that a connection would receive."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    def send(self, frame: str) -> None:
        self.frames.append(frame)


@cache
def history() -> History:
    async def trade() -> History:
        times = count(MS, 20)
        exchange = Exchange(lambda: next(times), seed=3)
        uid = exchange.add_member("alpha").uid
        hub, recorder, pages, trader = (
            Hub(exchange, Terms(), 1),
            Recorder(),
            list[tuple[int, Pages]](),
            Trader(exchange, 4),
        )
        subscriptions = [
            Subscription(recorder, CHANNELS[name], {"channel": name, **ARGS.get(name, {})}, uid, 5.0) for name in PUSHED
        ]
        for subscription in subscriptions:
            hub.subscribe(subscription)
            hub.send_snapshot(subscription)
        for step in range(STEPS):
            hub.operate(trader.step)
            if step % PAGE_EVERY == 0:
                hub.operate(exchange.tick)
                pages.append((len(recorder.frames), Pages(next(times), rows_of(exchange, uid))))
        frames, recorder.frames = [without_trade_ids(text) for text in recorder.frames], []
        last = Pages(next(times), rows_of(exchange, uid))
        remembered = Pages(last.as_of_ms, {channel: forget(last.rows[channel]) for channel in IDS})
        for subscription in subscriptions:
            hub.send_snapshot(subscription)
        return History(exchange, frames, pages, last, recorder.frames, remembered)

    return trio.run(trade)


IDS = {"orders": "ordId", "orders-algo": "algoId"}


def is_liquidation(ord_id: str) -> bool:
    return int(ord_id) % 3 == 0


def without_trade_ids(text: str) -> str:
    """Return a frame as OKX pushes it: the trade id of liquidations is 0."""
    found = msgspec.json.decode(text)
    for row in found["data"] if found["arg"]["channel"] == "orders" else ():
        if is_liquidation(row["ordId"]) and row["tradeId"]:
            row["tradeId"] = "0"
    return msgspec.json.encode(found).decode()


def forget(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Remove every second order that was canceled without a fill, and return the removed ones."""
    canceled = [row for row in rows if row["state"] == "canceled" and row.get("accFillSz", "0") == "0"][::2]
    assert canceled
    rows[:] = [row for row in rows if row not in canceled]
    return canceled


def rows_of(exchange: Exchange, uid: str) -> TableRows:
    return {
        "orders": exchange.order_rows(uid),
        "orders-algo": exchange.algo_rows(uid),
        "fills": exchange.fill_rows(uid),
        "account": [exchange.account_row(uid)],
        "positions": exchange.position_rows(uid),
        "positions-history": exchange.positions_history_rows(uid),
        "bills": exchange.bill_rows(uid),
    }


class Plan(msgspec.Struct):
    """In which order a history arrives. Positions and delays are counted in frames."""

    lost: list[tuple[int, int]]  # first position, number
    again: list[tuple[int, int]]  # position, delay
    late: list[tuple[int, int]]  # number of the pages, delay
    not_found: list[tuple[int, int, int]]  # number of the pages, of the order, delay
    crashes: list[int]
    at_once: int  # messages of one transaction


def places(most: int) -> st.SearchStrategy[int]:
    return st.integers(0, most)


LENGTH = 600
PLANS = st.builds(
    Plan,
    lost=st.lists(st.tuples(places(LENGTH), places(80)), max_size=6),
    again=st.lists(st.tuples(places(LENGTH), places(2 * LENGTH)), max_size=30),
    late=st.lists(st.tuples(places(STEPS // PAGE_EVERY), places(2 * LENGTH)), max_size=8),
    not_found=st.lists(st.tuples(places(STEPS // PAGE_EVERY), places(STEPS), places(LENGTH)), max_size=8),
    crashes=st.lists(places(LENGTH), max_size=3),
    at_once=st.sampled_from([1, 7, 100, 2000]),
)


class Crash:
    """The writer crashes and starts again."""


class Ask:
    """Orders that are stored as pending and are in no list are looked up by id."""


Step = Message | Crash | Ask


def steps(plan: Plan, history: History) -> Iterator[Step]:
    """Yield what happens to the writer, in the order of the plan."""
    frames = history.frames
    lost = {place for start, length in plan.lost for place in range(start, start + length)}
    line: list[tuple[int, int, list[Step]]] = []
    line += [(place, 0, [frame(text)]) for place, text in enumerate(frames) if place not in lost]
    for place, later in plan.again:
        if place < len(frames):
            late = place + later >= LENGTH and _is_empty_snapshot(frames[place])
            line.append((place + later, 1, [frame(frames[place]), *map(frame, history.snapshots if late else ())]))
    for which, later in plan.late:
        place, pages = history.pages[which % len(history.pages)]
        line.append((place + later, 2, [*replies(pages)]))
    for which, order, later in plan.not_found:
        place, pages = history.pages[which % len(history.pages)]
        if place + later < LENGTH:  # REST was behind: it is asked again and knows them then
            line.append((place + later, 2, [*not_found(pages, order)]))
    line += [(place, 3, [Crash()]) for place in plan.crashes]
    line.append((LENGTH, 4, [*replies(history.last_pages), Ask(), *map(frame, history.snapshots)]))
    for _, _, messages in sorted(line, key=lambda entry: entry[:2]):  # late ones may come after the last
        yield from messages


def frame(text: str) -> Frames:
    return Frames(1, "alpha", [(MS * 1000, text)])


def replies(pages: Pages) -> Iterator[Rows]:
    for channel, found in pages.rows.items():
        rows, at = msgspec.json.encode(found).decode(), pages.as_of_ms * 1000
        yield Rows("alpha", channel, rows, at, pages.as_of_ms, channel in COMPLETE)


def not_found(pages: Pages, number: int) -> Iterator[OrdersNotFound]:
    """Report one order and one algo order that exist as not found."""
    for channel, name in IDS.items():
        if rows := pages.rows[channel]:
            lost = [rows[number % len(rows)][name]]
            yield OrdersNotFound("alpha", channel, lost, pages.as_of_ms * 1000, pages.as_of_ms)


def looked_up(desk: Desk, pages: Pages) -> Iterator[OrdersNotFound]:
    """Report orders that are stored as pending and in no list as not found."""
    at = pages.as_of_ms * 1000 + 1
    with closing(Reader(desk.path)) as reader:
        held = Held(reader, "alpha")
        pending = (
            ("orders", {ord_id for ord_id, _ in held.open_orders(pages.as_of_ms)}),
            ("orders-algo", {algo_id for algo_id, _ in held.open_algo_orders(pages.as_of_ms)}),
        )
    for channel, ids in pending:
        listed = {row[IDS[channel]] for row in pages.rows[channel]}
        yield OrdersNotFound("alpha", channel, sorted(ids - listed), at, pages.as_of_ms)


def states_of_forgotten(desk: Desk, history: History) -> dict[str, str]:
    """Return the stored states of the dropped orders, by id."""
    ids = {row[name] for channel, name in IDS.items() for row in history.remembered.rows[channel]}
    held = desk.rows("SELECT ord_id, state FROM orders UNION ALL SELECT algo_id, state FROM algo_orders")
    return {name: state for name, state in held if name in ids}


def _is_empty_snapshot(text: str) -> bool:
    """Whether a frame is an empty snapshot: it has no time, so only the next snapshot corrects its effect."""
    return '"eventType":"snapshot"' in text and '"data":[]' in text


@pytest.mark.slow
@settings(max_examples=40)
@given(PLANS)
def test_the_final_tables_equal_the_exchange_in_any_order_of_arrival(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "okxsync.db"
        desk, pid, waiting, known = Desk(path), 1, list[Message](), set[str]()
        desk.begin(*PUSHED)
        for step in steps(plan, history()):
            if isinstance(step, Crash):
                desk.database.close()  # queued messages and the writer's memory are lost
                desk, pid, waiting = Desk(path), pid + 1, []
                desk.begin(*PUSHED, pid=pid)
                continue
            if isinstance(step, Ask):
                desk.apply(*waiting)
                waiting, known = [*looked_up(desk, history().last_pages)], set(states_of_forgotten(desk, history()))
                continue
            waiting.append(step)
            if len(waiting) >= plan.at_once:
                desk.apply(*waiting)
                waiting = []
        desk.apply(*waiting)
        assert desk.rows("SELECT kind, what FROM anomalies") == []
        states = states_of_forgotten(desk, history())
        assert {states[name] for name in known} <= {"canceled", "gone"}
        desk.apply(*replies(history().remembered))
        desk.database.close()
        assert differences(history().exchange, path) == {}
        assert check_ledger(path, ["alpha"]) == []
