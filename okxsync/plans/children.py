"""One child order of a plan, with all that is fixed when the preview is made.

A child belongs to one account. What is sent is its ``body``, byte for byte: nothing is computed after the preview.
The only exception is a reduction that may shrink (``Basis.shrink``). Prices and sizes are exact decimals,
``planned_usd`` is in USD, times are the exchange's milliseconds.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import asdict

from okxsync.plans.reasons import Reason

Kind: TypeAlias = Literal["order", "leverage", "cancel"]

CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PLAN_ID_BITS: Final = 55
"""11 characters of 5 bits."""
MAX_CHILDREN: Final = 36**4 - 1
_PLAN_ID: Final = re.compile(f"[{CROCKFORD}]{{11}}")
_OWN_ID: Final = re.compile(f"([A-Za-z0-9]{{0,16}})([PT])([{CROCKFORD}]{{11}})([0-9A-Z]{{4}})")
_BASE36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Basis(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child was computed from, and what it changes: the column ``facts``.

    Attributes:
        reference: The price from which ``px`` and the size were computed, as of ``reference_ms``.
        equity: Of the account in USD, as of ``equity_ms``.
        position: The signed position of the child's instrument, margin mode and side before the child, as of
            ``position_ms``; spot: the balance of the base currency. In the unit of ``sz``.
        position_after: The position if this child and all before it are filled.
        net: In long/short mode the long minus the short position before the child.
        coins: The size in the base currency.
        notional: In the quote currency; inverse contracts: in USD.
        usd: USD per unit of the currency of ``notional``.
        usd_assumed: Whether ``usd`` is 1 because no rate is known.
        lever: The leverage of the position.
        margin: What the child needs, in the settle currency, with the fee of a taker.
        shrink: Whether the size may become smaller at the send, down to the present position.
        warnings: What does not prevent the order.
    """

    reference: Decimal | None = None
    reference_ms: int = 0
    equity: Decimal | None = None
    equity_ms: int = 0
    position: Decimal | None = None
    position_ms: int = 0
    position_after: Decimal | None = None
    net: Decimal | None = None
    coins: Decimal | None = None
    notional: Decimal | None = None
    usd: Decimal | None = None
    usd_assumed: bool = False
    lever: Decimal | None = None
    margin: Decimal | None = None
    shrink: bool = False
    warnings: tuple[str, ...] = ()


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``plan_orders``, as the preview makes it.

    Attributes:
        number: From 1, in the order of the plan: the column ``child``.
        leg: From 1, as in the plan file; 0 for a cancellation, which belongs to no leg.
        slice: From 1; a size above the largest order is divided into several.
        pos_side: ``""`` if the request has none.
        sz: None for a child that is skipped before it has a size.
        cl_ord_id: The same for all attempts; also of children that are skipped, so that their absence can be proved.
        algo_cl_ord_id: Of the attached take-profit and stop-loss order; ``""``: there is none.
        body: The exact JSON body of the request; ``""`` if the child is skipped.
        remainder: Money that the leg could not place for this account because of lots, in the quote currency.
        reason: Why the child is skipped; None: it is ready.
    """

    number: int
    account: str
    leg: int
    phase: int
    slice: int = 1
    kind: Kind = "order"
    inst_id: str
    side: str = ""
    pos_side: str = ""
    td_mode: str = ""
    ord_type: str = ""
    px: Decimal | None = None
    sz: Decimal | None = None
    reduce_only: bool = False
    cl_ord_id: str
    algo_cl_ord_id: str = ""
    body: str = ""
    planned_usd: Decimal = Decimal(0)
    remainder: Decimal = Decimal(0)
    facts: Basis = Basis()
    reason: Reason | None = None
    detail: str = ""

    @property
    def state(self) -> Literal["ready", "skipped"]:
        return "skipped" if self.reason else "ready"

    @property
    def path(self) -> str:
        """Where the body is posted to."""
        match self.kind:
            case "order":
                return "/api/v5/trade/order"
            case "leverage":
                return "/api/v5/account/set-leverage"
            case "cancel":
                return "/api/v5/trade/cancel-algos" if self.body.startswith("[") else "/api/v5/trade/cancel-order"


def to_columns(plan_id: str, child: Child) -> dict[str, str | int | None]:
    """Return the row of ``plan_orders``: decimals are text, absent values None."""
    row: dict[str, str | int | None] = {"plan_id": plan_id, "child": child.number}
    for name, value in asdict(child).items():
        match value:
            case Basis():
                row[name] = msgspec.json.encode(value).decode()
            case Decimal():
                row[name] = plain(value)
            case bool():
                row[name] = int(value)
            case "":
                row[name] = None
            case Reason():
                row[name] = value.value
            case _:
                row[name] = value
    del row["number"]
    return row | {"state": child.state, "attempts": 0, "doubled": 0, "unprotected": 0}


def from_columns(row: Mapping[str, object]) -> Child:
    """Return the child of a row of ``plan_orders``, as the preview made it; the opposite of ``to_columns``."""
    later = () if row["state"] == "skipped" else ("reason", "detail")  # of the execution, not of the preview
    names = [name for name in Child.__struct_fields__ if name not in later]
    given = {name: row[name] for name in names if row.get(name) is not None}
    given |= {"number": row["child"], "facts": msgspec.json.decode(str(row["facts"]))}
    return msgspec.convert(given, Child, strict=False)


# Identity


class OwnId(msgspec.Struct, frozen=True):
    """What a client order id of okxsync says. ``protection``: it is the id of an attached take-profit or stop-loss."""

    plan_id: str
    child: int
    protection: bool = False
    prefix: str = ""


def plan_id_of(bits: int) -> str:
    """Return the plan id of ``PLAN_ID_BITS`` random bits."""
    return "".join(CROCKFORD[bits >> shift & 31] for shift in range(PLAN_ID_BITS - 5, -1, -5))


def is_plan_id(text: str) -> bool:
    """Whether ``plan_id_of`` can have made ``text``."""
    return _PLAN_ID.fullmatch(text) is not None


def make_cl_ord_id(own: OwnId) -> str:
    """Return the client order id, at most 32 letters and digits, as OKX wants it.

    Raises:
        ValueError: the parts do not make a valid id.
    """
    digits = ""
    rest = own.child
    for _ in range(4):
        rest, digit = divmod(rest, 36)
        digits = _BASE36[digit] + digits
    text = f"{own.prefix}{'T' if own.protection else 'P'}{own.plan_id}{digits}"
    if rest or parse_cl_ord_id(text) != own:
        raise ValueError(f"no client order id can be made of {own}")
    return text


def parse_cl_ord_id(text: str) -> OwnId | None:
    """Return what a ``clOrdId`` or ``algoClOrdId`` says; None if it is not one of okxsync's plans."""
    if not (found := _OWN_ID.fullmatch(text)):
        return None
    prefix, kind, plan_id, child = found.groups()
    return OwnId(plan_id, int(child, 36), kind == "T", prefix)


