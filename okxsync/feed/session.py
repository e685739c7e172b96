"""One socket from its opening to its end: log in, subscribe, stay live.

Order matters and is kept: nothing is subscribed before the login is acknowledged, and nothing counts as live before
its own acknowledgement. Every frame but ``pong`` goes into the channel before it is acted upon, so what was covered and
what was stored cannot disagree.
"""

import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from operator import itemgetter
from typing import Final

import trio

from okxsync import events
from okxsync.config.reveal import reveal
from okxsync.feed.socket import Socket, SocketError
from okxsync.feed.spec import ConnectionSpec, Disconnected, Keys, slow_pause_s
from okxsync.messages import PLACE_BYTES, Frames, Lost, Message, Pong, Subscribed, SubscriptionRefused, padding
from okxsync.okx.channels import Subscription
from okxsync.okx.codes import OF_CHANNELS, Action, meaning_of
from okxsync.okx.control import PING, PONG, Event, login_frame, read_event, subscribe_requests
from okxsync.okx.rate_limits import RequestBudget
from okxsync.runtime.clock import ExchangeClock, now_us, steady_s
from okxsync.runtime.text import sanitize

LOGIN_S: Final = 10.0
SUBSCRIBE_S: Final = 10.0
PING_S: Final = 5.0
"""The beat of pings, and so of coverage; OKX closes after 30 s of silence (OKX docs: overview-websocket-connect)."""
ALIGN_S: Final = 0.5
ANSWER_S: Final = 10.0
"""Some frame must come this soon after a ping, or the connection is dead."""
UPGRADE: Final = "64008"
"""The notice that the socket will be closed, some 60 s before (OKX docs: overview-websocket-notification)."""
NOTED_AT_MOST: Final = 100
"""Lines of the journal, in one session, about what the exchange says of its own accord; each frame is kept anyway."""
STALL_S: Final = 1.0
"""Held up for longer than this, we count as behind. Shorter is within the overlap with which gaps are filled."""


_socket_numbers: Final = itertools.count(1)
"""Of all sockets of this process, as they follow upon each other."""


