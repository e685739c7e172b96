"""What each of OKX's codes means for us: one table (OKX docs: error-code-websocket, error-code-rest-api).

A code that is not listed is RETRY: the next attempt backs off anyway, and the journal keeps the words of the exchange.
"""

from enum import Enum
from typing import Final

import msgspec


class Action(Enum):
    """What to do about a code."""

    RETRY = "retry with back-off"
    SLOW = "slow down, then retry"
    RESYNC = "measure the clock, sign again, retry; slow down if that does not help"
    RESIGN = "measure the clock, sign again, retry; give up if that does not help"
    PERSIST = "retry with back-off; give up if that does not help"
    GIVE_UP = "stop this account until the configuration changes, or for a long interval"
    FIX = "our request or the configuration is wrong; do not repeat it"
    IGNORE = "information only"
    REJECT = "an order was refused, for a reason of business; it changes nothing for who only reads"
    CHECK = "the outcome of an order is not known: ask before repeating it; reading may be repeated"


class Meaning(msgspec.Struct, frozen=True):
    """``text`` is what an operator reads; ``hint`` what there is to do."""

    action: Action
    text: str
    hint: str = ""


_KEY = "check api_key, and that the account's site (global, eea, us) is right"
_MODE = "the key and `demo` do not agree: a demo key needs demo = true, a live key demo = false"
_CLOCK = "set this machine's clock (NTP)"
R, S, Y, G, F, I = Action.RETRY, Action.SLOW, Action.RESYNC, Action.GIVE_UP, Action.FIX, Action.IGNORE  # noqa: E741
J, C = Action.REJECT, Action.CHECK

CODES: Final[dict[str, Meaning]] = {
    # WebSocket: requests and logins
    "60001": Meaning(F, "api key is empty", _KEY),
    "60002": Meaning(F, "signature is empty"),
    "60003": Meaning(F, "passphrase is empty"),
    "60004": Meaning(Y, "invalid timestamp", _CLOCK),
    "60005": Meaning(G, "invalid api key", _KEY),
    "60006": Meaning(Y, "timestamp expired", _CLOCK),
    "60007": Meaning(Action.RESIGN, "invalid signature", "check secret_key"),
    "60008": Meaning(F, "this endpoint does not serve the channel"),
    "60009": Meaning(R, "login failed"),
    "60010": Meaning(I, "already logged in"),
    "60011": Meaning(R, "not logged in"),
    "60012": Meaning(F, "illegal request"),
    "60013": Meaning(F, "invalid arguments"),
    "60014": Meaning(S, "too many requests on this connection"),
    "60015": Meaning(R, "closed after 30 s without data"),
    "60016": Meaning(R, "the exchange's send buffer was full"),
    "60017": Meaning(F, "invalid address"),
    "60018": Meaning(F, "the channel or instrument does not exist", "check channels"),
    "60019": Meaning(F, "invalid operation"),
    "60020": Meaning(F, "too many subscriptions"),
    "60021": Meaning(F, "logging in several accounts is not supported"),
    "60022": Meaning(F, "a part of the logins failed"),
    "60023": Meaning(S, "logging in too often"),
    "60024": Meaning(G, "wrong passphrase", "check passphrase"),
    "60025": Meaning(F, "too many subscriptions"),
    "60026": Meaning(F, "batch login is not supported"),
    "60027": Meaning(F, "a parameter is missing"),
    "60028": Meaning(F, "operation not supported on this address"),
    "60029": Meaning(F, "a higher fee tier is needed for this channel"),
    "60030": Meaning(F, "a higher fee tier is needed for this channel"),
    "60031": Meaning(I, "repeated login"),
    "60032": Meaning(G, "the api key does not exist", _KEY),
    "60033": Meaning(F, "parameter error"),
    "63999": Meaning(R, "login failed, internal error of the exchange"),
    "64000": Meaning(F, "uly is not accepted any more, use instFamily"),
    "64001": Meaning(F, "the channel moved to the business endpoint"),
    "64002": Meaning(F, "the channel is not on the business endpoint"),
    "64003": Meaning(F, "the account's fee tier is too low for this channel", "remove the channel from this account"),
    "64004": Meaning(F, "conflicts with books-l2-tbt"),
    "64007": Meaning(R, "internal error of the exchange"),
    "64008": Meaning(I, "service upgrade, the connection closes soon"),
    # REST: general
    "50000": Meaning(F, "empty body"),
    "50001": Meaning(R, "service unavailable"),
    "50002": Meaning(F, "invalid JSON"),
    "50004": Meaning(R, "endpoint timeout"),
    "50005": Meaning(R, "endpoint offline"),
    "50006": Meaning(F, "invalid content type"),
    "50007": Meaning(G, "the user is blocked"),
    "50008": Meaning(G, "the user does not exist"),
    "50009": Meaning(G, "the account is frozen"),
    "50010": Meaning(F, "user id is empty"),
    "50011": Meaning(S, "too many requests"),
    "50012": Meaning(G, "the account's status is invalid"),
    "50013": Meaning(R, "the exchange is busy"),
    "50014": Meaning(F, "a parameter is missing"),
    "50015": Meaning(F, "a parameter is missing"),
    "50016": Meaning(F, "a parameter does not match"),
    "50024": Meaning(F, "conflicting parameters"),
    "50025": Meaning(F, "too many values in a parameter"),
    "50026": Meaning(R, "internal error of the exchange"),
    "50030": Meaning(G, "no permission for this endpoint"),
    "50035": Meaning(G, "the key must be bound to an IP address"),
    "50038": Meaning(F, "not available in demo trading"),
    "50039": Meaning(F, "`before` is not supported here"),
    "50040": Meaning(S, "too many operations"),
    "50041": Meaning(G, "the account is not on the list for this"),
    "50044": Meaning(G, "a broker type is needed"),
    "50046": Meaning(G, "the feature is off"),
    "50053": Meaning(F, "only available in demo trading"),
    "50061": Meaning(S, "too many orders of this sub-account"),
    "50062": Meaning(G, "the feature is off"),
    "50067": Meaning(F, "cross-site trading is not supported", _KEY),
    "50076": Meaning(F, "the time range is too long"),
    "50077": Meaning(F, "the time range is too long"),
    # REST: keys
    "50100": Meaning(G, "the api key is frozen"),
    "50101": Meaning(G, "the api key is for another environment", _MODE),
    "50102": Meaning(Y, "timestamp expired", _CLOCK),
    "50103": Meaning(F, "key header is missing"),
    "50104": Meaning(F, "passphrase header is missing"),
    "50105": Meaning(G, "wrong passphrase", "check passphrase"),
    "50106": Meaning(F, "signature header is missing"),
    "50107": Meaning(F, "timestamp header is missing"),
    "50108": Meaning(F, "unknown exchange"),
    "50109": Meaning(F, "unknown domain"),
    "50110": Meaning(G, "this machine's IP is not on the key's list", "add the IP to the key"),
    "50111": Meaning(G, "invalid api key", _KEY),
    "50112": Meaning(Y, "invalid timestamp", _CLOCK),
    "50113": Meaning(Action.RESIGN, "invalid signature", "check secret_key"),
    "50114": Meaning(G, "invalid authorization"),
    "50115": Meaning(F, "wrong method"),
    "50119": Meaning(G, "the api key does not exist", _KEY),
    "50120": Meaning(G, "the key has no permission for this"),
    "50121": Meaning(G, "this machine's IP may not use the service"),
    "59500": Meaning(F, "only for master accounts"),
    "59506": Meaning(G, "the api key does not exist", _KEY),
    "59604": Meaning(F, "only for master accounts"),
    # REST: orders. We place none; who reads the raw log or the journal may meet them.
    "51000": Meaning(F, "a parameter is wrong"),
    "51001": Meaning(F, "the instrument does not exist"),
    "51603": Meaning(F, "the order does not exist"),
}

