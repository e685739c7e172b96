"""One connection of one listener: the ladder from waiting for a turn to live, and back.

    waiting -> connecting -> logging_in -> subscribing -> live -> backing_off -> waiting ...        or: stopped

Each phase has its own deadline and stands in the register, with what went wrong last and when it is tried again.
"""

import logging
import random
from typing import Final

import trio

from okxsync.config import ConfigError
from okxsync.feed.plan import Clock, Ended, Plan, slow_pause_s
from okxsync.feed.session import Session, now_us
from okxsync.feed.socket import SocketError, first_error, open_socket
from okxsync.okx.errors import CLOSES, Action
from okxsync.okx.limits import BackOff
from okxsync.pace import Pace
from okxsync.store.batch import Lost, Message, Note, Phase

log = logging.getLogger("okxsync.feed")

CONNECT_S: Final = 10.0
MEASURE_S: Final = 10.0
GIVEN_UP_S: Final = 1800.0
"""A key that was refused is tried again this late; a changed configuration is tried at once."""
PATIENCE: Final = 5
"""So many attempts in a row may fail before live with an error of login that should pass; then it is given up."""


class Connection:
    """Keeps one connection as its plan says, for ever, until cancelled."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        send: trio.MemorySendChannel[Message],
        dialer: Pace,
        clock: Clock,
        initial_us: int = 0,
    ) -> None:
        self._id = number
        self._plan = plan
        self._send = send
        self._dialer = dialer
        self._clock = clock
        self._initial_us = initial_us
        self._back_off = BackOff(random.Random())
        self._lives = 0
        self._refusals = 0  # in a row
        self._session: Session | None = None
        self._last_error: str | None = None

    async def run(self) -> None:
        while True:
            ended = await self._live_once()
            await self._rest(ended)

    async def doubt(self, channel: str, proved_until: int, why: str) -> None:
        """A live channel was found to miss something: it is lost since ``proved_until``, and all is done anew."""
        session = self._session
        if session and channel in session.live:
            session.live.remove(channel)
            await self._send.send(Lost(self._id, self._plan.listener, [channel], now_us(), why, proved_until))
            session.break_off(why)

    async def _live_once(self) -> Ended:
        """Climb the ladder, stay live as long as it lasts, and return why it ended."""
        self._session = None
        ended = Ended("closed")
        await self._enter("waiting")
        try:
            # Who was live before has an open gap, and goes first.
            async with self._dialer.turn(priority=0 if self._lives else 1) as turn:
                await self._enter("connecting")
                with trio.fail_after(CONNECT_S) as connecting:
                    async with open_socket(self._plan.url) as socket:
                        connecting.deadline = float("inf")  # each later phase has its own
                        turn.done()
                        self._session = Session(
                            self._id, self._plan, socket, self._send, self._clock, self._enter, self._initial_us
                        )
                        await self._session.run()
        except* SocketError as group:
            ended = _judge(first_error(group))
        except* ConfigError as group:
            ended = Ended(str(first_error(group)), Action.GIVE_UP)
        except* trio.TooSlowError:
            ended = Ended(f"cannot connect within {CONNECT_S:.0f} s")
        except* Ended as group:  # last: it says more than a socket that broke at the same moment
            ended = first_error(group)
        return ended

    async def _rest(self, ended: Ended) -> None:
        """Tell that the connection is lost, and wait as long as the reason asks."""
        session, self._session = self._session, None
        reason = str(ended)
        if session and (still_s := session.stood_still_s()):
            reason = f"this machine or process stood still for {still_s:.0f} s: {reason}"
        live_since = session.live_since if session else None
        lived_s = trio.current_time() - live_since if live_since is not None else 0.0
        action = self._temper(ended.action, was_live=live_since is not None)
        if session and session.live:
            await self._send.send(Lost(self._id, self._plan.listener, session.live, now_us(), reason))
        if action is Action.RESYNC:
            with trio.move_on_after(MEASURE_S):
                await self._clock.measure()
        match action:
            case Action.GIVE_UP | Action.FIX:
                phase, delay_s = "stopped", GIVEN_UP_S
            case Action.SLOW:
                phase, delay_s = "backing_off", slow_pause_s()
            case _:
                phase, delay_s = "backing_off", self._back_off.next_delay(lived_s)
        self._last_error = reason
        log.warning("%s %s: %s; next attempt in %.1f s", self._plan.name, phase, reason, delay_s)
        event = "stopped" if phase == "stopped" else "disconnected"
        detail = f"{self._plan.endpoint}: {reason}"
        await self._send.send(
            Note(now_us(), "error" if phase == "stopped" else "warning", self._plan.account, event, detail)
        )
        await self._enter(phase, next_attempt_at=now_us() + int(delay_s * 1e6))
        await trio.sleep(delay_s)

    def _temper(self, action: Action, *, was_live: bool) -> Action:
        """Lose patience with a login that is refused over and over, even for a reason that should pass."""
        refused = not was_live and action is Action.RESYNC
        self._refusals = self._refusals + 1 if refused else 0
        return Action.GIVE_UP if self._refusals >= PATIENCE else action

    async def _enter(self, phase: str, next_attempt_at: int | None = None) -> None:
        """Write the register."""
        plan = self._plan
        if phase == "live":
            self._lives += 1
            log.info("%s live: %s", plan.name, " ".join(self._session.live if self._session else ()))
        row = Phase(
            connection_id=self._id,
            listener=plan.listener,
            account=plan.account,
            endpoint=plan.endpoint,
            url=plan.url,
            site=plan.site,
            demo=plan.demo,
            requires_auth=plan.keys is not None,
            phase=phase,
            since_at=now_us(),
            reconnects=max(0, self._lives - 1),
            conn_id=self._session.conn_id if self._session else None,
            last_error=self._last_error,
            next_attempt_at=next_attempt_at,
        )
        await self._send.send(row)


def _judge(error: SocketError) -> Ended:
    if error.code == 429:
        return Ended(f"{error} (too many connections per second from this address)")
    meaning = CLOSES.get(error.code or 1006)
    return Ended(str(error), meaning.action if meaning else Action.RETRY)
