"""One socket from its opening to its end: log in, subscribe, stay live. The I/O around two pure halves.

``subscriptions`` says what each control frame means for the channels, ``liveness`` what pings, pongs and waits mean for
time. The session reads frames, forwards each to the writer, hands the control frames to these two, and sends and
reports what they return.

Two orders matter. Nothing is subscribed before the login is acknowledged. Every frame but ``pong`` is forwarded before
it is handled, so what is stored and what is covered cannot disagree.
"""

import itertools
import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final

import trio

from okxsync import events
from okxsync.config.reveal import reveal
from okxsync.feed.liveness import ANSWER_S, STALL_S, Liveness, Moment, now
from okxsync.feed.notes import SessionNotes
from okxsync.feed.reader import SocketReader
from okxsync.feed.requests import NotSent, Requests
from okxsync.feed.socket import Socket, SocketError
from okxsync.feed.spec import ConnectionSpec, Disconnected, Keys, slow_pause_s
from okxsync.feed.subscriptions import SUBSCRIBE_S, Outcome, Subscriptions, rejection
from okxsync.messages import Frames, Message, Pong
from okxsync.okx.codes import OF_CHANNELS, Action, meaning_of
from okxsync.okx.control import (
    MAX_REQUEST_BYTES,
    PING,
    PONG,
    REQUEST_IDS,
    Event,
    login_frame,
    read_event,
    request_frame,
)
from okxsync.okx.rate_limits import RequestBudget
from okxsync.runtime.clock import ExchangeClock, latest_us, now_us
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.text import sanitize

LOGIN_S: Final = 10.0
FLUSH_S: Final = 0.05
"""How often the rest of a request is tried again of which the system has taken only a part."""
UPGRADE: Final = "64008"
"""The notice that the socket will be closed, some 60 s before (OKX docs: overview-websocket-notification)."""

_socket_numbers: Final = itertools.count(1)
"""Numbers all sockets of this process in the order of their opening."""


