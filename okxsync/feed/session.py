"""One socket from its opening to its end: log in, subscribe, stay live. The I/O around two pure halves.

``subscriptions`` says what each control frame means for the channels, ``liveness`` what pings, pongs and waits mean for
time. The session reads frames, forwards each to the writer, hands the control frames to these two, and sends and
reports what they return.

Two orders matter. Nothing is subscribed before the login is acknowledged. Every frame but ``pong`` is forwarded before
it is handled, so what is stored and what is covered cannot disagree.
"""

import itertools
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final

import trio

from okxsync import events
from okxsync.config.reveal import reveal
from okxsync.feed.liveness import ANSWER_S, Liveness, Moment, next_beat
from okxsync.feed.notes import SessionNotes
from okxsync.feed.socket import Socket, SocketError
from okxsync.feed.spec import ConnectionSpec, Disconnected, Keys, slow_pause_s
from okxsync.feed.subscriptions import SUBSCRIBE_S, Outcome, Subscriptions, rejection
from okxsync.messages import Frames, Message, Pong
from okxsync.okx.codes import OF_CHANNELS
from okxsync.okx.control import PING, PONG, Event, login_frame, read_event
from okxsync.okx.rate_limits import RequestBudget
from okxsync.runtime.clock import ExchangeClock, earliest_us, latest_us, now_us, steady_s
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.text import sanitize

