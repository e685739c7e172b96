"""Coverage of one channel as a pure value: which time was received, and which time is missing.

A channel is *first covered* at the acknowledgement of its first subscription. From then on each instant is in exactly
one of these:

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
    live           --subscribed (anew)-->          live; a gap spans the time that is not proved

The claim. Each event of the channel whose time lies in a covered instant is stored, in every committed state of the
database. Of ``account`` and ``positions``, which are a state, the stored state is no older. Times are the exchange's.

The assumptions:

    order    The exchange answers a ping after all that it sent before on the same socket. What it sends on one socket
             is read in that order or not at all. Delays differ each way and have no bound. The pages of a snapshot
             are not mixed with those of another one.
    lag      An event is sent at most ``MARGIN_US`` after its time, and a snapshot is at most that old when it is sent.
             REST shows an event at most ``okx.endpoints.REST_LAG_S`` after its time.
    stall    A subscription may lose pushes at any time while its socket lives, and may work again later. OKX numbers
             no pushes. (Channels that REST cannot verify, like ``deposit-info``, are assumed to live as long as their
             sockets: nothing else can be known of them.)
    clock    At each moment the exchange's clock shows at least E and at most L (see ``runtime.clock``).

What each piece of evidence proves:

    acknowledgement   The channel works. It was sent before it was read at ``r``, so every event after L(r) will be
    read at r         pushed: coverage begins, and a gap ends, at L(r). It proves nothing before that.
    push              The channel worked when it was sent. That proves nothing about the time before, because of
                      stalls. The time of its arrival proves nothing at all: a push that arrives at 10:00:02.0 may have
                      been sent at 10:00:00.5, and the channel may have stopped at 10:00:01.0. Times in a push are of
                      no use either: they are those of one event.
    answer to a       All that was sent on the socket before E(p) was read. It proves nothing about one channel, which
    ping sent at p    may have stalled. A channel that REST cannot verify is covered up to E(p) - ``MARGIN_US``.
    complete          The state as of its making is stored, whatever was lost before. It was sent after the last ping
    snapshot          that was answered before its first page on the same socket: covered up to E of that ping -
                      ``MARGIN_US``. Only the regular snapshots of ``account`` and ``positions`` are complete.
    REST check that   All that happened before E(b) - ``REST_LAG_S`` is stored: the rows of the reply are, whether or
    began at b        not the channel has pushed them. Covered up to there.

So ``until`` is always a lower bound, behind the present by some seconds: by a ping interval, a round trip and
``MARGIN_US`` at best, and by the interval of REST checks for channels without snapshots.

The proof, by induction over the transactions. The first one claims nothing, because ``since`` is ``until``. Then
``until`` moves in two ways. By evidence: each event before the new ``until`` was read or fetched before the evidence;
the messages of one socket, and the rows and the verdict of one check, are stored in that order, so it is stored in
this transaction or an earlier one. By an acknowledgement: a gap spans the time in between. If the channel is lost, the
gap begins at ``until``, where the claim ended. A gap that ends at L(r) is closed by REST replies to
requests that began at ``b``, with L(r) <= E(b) - ``REST_LAG_S``. So they show all that happened before L(r), even if
the push of the last of it is still on its way.

Evidence may be written later than what it is about, at most ``deferred.DEFER_US``: a crash in between loses the
evidence, and the gap begins at the older ``until``. It is always written before an event of the channel that is not
evidence, so that a channel that is lost is claimed up to its last evidence, and no evidence of a lost subscription
counts for the next one.

``until`` moves back only if it lies in the future. The clock of a process never goes back (see ``runtime.clock``), but
the clock of an earlier process may have been ahead of it. Where its coverage ended on the new clock is unknown. So at
the first subscription all of it is withdrawn, and one gap spans it.

All transitions are here; ``coverage_table`` loads a value, applies one transition and saves the result in the writer's
transaction. Times are in microseconds UTC.
"""

from typing import Final

import msgspec

MARGIN_US: Final = 1_000_000
"""The exchange sends an event at most so long after its time. OKX collects events of ``account`` for some 50 ms (OKX
docs: trading-account-websocket-account-channel); the rest is for a busy exchange, and for the drift between two
measurements of its clock."""
FUTURE_US: Final = 10_000_000
"""Coverage that ends further ahead than this was recorded by a clock that was ahead. Less may be right: it begins at
the latest time that the exchange's clock can have shown, which is ahead by at most the 5 s of a measurement."""
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
        """The exchange acknowledged the subscription before ``at``: the channel is live, and its gap ends there."""
        since, until, pushed_at = self.since, self.until, self.last_push_at
        gaps: tuple[Gap, ...] = ()
        if gap := self.gap or self._unproved(at):
            if until > at + FUTURE_US:
                reason = f"{gap.reason}; the clock was ahead before"
                gap = _replace(gap, since=min(gap.since, since, at - _DAY_US), reason=reason)
                since, until = min(since, at), at
            gaps = (_replace(gap, until=max(gap.since, at)),)
            pushed_at = pushed_at and min(pushed_at, at)
        new = _replace(self, since=since, until=max(until, at), live=True, last_push_at=pushed_at, gap=None)
        return Change(_replace(new, connection_id=connection_id), gaps)

    def _unproved(self, at: int) -> Gap | None:
        """Return what is not proved of a channel that has no gap at the front, up to a new subscription."""
        if self.live:
            return Gap(self.until, None, "subscribed anew") if self.until < at else None
        return Gap(self.until, None, "not subscribed") if self.until != at else None

    def rejected(self, reason: str) -> Change:
        """The exchange rejected a subscription; another connection may still hold the channel."""
        if self.live:
            return Change(self)
        return self._down(_replace(self.gap or Gap(self.until, None, reason), note=reason))

    def pushed(self, at: int) -> "Coverage":
        """A push was received. It proves nothing."""
        return _replace(self, last_push_at=at)

    def answered(self, pinged_at: int) -> "Coverage":
        """The connection answered the ping sent at ``pinged_at``. Only for channels that REST cannot verify."""
        return self._proved(pinged_at - MARGIN_US)

    def snapshot(self, sent_after: int) -> "Coverage":
        """A complete snapshot is stored, which the exchange sent after ``sent_after``."""
        return self._proved(sent_after - MARGIN_US)

    def verified(self, at: int) -> "Coverage":
        """A REST check has stored everything that happened before ``at``; what it cannot store is an ended gap."""
        return self._proved(at)

    def _proved(self, at: int) -> "Coverage":
        return _replace(self, until=max(self.until, at)) if self.live else self

    def lost(self, reason: str) -> Change:
        """The channel is no longer live: a gap opens where its coverage ended."""
        return self._down(Gap(self.until, None, reason)) if self.live else Change(self)

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
