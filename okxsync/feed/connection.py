"""One connection of one listener: its phases from waiting for a dial permit to live, and back.

    waiting -> connecting -> logging_in -> subscribing -> live -> backing_off -> waiting ...        or: stopped

Each phase has its own deadline. The register has the phase, the last error and the time of the next attempt. While the
exchange refuses a channel of a live connection, the reason is its last error.

When the exchange announces the end of a socket (64008), a successor is prepared beside it. It takes over once it is
live and the older session has answered one more ping, so the coverage has no gap. Then the older session ends.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import trio

from okxsync import events
from okxsync.config.secret import ConfigError
from okxsync.events import Event
from okxsync.feed.causes import first_error
from okxsync.feed.dialers import dial
from okxsync.feed.reader import SocketReader
from okxsync.feed.requests import NotSent
from okxsync.feed.session import Session
from okxsync.feed.socket import ConnectError, Socket, SocketError
from okxsync.feed.spec import ConnectionSpec, Disconnected, slow_pause_s
from okxsync.messages import DROPPED, REJECTED, Lost, Phase
from okxsync.okx.codes import CLOSES, Action
from okxsync.runtime.backoff import RETRY_REJECTED_S, BackOff
from okxsync.runtime.clock import ExchangeClock, now_us
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.rate_limiter import RateLimiter
from okxsync.runtime.supervise import PAUSE_S, supervised

log = logging.getLogger("okxsync.feed")

CONNECT_S: Final = 10.0
MEASURE_S: Final = 10.0
MAX_REJECTIONS: Final = {Action.RESIGN: 2, Action.RESYNC: 5, Action.PERSIST: 5}
"""After so many attempts that were rejected before live, a transient reason counts as permanent. A signature is wrong
if this machine's clock is off, and then the next one is right, or if the secret is wrong: OKX may block an address that
repeats it."""


_random: Final = random.Random()
"""Shared: its state takes 2.5 KB."""


class FeedConnection:
    """Keeps one connection live as its spec says, until cancelled.

    Args:
        number: The connection's id in the register.
        spec: The connection's settings.
        send: Where frames and reports go.
        reader: Reads the sockets.
        dialer: Limits new connections; shared by all connections to a host.
        clock: The exchange's clock.
        initial_us: How far back a channel is backfilled that was never subscribed before.
    """

    def __init__(
        self,
        number: int,
        spec: ConnectionSpec,
        send: Outbox,
        reader: SocketReader,
        dialer: RateLimiter,
        clock: ExchangeClock,
        initial_us: int = 0,
    ) -> None:
        self._id = number
        self._spec = spec
        self._send = send
        self._reader = reader
        self._dialer = dialer
        self._clock = clock
        self._initial_us = initial_us
        self._back_off = BackOff(_random)
        self._times_live = 0
        self._rejections: Counter[Action] = Counter()
        self._sessions: list[Session] = []  # two while one takes over from the other, the newer one last
        self._unanswered = False  # the last dial was given up before the exchange answered
        self._last_error: str | None = None  # of the last session
        self._row: Phase | None = None  # as it was sent last
        self._hidden: Phase | None = None  # the phase of the successor, while an older session is live

    @property
    def spec(self) -> ConnectionSpec:
        return self._spec

    @property
    def takes_requests(self) -> bool:
        return any(session.takes_requests for session in self._sessions)

    async def ask(self, op: str, arg: bytes, exp_ms: int, begin: Callable[[], None]) -> str:
        """Send an order operation on the newest live session: see ``Session.ask``."""
        for session in reversed(self._sessions):
            if session.takes_requests:
                return await session.ask(op, arg, exp_ms, begin)
        raise NotSent("the private connection is not live")

    async def run(self) -> None:
        while True:
            await supervised(
                self._send, self._spec.account, self._spec.name, self._run_once, on_failure=self._report_failure
            )

    async def _run_once(self) -> None:
        async with trio.open_nursery() as nursery:
            await self._keep_live(nursery)

    async def _report_failure(self, why: str) -> None:
        """Report every channel as lost: after an internal error it is unknown which were live."""
        self._last_error = why
        await self._lose([subscription.key for subscription in self._spec.subscriptions], why)
        await self._enter("backing_off", next_attempt_at=now_us() + int(PAUSE_S * 1e6))

    async def _keep_live(self, nursery: trio.Nursery) -> None:
        """Run one session after the other. A session that has a successor is the last one here."""
        if self._spec.blocked:
            self._last_error = self._spec.blocked
            await self._enter("stopped")
            await trio.sleep_forever()
        while True:
            session, ended = await self._run_session(nursery)
            if session and session.replaced:
                return
            await self._report_lost(session, ended)
            if session and session.followed:
                await self._journal(events.DISCONNECTED, f"{ended}; its successor was not live yet")
                if self._hidden:
                    await self._send_row(self._hidden)
                return
            await self._pause(session, ended)

    async def mark_stale(self, channel: str, why: str) -> None:
        """Report a live channel as lost, because pushes are missing, and reconnect."""
        stale = [session for session in self._sessions if channel in session.live]
        for session in stale:
            session.subscriptions.give_up([channel])
        if stale:
            await self._send.send(Lost(self._id, self._spec.listener, [channel], now_us(), why))
        for session in stale:
            session.disconnect(why)

    async def _run_session(self, nursery: trio.Nursery) -> tuple[Session | None, Disconnected]:
        """Connect, and run one session. Return it, unless the connection failed, and why it ended."""
        session: Session | None = None
        ended = Disconnected("closed")
        await self._enter("waiting")
        try:
            socket = await self._dial()
            try:
                session = Session(
                    self._id,
                    self._spec,
                    socket,
                    self._reader,
                    self._send,
                    self._clock,
                    self._enter,
                    self._update_row,
                    partial(nursery.start_soon, self._keep_live, nursery),
                    self._initial_us,
                    succeeds=bool(self._sessions),
                )
                self._sessions.append(session)
                await session.run()
            finally:
                await socket.drop()
        except* SocketError as group:
            error = first_error(group)
            self._unanswered = isinstance(error, ConnectError) and error.unanswered
            ended = _disconnected(error, was_live=session is not None and session.live_since is not None)
        except* ConfigError as group:
            ended = Disconnected(str(first_error(group)), Action.GIVE_UP)
        except* Disconnected as group:  # last: it says more than a socket error at the same moment
            ended = first_error(group)
        finally:
            if session:
                self._sessions.remove(session)
                session.end()
        if session and (suspended_s := session.suspended_s()):
            ended = Disconnected(
                f"this machine or process was suspended for {suspended_s:.0f} s: {ended}", ended.action
            )
        return session, ended

    async def _dial(self) -> Socket:
        async with self._dialer.acquire(self._priority) as permit:
            await self._enter("connecting")
            self._unanswered = False
            return await dial(self._spec.url, CONNECT_S, permit)

    @property
    def _priority(self) -> int:
        """Of the next dial; the lowest number goes first.

        A connection that was live before has an open gap. A dial that is not answered occupies its place for long, so
        a host that does not answer on one endpoint must not delay the others.
        """
        return (0 if self._times_live else 1) + (2 if self._unanswered else 0)

    async def _take_over(self, session: Session) -> None:
        """Let a live session replace the older one.

        Coverage continues without a gap only if the older session was still receiving after the newer one had
        subscribed. So the older session must answer one more ping: it may have failed already.
        """
        covered: set[str] = set()
        for older in self._sessions[:-1]:
            if await older.answers():
                covered |= {channel for channel in older.live if channel in session.live}
            await self._lose(
                [channel for channel in older.live if channel not in covered], "old connection silent during takeover"
            )
            older.replace()
            await self._reader.wait_sent(older)  # its last answer to a ping proves nothing about the newer socket
        await session.start_counting(covered)

    async def _report_lost(self, session: Session | None, ended: Disconnected) -> None:
        if session and session.subscriptions.counting:
            covered = {channel for other in self._counting() for channel in other.live}
            await self._lose([channel for channel in session.live if channel not in covered], str(ended))

    def _counting(self) -> list[Session]:
        """Return the sessions whose live channels count as covered."""
        return [session for session in self._sessions if session.subscriptions.counting]

    async def _lose(self, channels: list[str], why: str) -> None:
        if channels:
            await self._send.send(Lost(self._id, self._spec.listener, channels, now_us(), why))

    async def _pause(self, session: Session | None, ended: Disconnected) -> None:
        """Wait before the next attempt, as long as the reason demands."""
        reason = str(ended)
        live_since = session.live_since if session else None
        lived_s = trio.current_time() - live_since if live_since is not None else 0.0
        action = self._escalate(ended.action, was_live=live_since is not None)
        if ended.action in (Action.RESYNC, Action.RESIGN):
            with trio.move_on_after(MEASURE_S):
                await self._clock.measure()
        match action:
            case Action.GIVE_UP | Action.FIX:
                phase, delay_s = "stopped", RETRY_REJECTED_S
            case Action.SLOW:
                phase, delay_s = "backing_off", slow_pause_s()
            case _:
                phase, delay_s = "backing_off", self._back_off.next_delay(lived_s)
        self._last_error = reason
        log.warning("%s %s: %s; next attempt in %.1f s", self._spec.name, phase, reason, delay_s)
        await self._journal(events.STOPPED if phase == "stopped" else events.DISCONNECTED, reason)
        await self._enter(phase, next_attempt_at=now_us() + int(delay_s * 1e6))
        await trio.sleep(delay_s)

    async def _journal(self, event: Event, reason: str) -> None:
        await self._send.send(event.note(now_us(), self._spec.account, f"{self._spec.endpoint}: {reason}"))

    def _escalate(self, action: Action, *, was_live: bool) -> Action:
        """Escalate after repeated rejections, even for transient reasons."""
        if was_live:
            self._rejections.clear()
            return action
        if action not in MAX_REJECTIONS:  # the others must be rejected in a row
            self._rejections = Counter({Action.RESIGN: self._rejections[Action.RESIGN]})
            return action
        self._rejections[action] += 1
        if self._rejections[action] < MAX_REJECTIONS[action]:
            return action
        return Action.SLOW if action is Action.RESYNC else Action.GIVE_UP  # a clock can be corrected, a key cannot

    async def _enter(self, phase: str, next_attempt_at: int | None = None) -> None:
        """Write the connection's row. While an older session is live, the phases of its successor are hidden."""
        spec = self._spec
        newest = self._sessions[-1] if self._sessions else None
        if phase == "live" and newest:
            self._times_live += 1
            log.info("%s live: %s", spec.name, " ".join(newest.live))
            await self._take_over(newest)
        row = Phase(
            connection_id=self._id,
            listener=spec.listener,
            account=spec.account,
            endpoint=spec.endpoint,
            url=spec.url,
            site=spec.site,
            demo=spec.demo,
            requires_auth=spec.keys is not None,
            phase=phase,
            since_at=now_us(),
            reconnects=max(0, self._times_live - 1),
            conn_id=newest.conn_id if newest else None,
            last_error=self._problem if phase == "live" else self._last_error,
            next_attempt_at=next_attempt_at,
        )
        is_hidden = phase != "live" and any(session.live_since is not None for session in self._sessions)
        self._hidden = row if is_hidden else None
        if not is_hidden:
            await self._send_row(row)

    async def _update_row(self) -> None:
        """Write the row of a live connection again if a channel was refused, or is live again."""
        if self._row and self._row.phase == "live" and self._row.last_error != self._problem:
            await self._send_row(msgspec.structs.replace(self._row, last_error=self._problem))

    async def _send_row(self, row: Phase) -> None:
        self._row = row
        await self._send.send(row)

    @property
    def _problem(self) -> str | None:
        """The last error of a live connection: which channels are refused now, else why the last session ended."""
        live = [session.subscriptions for session in self._counting() if not session.replaced]
        found = [
            (DROPPED, [reason for one in live for reason in one.dropped]),
            (REJECTED, [reason for one in live for reason in one.rejected]),
        ]
        return "; ".join(kind + "; ".join(reasons) for kind, reasons in found if reasons) or self._last_error


def _disconnected(error: SocketError, *, was_live: bool) -> Disconnected:
    if error.code == 429:
        return Disconnected(f"{error} (too many connections per second from this address)")
    meaning = CLOSES.get(error.code or 1006)
    action = meaning.action if meaning else Action.RETRY
    if action is Action.FIX and was_live:
        action = Action.RETRY  # our requests were valid when they were sent: the next session finds out what is not
    return Disconnected(str(error), action)
