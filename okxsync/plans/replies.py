"""What a reply, or the failure of a request, proves about an order. No I/O.

    seen                                                      proves
    --------------------------------------------------------  ------------------------------------------------
    it failed before the first byte of the request            not sent
    it failed later: a time-out, a reset, a closed connection unknown
    HTTP 5xx, a body that is truncated or is not JSON         unknown
    our row with ``sCode`` 0 and an id                        placed
    our row with a code, or no row and an outer code          what ``codes`` says of it
    anything else                                             unknown

``Judgement.verdict`` is what is stored; ``resend`` says whether the same order may be sent again once it is certain
that it was not placed.
"""

from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import Final

import msgspec

from okxsync.plans.codes import Meaning, Reaction, meaning_of
from okxsync.runtime.text import sanitize


class Verdict(StrEnum):
    """What is known about one attempt; ``absent`` is what a lookup proved later."""

    PLACED = "placed"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    ABSENT = "absent"


class Stage(Enum):
    """How far a request came before it failed."""

    NOT_STARTED = "before the first byte of the request: DNS, connect, TLS, no free connection"
    STARTED = "after the request may have been handed to the socket"


class Judgement(msgspec.Struct, frozen=True):
    """What one reply or failure proves about one order.

    Attributes:
        resend: Whether the same order may be sent again, after a proof of absence if the verdict is unknown.
        reaction: Of the code; None without one.
        code: Of the whole reply.
        s_code: Of the order's row, ``""`` without one; ``sub_code`` and ``s_msg`` likewise.
        in_time, out_time: The exchange's microseconds; ``""`` if it did not say.
        transport: The way on which the request was sent; ``""``: it was not known yet.
    """

    verdict: Verdict
    text: str
    resend: bool = False
    reaction: Reaction | None = None
    ord_id: str = ""
    code: str = ""
    s_code: str = ""
    sub_code: str = ""
    s_msg: str = ""
    in_time: str = ""
    out_time: str = ""
    http_status: int | None = None
    transport: str = ""

    @property
    def decisive_code(self) -> str:
        """The code that decided."""
        return self.s_code or self.code

    @property
    def summary(self) -> str:
        """A line for people: the code, what it means, and the exchange's own words."""
        code, said = self.decisive_code, self.s_msg
        return f"{code + ' ' if code else ''}{self.text}{f' ({said})' if said else ''}"


class _Row(msgspec.Struct, rename="camel"):
    ord_id: str = ""
    cl_ord_id: str = ""
    s_code: str | int = ""
    s_msg: str = ""
    sub_code: str | int = ""


class _Reply(msgspec.Struct, rename="camel"):
    code: str | int
    msg: str = ""
    data: list[msgspec.Raw] = []
    in_time: str | int = ""
    out_time: str | int = ""


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


def failed(stage: Stage, why: str) -> Judgement:
    """Judge a request that ended without a reply."""
    if stage is Stage.NOT_STARTED:
        return Judgement(Verdict.NOT_SENT, f"not sent: {why}", resend=True)
    return Judgement(Verdict.UNKNOWN, f"no reply: {why}", resend=True)


def judge(cl_ord_id: str, body: bytes | str, status: int | None = None) -> Judgement:
    """Judge the reply to a request that placed one order.

    Args:
        cl_ord_id: The order's id.
        body: As received.
        status: The HTTP status; None if the reply came over a WebSocket.
    """
    return judge_batch([cl_ord_id], body, status)[0]


def judge_repeatable(body: bytes | str, status: int | None = None) -> Judgement:
    """Judge the reply to a request about one thing that may be repeated: a cancellation, or a setting.

    ``PLACED`` then means that OKX has accepted the request. The row need not have an id, nor a code of its own.
    """
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except _UNREADABLE:
        return failed(Stage.STARTED, f"HTTP status {status}, and no JSON")
    row = _row(reply.data[0]) if reply.data else _Row()
    found = _judge([], reply, status, alone=True)
    if status is not None and (status >= 500 or 300 <= status < 400):
        return found
    s_code = sanitize(str(row.s_code)) or (found.code if found.code == "0" else "")
    if s_code == "0":
        return msgspec.structs.replace(found, verdict=Verdict.PLACED, text="accepted", s_code=s_code)
    if s_code:
        of_row = msgspec.structs.replace(found, s_code=s_code, s_msg=sanitize(row.s_msg))
        return _by_code(of_row, meaning_of(s_code, sanitize(str(row.sub_code))), is_row=True)
    return found


