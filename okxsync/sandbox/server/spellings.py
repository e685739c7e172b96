"""How OKX spells one value differently in pushes and in REST; see `Faults.spellings`.

Seen in recorded replies: ``posSide`` and ``lever`` of a spot order, the type of a trigger price that an order does not
have, fields of attached stops and of balances that only one side has.
"""

from okxsync.sandbox.exchange.rows import Row

REST_BALANCE = {"maxSpotInUseAmt": "maxSpotInUse"}
"""Fields of a currency with another name in REST."""


def pushed_order(row: Row) -> Row:
    """An order as channel ``orders`` spells it."""
    if row["instType"] == "SPOT":
        row = row | {"lever": "0"}
    return row | {f"{leg}TriggerPxType": row[f"{leg}TriggerPxType"] or "last" for leg in ("tp", "sl")}


def pending_order(row: Row) -> Row:
    """An order as ``orders-pending`` spells it."""
    return row | {"posSide": row["posSide"] or "net", "attachAlgoOrds": _with_failures(row)}


def finished_order(row: Row) -> Row:
    """An order as ``orders-history`` spells it."""
    return row | {"attachAlgoOrds": _with_failures(row)}


def balance(detail: Row) -> Row:
    """A currency as ``account/balance`` spells it."""
    return {REST_BALANCE.get(name, name): value for name, value in detail.items()}


def _with_failures(row: Row) -> list[Row]:
    return [leg | {"failCode": "", "failReason": ""} for leg in row["attachAlgoOrds"]]
