"""Whether a channel is alive, or stalled while its connection lives.

``orders`` pushes only when something happens, so silence proves nothing; and a push now does not prove that none was
lost before. So every minute (with many accounts less often) REST is asked for what happened since the channel was
verified last, and its rows are stored like those of any reply. Then everything must arrive that was pushed by then: the
verdict waits some seconds, and for the answer to a ping sent after them to be stored. A writer that is behind delays
the verdict and cannot falsify it. What by then only REST has reported is a push that was lost (see
``reconcile.lost_pushes``): the channel is stalled since it was verified last. ``account`` and ``positions`` repeat
their state every few seconds and are verified only when they stop.
"""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import Final

import msgspec
import trio

from okxsync.messages import Message, Unverified, Verified
from okxsync.okx.channels import arguments_of, is_understood
from okxsync.reconcile import pull
from okxsync.reconcile.held import Held, LiveChannel, live_channels
from okxsync.reconcile.lost_pushes import ASIDE_MS, LOST, Window, lost_push
from okxsync.reconcile.pull import TO_VERIFY, Puller
from okxsync.rest.client import AccountClient, RestError
from okxsync.runtime.clock import now_us
from okxsync.runtime.supervise import supervised
from okxsync.store.database import StoreError, keep_going

log = logging.getLogger("okxsync.rest")

PROBE_S: Final = 50.0
"""A verdict comes some ten seconds after the question: so each channel is verified about once a minute."""
PER_S: Final = {"orders": 2.0, "orders-algo": 0.3}
OTHERS_PER_S: Final = 1.0
"""Questions per second at most, by how many calls each takes, so that a thousand accounts cost some hundredths of a
processor; with more accounts each is asked the later."""
POLL_S: Final = 5.0
AT_ONCE: Final = 16
SELF_REPEATING: Final = frozenset({"account", "positions"})
"""They repeat their state every five seconds (OKX docs: trading-account-websocket-positions-channel), even where
nothing changes: what says so much is asked only if it stops."""

SETTLE_S: Final = 5.0
"""What REST has reported is pushed so much later at most. A ping sent after that is answered behind it."""
_DAY_US: Final = 86_400_000_000

MarkStale = Callable[[str, str, int, str], Awaitable[None]]
Key = tuple[str, str]  # account and channel


class Fetched(msgspec.Struct, frozen=True):
    """What REST knows of a channel has been fetched, and the verdict is due."""

    since_at: int  # of the channel then: another one says that it was lost meanwhile
    verified_at: int  # until when it is known to have pushed everything; local microseconds
    until_at: int  # until when the verdict verifies it
    window: Window
    settled_at: int  # when all pushes of the window must have been sent; local microseconds


