"""The parameters of each order operation: those that work, and those that only accept the value they have anyway.

Nothing is accepted and then ignored, except where OKX itself ignores it (`IGNORED`). Any other parameter, and any other
value of a fixed one, is rejected with 51000.
"""

from collections.abc import Mapping
from typing import Any, Final

from okxsync.sandbox.exchange.orders import OrderRejected

_ORDER: Final = "instId instIdCode tdMode ccy side posSide tag tgtCcy reduceOnly tradeQuoteCcy sz ordType"
_TP_SL: Final = "tpTriggerPx tpTriggerPxType tpOrdPx slTriggerPx slTriggerPxType slOrdPx"
_NEW_TP_SL: Final = " ".join(f"new{name[0].upper()}{name[1:]}" for name in _TP_SL.split())
_NEW: Final = "newTriggerPx newTriggerPxType newOrdPx"
_TRAILING: Final = "callbackRatio callbackSpread activePx"
_FIND: Final = "instId instIdCode ordId clOrdId"
WORKS: Final = {
    "order": frozenset(f"{_ORDER} clOrdId px pxAmendType stpMode banAmend attachAlgoOrds".split()),
    "amend": frozenset(f"{_FIND} newSz newPx pxAmendType reqId cxlOnFail attachAlgoOrds".split()),
    "cancel": frozenset(_FIND.split()),
    "close": frozenset(["instId", "instIdCode", "mgnMode", "posSide", "ccy", "autoCxl", "clOrdId", "tag"]),
    "algo": frozenset(
        f"{_ORDER} clOrdId algoClOrdId closeFraction cxlOnClosePos {_TP_SL} triggerPx triggerPxType orderPx ordPx"
        f" advanceOrdType {_TRAILING}".split()
    ),
    "leverage": frozenset(["lever", "mgnMode", "instId", "ccy", "posSide"]),
    "position-mode": frozenset(["posMode"]),
    "cancel-algo": frozenset(["instId", "instIdCode", "algoId", "algoClOrdId"]),
    "amend-algo": frozenset(f"instId instIdCode algoId algoClOrdId cxlOnFail reqId newSz {_NEW_TP_SL} {_NEW}".split()),
    "cancel-all-after": frozenset(["timeOut", "tag"]),
    "attached": frozenset(f"attachAlgoClOrdId {_TP_SL} sz {_TRAILING}".split()),
    "amend-attached": frozenset(
        f"attachAlgoId attachAlgoClOrdId {_NEW_TP_SL} newSz newCallbackRatio newCallbackSpread newActivePx".split()
    ),
}
"""By operation; ``attached`` is an element of ``attachAlgoOrds``."""
FIXED: Final[Mapping[str, Mapping[str, str]]] = {
    "order": {
        "rpiTakerAccess": "false",
        "rpiPxRound": "false",
        "isElpTakerAccess": "false",
    },
    "algo": {"tpOrdKind": "condition", "amendPxOnTriggerType": "0"},
    "amend-attached": {"newTpOrdKind": "condition", "amendPxOnTriggerType": "0"},
    "attached": {"tpOrdKind": "condition", "amendPxOnTriggerType": "0"},
}
"""The only accepted value of a parameter that has no effect here."""
IGNORED: Final = {"tgtCcy": "contracts are counted in contracts whatever it says (OKX's agent-trade-kit)"}


def check(operation: str, request: Mapping[str, Any]) -> None:
    """Reject a request with a parameter that would have no effect. Raises OrderRejected (51000)."""
    fixed = FIXED.get(operation, {})
    for name, value in request.items():
        if value in (None, "", []) or name in WORKS[operation]:
            continue
        if name not in fixed or str(value).lower() != fixed[name]:
            raise OrderRejected("51000", f"Parameter {name} error")


def flag(request: Mapping[str, Any], name: str) -> bool:
    """Read a boolean, or its text. Raises OrderRejected (51000)."""
    given = str(request.get(name) or "false").lower()
    if given not in ("true", "false"):
        raise OrderRejected("51000", f"Parameter {name} error")
    return given == "true"


def choice(request: Mapping[str, Any], name: str, *allowed: str) -> str:
    """Read one of some values; the first is the default. Raises OrderRejected (51000)."""
    given = str(request.get(name) or allowed[0])
    if given not in allowed:
        raise OrderRejected("51000", f"Parameter {name} error")
    return given