def judge_batch(cl_ord_ids: Sequence[str], body: bytes | str, status: int | None = None) -> list[Judgement]:
    """Judge the reply to a request that placed several orders; the judgements are in the order of ``cl_ord_ids``."""
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except _UNREADABLE:
        text = "the reply is not the expected JSON" if status is None else f"HTTP status {status}, and no JSON"
        return [Judgement(Verdict.UNKNOWN, text, resend=True, http_status=status)] * len(cl_ord_ids)
    rows: dict[str, list[_Row]] = {}
    for raw in reply.data:
        row = _row(raw)
        rows.setdefault(row.cl_ord_id, []).append(row)
    return [_judge(rows.get(one, []), reply, status, alone=not reply.data) for one in cl_ord_ids]


def _row(raw: msgspec.Raw) -> _Row:
    try:
        return msgspec.json.decode(raw, type=_Row)
    except _UNREADABLE:
        return _Row()


def _judge(rows: list[_Row], reply: _Reply, status: int | None, *, alone: bool) -> Judgement:
    """Judge one order by its rows; ``alone``: the reply has no row of any order, so that its own code decides."""
    of_reply = Judgement(
        Verdict.UNKNOWN,
        "",
        resend=True,
        code=sanitize(str(reply.code)),
        in_time=sanitize(str(reply.in_time)),
        out_time=sanitize(str(reply.out_time)),
        http_status=status,
    )
    replace = msgspec.structs.replace
    if status is not None and (status >= 500 or 300 <= status < 400):
        message = sanitize(reply.msg)
        return replace(of_reply, text=f"HTTP status {status}", s_msg=message)
    if len(rows) == 1:
        row = rows[0]
        s_code, sub_code = sanitize(str(row.s_code)), sanitize(str(row.sub_code))
        of_row = replace(of_reply, s_code=s_code, sub_code=sub_code, s_msg=sanitize(row.s_msg))
        if s_code == "0":
            if row.ord_id:
                return replace(of_row, verdict=Verdict.PLACED, text="placed", resend=False, ord_id=sanitize(row.ord_id))
            return replace(of_row, text="accepted, but the reply has no order id")
        if s_code:
            if row.ord_id and row.ord_id != "0":
                return replace(of_row, text="refused, but the reply has an order id", resend=False)
            return _by_code(of_row, meaning_of(s_code, sub_code), is_row=True)
        return replace(of_row, text="the order's row has no code")
    if rows:
        return replace(of_reply, text="the reply has several rows of this order")
    if alone and of_reply.code != "0":
        of_reply = replace(of_reply, s_msg=sanitize(reply.msg))
        return _by_code(of_reply, meaning_of(of_reply.code), is_row=False)
    return replace(of_reply, text="the reply has no row of this order")


def _by_code(judgement: Judgement, meaning: Meaning, *, is_row: bool) -> Judgement:
    replace = msgspec.structs.replace
    judgement = replace(judgement, text=meaning.text, reaction=meaning.reaction)
    match meaning.reaction:
        case Reaction.REJECT | Reaction.FIX | Reaction.ACCOUNT:
            return replace(judgement, verdict=Verdict.REFUSED, resend=False)
        case Reaction.SLOW | Reaction.CLOCK:
            return replace(judgement, verdict=Verdict.REFUSED, resend=True)
        case Reaction.ENDED:
            return replace(judgement, resend=False)
        case _:
            # The exchange has answered about this very order with an unknown code: most likely a refusal. Once the
            # order is proved absent, the same request would be refused again.
            return replace(judgement, resend=meaning.known or not is_row)