# Bodies. The order of the fields is that of OKX's tables; a default is left out.


class Attached(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An element of ``attachAlgoOrds``: take-profit and stop-loss of an order that opens (T 5)."""

    attach_algo_cl_ord_id: str
    tp_trigger_px: str = ""
    tp_ord_px: str = ""
    tp_trigger_px_type: str = ""
    sl_trigger_px: str = ""
    sl_ord_px: str = ""
    sl_trigger_px_type: str = ""


class OrderBody(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of ``POST trade/order`` (OKX docs: order-book-trading-trade-post-place-order)."""

    inst_id: str
    td_mode: str
    cl_ord_id: str
    side: str
    ord_type: str
    sz: str
    px: str = ""
    pos_side: str = ""
    ccy: str = ""
    tag: str = ""
    reduce_only: bool = False
    tgt_ccy: str = ""
    ban_amend: bool = False
    attach_algo_ords: tuple[Attached, ...] = ()


class LeverageBody(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of ``POST account/set-leverage``."""

    inst_id: str
    lever: str
    mgn_mode: str
    pos_side: str = ""


class CancelBody(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of ``POST trade/cancel-order``, or an element of ``POST trade/cancel-algos``."""

    inst_id: str
    ord_id: str = ""
    cl_ord_id: str = ""
    algo_id: str = ""
    algo_cl_ord_id: str = ""


def to_body(request: OrderBody | LeverageBody | CancelBody | tuple[CancelBody, ...]) -> str:
    """Return the exact body: compact JSON."""
    return msgspec.json.encode(request).decode()


PRICED: Final = frozenset({"limit", "post_only", "ioc", "fok"})
"""Order types that have a price."""
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_TAG: Final = re.compile(r"[A-Za-z0-9]{0,16}")
_NUMBER: Final = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")


def why_invalid(order: OrderBody) -> str:
    """Return what is wrong with an order by OKX's rules of form; ``""`` if nothing is."""
    if not _CLIENT_ID.fullmatch(order.cl_ord_id):
        return f'clOrdId "{order.cl_ord_id}" is not 1 to 32 letters and digits'
    if not _TAG.fullmatch(order.tag):
        return f'tag "{order.tag}" is not at most 16 letters and digits'
    if order.side not in ("buy", "sell"):
        return f'side "{order.side}"'
    if not order.inst_id or not order.td_mode:
        return "instId or tdMode is missing"
    if (order.ord_type in PRICED) is not bool(order.px):
        return f'ordType "{order.ord_type}" with px "{order.px}"'
    numbers = [("sz", order.sz), ("px", order.px)]
    for attached in order.attach_algo_ords:
        numbers += [("tpTriggerPx", attached.tp_trigger_px), ("slTriggerPx", attached.sl_trigger_px)]
    for name, text in numbers:
        if (text or name == "sz") and not (_NUMBER.fullmatch(text) and Decimal(text) > 0):
            return f'{name} "{text}" is not a number above 0'
    return ""


def why_unlike(child: Child) -> str:
    """Return why the body of an order is not valid, or not that of its row; ``""`` if it is."""
    try:
        order = msgspec.json.decode(child.body, type=OrderBody)
        numbers = tuple(Decimal(text) if text else None for text in (order.sz, order.px))
    except (msgspec.MsgspecError, InvalidOperation) as error:
        return f"the body cannot be read: {error}"
    if wrong := why_invalid(order):
        return wrong
    names = ("cl_ord_id", "inst_id", "side", "pos_side", "td_mode", "ord_type")
    differs = any(getattr(order, name) != getattr(child, name) for name in names) or numbers != (child.sz, child.px)
    return "the body is not that of the row" if differs else ""


def preview_hash(doc_hash: str, children: Iterable[Child]) -> str:
    """Return the SHA-256 of the plan's document and of all children: an approval names it."""
    parts = [doc_hash, *((child.account, child.cl_ord_id, child.body) for child in children)]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def plain(number: Decimal) -> str:
    """Return a number without an exponent and without trailing zeros."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