class Session:
    """A logged-in life of one connection. ``run`` raises Ended or SocketError, and never returns."""

    def __init__(
        self,
        number: int,
        spec: ConnectionSpec,
        socket: Socket,
        send: trio.MemorySendChannel[Message],
        clock: ExchangeClock,
        enter: Callable[[str], Awaitable[None]],
        initial_us: int = 0,
        succeeds: bool = False,
    ) -> None:
        self._id = number
        self._spec = spec
        self._socket = socket
        self._socket_number = next(_socket_numbers)
        self._send = send
        self._clock = clock
        self._enter = enter
        self._initial_us = initial_us  # how far back a channel is asked for that was never subscribed before
        self._succeeds = succeeds  # another session of this connection is live
        self._held_back: dict[str, Subscribed] | None = {} if succeeds else None  # what counts once it has taken over
        self._budget = RequestBudget()
        self.conn_id: str | None = None
        self.live: list[str] = []  # keys of the channels that are acknowledged and not known to be dead
        self.live_since: float | None = None  # trio's clock
        self._unacknowledged: list[Subscription] = []  # of the last request, without an acknowledgement so far
        self._refused: list[Subscription] = []  # unless the refusal was none of theirs, and they are acknowledged yet
        self._over_limit: list[Subscription] = []  # were live until too many connections held them
        self._retried: dict[str, float] = {}  # ids of requests for these two: when their answers are due
        self._pings: deque[tuple[int, float, trio.Event]] = deque()  # unanswered: local time, trio's clock
        self._received = trio.Event()  # since the last ping
        self._beat_us = 0
        self._beat_s: float | None = None  # of a clock that goes on through a suspend
        self._suspended_s = 0.0
        self.ends_soon = trio.Event()  # the exchange has said so
        self.followed = False  # by a successor, which climbs
        self.replaced = False  # by a successor, which is live
        self.over = False
        self._disconnect = trio.Event()
        self._why_disconnect = ""
        self._journalled: set[tuple[events.Event, str]] = set()  # events of the journal, and what they were about
        self._pushing_back = False  # our own channel is full: then silence is not the peer's
        self._stalled_until = 0.0  # trio's clock
        self._behind_us: int | None = None  # up to where all has been read, while frames still lie behind a stall

    async def run(self) -> None:
        if self._spec.keys:
            await self._enter("logging_in")
            await self._log_in(self._spec.keys)
        await self._enter("subscribing")
        await self._subscribe()
        self.live_since = trio.current_time()
        await self._enter("live")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            nursery.start_soon(self._retry_refused)
            nursery.start_soon(self._end_on_disconnect)
            while True:
                if event := await self._read():
                    await self._handle(event)

    async def _read(self) -> Event | None:
        """Receive one frame, pass it on, and return it if it is a control frame."""
        frame = await self._socket.receive()
        at = self._behind_us or now_us()
        self._received.set()
        if frame == PONG:
            await self._take_pong()
            return None
        if len(frame) >= PLACE_BYTES:
            for bulk in padding(len(frame)):
                await self._forward(bulk)
        await self._forward(Frames(self._id, self._spec.listener, [(at, frame)], self._socket_number))
        if frame == PING:
            await self._socket.send(PONG)
        return read_event(frame)

    async def _take_pong(self) -> None:
        if self._pings:  # else nobody asked for it
            # It may have lain behind a stall for long: it proves the time up to its own ping, and no more.
            pinged_us, pinged, answered = self._pings.popleft()
            answered.set()
            if pinged_us >= self._beat_us:
                self._suspended_s = 0.0  # and yet the connection has lived on
            if self._behind_us is not None:
                self._behind_us = max(self._behind_us, pinged_us) if pinged < self._stalled_until else None
            if pinged_us > now_us():
                return  # the clock was set back meanwhile: it proves nothing of what its time says now
            rtt_us = round((trio.current_time() - pinged) * 1e6)
            await self._forward(Pong(self._id, self._spec.listener, pinged_us, rtt_us))

    async def _forward(self, message: Message) -> None:
        """Give ``message`` to the writer, and wait while it is too busy.

        After a stall, what is read arrived at some time since its beginning, and more of it lies behind. So it is
        stamped with that beginning, until the answer to a new ping shows that we have caught up.
        """
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            stalled_us, stalled = now_us(), trio.current_time()
            self._pushing_back = True
            await self._send.send(message)
            self._pushing_back = False
            if trio.current_time() - stalled > STALL_S:
                self._stalled_until = trio.current_time()
                self._behind_us = self._behind_us or stalled_us
                await self._ping()

    async def _ping(self) -> trio.Event:
        """Send a ping; return what its answer will set."""
        answered = trio.Event()
        self._pings.append((now_us(), trio.current_time(), answered))
        await self._socket.send(PING)
        return answered

    async def _request(self, frame: str) -> None:
        await trio.sleep_until(self._budget.opens_at(trio.current_time()))
        self._budget.take(trio.current_time())
        await self._socket.send(frame)

    async def _log_in(self, keys: Keys) -> None:
        api_key, passphrase, secret_key = await reveal(keys.api_key, keys.passphrase, keys.secret_key)
        timestamp = int(self._clock.now_s())
        frame = login_frame(api_key, passphrase, secret_key, timestamp)
        with trio.move_on_after(LOGIN_S):
            await self._request(frame)
            while True:
                match await self._read():
                    case Event(event="login", code=code) as event if str(code or "0") == "0":
                        self.conn_id = event.conn_id
                        return
                    case Event(event="error", code=code) as event if str(code) in OF_CHANNELS:
                        await self._handle(event)
                    case Event(event="login" | "error") as event:
                        raise _refusal("login", event)
                    case Event() as event:
                        await self._handle(event)
        raise Disconnected(f"login: no answer within {LOGIN_S:.0f} s")

    async def _subscribe(self) -> None:
        for request in subscribe_requests(self._spec.subscriptions):
            self._unacknowledged = list(request.subscriptions)
            refusals: list[Event] = []
            with trio.move_on_after(SUBSCRIBE_S):
                await self._request(request.frame)
                while len(self._unacknowledged) > len(refusals):
                    match await self._read():
                        case Event(event="error", id=id) as event if id in (request.id, None, ""):
                            refused = _refusal("subscribe", event)
                            if refused.action is Action.FIX:  # one channel that this account cannot have
                                refusals.append(event)
                            elif refused.action is not Action.IGNORE:
                                raise refused
                        case Event() as event:
                            await self._handle(event)
            if len(self._unacknowledged) > len(refusals):
                missing = ", ".join(subscription.key for subscription in self._unacknowledged)
                refused_too = "".join(f"; {_refusal('but', refusal)}" for refusal in refusals)
                raise Disconnected(
                    f"subscribe: no acknowledgement within {SUBSCRIBE_S:.0f} s for {missing}{refused_too}"
                )
            for subscription, refusal in _match_refusals(self._unacknowledged, refusals):
                await self._refuse(subscription, str(_refusal(f"subscribe {subscription.key}", refusal)))
            self._unacknowledged = []
        if not self.live:
            # A refusal need not name what it refuses: one that was none of ours must not stop an account.
            raise Disconnected("no channel is left", Action.SLOW if self._over_limit else Action.PERSIST)

    async def _acknowledge(self, event: Event) -> None:
        """Count one channel as live: the acknowledgement repeats what was asked for, perhaps with keys added."""
        self.conn_id = event.conn_id or self.conn_id
        waiting = (self._unacknowledged, self._over_limit, self._refused)
        named = [(len(one.arg), one, where) for where in waiting for one in where if event.names(one)]
        if named:
            _, subscription, where = max(named, key=itemgetter(0))  # {channel, ccy} repeats {channel} too
            where.remove(subscription)
            self.live.append(subscription.key)
            subscribed = Subscribed(self._id, self._spec.listener, [subscription.key], now_us(), self._initial_us)
            if self._held_back is None:
                await self._forward(subscribed)
            else:
                self._held_back[subscription.key] = subscribed

    async def _refuse(self, subscription: Subscription, reason: str) -> None:
        self._refused.append(subscription)
        key = subscription.key
        await self._forward(
            SubscriptionRefused(self._id, self._spec.listener, [key], now_us(), reason, self._initial_us)
        )
        await self._note(events.CHANNEL_REJECTED, reason)

    async def _over_connection_limit(self, channel: str, reason: str) -> None:
        """The subscriptions to ``channel`` are dead, and the others of this connection are not."""
        dead = [one for one in self._spec.subscriptions if one.channel == channel and one.key in self.live]
        self.live = [key for key in self.live if key not in {one.key for one in dead}]
        self._over_limit += dead
        if dead and self.counts:
            await self._forward(Lost(self._id, self._spec.listener, [one.key for one in dead], now_us(), reason))
        if not self.live and not self._unacknowledged:
            raise Disconnected(reason, Action.SLOW)
        if dead:
            await self._note(events.CHANNEL_CONN_COUNT_ERROR, reason)
        else:  # it may be repeated for what is not live any more, or not yet
            await self._note_once(events.CHANNEL_CONN_COUNT_ERROR, channel, reason)

    async def _retry_refused(self) -> None:
        """Ask for what was crowded out or refused: slowly, for each attempt may crowd out another connection."""
        first_id = len(self._spec.subscriptions) + 1  # beyond the ids of all requests so far
        while True:
            await trio.sleep(slow_pause_s())
            self._retried.clear()
            for request in subscribe_requests((*self._over_limit, *self._refused), first_id):
                self._retried[request.id] = trio.current_time() + SUBSCRIBE_S
                await self._request(request.frame)
            first_id += len(self._retried)

    def _is_refused_retry(self, event: Event) -> bool:
        """Whether an error answers what was asked for again, and so changes nothing."""
        if event.id:
            ours = event.id in self._retried
        else:  # live error frames may name nothing at all
            ours = any(trio.current_time() < due for due in self._retried.values())
        return ours and meaning_of(event.code).action is Action.FIX

    async def _handle(self, event: Event) -> None:
        """Act on a control frame that is no answer to login or refusal of the first subscribe requests."""
        match event:
            case Event(event="error") if self._is_refused_retry(event):
                pass
            case Event(event="error"):
                refused = _refusal("error frame", event)
                if refused.action is not Action.IGNORE:
                    # A request of ours was fine when it was made: what is wrong now, the next subscribe will tell.
                    raise Disconnected(str(refused), Action.RETRY if refused.action is Action.FIX else refused.action)
            case Event(event="channel-conn-count", channel=channel, conn_count=count) if (
                str(count) not in self._own_counts
            ):
                held = f"{sanitize(channel)} is held by {sanitize(count)} connections of this account"
                await self._note_once(events.CHANNEL_CONN_COUNT, sanitize(channel), held)
            case Event(event="channel-conn-count-error", channel=str(channel), conn_count=count):
                await self._over_connection_limit(
                    channel, f"{sanitize(channel)}: too many connections ({sanitize(count)}) hold it for this account"
                )
            case Event(event="subscribe"):
                await self._acknowledge(event)
            case Event(event="notice"):
                await self._note_once(
                    events.NOTICE, sanitize(event.code), f"{sanitize(event.code)}: {sanitize(event.msg)}"
                )
                if str(event.code) == UPGRADE:
                    self.ends_soon.set()
            case Event(event="unsubscribe"):
                raise Disconnected("the exchange ended a subscription")
            case _:  # nothing to be done; whoever stores it journals what nobody knows
                pass

    @property
    def _own_counts(self) -> tuple[str, ...]:
        """How many connections hold a channel, if they are all our own."""
        return ("1", "2") if self._succeeds else ("1",)

    def disconnect(self, why: str) -> None:
        """End the session: from outside it is known that it does not tell all."""
        self._why_disconnect = why
        self._disconnect.set()

    def replace(self) -> None:
        """End the session: its successor is live."""
        self.live.clear()
        self.replaced = True
        self.disconnect("replaced")

    @property
    def counts(self) -> bool:
        """Whether what is live here counts as covered."""
        return self._held_back is None

    async def start_counting(self, covered: Collection[str]) -> None:
        """Count from now on: what the session before covered up to here goes on, the rest begins with its subscription.

        Args:
            covered: Keys of the channels that go on.
        """
        untold, self._held_back = self._held_back or {}, None
        for key, subscribed in untold.items():
            if key in self.live and key not in covered:
                await self._forward(subscribed)

    async def answers(self) -> bool:
        """Whether the peer answers one more ping: all that it sent before has then been read."""
        with trio.move_on_after(ANSWER_S), suppress(SocketError):
            await (await self._ping()).wait()
            return not self.over
        return False

    def end(self) -> None:
        """It has ended; nobody need wait for its answers."""
        self.over = True
        for _, _, answered in self._pings:
            answered.set()

    async def _end_on_disconnect(self) -> None:
        await self._disconnect.wait()
        raise Disconnected(self._why_disconnect)

    async def _keep_alive(self) -> None:
        """Ping on a fixed beat, whatever else is sent; some frame must follow each ping."""
        while True:
            self._suspended_s = self.suspended_s()
            # All connections beat on the same half seconds, and so are answered, handed over and stored together.
            beat = math.ceil((trio.current_time() + PING_S) / ALIGN_S) * ALIGN_S
            self._beat_us, self._beat_s = now_us(), steady_s()
            self._received = trio.Event()
            with trio.move_on_after(ANSWER_S) as waiting:
                await self._ping()
                await self._received.wait()
            if waiting.cancelled_caught and not self._pushing_back:
                raise Disconnected(f"silent: no frame within {ANSWER_S:.0f} s after a ping")
            await trio.sleep_until(beat)

    def suspended_s(self) -> float:
        """Return for how long we were suspended, in seconds; 0 if a ping was answered since."""
        since_beat_s = steady_s() - self._beat_s if self._beat_s is not None else 0.0
        return since_beat_s if since_beat_s > PING_S + ANSWER_S else self._suspended_s

    async def _note_once(self, event: events.Event, about: str, detail: str) -> None:
        """Journal what the exchange may repeat as often as it likes: once in this session, and not for ever."""
        if (event, about) not in self._journalled and len(self._journalled) < NOTED_AT_MOST:
            self._journalled.add((event, about))
            await self._note(event, detail)

    async def _note(self, event: events.Event, detail: str) -> None:
        await self._forward(event.note(now_us(), self._spec.account, f"{self._spec.endpoint}: {detail}"))


def _refusal(what: str, event: Event) -> Disconnected:
    meaning = meaning_of(event.code)
    hint = f"; {meaning.hint}" if meaning.hint else ""
    return Disconnected(f"{what}: {sanitize(event.code)} {meaning.text} ({sanitize(event.msg)}){hint}", meaning.action)


def _match_refusals(unanswered: list[Subscription], refusals: list[Event]) -> list[tuple[Subscription, Event]]:
    """Find out which refusal is whose: live error frames name no argument, but their text does."""

    def likeness(refusal: Event) -> int:
        if refusal.names(subscription):
            return 1000
        return sum(len(value) for value in subscription.arg.values() if value in (refusal.msg or ""))

    pairs, left = [], list(refusals)
    for subscription in sorted(unanswered, key=lambda one: -len(one.key)):  # the name of one may begin another's
        refusal = max(left, key=likeness)
        left.remove(refusal)
        pairs.append((subscription, refusal))
    return pairs
