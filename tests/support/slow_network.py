"""An exchange, a slow network and a daemon in virtual time, with the real clock, liveness, writer and database.

Everything that carries a proof is real: `runtime.clock` estimates the exchange's time, `feed.liveness` matches pongs to
pings, and the writer stores frames, REST rows and coverage. The rest - sockets, requests, tasks - is a queue of events.
So thousands of seconds with any delay, stall, skew and crash take a moment, and each example can be repeated.

Times are in seconds of the exchange's clock since ``START_US``.
"""

import heapq
import json
import random
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from okxsync.feed.liveness import PING_S, Liveness, Moment
from okxsync.messages import Frames, GapResult, Lost, Message, Pong, Rows, Subscribed, Verified
from okxsync.okx.control import PONG
from okxsync.okx.endpoints import REST_LAG_S
from okxsync.reconcile.timings import TIMINGS
from okxsync.runtime.clock import CONFIRMATIONS, Clock
from okxsync.store.coverage import MARGIN_US
from okxsync.store.writer import Writer
from tests.support.desk import NOW, Desk, order, phase

START_US: Final = NOW
LAG_S: Final = MARGIN_US / 1e6
CHANNELS: Final = ("orders", "account", "deposit-info")
"""One that only REST verifies, one with snapshots, one that only the socket proves."""
CURRENCIES: Final = ("BTC", "ETH", "USDT")
SNAPSHOT_S: Final = 5.0
VERIFY_S: Final = 10.0
MEASURE_S: Final = 60.0
RECONNECT_S: Final = 2.0


class Fault(msgspec.Struct, frozen=True):
    """``kind`` from ``begin_s`` on, for ``lasts_s`` where that makes sense.

    ``orders`` and ``account`` name a channel that pushes nothing. With ``losses`` every second event of both is not
    pushed, but snapshots are. ``reader`` and ``writer`` are held up. ``socket`` is a connection on which nothing
    arrives any more, and ``process`` is a crash.
    """

    kind: str
    begin_s: float
    lasts_s: float


class Plan(msgspec.Struct, frozen=True):
    """What happens.

    Attributes:
        out_s: The least and the most that anything takes to the exchange.
        back_s: Likewise, from the exchange.
        skew_s: How far the wall clock of the machine is ahead.
        initial_s: How far back the channels are backfilled at first.
        seed: Of all that is random: delays, events, and when the writer commits.
    """

    out_s: tuple[float, float]
    back_s: tuple[float, float]
    skew_s: float
    initial_s: float
    faults: tuple[Fault, ...]
    seed: int


