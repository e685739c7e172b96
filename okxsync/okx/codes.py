"""The action for each code of OKX, in one table (OKX docs: error-code-websocket, error-code-rest-api).

The table cannot be complete. Over WebSocket a code that is not listed is RETRY: each attempt backs off, and the journal
keeps the exchange's message; in answer to a subscribe request it rejects one channel. A REST request with such a code
is retried a few times, and counts as rejected after that: otherwise one request would keep a gap open for ever.
"""

from enum import Enum
from typing import Final

import msgspec


class Action(Enum):
    """What to do about a code."""

    RETRY = "retry with back-off"
    SLOW = "slow down, then retry"
    RESYNC = "measure the clock, sign again, retry; slow down if it fails again"
    RESIGN = "measure the clock, sign again, retry; give up if it fails again"
    PERSIST = "retry with back-off; give up if it fails again"
    GIVE_UP = "stop this account until the configuration changes, or for a long interval"
    FIX = "our request or the configuration is invalid; do not retry"
    IGNORE = "information only"
    REJECT = "an order was rejected for a business reason; this does not affect reading"
    CHECK = "the result of an order is unknown: query it before a retry; reads can be retried"
    UNLISTED = "not in this table: retry a few times, then the request counts as rejected"


REJECTIONS: Final = frozenset({Action.FIX, Action.REJECT, Action.IGNORE, Action.UNLISTED})
"""After these a REST request is not repeated: it would be rejected again."""


class Meaning(msgspec.Struct, frozen=True):
    """``text`` is shown to operators; ``hint`` says what to do, "" if nothing."""

    action: Action
    text: str
    hint: str = ""


_KEY = "check api_key and the account's site (global, eea, us)"
_MODE = "the key does not match `demo`: a demo key needs demo = true, a live key demo = false"
_CLOCK = "set this machine's clock (NTP)"
_CODES: Final[dict[Action, dict[str, str]]] = {
    Action.RETRY: {
        "50001": "service unavailable",
        "50004": "endpoint timeout",
        "50005": "endpoint offline",
        "50013": "the exchange is busy",
        "50026": "internal error of the exchange",
        "51028 51029 51030": "the instrument is being settled",
        "54008": "delayed by a mass cancellation",
        "60009": "login failed",
        "60011": "not logged in",
        "60015": "closed after 30 s without data",
        "60016": "the exchange's send buffer was full",
        "63999": "login failed, internal error of the exchange",
        "64007": "internal error of the exchange",
    },
    Action.SLOW: {
        "50011": "too many requests",
        "50040": "too many operations",
        "50061": "too many orders of this sub-account",
        "51113 51115": "closing too often",
        "51513": "too many amendments in progress",
        "60014": "too many requests on this connection",
        "60023": "logging in too often",
    },
    Action.RESYNC: {
        "50102": "timestamp expired",
        "50112": "invalid timestamp",
        "60004": "invalid timestamp",
        "60006": "timestamp expired",
    },
    Action.RESIGN: {
        "50113": "invalid signature",
        "60007": "invalid signature",
    },
    Action.GIVE_UP: {
        "50007": "the user is blocked",
        "50008": "the user does not exist",
        "50009": "the account is frozen",
        "50012": "invalid account status",
        "50030": "no permission for this endpoint",
        "50035": "the key must be bound to an IP address",
        "50041": "the account is not whitelisted for this",
        "50044": "a broker type is required",
        "50046 50062": "the feature is disabled",
        "50100": "the api key is frozen",
        "50101": "the api key belongs to another environment",
        "50105": "wrong passphrase",
        "50110": "this machine's IP is not in the key's whitelist",
        "50111": "invalid api key",
        "50114": "invalid authorization",
        "50119 59506": "the api key does not exist",
        "50120": "the key has no permission for this",
        "50121": "this machine's IP may not use the service",
        "60005": "invalid api key",
        "60024": "wrong passphrase",
        "60032": "the api key does not exist",
    },
    Action.FIX: {
        "50000": "empty body",
        "50002": "invalid JSON",
        "50006": "invalid content type",
        "50010": "user id is empty",
        "50014 50015": "a parameter is missing",
        "50016": "a parameter does not match",
        "50024": "conflicting parameters",
        "50025": "too many values in a parameter",
        "50038": "not available in demo trading",
        "50039": "`before` is not supported here",
        "50053": "only available in demo trading",
        "50067": "cross-site trading is not supported",
        "50076 50077": "the time range is too long",
        "50103": "key header is missing",
        "50104": "passphrase header is missing",
        "50106": "signature header is missing",
        "50107": "timestamp header is missing",
        "50108": "unknown exchange",
        "50109": "unknown domain",
        "50115": "wrong method",
        "51000": "invalid parameter",
        "51001": "the instrument does not exist",
        "51003 51407": "ordId or clOrdId is required",
        "51063 51603": "the order does not exist",
        "51111": "too many orders in one request",
        "59500 59604": "only for master accounts",
        "60001": "api key is empty",
        "60002": "signature is empty",
        "60003": "passphrase is empty",
        "60008": "this endpoint does not serve the channel",
        "60012": "illegal request",
        "60013": "invalid arguments",
        "60017": "invalid address",
        "60018": "the channel or instrument does not exist",
        "60019": "invalid operation",
        "60020 60025": "too many subscriptions",
        "60021": "logging in several accounts is not supported",
        "60022": "some logins failed",
        "60026": "batch login is not supported",
        "60027": "a parameter is missing",
        "60028": "operation not supported on this address",
        "60029 60030": "this channel requires a higher fee tier",
        "60033": "parameter error",
        "64000": "uly is no longer supported, use instFamily",
        "64001": "the channel moved to the business endpoint",
        "64002": "the channel is not on the business endpoint",
        "64003": "the account's fee tier is too low for this channel",
        "64004": "conflicts with books-l2-tbt",
    },
    Action.IGNORE: {
        "51400 51401 51402 51405 51503 51509 51510": "the order has ended",
        "60010": "already logged in",
        "60031": "repeated login",
        "64008": "service upgrade, the connection closes soon",
    },
    Action.REJECT: {
        "50017 50018 50019 50020 50021 50022 50023": "the account is frozen by ADL, liquidation or funding",
        "50027 50028 50029 50032 50033": "the account, currency or instrument is restricted",
        "50036 50037": "expTime has passed",
        "50051 50052 50059 50060 51009 51024 51155": "compliance: see the account on OKX's site",
        "51004 51005 51006 51020 51120 51121 51137 51138": "beyond a size or price limit",
        "51008 51119 51127 51131": "not enough balance or margin",
        "51010": "not available in this account mode",
        "51021 51022 51027 51087": "the instrument is not tradable",
        "51023": "the position does not exist",
        "51046 51047 51048 51049 51050 51051 51052 51053": "the trigger price is on the wrong side",
        "51169 51170": "nothing to reduce",
        "51174": "too many pending orders",
        "51511": "a post-only amendment would take liquidity",
    },
    Action.CHECK: {
        "50042": "repeated request",
        "51011 51016": "the ordId or clOrdId already exists",
        "51054 51149": "endpoint timeout",
        "51410 51412 51416": "the order is being cancelled",
    },
}
"""Codes and their texts, by action. 5xxxx are codes of REST, 6xxxx of WebSockets. Most of 51xxx concern orders. okxsync
places none, but the codes may appear in the raw log and the journal."""
_HINTS: Final[dict[str, str]] = {
    _KEY: "50067 50111 50119 59506 60001 60005 60032",
    _CLOCK: "50102 50112 60004 60006",
    "check secret_key": "50113 60007",
    "check channels": "60018",
    "check passphrase": "50105 60024",
    "remove the channel from this account": "64003",
    _MODE: "50101",
    "add the IP to the key": "50110",
}
"""What to do, with the codes that it applies to."""
_HINT_OF: Final = {code: hint for hint, found in _HINTS.items() for code in found.split()}

