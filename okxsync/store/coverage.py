"""Coverage of one channel as a pure value: which time was received, and which time is missing.

Theory. A channel is *first covered* at the acknowledgement of its first subscription. From then on each instant is in
exactly one of these:

    since          gap       gap.since              until              now
      |--covered--|-----|--covered--|                 |                 |
      |   covered               ... live:             |---- pending ----|
      |   covered               ... not live:         |------ gap ------|   (open at the front)

- *covered*: in [since, until) and in no gap.
- *in a gap*: an interval that was not received. A gap stays a row after its end; REST backfills it.
- *pending*: not yet proved, because the channel is live and the proof is still to come. A crash turns it into a gap.

There are three states:

    live           --lost, crashed, stopped-->     down, with one gap open at the front
    live           --unsubscribed-->               unsubscribed, without a gap
    down           --subscribed-->                 live; the gap ends at the acknowledgement
    unsubscribed   --subscribed-->                 live; a gap spans the time between
    unsubscribed   --rejected-->                   down
    live           --subscribed (a successor)-->   live

Only three things prove that a channel was received, and only they move ``until`` forward:

- The acknowledgement of its subscription. A successor subscribes while the older connection still answers pings.
- The answer to a ping: everything sent before the ping has arrived. A frame that was just read proves less, because it
  may have waited in a buffer with others behind it. A channel can stall while its connection lives, so a channel that
  REST can verify is covered no further than its own last push.
- A REST check that found nothing missing.

``until`` moves back only if pushes are known to be missing, or if it lies in the future. The clock of a process never
goes back (see ``runtime.clock``), but the clock of an earlier process may have been ahead of it. Where its coverage
ended on the new clock is unknown. So at the first subscription all of it is withdrawn, and one gap spans it.

All transitions are here; ``coverage_table`` loads a value, applies one transition and saves the result in the writer's
transaction. Times are local times in microseconds UTC.
"""

from typing import Final

import msgspec

FUTURE_US: Final = 1_000_000
"""Coverage that ends further ahead than this was recorded by a clock that was ahead. Backfills overlap by more."""
_DAY_US: Final = 86_400_000_000


class Gap(msgspec.Struct, frozen=True):
    """The interval [since, until) in which a channel was not received.

    Attributes:
        since: Where coverage ended.
        until: Where the channel was live again; None while it is not: the gap is open at the front.
        reason: Why the channel was not received.
        note: What an operator should know while the gap is open.
        id: The row; None for a new gap.
    """

    since: int
    until: int | None
    reason: str
    note: str | None = None
    id: int | None = None


class Change(msgspec.Struct, frozen=True):
    """The result of a transition: the new coverage, and the gaps that are new or changed."""

    coverage: "Coverage"
    gaps: tuple[Gap, ...] = ()


class Coverage(msgspec.Struct, frozen=True):
    """The coverage of one channel.

    Attributes:
        since: When it was first covered.
        until: How far it is proved.
        live: Whether a connection is subscribed.
        connection_id: The connection that holds it, or held it last.
        last_push_at: When the last push was received.
        gap: The gap that is open at the front, if any. A live channel has none.
    """

    since: int
    until: int
    live: bool = False
    connection_id: int | None = None
    last_push_at: int | None = None
    gap: Gap | None = None

    def subscribed(self, connection_id: int, at: int) -> Change:
        """The exchange acknowledged the subscription: the channel is live, and its gap ends."""
        since, until, pushed_at = self.since, self.until, self.last_push_at
        gaps: tuple[Gap, ...] = ()
        if not self.live and (gap := self.gap or self._missing_since_unsubscribed(at)):
            if until > at + FUTURE_US:
                reason = f"{gap.reason}; the clock was ahead before"
                gap = _replace(gap, since=min(gap.since, since, at - _DAY_US), reason=reason)
                since, until = min(since, at), at
            gaps = (_replace(gap, until=max(gap.since, at)),)
            pushed_at = pushed_at and min(pushed_at, at)
        new = _replace(self, since=since, until=max(until, at), live=True, last_push_at=pushed_at, gap=None)
        return Change(_replace(new, connection_id=connection_id), gaps)

    def _missing_since_unsubscribed(self, at: int) -> Gap | None:
        return Gap(self.until, None, "not subscribed") if self.until != at else None

    def rejected(self, reason: str) -> Change:
        """The exchange rejected a subscription; another connection may still hold the channel."""
        if self.live:
            return Change(self)
        return self._down(_replace(self.gap or Gap(self.until, None, reason), note=reason))

    def pushed(self, at: int) -> "Coverage":
        """A push was received."""
        return _replace(self, last_push_at=at)

    def advanced(self, answered_at: int, *, verified_over_rest: bool) -> "Coverage":
        """The connection answered the ping sent at ``answered_at``.

        ``verified_over_rest`` says whether REST can verify the channel, so that its own pushes limit the proof.
        """
        proved = min(answered_at, self.last_push_at or 0) if verified_over_rest else answered_at
        return self._proved(proved)

    def verified(self, at: int) -> "Coverage":
        """A REST check found nothing missing up to ``at``."""
        return self._proved(at)

    def _proved(self, at: int) -> "Coverage":
        return _replace(self, until=max(self.until, at)) if self.live else self

    def lost(self, reason: str, verified_until: int | None = None) -> Change:
        """The channel is no longer live. If pushes are missing, coverage after ``verified_until`` is withdrawn."""
        if not self.live:
            return Change(self)
        until = self.until if verified_until is None else max(self.since, min(self.until, verified_until))
        return _replace(self, until=until)._down(Gap(until, None, reason))

    def _down(self, gap: Gap) -> Change:
        return Change(_replace(self, live=False, gap=gap), (gap,))

    def unsubscribed(self) -> "Coverage":
        """The channel is no longer configured: no gap opens, unless it is subscribed again."""
        return _replace(self, live=False)


def first_subscribed(connection_id: int, at: int, initial_us: int) -> Change:
    """Return the coverage of a channel's very first subscription; the ``initial_us`` before it are a gap."""
    initial = (Gap(at - initial_us, at, "initial backfill"),) if initial_us else ()
    return Change(Coverage(at, at, live=True, connection_id=connection_id), initial)


def first_rejected(at: int, reason: str, initial_us: int) -> Change:
    """Return the coverage of a channel whose very first subscription was rejected; its gap spans ``initial_us`` too."""
    return Coverage(at, at, gap=Gap(at - initial_us, None, reason)).rejected(reason)


_replace: Final = msgspec.structs.replace
