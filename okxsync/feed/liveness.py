"""Whether the peer of one socket is alive, and up to which time it is proven that everything was read. No I/O.

OKX closes a connection after 30 s without data, and asks clients to send the text ``ping`` before that and to expect
``pong`` (OKX docs: overview-websocket-connect). The peer answers in order. So a pong proves that everything which the
peer sent before it received the ping has been read. Four facts follow from what is sent and read:

    silence     no frame for ``ANSWER_S`` after a beat (a ping on the fixed schedule): the connection has failed.
                Any frame counts as an answer, and only a frame that is read after the ping.
    stall       we waited for room in our own channel: then silence is not the peer's. After more than ``STALL_S``,
                what is read next may have arrived at any time since the stall began.
    behind      from the end of such a stall until a pong to a ping that was sent after it. Frames are stamped with the
                earliest time at which they can have arrived:

                    event                                   stamp of the frames that follow
                    -------------------------------------   ---------------------------------------------------
                    a stall ends                            the beginning of the (first) stall
                    pong to a ping from before its end      the time of that ping, if it is later
                    pong to a ping from after its end       the time of reading: we have caught up

    suspension  the machine or the process was suspended: far more time than a beat has passed on a clock that keeps
                running during a suspend. It is over when a ping that was sent since is answered.

A pong proves the time up to its own ping and not more, however late it is read. A frame was sent after the last ping
whose pong was read before it, and nothing more is known of when it was sent. Both times are lower bounds on the
exchange's clock, whatever the delay each way (see ``store.coverage``).
"""

import math
from typing import Final, NamedTuple

import trio

from okxsync.runtime.clock import earliest_us, steady_s

PING_S: Final = 5.0
"""The interval of beats, and so of coverage. OKX closes after 30 s of silence."""
ANSWER_S: Final = 10.0
"""A frame must be read within this time after a beat, or the connection has failed."""
STALL_S: Final = 1.0
"""A longer wait for our own channel is a stall. A shorter one is within the overlap with which gaps are filled."""


class Moment(NamedTuple):
    """One moment on the three clocks that matter here."""

    local_us: int  # microseconds UTC, never going back: the exchange's clock shows at least this
    s: float  # trio's clock, which can stop during a suspend
    steady_s: float  # a clock that keeps running during a suspend, and that cannot be set


class Proof(NamedTuple):
    """A ping was answered: everything that the peer sent before ``at`` has been read."""

    at: int  # microseconds UTC, by ``Moment.local_us``
    rtt_us: int


class Liveness:
    """Pings in flight, silence, stalls and suspension of one session."""

    def __init__(self) -> None:
        self._pings: list[Moment] = []  # unanswered, oldest first; rarely two, and an empty deque takes 0.6 KB
        self._sent = 0  # pings
        self._beat: Moment | None = None  # the last ping on schedule
        self._received = False  # a frame, since the last beat
        self._stall: Moment | None = None  # the beginning of a wait that has not ended
        self._stalled_until = -math.inf  # trio's clock
        self._behind_us: int | None = None  # local time: the stamp of frames while we are behind
        self._suspended_s = 0.0
        self.answered_us = 0
        """When the last ping that was answered was sent, by ``Moment.local_us``; 0 for never."""

    @property
    def next_beat_s(self) -> float:
        """The earliest time of the next beat, in seconds of trio's clock; until then ``is_beat_due`` is false."""
        return -math.inf if self._beat is None else self._beat.s + PING_S

    def is_beat_due(self, now: Moment) -> bool:
        """Return whether a beat is due: never while the answer to the last one may still come."""
        if self._beat is None:
            return True
        since_s = now.s - self._beat.s
        return since_s >= ANSWER_S or (self._received and since_s >= PING_S)

    def on_beat(self, now: Moment) -> float:
        """Begin a beat; a ping must be sent now. Return when the answer is due, in seconds of trio's clock."""
        self._suspended_s = self.suspended_s(now)
        self._beat = now
        self._received = False
        return now.s + ANSWER_S

    def on_ping(self, now: Moment) -> int:
        """A ping is being sent. Return its number, for ``is_answered``."""
        self._pings.append(now)
        self._sent += 1
        return self._sent

    def is_answered(self, number: int) -> bool:
        """Return whether the peer has answered this ping: everything that it sent before has then been read."""
        return number <= self._sent - len(self._pings)

    def on_frame(self) -> None:
        """A frame was read, of whatever kind."""
        self._received = True

    def stamp(self, local_us: int) -> int:
        """Return the earliest time at which a frame that is read at ``local_us`` can have arrived."""
        return local_us if self._behind_us is None else self._behind_us

    def on_pong(self, now: Moment) -> Proof | None:
        """A pong was read. Return what it proves: nothing if no ping is in flight."""
        if not self._pings:
            return None
        ping = self._pings.pop(0)
        self.answered_us = ping.local_us
        if self._beat is None or ping.local_us >= self._beat.local_us:
            self._suspended_s = 0.0
        if self._behind_us is not None:
            self._behind_us = max(self._behind_us, ping.local_us) if ping.s < self._stalled_until else None
        return Proof(ping.local_us, round((now.s - ping.s) * 1e6))

    def on_stall(self, now: Moment) -> None:
        """Our own channel is full: we wait, and read nothing."""
        self._stall = now

    def on_resume(self, now: Moment) -> bool:
        """The wait has ended. Return whether it was a stall: a ping must be sent now, to find out when we catch up."""
        began, self._stall = self._stall, None
        if began is None or now.s - began.s <= STALL_S:
            return False
        self._stalled_until = now.s
        if self._behind_us is None:
            self._behind_us = began.local_us
        return True

    def verdict(self, now: Moment) -> str | None:
        """Return why the connection has failed, or None while nothing says so."""
        overdue = self._beat is not None and now.s >= self._beat.s + ANSWER_S
        if overdue and not self._received and self._stall is None:
            return f"silent: no frame within {ANSWER_S:.0f} s after a ping"
        return None

    def suspended_s(self, now: Moment) -> float:
        """Return for how long we were suspended, in seconds; 0 if a ping was answered since."""
        since_beat_s = now.steady_s - self._beat.steady_s if self._beat else 0.0
        return since_beat_s if since_beat_s > PING_S + ANSWER_S else self._suspended_s


def now() -> Moment:
    """Return the present moment."""
    return Moment(earliest_us(), trio.current_time(), steady_s())