class Event(msgspec.Struct, frozen=True):
    """Something that happened: an order or a deposit, or a change of the cash in ``ccy`` to ``number``."""

    channel: str
    at_s: float
    number: int
    ccy: str = ""

    @property
    def at_us(self) -> int:
        return START_US + round(self.at_s * 1e6)

    @property
    def row(self) -> dict[str, Any]:
        at = str(self.at_us // 1000)
        if self.channel == "orders":
            return order(self.number, state="canceled", uTime=at, cTime=at)
        if self.channel == "deposit-info":
            return {"depId": str(self.number), "ccy": "BTC", "amt": "1", "state": "2", "ts": at, "pTime": at}
        return {"uTime": at, "details": [self.detail]}

    @property
    def detail(self) -> dict[str, Any]:
        return {"ccy": self.ccy, "cashBal": str(self.number), "uTime": str(self.at_us // 1000)}


class Line:
    """One way of the network: what is sent arrives later, in order."""

    def __init__(self, world: "World", takes_s: tuple[float, float]) -> None:
        self._world = world
        self._takes_s = takes_s
        self._last_s = 0.0

    def send(self, arrive: Callable[[], None]) -> None:
        self._last_s = max(self._last_s, self._world.now + self._world.random.uniform(*self._takes_s))
        self._world.at(self._last_s, arrive)


class World:
    """The exchange and the machine, and what happens next."""

    def __init__(self, plan: Plan, desk: Desk) -> None:
        self.plan = plan
        self.desk = desk
        self.random = random.Random(plan.seed)
        self.now = 0.0
        self.events: list[Event] = []
        self.server: Socket | None = None
        self._pages_until_s = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when_s, self.now), next(self._order), do))

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self.now + seconds, do)

    def run(self, until_s: float) -> None:
        while self._queue and self._queue[0][0] <= until_s:
            self.now, _, do = heapq.heappop(self._queue)
            do()

    def held_until(self, kind: str) -> float:
        """Return when the fault of this kind ends that lasts now; 0 for none."""
        ends = [one.begin_s + one.lasts_s for one in self.plan.faults if one.kind == kind and one.begin_s <= self.now]
        return max((end for end in ends if end > self.now), default=0.0)

    # The exchange

    def open_exchange(self) -> None:
        for channel in CHANNELS:
            self.later(self.random.uniform(0.1, 2), lambda channel=channel: self._happen(channel))  # type: ignore[misc]
        self.later(SNAPSHOT_S, self._repeat_snapshot)
        for one in self.plan.faults:
            if one.kind == "socket":
                self.at(one.begin_s, lambda: self.server.cut() if self.server else None)

    def _happen(self, channel: str) -> None:
        ccy = self.random.choice(CURRENCIES) if channel == "account" else ""
        event = Event(channel, self.now, len(self.events) + 1, ccy)
        self.events.append(event)
        envelope = {"eventType": "event_update"} if channel == "account" else {}
        is_lost = channel != "deposit-info" and self.held_until("losses") and self.random.random() < 0.5
        if not is_lost:
            self.later(self.random.uniform(0, LAG_S), lambda: self.push(channel, [event.row], **envelope))
        self.later(self.random.expovariate(0.7), lambda: self._happen(channel))

    def _repeat_snapshot(self) -> None:
        self.snapshot()
        self.later(SNAPSHOT_S, self._repeat_snapshot)

    def snapshot(self) -> None:
        """Read the state now, and send it as two pages some time later, unless a snapshot is being sent."""
        if self.now < self._pages_until_s:
            return
        details = [one.detail for one in self.state(self.now)]
        as_of = str(START_US // 1000 + int(self.now * 1000))

        def send(number: int) -> None:
            rows = [{"uTime": as_of, "details": details[:1] if number == 1 else details[1:]}]
            self.push("account", rows, eventType="snapshot", curPage=number, lastPage=number == 2)

        if len(details) == len(CURRENCIES):
            first_s = self.random.uniform(0, LAG_S)
            second_s = first_s + self.random.uniform(0, 7)
            self._pages_until_s = self.now + second_s
            self.later(first_s, lambda: send(1))
            self.later(second_s, lambda: send(2))

    def state(self, as_of_s: float) -> list[Event]:
        """Return the last change of each currency."""
        last = {one.ccy: one for one in self.events if one.channel == "account" and one.at_s <= as_of_s}
        return list(last.values())

    def push(self, channel: str, rows: list[dict[str, Any]], **envelope: object) -> None:
        if self.server and channel in self.server.subscribed and not self.held_until(channel):
            self.server.to_client(json.dumps({"arg": {"channel": channel}, **envelope, "data": rows}))

    def rest(self, answered: Callable[[float], None]) -> None:
        """Send a request; call ``answered`` with the time as of which the reply is."""

        def answer() -> None:
            as_of_s = self.now - self.random.uniform(0, REST_LAG_S)
            self.later(self.random.uniform(*self.plan.back_s), lambda: answered(as_of_s))

        self.later(self.random.uniform(*self.plan.out_s), answer)


class Socket:
    """One connection, seen from both ends."""

    def __init__(self, world: World, receive: Callable[[str], None]) -> None:
        self.subscribed: list[str] = []
        self._world = world
        self._receive = receive
        self._out = Line(world, world.plan.out_s)
        self._back = Line(world, world.plan.back_s)
        self._is_cut = False

    def cut(self) -> None:
        """Lose all that is sent from now on; what is on the way arrives."""
        self._is_cut = True

    def to_client(self, frame: str) -> None:
        if not self._is_cut:
            self._back.send(lambda: self._receive(frame))

    def to_exchange(self, do: Callable[[], None]) -> None:
        if not self._is_cut:
            self._out.send(lambda: None if self._is_cut else do())

    def subscribe(self, channel: str) -> None:
        self.subscribed.append(channel)
        self.to_client(f"ack {channel}")


class Daemon:
    """A process: its clock, its session, its queue to the writer, and its requests over REST."""

    def __init__(self, world: World, check: Callable[[], None]) -> None:
        self.world = world
        self.clock = Clock()
        self.dead = False
        self._check = check
        self._queue: list[Message] = []
        self._writer = Writer(world.desk.db, self.clock.now_us)  # what it has deferred is lost with the process
        self._session: Session | None = None
        self._busy: set[object] = set()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.world.later(seconds, lambda: None if self.dead else do())

    def start(self) -> None:
        self._measure(CONFIRMATIONS, self._begin)

    def send(self, message: Message) -> None:
        self._queue.append(message)

    def _begin(self) -> None:
        self.clock.pin()
        self._writer.apply([self.world.desk.start(self.clock.now_us()), phase(self.clock.now_us())])
        self._connect()
        self._write()
        self.after(MEASURE_S, self._keep_measuring)
        self.after(1.0, self._reconcile)

    def _keep_measuring(self) -> None:
        self._measure(1, lambda: None)
        self.after(MEASURE_S, self._keep_measuring)

    def _measure(self, times: int, then: Callable[[], None]) -> None:
        world, before = self.world, time.clock_gettime(0)

        def answer() -> None:
            theirs = START_US / 1e6 + world.now
            self.after(world.random.uniform(*world.plan.back_s), lambda: measured(theirs))

        def measured(theirs: float) -> None:
            self.clock.measured(theirs - time.clock_gettime(0), theirs - before)
            if times > 1 and self.clock.is_in_doubt:
                self._measure(times - 1, then)
            else:
                then()

        self.after(world.random.uniform(*world.plan.out_s), answer)

    # The connection

    def _connect(self) -> None:
        self._session = Session(self)

    def disconnect(self, why: str) -> None:
        if self._session:
            live = self._session.end()
            self._session = None
            if live:
                self.send(Lost(1, "alpha", live, self.clock.now_us(), why))
            self.after(RECONNECT_S, self._connect)

    # The writer

    def _write(self) -> None:
        held_s = self.world.held_until("writer")
        if held_s:
            self.after(held_s - self.world.now, self._write)
            return
        size = self.world.random.randint(1, 40)
        batch, self._queue = self._queue[:size], self._queue[size:]
        if batch:
            self._writer.apply(batch)
        if not self._writer.wait_s():
            self._writer.flush()
        self._check()
        self.after(self.world.random.choice((0.01, 0.1, 1.0)), self._write)

    # REST, as `reconcile.gaps` and `reconcile.stalled` ask it

    def _reconcile(self) -> None:
        desk, now_us = self.world.desk, self.clock.now_us()
        gaps = desk.rows(
            "SELECT id, gaps.channel, from_at FROM gaps JOIN coverage USING (account, channel) WHERE outcome IS NULL"
            " AND live = 1 AND to_at < ?",
            self.clock.earliest_us() - TIMINGS.rest_lag_us,
        )
        for number, channel, from_at in gaps:
            self._once(number, channel, from_at, lambda number=number: self._close(number))  # type: ignore[misc]
        for channel, until in desk.rows(
            "SELECT channel, covered_until FROM coverage WHERE live = 1 AND channel <> 'deposit-info' AND channel"
            " NOT IN (SELECT channel FROM gaps WHERE outcome IS NULL)"
        ):
            if now_us - until > VERIFY_S * 1e6:
                self._verify(channel, until)
        self.after(1.0, self._reconcile)

    def _verify(self, channel: str, since: int) -> None:
        until = self.clock.earliest_us() - TIMINGS.rest_lag_us
        push_lag_us = int(TIMINGS.push_lag_s * 1e6)
        self._once(channel, channel, since, lambda: self._judge(channel, until, self.clock.now_us() + push_lag_us))

    def _once(self, key: object, channel: str, from_at: int, then: Callable[[], None]) -> None:
        """Fetch a channel since a time, without the overlap that is there in addition, and then do something."""
        if key in self._busy:
            return
        self._busy.add(key)

        def answered(as_of_s: float) -> None:
            if self.dead:
                return
            self._busy.discard(key)
            events = [one for one in self.world.events if one.channel == channel and one.at_s <= as_of_s]
            as_of_ms = START_US // 1000 + int(as_of_s * 1000)
            if channel == "account":
                rows = [{"uTime": str(as_of_ms), "details": [one.detail for one in self.world.state(as_of_s)]}]
            else:
                rows = [one.row for one in events if one.at_us >= from_at]
            self.send(Rows("alpha", channel, json.dumps(rows), self.clock.now_us(), as_of_ms, channel == "account"))
            then()

        self.world.rest(answered)

    def _close(self, number: int) -> None:
        self.send(GapResult(number, self.clock.now_us(), "filled", 0, None))

    def _judge(self, channel: str, until: int, pushed_at: int) -> None:
        """Verify once everything is stored that was pushed before; now and then find a channel stalled."""
        ((answered_at, live),) = self.world.desk.rows(
            "SELECT coalesce(answered_at, 0), live FROM connections, coverage WHERE channel = ?", channel
        )
        if not live or not self._session:
            return
        if answered_at < pushed_at:
            self.after(0.5, lambda: self._judge(channel, until, pushed_at))
        elif self.world.random.random() < 0.05:
            self.disconnect(f"{channel}: channel stalled")
        else:
            self.send(Verified("alpha", channel, until))


class Session:
    """What `feed.session` does with pings, acknowledgements and frames."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._world = daemon.world
        self._liveness = Liveness()
        self._over = False
        self._live: list[str] = []
        self._unread: list[str] = []
        self._socket = socket = Socket(self._world, self._arrive)
        for channel in CHANNELS:
            socket.to_exchange(lambda channel=channel: self._subscribe(socket, channel))  # type: ignore[misc]
        self._beat()

    def _subscribe(self, socket: Socket, channel: str) -> None:
        self._world.server = socket
        socket.subscribe(channel)
        if channel == "account":
            self._world.snapshot()

    def end(self) -> list[str]:
        self._over = True
        return self._live

    def _now(self) -> Moment:
        return Moment(self._daemon.clock.earliest_us(), self._world.now, time.clock_gettime(0))

    def _beat(self) -> None:
        if self._over or self._daemon.dead:
            return
        due = self._liveness.on_beat(self._now())
        self._ping()
        self._world.at(due, self._judge)
        self._daemon.after(PING_S, self._beat)

    def _ping(self) -> None:
        self._liveness.on_ping(self._now())
        self._socket.to_exchange(lambda: self._socket.to_client(PONG))

    def _judge(self) -> None:
        why = self._liveness.verdict(self._now())
        if why and not self._over and not self._daemon.dead:
            self._daemon.disconnect(why)

    def _arrive(self, frame: str) -> None:
        self._unread.append(frame)
        if len(self._unread) == 1:
            self._read()

    def _read(self) -> None:
        if self._over or self._daemon.dead:
            return
        if held_s := self._world.held_until("reader"):
            self._liveness.on_stall(self._now())
            self._world.at(held_s, self._resume)
            return
        for frame in self._unread:
            self._handle(frame)
        self._unread.clear()

    def _resume(self) -> None:
        if self._liveness.on_resume(self._now()):
            self._ping()
        self._read()

    def _handle(self, frame: str) -> None:
        daemon, clock = self._daemon, self._daemon.clock
        self._liveness.on_frame()
        if frame == PONG:
            if proof := self._liveness.on_pong(self._now()):
                daemon.send(Pong(1, "alpha", proof.at, proof.rtt_us))
        elif frame.startswith("ack "):
            channel = frame.removeprefix("ack ")
            self._live.append(channel)
            initial_us = int(self._world.plan.initial_s * 1e6)
            daemon.send(Subscribed(1, "alpha", [channel], clock.latest_us(), initial_us))
        else:
            stamp = self._liveness.stamp(clock.now_us())
            daemon.send(Frames(1, "alpha", [(stamp, frame)], 1, self._liveness.answered_us))


def live_through(plan: Plan, folder: Path, lasts_s: float) -> dict[str, float]:
    """Let the plan happen to a daemon, and check after every transaction that no claim is false.

    Returns:
        By channel, how far its coverage is behind the exchange's clock in the end, in seconds.
    """
    with pytest.MonkeyPatch.context() as patch:
        desk = Desk(folder / "okxsync.db")
        try:
            world = World(plan, desk)
            patch.setattr(time, "time_ns", lambda: START_US * 1000 + round((world.now + plan.skew_s) * 1e9))
            patch.setattr(time, "clock_gettime", lambda which: 1000.0 + world.now)
            _begin(world)
            world.run(lasts_s)
            covered = desk.rows("SELECT channel, covered_until FROM coverage")
        finally:
            desk.database.close()
    return {channel: lasts_s - (until - START_US) / 1e6 for channel, until in covered}


def _begin(world: World) -> None:
    check = lambda: assert_true(world)  # noqa: E731
    daemons = [Daemon(world, check)]

    def crash() -> None:
        daemons[-1].dead = True
        daemons.append(Daemon(world, check))
        world.later(world.random.uniform(0.1, 10), daemons[-1].start)

    world.open_exchange()
    daemons[0].start()
    for one in world.plan.faults:
        if one.kind == "process":
            world.at(one.begin_s, crash)


def false_claims(world: World) -> list[str]:
    """Return the events within a covered interval that are not stored."""
    desk = world.desk
    covered = {name: (since, until) for name, since, until in
               desk.rows("SELECT channel, covered_since, covered_until FROM coverage")}  # fmt: skip
    gaps = desk.rows("SELECT channel, from_at, coalesce(to_at, 9e18) FROM gaps WHERE outcome IS NULL")
    orders = {int(one) for (one,) in desk.rows("SELECT ord_id FROM orders")}
    deposits = {int(one) for (one,) in desk.rows("SELECT dep_id FROM deposits")}
    balances = {ccy: int(cash or 0) for ccy, cash in desk.rows("SELECT ccy, cash_bal FROM balances")}
    found = []
    for one in world.events:
        since, until = covered.get(one.channel, (0, 0))
        if not since <= one.at_us < until:
            continue
        if any(channel == one.channel and begin <= one.at_us < end for channel, begin, end in gaps):
            continue
        if one.channel == "account":
            is_stored = balances.get(one.ccy, 0) >= one.number
        else:
            is_stored = one.number in (orders if one.channel == "orders" else deposits)
        if not is_stored:
            seconds = [(at - START_US) / 1e6 for at in (since, until)]
            found.append(f"{world.now:.3f}: {one} is not stored, but {seconds} is covered")
    return found


def assert_true(world: World) -> None:
    assert false_claims(world) == []
