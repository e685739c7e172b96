"""What each code of OKX means when it answers a request that places, amends or cancels an order.

The table of ``okx.codes`` is about reading, where a request may be repeated. Here a code must say whether an order can
exist. Source: OKX docs, error-code-rest-api and error-code-websocket. A code that is in neither table proves nothing.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from okxsync.okx import codes


class Reaction(StrEnum):
    """What a code proves about the order, and what to do."""

    REJECT = "reject"
    """Not placed, for a business reason: show it."""
    FIX = "fix"
    """Not placed: the plan or the sizes do not fit this account, or the request is invalid."""
    ACCOUNT = "account"
    """Not placed, and the account cannot trade until a person changes something."""
    SLOW = "slow"
    """Not placed, because of a rate limit: the same order may be sent again."""
    CLOCK = "clock"
    """Not placed, because of our clock: measure it, then the same order may be sent again."""
    EXISTS = "exists"
    """An order with this id exists, perhaps by an earlier attempt of ours: look it up at once."""
    ENDED = "ended"
    """The order that was to be amended or canceled has ended."""
    UNKNOWN = "unknown"
    """The order may have been placed: look it up."""


class Meaning(msgspec.Struct, frozen=True):
    """``text`` is shown to people; ``known`` says whether the code is in a table."""

    reaction: Reaction
    text: str
    known: bool = True


_TABLE: Final[dict[Reaction, dict[str, str]]] = {
    Reaction.REJECT: {
        "51008 51127 51131 51119 51502 54024-54028 54035 59103 59106 59108 59109": "not enough funds or margin",
        "51017 51625 50064": "beyond a borrowing limit",
        "51004 51105-51107 51129 51186 51187 54006 54030 54031": "beyond a position limit",
        "51005 51101 51185 51201-51203 51033 51108 51207 51275": "the order is too large",
        "51006 51116 51122 51135-51138 51031 51250 54084": "the price is outside the exchange's band",
        "51046-51053 51277-51280 51300-51308": "a trigger price is on the wrong side",
        "51009 51024 51155 50027 50028 50029 50032 50033 50051 50052 50059 50060 51056 59113 59114": (
            "restricted by compliance: see the account on OKX's site"
        ),
        "54092": "the disclaimer for this instrument is not accepted: accept it once on OKX's site",
        "54109": "USDC order books are not activated: POST account/activate-feature once per master account",
        "51773": "the feature is not offered to this account",
        "54094": "the account is in a cool-off period: only reduce-only orders",
        "50017-50023 51037 51038 51209-51214 54012": "restricted during liquidation, ADL or by a delta limit",
        "51021 51022 51027 51087 51507 51110 51124 51196 51197 54011 54072-54074": "the instrument is not trading",
        "51028-51030": "the instrument is being settled",
        "51023 51043 51112 51169 51170 51148 51171 51206 51117 51165 51168 51113 51115": "nothing to close",
        "51025 51102-51104 51174 51182 51299 51260-51263": "too many pending orders",
        "51072-51075 51078 51099 51156 51159 51166 51321-51326 59128 59245 59258": "a rule for lead traders",
        "54004": "another order of the batch was rejected",
        "54008": "a mass cancellation is in progress",
        "54047 54048": "the order is in its speed bump",
        "51511": "a post-only amendment would take liquidity",
        "51411": "the account may not cancel all orders",
        "59101 59102 59107 59112": "the leverage cannot be set",
        "70514-70516": "the allocation of a block trade is invalid",
        "50036 50037": "expTime has passed",
        "51063 51603": "the order does not exist",
    },
    Reaction.FIX: {
        "51007 51020 51120 50122 51121 51150 51132 54085": "too small, or not a multiple of the lot or tick size",
        "51010 50072 54000 54005 54075 51039 51041 59111": "not available in this account mode",
        "51000 51001 50014 50015 50002 50024 60012 60013 60018 60019": "invalid parameter",
        "54036 50016": "self-trade prevention does not allow this order type",
        "54039-54046 54049-54051": "a rule for retail price improvement orders",
        "51133 51139 51205": "reduce-only is not available here",
        "51065 51068 51071": "the id of an algo order or a tag is invalid or used",
        "51066 51088 51100 51111 51276 51333 51404 51415 51506 51512 54078 54086 55116 59110": "the request is invalid",
        "51076 51077 51079-51086 51089-51094": "the take-profit and stop-loss orders are invalid",
    },
    Reaction.ACCOUNT: {
        "50041 50044 50046 50062 50120 50030": "the key or the account has no permission for this",
        "50100 50101 50103-50111 50113-50119 50121": "the key, its IP address or its environment is rejected",
        "60011": "the connection is not logged in",
    },
    Reaction.SLOW: {"50011 50061 50040 58102 51513": "too many requests"},
    Reaction.CLOCK: {"50102 50112": "the signature's time has expired"},
    Reaction.EXISTS: {"51011 51016 50042": "an order with this id exists"},
    Reaction.ENDED: {"51400-51402 51405 51410 51412 51416 51503 51509 51510": "the order has ended or is ending"},
    Reaction.UNKNOWN: {
        "50001": "service unavailable",
        "50004 51054 51149": "the endpoint timed out",
        "50005": "the endpoint is offline",
        "50013": "the exchange is busy",
        "50026 64007": "internal error of the exchange",
        "51784": "the id is being processed",
    },
}


def _each(listed: str) -> Iterator[str]:
    """Yield the codes of a list with ranges: ``51004 51105-51107``."""
    for one in listed.split():
        first, _, last = one.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


CODES: Final = {
    code: Meaning(reaction, text)
    for reaction, texts in _TABLE.items()
    for listed, text in texts.items()
    for code in _each(listed)
}
_OF_READING: Final = {
    codes.Action.REJECT: Reaction.REJECT,
    codes.Action.FIX: Reaction.FIX,
    codes.Action.GIVE_UP: Reaction.ACCOUNT,
}
"""What the other table's definite rejections mean here; its other actions prove nothing about an order."""

SUB_CODES: Final = {
    code: text
    for listed, text in {
        "1000": "not enough balance",
        "1001": "not enough margin",
        "1002 1003": "not enough balance, and automatic borrowing is off",
        "1004-1007 1017-1019": "beyond a borrowing limit",
        "1009 1010": "the initial margin or delta would be too large",
        "1015 1016": "beyond a collateral limit",
        "1020": "not enough balance for the fee in quote currency",
        "1030-1049": "not enough funds or margin for the amendment",
        "1101-1107": "beyond the position limit of this tier",
        "1111-1117": "the amendment is beyond the position limit of this tier",
    }.items()
    for code in _each(listed)
}
"""``subCode``, which refines 51008, 51502 and 51004."""


def meaning_of(code: str, sub_code: str = "") -> Meaning:
    """Return the meaning of a code of a reply or of one of its rows; ``sub_code`` may be written ``51008_1001``."""
    found = CODES.get(code)
    if found is None:
        found = _meaning_elsewhere(code)
    detail = SUB_CODES.get(sub_code.rpartition("_")[2])
    return msgspec.structs.replace(found, text=f"{found.text}: {detail}") if detail else found


def _meaning_elsewhere(code: str) -> Meaning:
    if other := codes.CODES.get(code):
        return Meaning(_OF_READING.get(other.action, Reaction.UNKNOWN), other.text)
    if len(code) == 5 and code.startswith("501"):  # all of them are about the request's authentication
        return Meaning(Reaction.ACCOUNT, "the request's authentication is rejected", known=False)
    return Meaning(Reaction.UNKNOWN, "a code that okxsync does not know", known=False)
