"""Why an order of a plan is not sent: one code for each skipped or withheld child order.

A check is made at preview, again directly before each send, or at both times.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec


class Reason(StrEnum):
    """The column ``reason`` of the tables ``plan_orders`` and ``misfires``."""

    TRADING_OFF = "trading-off"
    NOT_LIVE = "not-live"
    ACCOUNT_OFF = "account-off"
    HALTED = "halted"
    FILE_MODE = "file-mode"
    LIMIT_ORDER = "limit-order"
    LIMIT_PLAN = "limit-plan"
    LIMIT_DAY = "limit-day"
    INSTRUMENT_NOT_LISTED = "instrument-not-listed"
    NO_KEY = "no-key"
    KEY_REFUSED = "key-refused"
    NO_PERMISSION = "no-permission"
    BARRED = "barred"
    NOT_CONNECTED = "not-connected"
    STALE = "stale"
    ORDERS_UNCOVERED = "orders-uncovered"
    DOUBTED = "doubted"
    NOT_MIRRORED = "not-mirrored"
    CLOCK = "clock"
    MODE = "mode"
    POS_MODE = "pos-mode"
    LEVERAGE = "leverage"
    NOT_OFFERED = "not-offered"
    NOT_TRADING = "not-trading"
    PRE_CHANGE = "pre-change"
    REGION = "region"
    DISCLAIMER = "disclaimer"
    LEAD_TRADER = "lead-trader"
    MANAGED_LEFT = "managed-left"
    BELOW_MIN = "below-min"
    NOTHING_TO_DO = "nothing-to-do"
    NO_POSITION = "no-position"
    NO_MARGIN = "no-margin"
    OVER_MAX = "over-max"
    SHARED_QUOTA = "shared-quota"
    OPPOSES = "opposes"
    OWN_ORDER_AHEAD = "own-order-ahead"
    PRICE_STALE = "price-stale"
    OUTSIDE_BAND = "outside-band"
    DRIFT_PRICE = "drift-price"
    DRIFT_EQUITY = "drift-equity"
    DRIFT_POSITION = "drift-position"
    EXPIRED = "expired"
    STORE_BLOCKED = "store-blocked"
    CANARY = "canary"
    STOPPED = "stopped"
    CANCELED = "canceled"
    RESTART = "restart"
    BAD_REQUEST = "bad-request"
    INTERNAL_ERROR = "internal-error"


class Entry(msgspec.Struct, frozen=True):
    """What a code means.

    Attributes:
        meaning: What was found.
        remedy: What an operator can do about it.
        at_preview: Whether it is checked when the preview is made.
        at_send: Whether it is checked directly before each send.
        warning: Whether the order is sent in spite of it.
    """

    meaning: str
    remedy: str
    at_preview: bool = True
    at_send: bool = True
    warning: bool = False


def _at_preview(meaning: str, remedy: str, *, warning: bool = False) -> Entry:
    return Entry(meaning, remedy, at_send=False, warning=warning)


def _at_send(meaning: str, remedy: str) -> Entry:
    return Entry(meaning, remedy, at_preview=False)


_RETRY: Final = "make a new plan with `okxsync plan retry`"
_KEY: Final = "run `okxsync check --trading`"
_WAIT: Final = "wait until `okxsync status` shows the account as live and without gaps"
_REPORT: Final = "this is a bug of okxsync: report it with the plan's id"

REASONS: Final[Mapping[Reason, Entry]] = {
    Reason.TRADING_OFF: Entry("trading is switched off for all accounts", "set [trading] enabled = true"),
    Reason.NOT_LIVE: Entry("the account is a live one, and only demo accounts may trade", "set [trading] live = true"),
    Reason.ACCOUNT_OFF: Entry("the account may not trade", "set trading = true for the account"),
    Reason.HALTED: Entry("trading is halted", "`okxsync resume`"),
    Reason.FILE_MODE: Entry(
        "the database can be used by other users, or belongs to one", "chmod 600, as the daemon's user"
    ),
    Reason.LIMIT_ORDER: Entry("the order is larger than max_order_usd", "make it smaller, or raise the limit"),
    Reason.LIMIT_PLAN: Entry(
        "the plan is larger than max_total_usd or max_plan_usd", "make it smaller, or raise the limit"
    ),
    Reason.LIMIT_DAY: Entry("max_day_usd is used up", "wait for the next day (UTC), or raise the limit"),
    Reason.INSTRUMENT_NOT_LISTED: Entry(
        "the instrument is not in the list of those that may be traded", "add it to [trading] instruments"
    ),
    Reason.NO_KEY: Entry("the account's key cannot be read", _KEY),
    Reason.KEY_REFUSED: Entry("OKX rejects the account's key", _KEY),
    Reason.NO_PERMISSION: Entry("the key has no permission to trade", "give the key the permission `trade` at OKX"),
    Reason.BARRED: Entry("another account is configured with the same OKX account", "remove one of the two"),
    Reason.NOT_CONNECTED: Entry("the private connection is not live", _WAIT),
    Reason.STALE: Entry("nothing was received from the account for 15 s", _WAIT),
    Reason.ORDERS_UNCOVERED: Entry("the channel orders has an open gap", _WAIT),
    Reason.DOUBTED: Entry("a channel of the account may have missed a push", _WAIT),
    Reason.NOT_MIRRORED: Entry("a channel that trading needs is not configured", "add orders, positions and account"),
    Reason.CLOCK: Entry(
        "the exchange's clock was not measured in the last 10 minutes, or its error is above 250 ms", "check NTP"
    ),
    Reason.MODE: _at_preview("the account mode does not allow this order", "exclude the account, or set `margin`"),
    Reason.POS_MODE: _at_preview("the position mode does not fit `pos_side`", "exclude the account, or set `pos_side`"),
    Reason.LEVERAGE: Entry("the leverage is not the required one", "set it, or exclude the account"),
    Reason.NOT_OFFERED: Entry("OKX does not offer the instrument to the account", "exclude the account"),
    Reason.NOT_TRADING: Entry("the instrument does not trade now", "wait until its state is live"),
    Reason.PRE_CHANGE: Entry("the lot or tick of the instrument changes while the plan is valid", "plan again later"),
    Reason.REGION: _at_preview(
        "OKX does not allow this in the account's region, or wants identification", "exclude the account"
    ),
    Reason.DISCLAIMER: _at_preview(
        "a disclaimer or feature of OKX was not accepted", "accept it at OKX with this account"
    ),
    Reason.LEAD_TRADER: _at_preview(
        "the account is a lead trader with rules of its own for the instrument", "trade it by hand"
    ),
    Reason.MANAGED_LEFT: _at_preview(
        "the account is no longer managed by its trading team", "remove the account, or bind it again"
    ),
    Reason.BELOW_MIN: _at_preview("the size is below the smallest order", 'make it larger, or set below_min = "min"'),
    Reason.NOTHING_TO_DO: _at_preview("the position is as wanted already", "nothing"),
    Reason.NO_POSITION: _at_preview("there is no position to reduce", "nothing"),
    Reason.NO_MARGIN: _at_preview("the free margin or balance is too small", "make it smaller, or add funds"),
    Reason.OVER_MAX: _at_preview("the size is above the largest that OKX allows", "make it smaller"),
    Reason.SHARED_QUOTA: _at_preview(
        "the accounts of one master exceed their common quota together", "make it smaller, or exclude accounts"
    ),
    Reason.OPPOSES: _at_preview(
        "another account of the same master trades the other side in the same phase: OKX cancels one of the two",
        "put the two sides into different phases",
    ),
    Reason.OWN_ORDER_AHEAD: _at_preview(
        "a resting order of the account that reduces the position would be cut or canceled",
        "cancel it first if that is not wanted",
        warning=True,
    ),
    Reason.PRICE_STALE: Entry("the reference price is older than 2 s", "wait for prices; see `okxsync status`"),
    Reason.OUTSIDE_BAND: Entry("the price is outside price_band or OKX's own band", "change the price"),
    Reason.DRIFT_PRICE: Entry("the reference price moved by more than max_drift_price", _RETRY),
    Reason.DRIFT_EQUITY: _at_send("the equity changed by more than max_drift_equity since the preview", _RETRY),
    Reason.DRIFT_POSITION: _at_send("the position changed since the preview", _RETRY),
    Reason.EXPIRED: _at_send(
        "the plan is no longer valid; the order may have waited for a rate limit, `ip_rate` or a connection", _RETRY
    ),
    Reason.STORE_BLOCKED: _at_send("the intent could not be stored", "see `okxsync status`: disk, lock"),
    Reason.CANARY: _at_send("an account of the canary was not accepted", "see the order of that account"),
    Reason.STOPPED: _at_send("the plan was stopped by its failure policy", "see `okxsync plan show`, then retry"),
    Reason.CANCELED: _at_send("the plan was canceled", "nothing"),
    Reason.RESTART: _at_send('the daemon restarted, and on_restart is "stop"', _RETRY),
    Reason.BAD_REQUEST: Entry("the request does not pass okxsync's own validation", _REPORT),
    Reason.INTERNAL_ERROR: _at_send("the checks or the request of the order had an internal error", _REPORT),
}
"""In the order in which they are checked; the first that applies is stored."""


def markdown_table() -> str:
    """Return the table of all reasons, as the documentation has it."""
    rows = [f"| `{code}` | {entry.meaning} | {_checked(entry)} | {entry.remedy} |" for code, entry in REASONS.items()]
    return "\n".join(["| reason | what it means | checked | what to do |", "|---|---|---|---|", *rows])


def _checked(entry: Entry) -> str:
    if entry.warning:
        return "preview, a warning"
    return ", ".join(
        name for name, is_checked in (("preview", entry.at_preview), ("send", entry.at_send)) if is_checked
    )