class Session:
    """One logged-in life of a connection. ``run`` ends by raising Disconnected or SocketError.

    Args:
        number: The connection's id in the register.
        spec: The connection's settings.
        socket: The open socket; the caller closes it.
        reader: Reads it.
        send: Where frames and reports go.
        clock: The exchange's clock, which signs the login.
        enter: Called with the name of each phase as it begins.
        channels_changed: Called when a channel may have become live, or may have been dropped.
        prepare_successor: Called once when the exchange has announced the end of the socket.
        initial_us: How far back a channel is backfilled that was never subscribed before.
        succeeds: Another session of this connection is live.
    """

    def __init__(
        self,
        number: int,
        spec: ConnectionSpec,
        socket: Socket,
        reader: SocketReader,
        send: Outbox,
        clock: ExchangeClock,
        enter: Callable[[str], Awaitable[None]],
        channels_changed: Callable[[], Awaitable[None]],
        prepare_successor: Callable[[], None] = lambda: None,
        initial_us: int = 0,
        succeeds: bool = False,
    ) -> None:
        self._id = number
        self._spec = spec
        self._socket = socket
        self._reader = reader
        self._socket_number = next(_socket_numbers)
        self._send = send
        self._clock = clock
        self._enter = enter
        self._channels_changed = channels_changed
        self._prepare_successor = prepare_successor
        self._budget = RequestBudget()
        self._notes = SessionNotes(spec)
        self._liveness = Liveness()
        self._requests = Requests()
        self.subscriptions = Subscriptions(number, spec, self._notes, initial_us, succeeds)
        self.conn_id: str | None = None
        self.live_since: float | None = None  # trio's clock
        self.followed = False  # a successor is being prepared
        self.replaced = False  # a successor has taken over
        self._over = False
        self._answered: trio.Event | None = None  # set by the next pong, if a task waits for it
        self._woken = trio.Event()  # if its task must act: see ``_next_event``; renewed each time
        self._control: Event | str | None = None  # the control frame, or ``ping``, that was read last
        self._failure: Exception | None = None  # of reading
        self._unread_since: Moment | None = None  # while the reader does not read it
        self._behind = False  # the answer to a new ping will show that all was read
        self._scope = trio.CancelScope()  # of a live session
        self._retry_at = math.inf  # trio's clock
        self._retry_due = False
        self._flush_until = math.inf  # trio's clock: when a ping must have been sent that could not be sent at once
        self._disconnected: Disconnected | None = None  # for a reason that reading does not show

    @property
    def live(self) -> list[str]:
        """The keys of the live channels."""
        return self.subscriptions.live

    async def run(self) -> None:
        if self._spec.keys:
            await self._enter("logging_in")
            await self._log_in(self._spec.keys)
        await self._enter("subscribing")
        await self._subscribe()
        self.live_since = trio.current_time()
        await self._enter("live")
        self._retry_at = trio.current_time() + slow_pause_s()
        with self._scope:
            self._on_tick()
            with self._reader.beats.calling(self._on_tick):
                while not self._disconnected:
                    await self._handle(await self._next_event())
        if self._disconnected:
            raise self._disconnected

    def disconnect(self, why: str) -> None:
        """End the session, once it is live, for a reason that reading does not show."""
        self._disconnected = Disconnected(why)
        self._scope.cancel(reason=why)

    def replace(self) -> None:
        """End the session: its successor has taken over."""
        self.subscriptions.give_up(self.live)
        self.replaced = True
        self.disconnect("replaced")

    async def start_counting(self, covered: Collection[str]) -> None:
        """Report what is live as covered from now on; the older session covered ``covered`` up to here."""
        await self._apply(self.subscriptions.start_counting(covered))

    @property
    def takes_requests(self) -> bool:
        return self.live_since is not None and not (self._over or self.replaced or self._disconnected)

    async def ask(self, op: str, arg: bytes, exp_ms: int, begin: Callable[[], None]) -> str:
        """Send an order operation once, and return the frame that answers it.

        The frame is written in one piece, or not at all if the system does not take it now. What of it is left all the
        same is sent as long as the reply is awaited. If that is cancelled, it may have been processed.

        Args:
            op: With its argument ``arg``, and when it expires, see ``request_frame``.
            begin: Called directly before the write; if it raises, nothing is sent.

        Raises:
            NotSent: nothing of it has left.
            NoReply: the connection has ended without a reply.
        """
        if not self.takes_requests:
            raise NotSent("the connection is not live")
        with self._requests.waiting(op) as request:
            frame = request_frame(request.id, op, arg, exp_ms)
            if len(frame) > MAX_REQUEST_BYTES:
                raise NotSent(f"the request is larger than {MAX_REQUEST_BYTES >> 10} KiB")
            if not self._socket.can_send():
                raise NotSent("the connection takes no more data")
            begin()
            self._socket.send_soon(frame)
            while not self._socket.flush_soon():
                with trio.move_on_after(FLUSH_S):
                    return await request.reply()
            return await request.reply()

    async def answers(self) -> bool:
        """Return whether the peer answers one more ping: all that it sent before has then been read."""
        with trio.move_on_after(ANSWER_S):
            number = await self._ping()
            while not (self._over or self._liveness.is_answered(number)):
                if self._answered is None:
                    self._answered = trio.Event()
                await self._answered.wait()
            return not self._over
        return False

    def end(self) -> None:
        """The session has ended: wake whoever waits for an answer."""
        self._over = True
        self._wake_waiting()
        self._requests.end("the connection ended before the reply")

    def suspended_s(self) -> float:
        """Return for how long we were suspended, in seconds; 0 if a ping was answered since."""
        return self._liveness.suspended_s(now())

    # The steps of a session

    async def _log_in(self, keys: Keys) -> None:
        api_key, passphrase, secret_key = await reveal(keys.api_key, keys.passphrase, keys.secret_key)
        timestamp = int(self._clock.now_s())
        frame = login_frame(api_key, passphrase, secret_key, timestamp)
        with trio.move_on_after(LOGIN_S):
            await self._request(frame)
            while True:
                match await self._next_event():
                    case Event(event="login", code=code) as event if str(code or "0") == "0":
                        self.conn_id = event.conn_id
                        return
                    case Event(event="error", code=code) as event if str(code) in OF_CHANNELS:
                        await self._handle(event)
                    case Event(event="login" | "error") as event:
                        raise rejection("login", event)
                    case event:
                        await self._handle(event)
        raise Disconnected(f"login: no answer within {LOGIN_S:.0f} s")

    async def _subscribe(self) -> None:
        for request in self.subscriptions.requests():
            self.subscriptions.expect(request)
            due = trio.current_time() + SUBSCRIBE_S
            with trio.move_on_at(due):
                await self._request(request.frame)
            while self.subscriptions.incomplete:
                with trio.move_on_at(due) as waiting:
                    event = await self._next_event()
                if waiting.cancelled_caught:
                    break
                await self._handle(event)  # without the deadline: a full queue must not drop a report
            await self._apply(self.subscriptions.settle(now_us()))
        await self._apply(self.subscriptions.finish())

    def _on_tick(self) -> float:
        """Do what is due, see ``_beat``; return when more is. Never raises: a bug ends only this session.

        The session's own task reports it.
        """
        try:
            return self._beat(now())
        except Exception as error:
            self._failure = error
            self._wake()
            return math.inf

    def _beat(self, moment: Moment) -> float:
        """Send a ping on each beat, whatever else is sent; a frame must follow each. Retry what was rejected.

        Return when the next of these is due, in seconds of trio's clock.
        """
        if self._disconnected:
            return math.inf
        if moment.s >= self._retry_at:
            self._retry_at = moment.s + slow_pause_s()
            self._retry_due = True
            self._wake()
        if self._liveness.is_beat_due(moment):
            why = self._liveness.verdict(moment)
            if why and self._reader.stalled_since is None and not self._socket.has_unread():
                self.disconnect(why)
                return math.inf
            due = self._liveness.on_beat(moment)
            self._liveness.on_ping(moment)
            if not self._socket.send_soon(PING):
                self._flush_until = min(due, self._flush_until)
        if self._socket.flush_soon():
            self._flush_until = math.inf
            return min(self._retry_at, self._liveness.next_beat_s)
        if moment.s >= self._flush_until:  # maybe in the middle of a frame
            self.disconnect(f"silent: a ping could not be sent within {ANSWER_S:.0f} s")
        return moment.s  # on the next tick

    async def _retry(self) -> None:
        """Request dropped and rejected channels again."""
        for request in self.subscriptions.retry(trio.current_time()):
            await self._request(request.frame)

    # Reading

    async def _next_event(self) -> Event:
        """Return the next control frame; until it comes the reader forwards what else arrives.

        Nothing is read until this is called again, so frames and reports about channels keep their order.
        """
        while True:
            if (began := self._unread_since) and now().s - began.s > STALL_S:
                self.on_stall(began)
                self._unread_since = now()
            for message in self._take():
                await self._forward(message)
            if self._control is None:
                if self._socket.ended:
                    raise self._socket.ended
                async with self._reader.reading(self):
                    self._unread_since = None
                    await self._woken.wait()
            self._woken = trio.Event()
            if self._failure:
                raise self._failure
            if self._retry_due:
                self._retry_due = False
                await self._retry()
            if self._behind:
                self._behind = False
                await self._ping()
            control, self._control = self._control, None
            if control == PING:
                await self._say(PONG)
            elif isinstance(control, Event):
                return control

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._socket.fileno()

    def read(self) -> Sequence[Message]:
        """Read what has arrived, for the reader: see ``reader.Source``."""
        try:
            self._socket.read()
            messages = list(self._take())
        except Exception as error:  # a bug is reported by the session's own task, and ends only that
            self._failure = error
            messages = []
        if self._failure or self._control is not None or self._socket.ended:
            self._wake()
        return messages

    def on_stall(self, began: Moment) -> None:
        """Nothing was read since ``began``: see ``reader.Source``."""
        self._liveness.on_stall(began)
        if self._liveness.on_resume(now()):
            self._behind = True
            self._wake()

    def _wake(self) -> None:
        """Let the session's task continue; meanwhile nothing is read."""
        self._unread_since = self._unread_since or self._reader.stalled_since or now()
        self._reader.remove(self)
        self._woken.set()

    def _take(self) -> Iterator[Message]:
        """Yield the messages to the writer about the frames that were read, up to and with the next control frame.

        A pong counts only once the frames before it were taken from here. So whoever waits until each message is sent
        has sent what was read before a pong when that counts.
        """
        waiting = self._socket.messages
        while waiting and self._control is None:
            if waiting[0] == PONG:
                del waiting[0]
                yield from self._on_pong()
            else:
                yield self._take_frames(waiting)

    def _take_frames(self, waiting: list[str]) -> Frames:
        """Take frames up to the next ``pong``, or up to and with the next control frame."""
        at = self._liveness.stamp(now_us())
        frames: list[tuple[int, str]] = []
        for frame in waiting:
            if frame == PONG:
                break
            frames.append((at, frame))
            self._requests.take(frame)
            self._control = PING if frame == PING else read_event(frame)
            if self._control is not None:
                break
        del waiting[: len(frames)]
        self._liveness.on_frame()
        return Frames(self._id, self._spec.listener, frames, self._socket_number, self._liveness.answered_us)

    def _on_pong(self) -> list[Message]:
        self._liveness.on_frame()
        proof = self._liveness.on_pong(now())
        self._wake_waiting()
        # While two sockets have one id, only the one that covers the channels proves anything about them.
        if proof and self.subscriptions.counting and not self.replaced:
            return [Pong(self._id, self._spec.listener, proof.at, proof.rtt_us)]
        return []

    def _wake_waiting(self) -> None:
        if self._answered is not None:
            self._answered.set()
            self._answered = None

    async def _handle(self, event: Event) -> None:
        """Handle a control frame that does not answer the login."""
        match event.event:
            case "subscribe":
                self.conn_id = event.conn_id or self.conn_id
                await self._apply(self.subscriptions.on_ack(event, latest_us()))
            case "error" if (event.id or "").startswith(REQUEST_IDS) and meaning_of(event.code).action is Action.FIX:
                pass  # about that request alone, and whoever waits for its reply has it
            case "error":
                await self._apply(self.subscriptions.on_error(event, trio.current_time()))
            case "channel-conn-count":
                await self._apply(self.subscriptions.on_conn_count(event, now_us()))
            case "channel-conn-count-error":
                await self._apply(self.subscriptions.on_conn_count_error(event, now_us()))
            case "unsubscribe":  # we never send one
                raise Disconnected("the exchange ended a subscription")
            case "notice":
                code = sanitize(event.code)
                detail = f"{code}: {sanitize(event.msg)}"
                await self._apply(Outcome(self._notes.once(events.NOTICE, code, detail, now_us())))
                if str(event.code) == UPGRADE and not self.followed:
                    self.followed = True
                    self._prepare_successor()
            case _:  # the writer journals events that are not documented
                pass

    async def _apply(self, outcome: Outcome) -> None:
        for message in outcome.reports:
            await self._forward(message)
        if outcome.end:
            raise outcome.end
        await self._channels_changed()

    # Sending

    async def _forward(self, message: Message) -> None:
        """Send ``message`` to the writer; wait while its queue is full."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            self._liveness.on_stall(now())
            await self._send.send(message)
            if self._liveness.on_resume(now()):
                await self._ping()

    async def _ping(self) -> int:
        number = self._liveness.on_ping(now())
        await self._say(PING)
        return number

    async def _request(self, frame: str) -> None:
        await trio.sleep_until(self._budget.opens_at(trio.current_time()))
        self._budget.take(trio.current_time())
        await self._say(frame)

    async def _say(self, frame: str) -> None:
        """Send a frame. Of a broken connection reading shows the end, behind the frames that arrived before it."""
        with suppress(SocketError):
            await self._socket.send(frame)