class Probe:
    """Verifies each channel once in a while.

    Args:
        send: Where REST's rows and verdicts go.
        mark_stale: Called with account, channel, until when it was verified (local microseconds), and why.
    """

    def __init__(
        self,
        database: Path,
        client_of: Callable[[str], AccountClient | None],
        send: trio.MemorySendChannel[Message],
        mark_stale: MarkStale,
    ) -> None:
        self._database = database
        self._client_of = client_of
        self._send = send
        self._mark_stale = mark_stale
        self._verified: dict[Key, tuple[int, int]] = {}  # until when: local microseconds, the exchange's milliseconds
        self._asked: dict[Key, int] = {}
        self._due: deque[LiveChannel] = deque()  # as of the last look, what was asked longest ago first
        self._fetched: dict[Key, Fetched] = {}
        self._busy: set[Key] = set()
        self._failed: set[Key] = set()  # could not be asked about the last time

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(POLL_S)
                with keep_going(log, "channels cannot be verified"):
                    live = live_channels(self._database, LOST)
                    await self._judge(live)
                    self._due = self._find_due(live, now_us())
                    for _ in range(min(len(self._due), AT_ONCE - len(self._busy))):
                        nursery.start_soon(self._work)

    def _find_due(self, live: list[LiveChannel], now_us: int) -> deque[LiveChannel]:
        known = [one for one in live if is_understood(one.channel)]
        silent = [one for one in known if now_us - _pushed_at(one) >= PROBE_S * 1e6]
        # What could not be asked about is counted for itself: one account does not wait for the turn of a thousand.
        count = Counter((one.name, one.key in self._failed) for one in silent)
        every_us = {kind: max(PROBE_S, n / PER_S.get(kind[0], OTHERS_PER_S)) * 1e6 for kind, n in count.items()}
        due = []
        for one in silent:
            last = max(one.since_at, self._asked.get(one.key, 0))
            pause_us = every_us[one.name, one.key in self._failed]
            is_due = now_us >= last + pause_us or last > now_us  # or the clock was set back
            if is_due and one.key not in self._busy and one.key not in self._fetched:
                due.append((last, one))
        taken: Counter[str] = Counter()
        found: deque[LiveChannel] = deque()
        for _, one in sorted(due, key=itemgetter(0)):
            taken[one.name] += 1
            if taken[one.name] <= max(1.0, PER_S.get(one.name, OTHERS_PER_S) * POLL_S):  # else at the next look
                found.append(one)
        return found

    async def _work(self) -> None:
        """Ask what is due, one after the other: what is not asked yet has no task, and no window of time."""
        while self._due:
            one = self._due.popleft()
            if client := self._client_of(one.account):
                subject = f"{one.account}: asking about {one.channel}"
                self._busy.add(one.key)
                try:
                    await supervised(self._send, one.account, subject, self._check, client, one)
                finally:
                    self._busy.discard(one.key)

    async def _check(self, client: AccountClient, one: LiveChannel) -> None:
        self._asked[one.key] = now_us()
        try:
            self._fetched[one.key] = await self._fetch(client, one)
            self._failed.discard(one.key)
        except (RestError, StoreError) as error:
            log.warning("%s: cannot ask whether its %s are pushed: %s", one.account, one.channel, error)
            if isinstance(error, RestError):
                self._failed.add(one.key)
                await self._send.send(Unverified(one.account, one.channel, now_us(), str(error)))

    async def _fetch(self, client: AccountClient, one: LiveChannel) -> Fetched:
        """Store what REST knows of the time since the channel was verified last."""
        asked_us, ahead_ms = now_us(), now_us() // 1000 - client.now_ms()
        verified_at, verified_ms = self._verified.get(one.key, (0, 0))
        proved = max((at for at in (one.since_at, verified_at, _pushed_at(one)) if 0 < at <= asked_us),
                     default=asked_us - _DAY_US)  # fmt: skip
        # What happened just before the subscription was not pushed, and clocks differ.
        since_ms = verified_ms if proved == verified_at else proved // 1000 - ahead_ms + ASIDE_MS
        held = Held(self._database, client.name, asked_us)
        plain = one.name == "orders-algo"
        puller = Puller(client, self._send, held, only=arguments_of(one.channel), plain_algos=plain)
        for subject in TO_VERIFY[one.name]:
            await puller.pull(subject, pull.Window(proved // 1000))
        settle_us = int(SETTLE_S * 1e6)
        window = Window(since_ms, client.now_ms())
        return Fetched(one.since_at, proved, asked_us - settle_us, window, now_us() + settle_us)

    async def _judge(self, live: Iterable[LiveChannel]) -> None:
        """Reach the verdicts that are due: all that was pushed by then is stored."""
        channels = {one.key: one for one in live}
        for key, fetched in list(self._fetched.items()):
            one = channels.get(key)
            if one is None or one.since_at != fetched.since_at:
                del self._fetched[key]  # lost meanwhile: its gap is filled
            elif one.answered_at >= fetched.settled_at:
                del self._fetched[key]
                if missing := lost_push(self._database, one, fetched.window):
                    why = f"{one.channel}: channel stalled on a live connection ({missing} was missed)"
                    await self._mark_stale(*key, fetched.verified_at, why)
                else:
                    self._verified[key] = fetched.until_at, fetched.window.until_ms
                    await self._send.send(Verified(*key, fetched.until_at))


def _pushed_at(one: LiveChannel) -> int:
    """Return when it last said something that it says in any case; 0 where it never does."""
    return one.pushed_at if one.name in SELF_REPEATING else 0
