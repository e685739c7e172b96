"""What crosses the one memory channel from the feed to the writer.

Each is a small message of facts, cheap to make and to encode; the writer turns them into rows. Frames travel raw: they
are decoded once, where they are stored. Local times (``at``, ``received_at``) are integer microseconds UTC.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Final, TypeAlias

import msgspec

MARKET = "market"
"""The listener's name of the public connection, beside the accounts' names."""


class Frames(msgspec.Struct, tag=True, array_like=True):
    """Frames of one connection in the order received, each with the time it was received at.

    ``socket`` tells the sockets apart that the connection has at once while one takes over from another.
    """

    connection_id: int
    listener: str
    frames: list[tuple[int, str]]
    socket: int = 0


class Padding(msgspec.Struct, tag=True, array_like=True):
    """Says nothing, and takes a place in the channel for a message that is large: see ``padding``."""


class Pong(msgspec.Struct, tag=True, array_like=True):
    """The peer answered a ping: all that it sent before this moment has arrived."""

    connection_id: int
    listener: str
    at: int
    rtt_us: int


DROPPED: Final = "dropped: "
"""How ``Phase.last_error`` of a live connection begins while the exchange has dropped one of its channels."""


class Phase(msgspec.Struct, tag=True, array_like=True):
    """A connection's row in the register, as it stands now.

    ``last_error`` of a live connection is why its last session ended, unless it begins with ``DROPPED``.
    """

    connection_id: int
    listener: str
    account: str | None
    endpoint: str
    url: str
    site: str
    demo: bool
    requires_auth: bool
    phase: str
    since_at: int
    reconnects: int
    conn_id: str | None
    last_error: str | None
    next_attempt_at: int | None


class ConnectionRemoved(msgspec.Struct, tag=True, array_like=True):
    """A connection is no longer configured: its row leaves the register, its coverage stays."""

    connection_id: int
    listener: str
    at: int


class Subscribed(msgspec.Struct, tag=True, array_like=True):
    """The exchange acknowledged these channels at ``at``: each is covered from here on, and its gap ends here.

    What was ``initial_us`` before a channel's very first subscription is a gap as well, to be filled over REST.
    """

    connection_id: int
    listener: str
    channels: list[str]
    at: int
    initial_us: int = 0


class SubscriptionRefused(msgspec.Struct, tag=True, array_like=True):
    """The exchange refuses these channels, though their connection lives: from ``at`` on they are a gap.

    Of a channel that was never subscribed, so is what was ``initial_us`` before.
    """

    connection_id: int
    listener: str
    channels: list[str]
    at: int
    reason: str
    initial_us: int = 0


class WantedChannels(msgspec.Struct, tag=True, array_like=True):
    """All channels that the settings ask for, each with its listener: what others miss, nobody misses."""

    channels: list[tuple[str, str]]


class Lost(msgspec.Struct, tag=True, array_like=True):
    """These channels are live no more: a gap opens at the end of what was covered, at ``at`` at the latest.

    Where pushes are known to be missing, what came after ``verified_until`` counts as covered no more.
    """

    connection_id: int
    listener: str
    channels: list[str]
    at: int
    reason: str
    verified_until: int | None = None


class Verified(msgspec.Struct, tag=True, array_like=True):
    """REST was asked about a live channel, and knew nothing up to ``at`` that was not pushed."""

    listener: str
    channel: str
    at: int


class Unverified(msgspec.Struct, tag=True, array_like=True):
    """REST could not be asked about a live channel: nothing but what it says itself proves it up to ``at``."""

    listener: str
    channel: str
    at: int
    why: str


class ConfiguredAccount(msgspec.Struct, tag=True, array_like=True):
    """An account as configured, and what ``account/config`` said of it once asked (``config`` is that JSON row)."""

    name: str
    site: str
    demo: bool
    at: int
    config: str | None


class AccountRemoved(msgspec.Struct, tag=True, array_like=True):
    """The account is no longer configured."""

    name: str
    at: int


class Rows(msgspec.Struct, tag=True, array_like=True):
    """Rows of one REST reply (a JSON array as text), of the record that ``channel`` names, for one account or site.

    What they say was true at ``as_of_ms`` or later, by the exchange's clock (0: nobody knows). If they are the
    ``complete`` state, what they do not name was not there then.
    """

    listener: str
    channel: str
    rows: str
    at: int
    as_of_ms: int = 0
    complete: bool = False


class OrdersNotFound(msgspec.Struct, tag=True, array_like=True):
    """REST was asked for orders by their ids, and knew none of them as of ``as_of_ms`` by the exchange's clock."""

    listener: str
    channel: str
    ids: list[str]
    at: int
    as_of_ms: int


class GapResult(msgspec.Struct, tag=True, array_like=True):
    """REST was asked for a gap: ``outcome`` is filled or partial, or None if some part failed (``note`` says why)."""

    gap_id: int
    at: int
    outcome: str | None
    rows: int
    note: str | None


class ClockSetBack(msgspec.Struct, tag=True, array_like=True):
    """This machine's clock was set back while we ran: times of what is live move with it."""

    by_us: int


class Note(msgspec.Struct, tag=True, array_like=True):
    """A line of the journal: what an operator should be able to read afterwards."""

    at: int
    level: str
    account: str | None
    event: str
    detail: str


class Retention(msgspec.Struct, tag=True, array_like=True):
    """How much of the raw log is kept: its age in seconds, its size in bytes; None: no limit."""

    keep_s: int | None
    max_bytes: int | None


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One run of the daemon. Only ``id`` identifies it: in a container each run has the same pid."""

    id: int
    started_at: int
    version: str
    host: str
    pid: int


class Heartbeat(msgspec.Struct, tag=True, array_like=True):
    """The run is alive at ``at``, with ``queue`` messages waiting; or it stopped. The first one begins the run."""

    run: Run
    at: int
    queue: int
    stopped_at: int | None = None
    exit: int | None = None


Message: TypeAlias = (
    Frames
    | Padding
    | Pong
    | Phase
    | ConnectionRemoved
    | Subscribed
    | SubscriptionRefused
    | WantedChannels
    | Lost
    | Verified
    | Unverified
    | ConfiguredAccount
    | AccountRemoved
    | Rows
    | OrdersNotFound
    | GapResult
    | ClockSetBack
    | Note
    | Retention
    | Heartbeat
)

PLACE_BYTES: Final = 32 * 1024
"""What a place in the channel may hold; hardly any frame is larger."""


def padding(size: int) -> Iterator[Padding]:
    """Return what goes into the channel before a message of so many characters.

    The channel, and the writer's batches, are bounded in messages. A message takes a place for each ``PLACE_BYTES``,
    so both are bounded in bytes too, and what pushes back is the channel as ever.
    """
    return repeat(_PADDING, size // PLACE_BYTES)


_PADDING: Final = Padding()
