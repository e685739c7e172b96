"""Whether a live channel has pushed everything, or has stalled while its connection lives.

``orders`` pushes only when something happens, so silence proves nothing; and a push proves only that the channel works
now. So every minute (with many accounts less often) REST is asked for what happened since the channel was verified
last, and its rows are stored like those of any reply. Then everything must arrive that was pushed by then: the verdict
waits some seconds, and then until the answer to a ping that was sent after them is stored. A writer that is behind
delays the verdict, and cannot falsify it. What by then only REST has reported is a lost push (see
``reconcile.lost_pushes``): the channel has stalled since it was verified last. ``account`` and ``positions`` repeat
their complete state every few seconds, and are verified only when that stops. What each of these proves is defined in
``store.coverage``.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from functools import cache, partial
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

from okxsync.messages import Message, Unverified, Verified
from okxsync.okx.channels import arguments_of, channel_of, is_understood
from okxsync.okx.compare import ASIDE_MS
from okxsync.reconcile import pull
from okxsync.reconcile.held import LiveChannel, Reads, live_channels
from okxsync.reconcile.lost_pushes import LOST, Window, lost_push
from okxsync.reconcile.subjects import TO_VERIFY
from okxsync.reconcile.timings import Timings
from okxsync.reconcile.work import Part, Report, Work
from okxsync.runtime.clock import earliest_us, now_us
from okxsync.runtime.outbox import Outbox
from okxsync.store.engines import Reader

SELF_REPEATING: Final = frozenset({"account", "positions"})
"""They repeat their complete state every five seconds, even if nothing changes (OKX docs:
trading-account-websocket-positions-channel). So they are verified only if that stops proving anything."""

MarkStale: TypeAlias = Callable[[str, str, str], Awaitable[None]]
"""Takes account, channel, and why it is stale. Its gap begins where its coverage ended."""
Key: TypeAlias = tuple[str, str]  # account and channel


class Fetched(msgspec.Struct, frozen=True):
    """REST has reported what it knows of a channel, and the verdict is pending.

    Attributes:
        since_at: Of the channel then; another one shows that it was lost meanwhile.
        until_at: Until when the verdict verifies it; microseconds, a lower bound on the exchange's clock.
        until_ms: The same by the exchange's clock: what happened later may be missing from REST's reply, so the next
            window begins there.
        window: What the verdict is about.
        pushed_at: When all pushes of the window must have been sent; local microseconds.
        unstored: Which rows of the replies cannot be stored.
    """

    since_at: int
    until_at: int
    until_ms: int
    window: Window
    pushed_at: int
    unstored: str | None


class StalledSource:
    """Finds the live channels that are to be verified, and reaches the verdicts.

    Args:
        send: Where verdicts go.
        mark_stale: Called for a channel that has stalled.
    """

    name = "channels to verify"
    at_once = 16
    spread = True

    def __init__(self, reads: Reads, send: Outbox, mark_stale: MarkStale, timings: Timings) -> None:
        self._reads = reads
        self._send = send
        self._mark_stale = mark_stale
        self._timings = timings
        self.poll_s = timings.poll_s
        self._verified: dict[Key, tuple[int, int]] = {}  # until when: local microseconds, the exchange's milliseconds
        self._requested_at: dict[Key, int] = {}  # local microseconds
        self._fetched: dict[Key, Fetched] = {}
        self._failed: set[Key] = set()  # could not be verified the last time

    async def search(self, busy: Set[object]) -> list[Work]:
        pending = frozenset(self._fetched)
        due = await self._reads.in_thread(self._search, now_us(), pending | busy)
        for account in {account for account, _ in pending}:
            await self._judge(account)
        return [self._work(one) for one in due]

    def _search(self, reader: Reader, now_us: int, excluded: Set[object]) -> list[LiveChannel]:
        """Return what to verify now."""
        return self.due(live_channels(reader, LOST), excluded, now_us)

    def due(self, live: Iterable[LiveChannel], excluded: Set[object], now_us: int) -> list[LiveChannel]:
        """Return what to verify; the channel that was verified longest ago comes first.

        It may run in a thread: work that ends meanwhile changes only what belongs to excluded channels.
        """
        is_known, name_of = cache(is_understood), cache(channel_of)  # most accounts have the same channels
        latest_us = now_us - self._timings.verify_s * 1e6
        silent = [
            (one, name)
            for one in live
            if is_known(one.channel)
            and not ((name := name_of(one.channel)) in SELF_REPEATING and one.covered_until > latest_us)
        ]
        # What could not be verified is counted by itself: one account does not wait for its turn among a thousand.
        count = Counter((name, one.key in self._failed) for one, name in silent)
        per_s = {name: self._timings.verifications_per_s(name) for name in LOST}
        every_us = {kind: max(self._timings.verify_s, n / per_s[kind[0]]) * 1e6 for kind, n in count.items()}
        due: list[tuple[int, LiveChannel, str]] = []
        for one, name in silent:
            key = one.key
            last = max(one.since_at, self._requested_at.get(key, 0))
            is_due = now_us >= last + every_us[name, key in self._failed]
            if is_due and key not in excluded:
                due.append((last, one, name))
        taken: Counter[str] = Counter()
        found: list[LiveChannel] = []
        for _, one, name in sorted(due, key=itemgetter(0)):
            taken[name] += 1
            if taken[name] <= max(1.0, per_s[name] * self.poll_s):  # the others at the next search
                found.append(one)
        return found

    def _work(self, one: LiveChannel) -> Work:
        proved_at = one.covered_until if one.name in SELF_REPEATING else 0
        until_us, _ = self._verified.get(one.key, (0, 0))
        verified_at = max(one.since_at, until_us, proved_at)
        return Work(
            one.account,
            one.key,
            f"verifying {one.channel}",
            [Part(one.account, subject, pull.Window(verified_at // 1000)) for subject in TO_VERIFY[one.name]],
            partial(self._finish, one, verified_at, earliest_us()),
            only=arguments_of(one.channel),
            plain_algos=one.name == "orders-algo",
            overlap_ms=self._timings.overlap_ms,
            rest_lag_s=self._timings.rest_lag_s,
        )

    def _finish(self, one: LiveChannel, verified_at: int, began_at: int, report: Report) -> list[Message]:
        """Take what REST has reported.

        Args:
            began_at: The exchange's clock showed at least this when the requests began.
        """
        self._requested_at[one.key] = report.began_us
        if failed := report.unanswered:
            if not failed.rest_failed:
                return []
            self._failed.add(one.key)
            return [Unverified(one.account, one.channel, report.ended_us, failed.error or "")]
        self._failed.discard(one.key)
        until_us, until_ms = self._verified.get(one.key, (0, 0))
        # What happened just before the subscription was not pushed, and a site's clock may differ from ours.
        ahead_ms = report.began_us // 1000 - report.began_ms
        since_ms = until_ms if verified_at == until_us else verified_at // 1000 - ahead_ms + ASIDE_MS
        lag_us = self._timings.rest_lag_us
        self._fetched[one.key] = Fetched(
            since_at=one.since_at,
            until_at=began_at - lag_us,
            until_ms=report.began_ms - lag_us // 1000,
            window=Window(since_ms, report.ended_ms, one.backfilled_at // 1000 - ahead_ms),
            pushed_at=report.ended_us + int(self._timings.push_lag_s * 1e6),
            unstored=report.unstored,
        )
        return []

    async def _judge(self, account: str) -> None:
        """Reach the verdicts on an account's channels that are due.

        All come from one read, before the first has an effect: channels of one connection often stall together, and
        each verdict must be about the subscription that has stalled, not about the one after it.
        """
        pending = {key: fetched for key, fetched in self._fetched.items() if key[0] == account}
        lost, verdicts = await self._reads.in_thread(_verdicts, account, pending)
        for key in [*lost, *verdicts]:
            del self._fetched[key]
        for key, missing in verdicts.items():
            if missing:
                why = f"{key[1]}: channel stalled on a live connection ({missing} was missed)"
                await self._mark_stale(*key, why)
            else:
                until_at, until_ms = pending[key].until_at, pending[key].until_ms
                self._verified[key] = until_at, until_ms
                await self._send.send(Verified(*key, until_at, pending[key].unstored))


def _verdicts(reader: Reader, account: str, pending: Mapping[Key, Fetched]) -> tuple[list[Key], dict[Key, str | None]]:
    """Return which channels were lost meanwhile, whose gaps are backfilled, and what others have not pushed.

    The latter are those of which everything is stored that they had pushed at the time of the request.
    """
    live = {one.key: one for one in live_channels(reader, LOST, account)}
    lost: list[Key] = []
    verdicts: dict[Key, str | None] = {}
    for key, fetched in pending.items():
        one = live.get(key)
        if one is None or one.since_at != fetched.since_at:
            lost.append(key)
        elif one.answered_at >= fetched.pushed_at:
            verdicts[key] = lost_push(reader, one, fetched.window)
    return lost, verdicts
