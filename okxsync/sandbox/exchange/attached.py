"""The take profits and stop losses that an order carries (``attachAlgoOrds``), from its request to their algo orders.

Each element sleeps in its order, with an ``attachAlgoId``. Once the order has filled, it becomes an algo order with
another id; an order that ends without a fill discards it. It is not tied to the position: it stays when another order
closes that (OKX docs: order-book-trading-trade-post-place-order).
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from okxsync.sandbox.exchange import parameters
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.orders import Attached, OrderRejected, client_id, number, optional_number

MOST = 10
"""How many take profits an order may be split into."""
PX_TYPES: Final = ("last", "mark", "index")


def read_attached(given: Any, new_id: Callable[[], str], sz: Decimal) -> list[Attached]:
    """Read the elements of a new order of this size; splits must add up to it. Raises OrderRejected."""
    if not given:
        return []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise OrderRejected("51000", "Parameter attachAlgoOrds error")
    found = [_read(each, new_id()) for each in given]
    names = [each.cl_id for each in found if each.cl_id]
    if len(set(names)) < len(names):
        raise OrderRejected("51068", "attachAlgoClOrdId already exists within attachAlgoOrds.")
    _check_split(found, sz)
    return found


def _read(element: Mapping[str, Any], attach_id: str) -> Attached:
    parameters.check("attached", element)
    fields = {name: str(value) for name, value in element.items() if value not in (None, "")}
    found = Attached(attach_id, client_id(element, "attachAlgoClOrdId"), fields)
    _check(found)
    return found


def _check(found: Attached) -> None:
    """Reject an element without a trigger, or with half of one."""
    fields = found.fields
    optional_number(fields, "sz")
    if found.trails:
        if found.has("tp") or found.has("sl") or ("callbackRatio" in fields and "callbackSpread" in fields):
            raise OrderRejected("51000", "Parameter callbackRatio error")
        for name in ("callbackRatio", "callbackSpread", "activePx"):
            optional_number(fields, name)
        return
    if fields.get("activePx") or not (found.has("tp") or found.has("sl")):
        raise OrderRejected("51000", "Parameter tpTriggerPx or slTriggerPx error")
    for leg in ("tp", "sl"):
        parameters.choice(fields, f"{leg}TriggerPxType", *PX_TYPES)
        if found.has(leg):
            number(fields, f"{leg}TriggerPx")
            if fields.get(f"{leg}OrdPx") != "-1":
                number(fields, f"{leg}OrdPx")
        elif fields.get(f"{leg}OrdPx") or fields.get(f"{leg}TriggerPxType"):
            raise OrderRejected("51000", f"Parameter {leg}TriggerPx error")


def _check_split(found: Sequence[Attached], sz: Decimal) -> None:
    """Reject several elements unless they are one stop loss at most and take profits whose sizes add up."""
    if len(found) < 2:
        return
    takes = [each for each in found if each.has("tp")]
    if len(takes) > MOST:
        raise OrderRejected("51076", f"TP split orders can't exceed {MOST}")
    if sum(each.has("sl") or each.trails for each in found) > 1:
        raise OrderRejected("51077", "Only one SL order can be placed with split TPs")
    if len(takes) > 1:
        if not all(each.fields.get("sz") for each in takes):
            raise OrderRejected("51080", "sz is required for split TPs")
        if sum(Decimal(each.fields["sz"]) for each in takes) != sz:
            raise OrderRejected("51083", "The total size of TP orders must equal the size of the order")


def check_prices(found: Sequence[Attached], *, buys: bool, px: Decimal | None, best: Decimal) -> None:
    """Reject triggers on the wrong side of the order's price, or without one of the market's best price."""
    reference = px or best
    for each in found:
        for leg in ("tp", "sl"):
            if not each.has(leg):
                continue
            above = Decimal(each.fields[f"{leg}TriggerPx"]) > reference
            if above is not (buys is (leg == "tp")) or Decimal(each.fields[f"{leg}TriggerPx"]) == reference:
                code = str((51046 if px else 51050) + (0 if buys else 2) + (leg == "sl"))
                raise OrderRejected(code, f"The {leg} trigger price is on the wrong side of {text(reference)}")


def amend_attached(found: Sequence[Attached], given: Any) -> list[Attached]:
    """Return the elements after the changes of an amendment; a trigger price of 0 deletes its leg."""
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise OrderRejected("51000", "Parameter attachAlgoOrds error")
    after = [Attached(each.attach_id, each.cl_id, dict(each.fields)) for each in found]
    for change in given:
        parameters.check("amend-attached", change)
        attach_id, cl_id = str(change.get("attachAlgoId") or ""), str(change.get("attachAlgoClOrdId") or "")
        known = [
            each for each in after if (each.attach_id == attach_id if attach_id else cl_id and each.cl_id == cl_id)
        ]
        if not known:
            raise OrderRejected("51527", "Order modification failed. At least 1 of the attached TP/SL does not exist.")
        _change(known[0].fields, change)
        if known[0].has("tp") or known[0].has("sl") or known[0].trails:
            _check(known[0])
        else:
            after.remove(known[0])
    return after


def _change(fields: dict[str, str], change: Mapping[str, Any]) -> None:
    for name, value in change.items():
        if not name.startswith("new") or value in (None, ""):
            continue
        fields[name[3].lower() + name[4:]] = str(value)
    for leg in ("tp", "sl"):
        if fields.get(f"{leg}TriggerPx", "").strip("0.") == "":
            for name in (f"{leg}TriggerPx", f"{leg}TriggerPxType", f"{leg}OrdPx"):
                fields.pop(name, None)
