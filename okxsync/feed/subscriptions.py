"""Which channels of one session were requested, and what the exchange said about each. No I/O.

A subscribe request names several channels. The exchange answers with one ``subscribe`` event for each channel that it
accepts, and with ``error`` events for the others; in practice these may name neither channel nor request (OKX docs:
overview-websocket-subscribe). It allows a limited number of connections of an account for each channel. A subscription
over the limit is acknowledged first, and then dropped by ``channel-conn-count-error``, while its connection lives
(OKX docs: overview-websocket-connection-count-limit). Each channel is in one state:

    state       begins with                                  is left by
    ---------   ------------------------------------------   ------------------------------------------------------
    WANTED      the session                                  its request -> REQUESTED
    REQUESTED   its request                                  acknowledgement -> LIVE; ``settle`` -> REJECTED
    LIVE        its acknowledgement, and nothing else        channel-conn-count-error -> DROPPED; ``give_up`` -> LOST
    DROPPED     channel-conn-count-error                     acknowledgement of a retry -> LIVE
    REJECTED    an error that is about this channel alone    acknowledgement, late or of a retry -> LIVE
    LOST        the connection: pushes are missing, or the   the end of the session, which follows at once
                successor has taken over

Rules:

1. A session does not end because of one channel: it ends when no channel is live, or if the exchange answers a request
   neither with an acknowledgement nor with an error for each channel.
2. Errors of a first request that are about a channel (``Action.FIX``, or a code that is not listed) are collected, and
   assigned to channels once every channel is either acknowledged or outnumbered by errors (``settle``): a new code for
   one channel must not keep the others down. Any other error ends the session.
3. Dropped and rejected channels are requested again after long pauses: a retry may drop the channel of another
   connection. An error that answers a retry changes nothing.
4. The session of a successor (see ``connection``) reports nothing as covered until it has taken over
   (``start_counting``): until then the older session covers the channels.

Every method that handles an event returns an ``Outcome``: what to report to the writer, and whether the session ends.
Local times (``at``) are integer microseconds UTC; ``now`` is in seconds of trio's clock.
"""

from collections.abc import Collection, Sequence
from enum import Enum, auto
from itertools import product
from typing import Final, NamedTuple

from okxsync import events
from okxsync.feed.notes import SessionNotes
from okxsync.feed.spec import ConnectionSpec, Disconnected
from okxsync.messages import Lost, Message, Subscribed, SubscriptionRefused
from okxsync.okx.channels import Subscription
from okxsync.okx.codes import CODES, Action, meaning_of
from okxsync.okx.control import Event, SubscribeRequest, subscribe_requests
from okxsync.runtime.text import sanitize

SUBSCRIBE_S: Final = 10.0
"""A subscribe request must be answered completely within this time."""


class State(Enum):
    """Of one channel in one session; the module's docstring has the transitions."""

    WANTED = auto()
    REQUESTED = auto()
    LIVE = auto()
    DROPPED = auto()
    REJECTED = auto()
    LOST = auto()


class Outcome(NamedTuple):
    """What follows from an event: ``reports`` go to the writer; then the session ends if ``end`` is given."""

    reports: Sequence[Message] = ()
    end: Disconnected | None = None


