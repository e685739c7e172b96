"""Trade ids of fills that have none.

The key of a fill contains its trade id. Deliveries, conversions and the like have none in REST's lists: it is ``""`` or
``"0"``, for several fills alike (OKX docs: GET trade/fills). Each has a bill of its own.
"""

from typing import Final

NO_TRADE_ID: Final = frozenset({"", "0"})


def trade_id_of(trade_id: str, bill_id: str) -> tuple[str, bool]:
    """Return the trade id under which a fill of REST's lists is stored, and whether it is our own.

    Our own id follows from the bill's, so the same fill always gets the same one. It is "" if there is no bill either.
    """
    if trade_id not in NO_TRADE_ID:
        return trade_id, False
    return (f"bill-{bill_id}" if bill_id else ""), True
