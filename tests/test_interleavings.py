"""Whatever the interleaving of pushes, pages, repeats, losses and crashes, the final tables are the exchange's truth.

One history of trade is made once: every frame that was pushed, and what REST would have said after each of some steps.
Each example hands these to the writer in a way of its own: frames are lost in runs and told again later, pages come
late, the writer is dropped with all that it remembers and begins anew from the file. Then REST is asked for all, as
after every gap, and the snapshots of a new subscription come; after them only what is old and late.
"""

import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from okxsync.sandbox.channels import CHANNELS
from okxsync.sandbox.exchange import Exchange
from okxsync.sandbox.faults import Terms
from okxsync.sandbox.hub import Hub, Subscription
from okxsync.sandbox.market import Trader
from okxsync.store import batch
from okxsync.store.ledger import check_ledger
from tests.store.desk import MS, Desk
from tests.test_truth import differences

STEPS = 120
PAGE_EVERY = 10
ARGS: dict[str, dict[str, str]] = {"orders": {"instType": "ANY"}, "positions": {"instType": "ANY"}}
PUSHED = ("account", "positions", "balance_and_position", "orders", "orders-algo")

Pages = dict[str, list[dict[str, Any]]]


class History(msgspec.Struct):
    """What happened to one account: frames, and REST's pages by the number of frames that came before them."""

    exchange: Exchange
    frames: list[str]
    pages: list[tuple[int, Pages]]
    last_pages: Pages
    snapshots: list[str]


class Ear:
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
        hub, ear, pages, trader = Hub(exchange, Terms(), 1), Ear(), list[tuple[int, Pages]](), Trader(exchange, 4)
        subscriptions = [
            Subscription(ear, CHANNELS[name], {"channel": name, **ARGS.get(name, {})}, uid, 5.0) for name in PUSHED
        ]
        for subscription in subscriptions:
            hub.subscribe(subscription)
            hub.send_snapshot(subscription)
        for step in range(STEPS):
            hub.operate(trader.step)
            if step % PAGE_EVERY == 0:
                hub.operate(exchange.tick)
                pages.append((len(ear.frames), pages_of(exchange, uid)))
        frames, ear.frames = ear.frames, []
        for subscription in subscriptions:
            hub.send_snapshot(subscription)
        return History(exchange, frames, pages, pages_of(exchange, uid), ear.frames)

    return trio.run(trade)


def pages_of(exchange: Exchange, uid: str) -> Pages:
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
    """How a history is told. Places are numbers of frames; delays are in frames as well."""

    lost: list[tuple[int, int]]  # from where, how many
    again: list[tuple[int, int]]  # which, how much later
    late: list[tuple[int, int]]  # which pages, how much later
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
    crashes=st.lists(places(LENGTH), max_size=3),
    at_once=st.sampled_from([1, 7, 100, 2000]),
)


def told(plan: Plan, history: History) -> Iterator[batch.Message | None]:
    """Yield the messages as the plan has them; None where the writer crashes."""
    frames = history.frames
    lost = {place for start, length in plan.lost for place in range(start, start + length)}
    line: list[tuple[int, int, list[batch.Message | None]]] = []
    line += [(place, 0, [frame(text)]) for place, text in enumerate(frames) if place not in lost]
    for place, later in plan.again:
        if place < len(frames):
            late = place + later >= LENGTH and _is_empty_snapshot(frames[place])
            line.append((place + later, 1, [frame(frames[place]), *map(frame, history.snapshots if late else ())]))
    for which, later in plan.late:
        place, pages = history.pages[which % len(history.pages)]
        line.append((place + later, 2, [*rows(pages)]))
    line += [(place, 3, [None]) for place in plan.crashes]
    line.append((LENGTH, 4, [*rows(history.last_pages), *map(frame, history.snapshots)]))  # what is late may be later
    for _, _, messages in sorted(line, key=lambda entry: entry[:2]):
        yield from messages


def frame(text: str) -> batch.Frames:
    return batch.Frames(1, "alpha", [(MS * 1000, text)])


def rows(pages: Pages) -> Iterator[batch.Rows]:
    for channel, found in pages.items():
        yield batch.Rows("alpha", channel, msgspec.json.encode(found).decode(), MS * 1000)


def _is_empty_snapshot(text: str) -> bool:
    """Whether a frame says that there is nothing, and has no time to be judged by: the next snapshot mends it."""
    return '"eventType":"snapshot"' in text and '"data":[]' in text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PLANS)
def test_the_final_tables_are_the_truth_however_it_was_told(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "okxsync.db"
        desk, pid, waiting = Desk(path), 1, list[batch.Message]()
        desk.begin(*PUSHED)
        for message in told(plan, history()):
            if message is not None:
                waiting.append(message)
            if message is None:
                desk.database.close()  # what waits is lost, and so is all that the writer remembered
                desk, pid, waiting = Desk(path), pid + 1, []
                desk.begin(*PUSHED, pid=pid)
            elif len(waiting) >= plan.at_once:
                desk.apply(*waiting)
                waiting = []
        desk.apply(*waiting)
        assert desk.rows("SELECT kind, what FROM oddities") == []
        desk.database.close()
        assert differences(history().exchange, path) == {}
        assert check_ledger(path, ["alpha"]) == []