class Subscriptions:
    """The subscriptions of one session.

    Args:
        connection_id: The connection's id in the register.
        spec: The connection's settings.
        notes: The journal entries of the session.
        initial_us: How far back a channel is backfilled that was never subscribed before.
        succeeds: Another session of this connection is live, and covers the channels for now.
    """

    def __init__(
        self,
        connection_id: int,
        spec: ConnectionSpec,
        notes: SessionNotes,
        initial_us: int = 0,
        succeeds: bool = False,
    ) -> None:
        self._connection_id = connection_id
        self._listener = spec.listener
        self._notes = notes
        self._initial_us = initial_us
        self._by_key = {one.key: one for one in spec.subscriptions}
        self._states = dict.fromkeys(self._by_key, State.WANTED)  # in the order of the last change
        self._own_counts = ("1", "2") if succeeds else ("1",)  # connections per channel, while all are ours
        self._uncounted: dict[str, Subscribed] | None = {} if succeeds else None  # reports of a successor
        self._pending: SubscribeRequest | None = None  # the first request that is being answered
        self._errors: list[Event] = []  # that answer it
        self._may_pass = False  # a channel was rejected by a code that is not listed
        self._retries: dict[str, float] = {}  # ids of the last retries: when their answers are due
        self._next_id = 1
        self._reasons: dict[str, str] = {}  # of the dropped and rejected channels

    # State

    @property
    def live(self) -> list[str]:
        """The keys of the live channels, in the order of their acknowledgements."""
        return [key for key, state in self._states.items() if state is State.LIVE]

    @property
    def counting(self) -> bool:
        """Whether live channels are reported as covered."""
        return self._uncounted is None

    @property
    def dropped(self) -> list[str]:
        """Why channels are dropped at present."""
        return self._reasons_of(State.DROPPED)

    @property
    def rejected(self) -> list[str]:
        """Why channels are rejected at present."""
        return self._reasons_of(State.REJECTED)

    # Requests

    def requests(self) -> list[SubscribeRequest]:
        """Return the first requests. Announce each with ``expect``, send it, feed its answers, and ``settle`` it."""
        return self._numbered(list(self._by_key.values()))

    def expect(self, request: SubscribeRequest) -> None:
        """``request`` is being sent."""
        self._pending, self._errors = request, []
        for one in request.subscriptions:
            self._move(one.key, State.REQUESTED)

    @property
    def incomplete(self) -> bool:
        """Whether answers to the pending request are missing."""
        return len(self._in(State.REQUESTED)) > len(self._errors)

    def settle(self, at: int) -> Outcome:
        """The pending request is answered, or its time is over."""
        unanswered, errors = self._in(State.REQUESTED), self._errors
        self._pending, self._errors = None, []
        if len(unanswered) > len(errors):
            keys = ", ".join(one.key for one in unanswered)
            but = "".join(f"; {rejection('but', error)}" for error in errors)
            return Outcome(
                end=Disconnected(f"subscribe: no acknowledgement within {SUBSCRIBE_S:.0f} s for {keys}{but}")
            )
        reports: list[Message] = []
        for one, error in _match_errors(unanswered, errors):
            self._may_pass |= not _is_listed(error)
            reason = str(rejection(f"subscribe {one.key}", error))
            self._move(one.key, State.REJECTED, reason)
            reports += [
                SubscriptionRefused(self._connection_id, self._listener, [one.key], at, reason, self._initial_us),
                self._notes.note(events.CHANNEL_REJECTED, reason, at),
            ]
        return Outcome(reports)

    def finish(self) -> Outcome:
        """All first requests are settled."""
        if self.live:
            return Outcome()
        # An error need not name its channel. One that was about something else must not stop an account.
        action = Action.RETRY if self._may_pass else Action.PERSIST
        return Outcome(end=Disconnected("no channel is left", Action.SLOW if self._in(State.DROPPED) else action))

    def retry(self, now: float) -> list[SubscribeRequest]:
        """Return the requests to send now for all that is dropped or rejected."""
        requests = self._numbered(self._in(State.DROPPED, State.REJECTED))
        self._retries = {request.id: now + SUBSCRIBE_S for request in requests}
        return requests

    # Events

    def on_ack(self, event: Event, at: int) -> Outcome:
        """A ``subscribe`` event: the channel is live. It repeats the argument of the request, maybe with more keys."""
        candidates = [*self._in(State.REQUESTED), *self._in(State.DROPPED, State.REJECTED)]
        named = [one for one in candidates if event.names(one)]
        if not named:
            return Outcome()
        key = max(named, key=lambda one: len(one.arg)).key  # {channel, ccy} repeats {channel} too
        self._move(key, State.LIVE)
        subscribed = Subscribed(self._connection_id, self._listener, [key], at, self._initial_us)
        if self._uncounted is None:
            return Outcome([subscribed])
        self._uncounted[key] = subscribed
        return Outcome()

    def on_error(self, event: Event, now: float) -> Outcome:
        """An ``error`` event that does not answer the login."""
        action = meaning_of(event.code).action
        if action is Action.IGNORE:
            return Outcome()
        is_about_channel = action is Action.FIX or not _is_listed(event)
        if self._pending and event.id in (self._pending.id, None, ""):
            if not is_about_channel:
                return Outcome(end=rejection("subscribe", event))
            self._errors.append(event)
            return Outcome()
        if is_about_channel and self._answers_retry(event, now):
            return Outcome()
        if action is Action.FIX:  # our requests were valid when they were sent: the next session finds out what is not
            action = Action.RETRY
        return Outcome(end=Disconnected(str(rejection("error frame", event)), action))

    def on_conn_count(self, event: Event, at: int) -> Outcome:
        """A ``channel-conn-count`` event: so many connections of the account are subscribed to a channel."""
        if str(event.conn_count) in self._own_counts:
            return Outcome()
        channel = sanitize(event.named_channel)
        detail = f"{sanitize(event.conn_count)} connections of this account are subscribed to {channel}"
        return Outcome(self._notes.once(events.CHANNEL_CONN_COUNT, channel, detail, at))

    def on_conn_count_error(self, event: Event, at: int) -> Outcome:
        """A ``channel-conn-count-error`` event: the subscriptions to one channel are dropped, the others are not."""
        if event.named_channel is None:  # any of them may have been dropped
            return Outcome(end=Disconnected("a channel that is not named is over the connection limit", Action.SLOW))
        channel = sanitize(event.named_channel)
        reason = f"{channel}: over the connection limit ({sanitize(event.conn_count)} connections of this account)"
        keys = [key for key in self.live if self._by_key[key].channel == event.named_channel]
        for key in keys:
            self._move(key, State.DROPPED, reason)
        reports: list[Message] = []
        if keys and self.counting:
            reports.append(Lost(self._connection_id, self._listener, keys, at, reason))
        if not self.live and not self._in(State.REQUESTED):
            return Outcome(reports, Disconnected(reason, Action.SLOW))
        if keys:
            reports.append(self._notes.note(events.CHANNEL_CONN_COUNT_ERROR, reason, at))
        else:  # it may be repeated for a channel that is not live any more, or not yet
            reports += self._notes.once(events.CHANNEL_CONN_COUNT_ERROR, channel, reason, at)
        return Outcome(reports)

    # Succession

    def start_counting(self, covered: Collection[str]) -> Outcome:
        """The session has taken over.

        Args:
            covered: Keys of the channels that the older session covered up to now. Their coverage continues; that of
                the other live channels begins with their acknowledgements.
        """
        uncounted, self._uncounted = self._uncounted or {}, None
        live = self.live
        return Outcome([one for key, one in uncounted.items() if key in live and key not in covered])

    def give_up(self, keys: Collection[str]) -> None:
        """The connection has reported these channels as lost, or its successor covers them."""
        for key in keys:
            self._move(key, State.LOST)

    def _in(self, *states: State) -> list[Subscription]:
        return [self._by_key[key] for key, state in self._states.items() if state in states]

    def _move(self, key: str, state: State, reason: str = "") -> None:
        del self._states[key]
        self._states[key] = state
        self._reasons[key] = reason

    def _reasons_of(self, state: State) -> list[str]:
        return list(dict.fromkeys(self._reasons[one.key] for one in self._in(state)))

    def _numbered(self, subscriptions: Sequence[Subscription]) -> list[SubscribeRequest]:
        requests = list(subscribe_requests(subscriptions, self._next_id))
        self._next_id += len(requests)
        return requests

    def _answers_retry(self, event: Event, now: float) -> bool:
        if event.id:
            return event.id in self._retries
        return any(now < due for due in self._retries.values())


def _is_listed(event: Event) -> bool:
    return str(event.code) in CODES


def rejection(what: str, event: Event) -> Disconnected:
    """Return what an error event means, with its code, our explanation and OKX's words."""
    meaning = meaning_of(event.code)
    hint = f"; {meaning.hint}" if meaning.hint else ""
    return Disconnected(f"{what}: {sanitize(event.code)} {meaning.text} ({sanitize(event.msg)}){hint}", meaning.action)


def _match_errors(unanswered: Sequence[Subscription], errors: Sequence[Event]) -> list[tuple[Subscription, Event]]:
    """Assign one error to each channel, the most similar pairs first.

    In practice an error names no argument, but its text may repeat the values of one. There are at least as many
    errors as channels.
    """

    def similarity(pair: tuple[Subscription, Event]) -> int:
        one, error = pair
        if error.names(one):
            return 1000
        return sum(len(value) for value in one.arg.values() if value in (error.msg or ""))

    matched: dict[str, tuple[Subscription, Event]] = {}
    used: set[int] = set()
    for one, error in sorted(product(unanswered, errors), key=similarity, reverse=True):
        if one.key not in matched and id(error) not in used:
            matched[one.key] = one, error
            used.add(id(error))
    return list(matched.values())
