"""Every event that the journal may hold: its level, what it means, and what an operator can do about it.

The table of journal events in ``docs/troubleshooting.md`` is made from this one.
"""

from typing import Final

import msgspec

from okxsync.messages import Note

INFO: Final = "info"
WARNING: Final = "warning"
ERROR: Final = "error"
NONE: Final = "nothing"
"""No action is needed."""


class Event(msgspec.Struct, frozen=True):
    """One kind of journal entry.

    Attributes:
        name: The column ``event`` of the journal.
        level: ``info``, ``warning`` or ``error``.
        meaning: What has happened.
        remedy: What to do.
        anomaly: Whether it is counted in ``anomalies`` too, and journalled only the first time.
    """

    name: str
    level: str
    meaning: str
    remedy: str = NONE
    anomaly: bool = False

    def note(self, at: int, account: str | None, detail: str) -> Note:
        """Return the journal entry; ``at`` is local time in microseconds UTC."""
        return Note(at, self.level, account, self.name, detail)


# Connections

DISCONNECTED: Final = Event(
    "disconnected",
    WARNING,
    "a connection ended; it reconnects by itself, and the gap is backfilled",
    "nothing; if it lasts, see `okxsync log --since 10m` and OKX's status page",
)
STOPPED: Final = Event(
    "stopped",
    ERROR,
    "a connection was given up: the key was rejected or cannot be read; it is retried every 30 minutes",
    "fix accounts.toml or the key; changes are picked up within two seconds",
)
NOTICE: Final = Event(
    "notice",
    WARNING,
    "OKX sent a notice. 64008: it will close the connection within a minute; a second one is live before that",
)
CHANNEL_REJECTED: Final = Event(
    "channel-rejected",
    ERROR,
    "OKX rejected the subscription to one channel: an open gap; it is retried every few minutes",
    "see the gap's `note`, or remove the channel from `channels`",
)
CHANNEL_CONN_COUNT: Final = Event(
    "channel-conn-count",
    WARNING,
    "another program is subscribed with the same account",
    "nothing below OKX's limit of 30 connections per account and channel (20 for some channels)",
)
CHANNEL_CONN_COUNT_ERROR: Final = Event(
    "channel-conn-count-error",
    ERROR,
    "OKX dropped a channel: too many connections of the account hold it",
    "stop other programs that use the account",
)

# Accounts

ACCOUNT_CONFIG_FAILED: Final = Event(
    "account-config-failed",
    WARNING,
    "`account/config` failed, so it is not known yet which OKX account the key belongs to",
    "see the detail; it is retried",
)
DUPLICATE_ACCOUNT: Final = Event(
    "duplicate-account",
    ERROR,
    "the same OKX account is configured under two names; only one is mirrored",
    "remove one from accounts.toml",
)
ACCOUNT_MISMATCH: Final = Event(
    "account-mismatch",
    ERROR,
    "a key belongs to another OKX account than the data stored under its name; the account is not mirrored",
    "use a new name for the new account",
)
KEY_CAN_WITHDRAW: Final = Event(
    "key-can-withdraw",
    WARNING,
    "a key has the permission to withdraw, which okxsync never needs",
    "replace the key by one with the permission *Read* alone",
)

# Proof

VERIFICATION_UNAVAILABLE: Final = Event(
    "verification-unavailable",
    WARNING,
    "REST was unavailable, so a live channel could not be verified (reason in table `unverified`); it counts as an open"
    " gap since it was verified last",
    "see the detail; once REST answers, the time is verified or backfilled",
)
VERIFICATION_RESTORED: Final = Event("verification-restored", INFO, "all channels of the account are verified again")

# This machine, and the settings

CLOCK_OFF: Final = Event(
    "clock-off",
    WARNING,
    "this machine's clock, or a site's, differs from the time recorded here; coverage and gaps are not affected",
    "set this machine's clock by NTP",
)
CONFIG_INVALID: Final = Event(
    "config-invalid",
    ERROR,
    "an edit of accounts.toml is invalid and ignored; the running settings stay",
    "fix the line that the detail names",
)
RESTART_REQUIRED: Final = Event(
    "restart-required", WARNING, "a changed setting takes effect at the next start", "restart `okxsync run`"
)
WAL_CHECKPOINT_BLOCKED: Final = Event(
    "wal-checkpoint-blocked",
    WARNING,
    "a long-running read transaction blocks checkpoints, so the `-wal` file grows",
    "end that transaction; the file shrinks by itself",
)
WRITE_FAILED: Final = Event(
    "write-failed",
    ERROR,
    "nothing could be written for a while, because of a full disk or another program's lock; it can be again",
    "free some space or stop that program; what was not received meanwhile is a gap that is backfilled",
)
INTERNAL_ERROR: Final = Event(
    "internal-error",
    ERROR,
    "an unexpected error in the task of one account, plan or request; it restarts after a minute, others go on",
    "run `okxsync --debug run`, and report what it shows",
)

# Plans

PLAN_ALARM: Final = Event(
    "plan-alarm",
    ERROR,
    "an order of a plan exists twice, or exists although its child ended without one; the plan is paused",
    "see `okxsync plan show`, and compare with the account at OKX",
)
PLAN_UNREADABLE: Final = Event(
    "plan-unreadable",
    ERROR,
    "a plan that has not ended cannot be continued, because its rows cannot be read; other plans are not affected",
    "run `okxsync verify --plans`, and look its orders up at OKX; another version of okxsync may have stored it",
)

# What OKX sends

_REPORT: Final = "nothing is lost: the frame is kept in the raw log; please report it"
UNKNOWN_VALUE: Final = Event(
    "unknown-value", WARNING, "a value that OKX has not documented; it is stored", _REPORT, anomaly=True
)
UNKNOWN_FIELD: Final = Event(
    "unknown-field", WARNING, "a field that has no column; it is kept in `raw`", _REPORT, anomaly=True
)
UNEXPECTED_TYPE: Final = Event(
    "unexpected-type", WARNING, "a field of another type than documented; it is stored as text", _REPORT, anomaly=True
)
UNKNOWN_EVENT: Final = Event("unknown-event", WARNING, "a control frame that is not documented", _REPORT, anomaly=True)
UNKNOWN_CHANNEL: Final = Event("unknown-channel", WARNING, "a push of a channel without a table", _REPORT, anomaly=True)
OTHER_ACCOUNT: Final = Event(
    "other-account",
    WARNING,
    "a push about a sub-account that is not mirrored, as a master account receives them; it is only in the raw log",
    "to mirror the sub-account, add it to accounts.toml",
    anomaly=True,
)
INVALID_TIME: Final = Event("invalid-time", WARNING, "a time that is not a number; it is NULL", _REPORT, anomaly=True)
INVALID_ROW: Final = Event("invalid-row", WARNING, "a row without its key, or not an object", _REPORT, anomaly=True)
INVALID_FRAME: Final = Event("invalid-frame", WARNING, "a frame that cannot be parsed", _REPORT, anomaly=True)
INVALID_MESSAGE: Final = Event("invalid-message", WARNING, "a value that no table can hold", _REPORT, anomaly=True)

EVENTS: Final = tuple(one for one in list(globals().values()) if isinstance(one, Event))
BY_NAME: Final = {one.name: one for one in EVENTS}


def markdown_table() -> str:
    """Return the table of all events, as the documentation has it."""
    rows = [f"| `{one.name}` | {one.level} | {one.meaning} | {one.remedy} |" for one in EVENTS]
    return "\n".join(["| event | level | what it means | what to do |", "|---|---|---|---|", *rows])
