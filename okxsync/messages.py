"""The messages that the other parts send to the writer through one queue (``runtime.outbox``).

Each is small, and cheap to make and to encode; the writer turns it into rows. Frames are sent raw, because the writer
decodes each once. Local times (``at``, ``received_at``) are integer microseconds UTC.
"""

from typing import Final, TypeAlias

import msgspec

MARKET = "market"
"""The listener's name of the public connection, beside the accounts' names."""


class Frames(msgspec.Struct, tag=True, array_like=True):
    """Frames of one connection in the order received, each with its time of receipt.

    ``socket`` identifies the socket: a connection has two while a successor takes over. The peer sent the frames after
    ``sent_after``, for it had answered a ping of that time on the same socket before (0: none).
    """

    connection_id: int
    listener: str
    frames: list[tuple[int, str]]
    socket: int = 0
    sent_after: int = 0


class Pong(msgspec.Struct, tag=True, array_like=True):
    """The peer answered a ping: all that it sent before ``at`` has arrived.

    ``at`` is the earliest time that the exchange's clock can have shown when the ping was sent.
    """

    connection_id: int
    listener: str
    at: int
    rtt_us: int


DROPPED: Final = "dropped: "
REJECTED: Final = "rejected: "
CHANNEL_PROBLEMS: Final = (DROPPED, REJECTED)
"""How ``Phase.last_error`` of a live connection begins while the exchange refuses one of its channels: it has dropped
the subscription, or rejected the request."""


class Phase(msgspec.Struct, tag=True, array_like=True):
    """The current row of a connection.

    ``last_error`` of a live connection is why its last session ended, unless it begins with one of
    ``CHANNEL_PROBLEMS``.
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
    """A connection is no longer configured: its row is deleted, the coverage of its channels is kept."""

    connection_id: int
    listener: str
    at: int


class Subscribed(msgspec.Struct, tag=True, array_like=True):
    """The exchange acknowledged these channels before ``at``: each is covered since then, and its gap ends there.

    ``at`` is the latest time that the exchange's clock can have shown when the acknowledgement was read. The
    ``initial_us`` before a channel's very first subscription are a gap too, which REST backfills.
    """

    connection_id: int
    listener: str
    channels: list[str]
    at: int
    initial_us: int = 0


class SubscriptionRefused(msgspec.Struct, tag=True, array_like=True):
    """The exchange rejected the subscriptions to these channels on a live connection: they are a gap.

    The gap of a channel that was never subscribed begins ``initial_us`` before ``at``.
    """

    connection_id: int
    listener: str
    channels: list[str]
    at: int
    reason: str
    initial_us: int = 0


class WantedChannels(msgspec.Struct, tag=True, array_like=True):
    """All configured channels, each with its listener. Gaps of channels that are not listed do not count."""

    channels: list[tuple[str, str]]


class Lost(msgspec.Struct, tag=True, array_like=True):
    """These channels are no longer live: a gap opens where their coverage ended."""

    connection_id: int
    listener: str
    channels: list[str]
    at: int
    reason: str


class Verified(msgspec.Struct, tag=True, array_like=True):
    """A REST check of a live channel found nothing missing up to ``at``, except rows that cannot be stored.

    ``unstored`` names such rows. When they happened is not known, so all since the previous check is an ended gap.
    """

    listener: str
    channel: str
    at: int
    unstored: str | None = None


class Unverified(msgspec.Struct, tag=True, array_like=True):
    """REST was unavailable, so a live channel could not be verified up to ``at``."""

    listener: str
    channel: str
    at: int
    why: str


class ConfiguredAccount(msgspec.Struct, tag=True, array_like=True):
    """An account as configured. ``config`` is the JSON row of ``account/config``; None until it is known."""

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

    The rows were true at ``as_of_ms`` or later, on the exchange's clock (0: unknown). If they are the ``complete``
    state, anything that they do not list did not exist then.
    """

    listener: str
    channel: str
    rows: str
    at: int
    as_of_ms: int = 0
    complete: bool = False


class OrdersNotFound(msgspec.Struct, tag=True, array_like=True):
    """REST queries by id found none of these orders as of ``as_of_ms`` on the exchange's clock."""

    listener: str
    channel: str
    ids: list[str]
    at: int
    as_of_ms: int