LOGIN_S: Final = 10.0
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
        send: Where frames and reports go.
        clock: The exchange's clock, which signs the login.
        enter: Called with the name of each phase as it begins.
        channels_changed: Called when a channel may have become live, or may have been dropped.
        initial_us: How far back a channel is backfilled that was never subscribed before.
        succeeds: Another session of this connection is live.
    """

    def __init__(
        self,
        number: int,
        spec: ConnectionSpec,
        socket: Socket,
        send: Outbox,
        clock: ExchangeClock,
        enter: Callable[[str], Awaitable[None]],
        channels_changed: Callable[[], Awaitable[None]],
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
        self._channels_changed = channels_changed
        self._budget = RequestBudget()
        self._notes = SessionNotes(spec)
        self._liveness = Liveness()
        self.subscriptions = Subscriptions(number, spec, self._notes, initial_us, succeeds)
        self.conn_id: str | None = None
        self.live_since: float | None = None  # trio's clock
        self.ends_soon = trio.Event()  # the exchange has announced the end of the socket
        self.followed = False  # a successor is being prepared
        self.replaced = False  # a successor has taken over
        self._over = False
        self._frame_read = trio.Event()  # renewed with each beat
        self._pong_read = trio.Event()  # renewed with each pong
        self._disconnect = trio.Event()
        self._why_disconnect = ""

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
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            nursery.start_soon(self._retry)
            nursery.start_soon(self._end_on_disconnect)
            while True:
                if event := await self._read():
                    await self._handle(event)

    def disconnect(self, why: str) -> None:
        """End the session for a reason that is known outside of it."""
        self._why_disconnect = why
        self._disconnect.set()

    def replace(self) -> None:
        """End the session: its successor has taken over."""
        self.subscriptions.give_up(self.live)
        self.replaced = True
        self.disconnect("replaced")

    async def start_counting(self, covered: Collection[str]) -> None:
        """Report what is live as covered from now on; the older session covered ``covered`` up to here."""
        await self._apply(self.subscriptions.start_counting(covered))

    async def answers(self) -> bool:
        """Return whether the peer answers one more ping: all that it sent before has then been read."""
        with trio.move_on_after(ANSWER_S), suppress(SocketError):
            number = await self._ping()
            while not (self._over or self._liveness.is_answered(number)):
                await self._pong_read.wait()
            return not self._over
        return False

    def end(self) -> None:
        """The session has ended: wake whoever waits for an answer."""
        self._over = True
        self._pong_read.set()

    def suspended_s(self) -> float:
        """Return for how long we were suspended, in seconds; 0 if a ping was answered since."""
        return self._liveness.suspended_s(_now())

    # The steps of a session

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
                        raise rejection("login", event)
                    case Event() as event:
                        await self._handle(event)
        raise Disconnected(f"login: no answer within {LOGIN_S:.0f} s")

    async def _subscribe(self) -> None:
        for request in self.subscriptions.requests():
            self.subscriptions.expect(request)
            with trio.move_on_after(SUBSCRIBE_S):
                await self._request(request.frame)
                while self.subscriptions.incomplete:
                    if event := await self._read():
                        await self._handle(event)
            await self._apply(self.subscriptions.settle(now_us()))
        await self._apply(self.subscriptions.finish())

    async def _keep_alive(self) -> None:
        """Send a ping on each beat, whatever else is sent; a frame must follow each."""
        while True:
            beat = next_beat(trio.current_time())
            due = self._liveness.on_beat(_now())
            self._frame_read = trio.Event()
            with trio.move_on_at(due) as sending:
                await self._ping()
            if sending.cancelled_caught:  # maybe in the middle of a frame
                raise Disconnected(f"silent: a ping could not be sent within {ANSWER_S:.0f} s")
            with trio.move_on_at(due):
                await self._frame_read.wait()
            if why := self._liveness.verdict(_now()):
                raise Disconnected(why)
            await trio.sleep_until(beat)

    async def _retry(self) -> None:
        """Request dropped and rejected channels again, after long pauses."""
        while True:
            await trio.sleep(slow_pause_s())
            for request in self.subscriptions.retry(trio.current_time()):
                await self._request(request.frame)

    async def _end_on_disconnect(self) -> None:
        await self._disconnect.wait()
        raise Disconnected(self._why_disconnect)

    # Reading

    async def _read(self) -> Event | None:
        """Receive one frame, forward it, and return it if it is a control frame."""
        frame = await self._socket.receive()
        at = self._liveness.stamp(now_us())
        self._liveness.on_frame()
        self._frame_read.set()
        if frame == PONG:
            await self._handle_pong()
            return None
        sent_after = self._liveness.answered_us
        await self._forward(Frames(self._id, self._spec.listener, [(at, frame)], self._socket_number, sent_after))
        if frame == PING:
            await self._socket.send(PONG)
        return read_event(frame)

    async def _handle_pong(self) -> None:
        proof = self._liveness.on_pong(_now())
        self._pong_read.set()
        self._pong_read = trio.Event()
        # While two sockets have one id, only the one that covers the channels proves anything about them.
        if proof and self.subscriptions.counting and not self.replaced:
            await self._forward(Pong(self._id, self._spec.listener, proof.at, proof.rtt_us))

    async def _handle(self, event: Event) -> None:
        """Handle a control frame that does not answer the login."""
        match event.event:
            case "subscribe":
                self.conn_id = event.conn_id or self.conn_id
                await self._apply(self.subscriptions.on_ack(event, latest_us()))
            case "error":
                await self._apply(self.subscriptions.on_error(event, trio.current_time()))
            case "channel-conn-count":
                await self._apply(self.subscriptions.on_conn_count(event, now_us()))
            case "channel-conn-count-error" if event.channel is not None:
                await self._apply(self.subscriptions.on_conn_count_error(event, now_us()))
            case "unsubscribe":  # we never send one
                raise Disconnected("the exchange ended a subscription")
            case "notice":
                code = sanitize(event.code)
                detail = f"{code}: {sanitize(event.msg)}"
                await self._apply(Outcome(self._notes.once(events.NOTICE, code, detail, now_us())))
                if str(event.code) == UPGRADE:
                    self.ends_soon.set()
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
            self._liveness.on_stall(_now())
            await self._send.send(message)
            if self._liveness.on_resume(_now()):
                await self._ping()

    async def _ping(self) -> int:
        number = self._liveness.on_ping(_now())
        await self._socket.send(PING)
        return number

    async def _request(self, frame: str) -> None:
        await trio.sleep_until(self._budget.opens_at(trio.current_time()))
        self._budget.take(trio.current_time())
        await self._socket.send(frame)


def _now() -> Moment:
    return Moment(earliest_us(), trio.current_time(), steady_s())