CODES: Final[dict[str, Meaning]] = {
    code: Meaning(action, text, _HINT_OF.get(code, ""))
    for action, texts in _CODES.items()
    for found, text in texts.items()
    for code in found.split()
}

OF_CHANNELS: Final = frozenset("60008 60013 60018 60020 60025 60029 60030 64000 64001 64002 64003 64004".split())
"""Codes about channels. Before the first subscribe request they cannot be a response to ours."""


_CLOSES: Final[dict[Action, dict[int, str]]] = {
    Action.RETRY: {
        1006: "dropped without a close frame",
        4001: "login failed",
        4004: "no data in 30 s",
        4005: "okxsync reads too slowly",
        4006: "abnormal disconnection",
        4007: "the key was changed or deleted",
    },
    Action.FIX: {
        1009: "our frame was too long",
        4002: "invalid request",
        4003: "too many subscriptions for this key",
        4008: "too many channels",
        4009: "too many channels on this connection",
    },
}
CLOSES: Final[dict[int, Meaning]] = {
    code: Meaning(action, text) for action, texts in _CLOSES.items() for code, text in texts.items()
}


def meaning_of(code: str | int | None) -> Meaning:
    """Return the meaning of ``code``, of a REST response or an error frame."""
    return CODES.get(str(code), Meaning(Action.RETRY, "error of the exchange"))


def meaning_of_reply(code: str, status: int) -> Meaning:
    """Return the meaning of a REST reply's code. The HTTP status decides about a code that is not listed."""
    if code in CODES:
        return CODES[code]
    if status in (401, 403):
        action = Action.GIVE_UP
    elif status == 429:
        action = Action.SLOW
    else:
        action = Action.RETRY if status >= 500 else Action.UNLISTED
    return Meaning(action, "unlisted error of the exchange")