OF_CHANNELS: Final = frozenset("60008 60013 60018 60020 60025 60029 60030 64000 64001 64002 64003 64004".split())
"""Codes that speak of channels; where none was asked for yet, they answer nothing of ours."""
_OF_ORDERS: Final[tuple[tuple[Action, str, str], ...]] = (
    (J, "the account is frozen by ADL, liquidation or funding", "50017 50018 50019 50020 50021 50022 50023"),
    (J, "the account, currency or instrument is restricted", "50027 50028 50029 50032 50033"),
    (J, "expTime has passed", "50036 50037"),
    (C, "repeated request", "50042"),
    (J, "compliance: look at the account on the site", "50051 50052 50059 50060 51009 51024 51155"),
    (F, "ordId or clOrdId is needed", "51003 51407"),
    (J, "beyond a limit of size or price", "51004 51005 51006 51020 51120 51121 51137 51138"),
    (J, "not enough balance or margin", "51008 51119 51127 51131"),
    (J, "not in this account mode", "51010"),
    (C, "the ordId or clOrdId exists", "51011 51016"),
    (J, "the instrument is not traded", "51021 51022 51027 51087"),
    (R, "the instrument is being settled", "51028 51029 51030"),
    (J, "the position does not exist", "51023"),
    (J, "the trigger price is on the wrong side", "51046 51047 51048 51049 51050 51051 51052 51053"),
    (C, "endpoint timeout", "51054 51149"),
    (F, "the order does not exist", "51063"),
    (F, "too many orders in one request", "51111"),
    (S, "closing too often", "51113 51115"),
    (J, "nothing to reduce", "51169 51170"),
    (J, "too many pending orders", "51174"),
    (I, "the order has ended", "51400 51401 51402 51405 51503 51509 51510"),
    (C, "the order is being cancelled", "51410 51412 51416"),
    (J, "a post-only amendment would take", "51511"),
    (S, "too many amendments under way", "51513"),
    (R, "held up by a mass cancel", "54008"),
)
CODES.update({code: Meaning(action, text) for action, text, codes in _OF_ORDERS for code in codes.split()})

CLOSES: Final[dict[int, Meaning]] = {
    1006: Meaning(R, "dropped without a close frame"),
    1009: Meaning(F, "our frame was too long"),
    4001: Meaning(R, "login failed"),
    4002: Meaning(F, "invalid request"),
    4003: Meaning(F, "too many subscriptions for this key"),
    4004: Meaning(R, "no data in 30 s"),
    4005: Meaning(R, "we read too slowly"),
    4006: Meaning(R, "abnormal disconnection"),
    4007: Meaning(R, "the key was changed or deleted"),
    4008: Meaning(F, "too many channels"),
    4009: Meaning(F, "too many channels on this connection"),
}


def meaning_of(code: str | int | None) -> Meaning:
    """Return what ``code`` (of a REST reply or an error frame) means for us."""
    return CODES.get(str(code), Meaning(Action.RETRY, "error of the exchange"))
