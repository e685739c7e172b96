"""Refusals of an account that OKX will repeat: until a person changes something, another order is not tried.

A disclaimer is accepted, or identification completed, by hand on OKX's site; nothing tells okxsync about it. So a
refusal counts for a day.
"""

from collections.abc import Mapping
from typing import Final

from okxsync.okx.endpoints import DAY_MS
from okxsync.plans.reasons import Reason
from okxsync.store.engines import Reader

OF_INSTRUMENT: Final[Mapping[str, Reason]] = {
    "51155": Reason.REGION,
    "59114": Reason.REGION,
    "54092": Reason.DISCLAIMER,
    "54109": Reason.DISCLAIMER,
}
"""Codes that concern one instrument. Codes that may depend on the side or the position, such as 51159 of lead traders,
are in neither table: they would also keep a position from being closed."""
OF_ACCOUNT: Final[Mapping[str, Reason]] = {"59113": Reason.REGION}
KEPT_MS: Final = DAY_MS
_CODE: Final = "coalesce(nullif(a.s_code, ''), a.code)"
_REFUSED: Final = (
    f"SELECT o.account, o.inst_id, {_CODE} FROM plans AS p"
    " JOIN plan_attempts AS a ON a.plan_id = p.plan_id"
    " JOIN plan_orders AS o ON o.plan_id = a.plan_id AND o.child = a.child"
    f" WHERE p.approved_at > ? AND a.replied_at > ? AND {_CODE} IN ({{}}) ORDER BY a.replied_at"
)


def read_known_refusals(reader: Reader, now_ms: int) -> dict[str, dict[str, Reason]]:
    """Return the refusals that still count, by account and by instrument; ``""``: all instruments.

    Raises:
        StoreError: the database cannot be read.
    """
    codes = [*OF_INSTRUMENT, *OF_ACCOUNT]
    sql = _REFUSED.format(", ".join("?" * len(codes)))
    approved_since_ms = now_ms - KEPT_MS - DAY_MS  # a plan is valid for a day at most
    found: dict[str, dict[str, Reason]] = {}
    for account, inst_id, code in reader.rows(sql, [approved_since_ms, now_ms - KEPT_MS, *codes]):
        if code in OF_ACCOUNT:
            found.setdefault(account, {})[""] = OF_ACCOUNT[code]
        else:
            found.setdefault(account, {})[inst_id] = OF_INSTRUMENT[code]
    return found
