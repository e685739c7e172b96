"""The ids of fills: a trade id for those that have none, and which fills belong to an order.

The key of a fill contains its trade id. Deliveries, conversions and the like have none in REST's lists: it is ``""`` or
``"0"``, for several fills alike (OKX docs: GET trade/fills). Each has a bill of its own.
"""

from typing import Final

NO_ID: Final = frozenset({"", "0"})
"""How OKX writes that there is no id."""


def trade_id_of(trade_id: str, bill_id: str) -> tuple[str, bool]:
    """Return the trade id under which a fill of REST's lists is stored, and whether it is our own.

    Our own id follows from the bill's, so the same fill always gets the same one. It is "" if there is no bill either.
    """
    if trade_id not in NO_ID:
        return trade_id, False
    return (f"bill-{bill_id}" if bill_id not in NO_ID else ""), True


_OF_ORDERS: Final = frozenset("1 2 3 4 5 6 100 101 102 103 104 105 106 107".split())
"""``subType`` of trades and liquidations (OKX docs: bill subtypes). Block trades, legs of spreads, deliveries and
conversions have no order, whatever id they name."""


def belongs_to_order(ord_id: str, sub_type: str | None) -> bool:
    """Whether a fill belongs to an order that OKX has. A pushed fill has no ``subType``; it comes with its order."""
    return names_order(ord_id) and (not sub_type or sub_type in _OF_ORDERS)


def names_order(ord_id: str) -> bool:
    return ord_id.isascii() and ord_id.isdecimal() and int(ord_id) > 0
