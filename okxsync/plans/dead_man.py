"""The dead man's switch: OKX cancels the resting orders of a tag if it is not told in time that the daemon lives.

While a plan with ``dead_man`` works, ``cancel-all-after`` is renewed for each account that has an order of it which may
rest, and switched off afterwards. OKX counts by account and tag, so the switch concerns the orders of all plans with
the tag; of several plans the shortest time counts.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import trio

from okxsync.plans.desk import Desk
from okxsync.plans.replies import Verdict
from okxsync.plans.trades import CANCEL_ALL_AFTER, Trade
from okxsync.runtime.supervise import isolated

log = logging.getLogger("okxsync.plans")

RENEW_S: Final = 20.0
"""How often a switch is renewed; one of less than a minute more often: it must survive two failures."""
RETRY_S: Final = 2.0
TICK_S: Final = 0.5


class Switch(NamedTuple):
    account: str
    tag: str


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    time_out: str
    tag: str


@dataclass
class _State:
    timeout_s: int  # of the last request; 0: it is to be off
    due_at: float
    ends_at: float  # when OKX has acted, if nothing was received since


class Renewals:
    """When each switch is renewed, or switched off. No I/O; times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._states: dict[Switch, _State] = {}

    def due(self, wanted: Mapping[Switch, int], now: float) -> dict[Switch, int]:
        """Return which switches to send now, each with its time-out in seconds; 0 switches it off.

        Args:
            wanted: The time-outs of the switches that must be on.
        """
        found = {}
        for switch in [*wanted, *(self._states.keys() - wanted.keys())]:
            timeout_s, state = wanted.get(switch, 0), self._states.get(switch)
            if state and not timeout_s and state.ends_at <= now:
                del self._states[switch]
            elif state is None or state.timeout_s != timeout_s or state.due_at <= now:
                found[switch] = timeout_s
                pause_s = min(RENEW_S, timeout_s / 3) if timeout_s else RETRY_S
                ends_at = now + timeout_s + RETRY_S if timeout_s or state is None else state.ends_at
                self._states[switch] = _State(timeout_s, now + pause_s, ends_at)
        return found

    def answered(self, switch: Switch, timeout_s: int, now: float, *, accepted: bool) -> None:
        """Take the reply to a request: one that failed is sent again soon."""
        state = self._states.get(switch)
        if state is None or state.timeout_s != timeout_s:
            return
        if not accepted:
            state.due_at = min(state.due_at, now + RETRY_S)
        elif not timeout_s:
            del self._states[switch]


class DeadMan:
    """Keeps the switches of all plans alive.

    Args:
        wanted: Returns the time-outs of the switches that must be on.
    """

    def __init__(self, desk: Desk, wanted: Callable[[], Mapping[Switch, int]]) -> None:
        self._desk = desk
        self._wanted = wanted
        self._renewals = Renewals()

    async def run(self) -> None:
        """Never returns. When it is cancelled, OKX acts in time."""
        async with trio.open_nursery() as nursery:
            while True:
                for switch, timeout_s in self._renewals.due(self._wanted(), trio.current_time()).items():
                    nursery.start_soon(self._renew, switch, timeout_s)
                await trio.sleep(TICK_S)

    async def _renew(self, switch: Switch, timeout_s: int) -> None:
        send, account = self._desk.outbox, switch.account
        if await isolated(send, account, "cancel-all-after", self._send, switch, timeout_s, then="it is sent again"):
            self._renewals.answered(switch, timeout_s, trio.current_time(), accepted=False)

    async def _send(self, switch: Switch, timeout_s: int) -> None:
        body = msgspec.json.encode(_Body(str(timeout_s), switch.tag)).decode()
        found = await self._desk.post(switch.account, Trade(CANCEL_ALL_AFTER, switch.tag, body))
        accepted = found.verdict is Verdict.PLACED
        if not accepted:
            log.warning("%s: cancel-all-after %d s: %s", switch.account, timeout_s, found.text)
        self._renewals.answered(switch, timeout_s, trio.current_time(), accepted=accepted)