class GapResult(msgspec.Struct, tag=True, array_like=True):
    """A gap was backfilled: ``outcome`` is filled or partial, or None if a request failed (``note`` says why)."""

    gap_id: int
    at: int
    outcome: str | None
    rows: int
    note: str | None


class Fetched(msgspec.Struct, tag=True, array_like=True):
    """All rows of ``subject`` in a window of time (the exchange's milliseconds) were fetched over REST and sent."""

    listener: str
    subject: str
    since_ms: int
    until_ms: int


class ClockOffset(msgspec.Struct, tag=True, array_like=True):
    """How far the sender's clock, by which all times here are recorded, is ahead of the machine's two clocks.

    The writer follows it on the steady clock. Readers in other processes follow it on the wall clock.
    """

    to_steady_ns: int
    to_wall_us: int


class Note(msgspec.Struct, tag=True, array_like=True):
    """A row of the journal: an event that an operator may read later."""

    at: int
    level: str
    account: str | None
    event: str
    detail: str


class Retention(msgspec.Struct, tag=True, array_like=True):
    """How much of the raw log is kept: age in seconds, size in bytes; None: no limit."""

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


class PlanChildState(msgspec.Struct, array_like=True):
    """The columns of ``plan_orders`` that change after the preview."""

    child: int
    state: str
    reason: str | None
    detail: str | None
    attempts: int
    ord_id: str | None
    doubled: int
    acc_fill_sz: str | None
    avg_px: str | None
    fee: str | None
    ended_at: int | None
    filled_usd: str | None = None
    unprotected: int = 0


class PlanAttempt(msgspec.Struct, array_like=True):
    """A row of ``plan_attempts``. Without a verdict it is an intent: the order may be sent."""

    child: int
    attempt: int
    transport: str
    request: str
    exp_time: int
    armed_at: int
    sent_at: int | None = None
    replied_at: int | None = None
    http_status: int | None = None
    code: str | None = None
    s_code: str | None = None
    sub_code: str | None = None
    s_msg: str | None = None
    in_time: str | None = None
    out_time: str | None = None
    verdict: str | None = None
    proof: str | None = None


class PlanCancel(msgspec.Struct, array_like=True):
    """A row of ``plan_cancels``: a request that cancels an order of a plan, or what is attached to it."""

    child: int
    action: str
    attempt: int
    transport: str
    request: str
    sent_at: int
    replied_at: int
    verdict: str
    http_status: int | None = None
    code: str | None = None
    s_code: str | None = None
    sub_code: str | None = None
    s_msg: str | None = None
    in_time: str | None = None
    out_time: str | None = None


class PlanMisfire(msgspec.Struct, array_like=True):
    """A row of ``misfires``: an order that was not sent, why, and what was known of the account's connection."""

    at: int
    child: int
    account: str
    reason: str
    detail: str
    phase: str | None = None
    last_message_at: int | None = None
    covered_until: int | None = None
    clock_error_ms: int | None = None


class PlanPreviewed(msgspec.Struct, tag=True, array_like=True):
    """A new plan with its preview: a row of ``plans`` and those of ``plan_orders``, as columns by name."""

    plan: dict[str, str | int | None]
    orders: list[dict[str, str | int | None]]


class PlanProgress(msgspec.Struct, tag=True, array_like=True):
    """What has changed in a plan.

    If ``receipt`` is not 0, the transaction is on disk, and not only in the operating system's cache, when the writer
    acknowledges it with that number (``Written.receipts``). ``plan`` has the columns of ``plans`` that change.
    """

    plan_id: str
    orders: list[PlanChildState]
    attempts: list[PlanAttempt]
    misfires: list[PlanMisfire]
    plan: dict[str, str | int | None] = {}
    receipt: int = 0
    cancels: list[PlanCancel] = []


class PlanAnswer(msgspec.Struct, tag=True, array_like=True):
    """The answer to a row of ``requests``; the first one counts."""

    request_id: int
    at: int
    outcome: str
    detail: str


class Halted(msgspec.Struct, tag=True, array_like=True):
    """Trading was halted, unless it is."""

    at: int
    by: str
    reason: str


class Resumed(msgspec.Struct, tag=True, array_like=True):
    """Trading is no longer halted."""

    at: int
    by: str


Message: TypeAlias = (
    Frames
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
    | Fetched
    | ClockOffset
    | Note
    | Retention
    | Heartbeat
    | PlanPreviewed
    | PlanProgress
    | PlanAnswer
    | Halted
    | Resumed
)
