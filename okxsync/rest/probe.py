"""Whether a channel is alive, or dead while its socket lives.

``orders`` pushes only when something happens, so silence proves nothing; and what is pushed now does not prove that
nothing was lost before. So every minute (with many accounts less often) REST is asked what it knows, and each answer
that agrees with our tables proves the channel up to there. If it does not, the channel is dead since the last time that
it was proved. ``account`` and ``positions`` speak by themselves every few seconds, and are asked about when they stop.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from operator import itemgetter
from pathlib import Path
from typing import Final

import trio

from okxsync.guard import guarded
from okxsync.okx.channels import arguments_of, is_understood
from okxsync.rest import questions
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.questions import QUESTIONS
from okxsync.store.batch import Message, Proved, Unproved
from okxsync.store.database import StoreError, keep_going
from okxsync.store.queries import LiveChannel, live_channels

log = logging.getLogger("okxsync.rest")

PROBE_S: Final = 60.0
PER_S: Final = {"orders": 2.0, "orders-algo": 0.3}
OTHERS_PER_S: Final = 1.0
"""Questions per second at most, by how many calls each takes, so that a thousand accounts cost some hundredths of a
processor; with more accounts each is asked the later."""
LOOK_S: Final = 5.0
AT_ONCE: Final = 16
SPEAK: Final = frozenset({"account", "positions"})
"""They repeat their state every five seconds (OKX docs: trading-account-websocket-positions-channel), even where
nothing changes: what says so much is asked only if it stops."""

_DAY_US: Final = 86_400_000_000

Doubt = Callable[[str, str, int, str], Awaitable[None]]
Key = tuple[str, str]  # account and channel


class Probe:
    """Asks about each channel once in a while.

    Args:
        send: Where proofs go.
        doubt: Called with account, channel, until when it was proved to be alive (local microseconds), and why.
    """

    def __init__(
        self,
        database: Path,
        client_of: Callable[[str], AccountClient | None],
        send: trio.MemorySendChannel[Message],
        doubt: Doubt,
    ) -> None:
        self._database = database
        self._client_of = client_of
        self._send = send
        self._doubt = doubt
        self._proved: dict[Key, int] = {}  # until when, in local microseconds
        self._asked: dict[Key, int] = {}
        self._due: deque[LiveChannel] = deque()  # as of the last look, what was asked longest ago first
        self._busy: set[Key] = set()
        self._failed: set[Key] = set()  # could not be asked about the last time

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(LOOK_S)
                with keep_going(log, "channels cannot be proved"):
                    self._due = self._find_due(live_channels(self._database, QUESTIONS), _now_us())
                    for _ in range(min(len(self._due), AT_ONCE - len(self._busy))):
                        nursery.start_soon(self._work)

    def _find_due(self, live: list[LiveChannel], now_us: int) -> deque[LiveChannel]:
        known = [one for one in live if is_understood(one.channel)]
        silent = [one for one in known if now_us - _spoke_at(one) >= PROBE_S * 1e6]
        # What could not be asked about is counted for itself: one account does not wait for the turn of a thousand.
        count = Counter((one.name, one.key in self._failed) for one in silent)
        every_us = {kind: max(PROBE_S, n / PER_S.get(kind[0], OTHERS_PER_S)) * 1e6 for kind, n in count.items()}
        due = []
        for one in silent:
            last = max(one.since_at, self._asked.get(one.key, 0))
            pause_us = every_us[one.name, one.key in self._failed]
            is_due = now_us >= last + pause_us or last > now_us  # or the clock was set back
            if is_due and one.key not in self._busy:
                due.append((last, one))
        taken: Counter[str] = Counter()
        found: deque[LiveChannel] = deque()
        for _, one in sorted(due, key=itemgetter(0)):
            taken[one.name] += 1
            if taken[one.name] <= max(1.0, PER_S.get(one.name, OTHERS_PER_S) * LOOK_S):  # else at the next look
                found.append(one)
        return found

    async def _work(self) -> None:
        """Ask what is due, one after the other: what is not asked yet has no task, and no window of time."""
        while self._due:
            one = self._due.popleft()
            if client := self._client_of(one.account):
                subject = f"{one.account}: asking about {one.channel}"
                await guarded(self._send, one.account, subject, self._ask, client, one)

    async def _ask(self, client: AccountClient, one: LiveChannel) -> None:
        self._asked[one.key] = _now_us()
        self._busy.add(one.key)
        try:
            await self._prove(client, one)
            self._failed.discard(one.key)
        except (RestError, StoreError) as error:
            log.warning("%s: cannot ask whether its %s are pushed: %s", one.account, one.channel, error)
            if isinstance(error, RestError):
                self._failed.add(one.key)
                await self._send.send(Unproved(one.account, one.channel, _now_us(), str(error)))
        finally:
            self._busy.discard(one.key)

    async def _prove(self, client: AccountClient, one: LiveChannel) -> None:
        marks = (one.since_at, self._proved.get(one.key, 0), _spoke_at(one))
        proved = max((at for at in marks if 0 < at <= _now_us()), default=_now_us() - _DAY_US)
        until = _now_us() - int(questions.SETTLE_S * 1e6)
        only = arguments_of(one.channel)
        missing = await QUESTIONS[one.name](self._database, client, proved, until, only)
        now = {other.key: other for other in live_channels(self._database, QUESTIONS, one.account)}.get(one.key)
        if now is None or (now.since_at, _spoke_at(now)) != (one.since_at, _spoke_at(one)):
            return  # lost meanwhile, and others fill the gap; or it has spoken
        if missing:
            why = f"{one.channel}: dead, although its connection lives: {missing}"
            await self._doubt(one.account, one.channel, proved, why)
        else:
            self._proved[one.key] = until
            await self._send.send(Proved(one.account, one.channel, until))


def _spoke_at(one: LiveChannel) -> int:
    """Return when it last said something that it says in any case; 0 where it never does."""
    return one.pushed_at if one.name in SPEAK else 0


def _now_us() -> int:
    return time.time_ns() // 1000
