"""When two reports of one record mean the same, field by field.

Pushes and REST report the same orders, positions and balances, and spell some values differently: a number with or
without trailing zeros, a default by its name or not at all, a list in another order. The rules here say which spellings
mean the same. ``verify`` compares by them, the verification of live channels too, and ``store.tables`` decides by them
whether a row only repeats what is known. Names are those of our columns: OKX's field names in snake case.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

import msgspec

Row: TypeAlias = Mapping[str, object]
"""The values of a record by column: text or None, and nested JSON decoded or as text."""

ASIDE_MS: Final = 1000
"""Two channels, or a channel and REST, may give the same change times that differ by so much at most."""


# Numbers


def number(text: object) -> Decimal:
    """Return a decimal; zero if it is absent or not a number. NaN does not count as a number."""
    return read_number(text) or Decimal(0)


def read_number(text: object) -> Decimal | None:
    """Return a finite decimal, zero if it is absent, or None if it is anything else."""
    try:
        found = Decimal(str(text or 0))
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 100 else None


# Values

_IDS: Final = re.compile(r"(.*_)?(id|tag|ccy)")
"""Text that is no number although it may look like one: client ids ``1e1`` and ``10`` are different. ``0`` is no id."""
_DEFAULTS: Final[Mapping[str, str]] = {
    "pos_side": "net",
    "tp_trigger_px_type": "last",
    "sl_trigger_px_type": "last",
    "trigger_px_type": "last",
    "tp_ord_kind": "condition",
    "category": "normal",
    "reduce_only": "false",
    "is_tp_limit": "false",
    "is_trade_borrow_mode": "false",
    "collateral_enabled": "false",
    "collateral_restrict": "false",
    "cxl_on_close_pos": "false",
}
"""The value that an absent one stands for (OKX docs: defaults of POST trade/order, trade/order-algo; recorded replies:
one spot order is ``net`` in trade/orders-pending, and ``""`` in trade/orders-history and in pushes)."""
_QUALIFIES: Final[Mapping[str, str]] = {
    "tp_trigger_px_type": "tp_trigger_px",
    "sl_trigger_px_type": "sl_trigger_px",
    "trigger_px_type": "trigger_px",
    "fee_ccy": "fee",
    "fill_fee_ccy": "fill_fee",
    "rebate_ccy": "rebate",
    "liab_ccy": "liab",
    "spot_in_use_ccy": "spot_in_use_amt",
}
"""What says of which kind an amount is, and means nothing without the amount: pushes say ``last`` for an order without
TP and SL, REST says nothing."""
_TIME: Final = re.compile(r"(.*_)?time|ts")
_CHANGED_AT: Final = "u_time"


def canonical(column: str, value: object) -> Hashable:
    """Return what a value means: equal for all spellings of the same, and None for an absent one, zero or the default.

    Numbers are compared exactly, whatever their format; lists in any order; the number ``1`` and the text ``"1"`` are
    the same, as in OKX's JSON.
    """
    if isinstance(value, str) and value.startswith(("[", "{")):
        value = _decode(value)
    match value:
        case None | "":
            return None
        case Mapping():
            fields = {name: canonical(_snake(name), one) for name, one in value.items()}
            return frozenset((name, one) for name, one in fields.items() if one is not None) or None
        case list():
            items = Counter(one for one in (canonical(column, each) for each in value) if one is not None)
            return frozenset(items.items()) or None
        case bool():
            text = "true" if value else "false"
        case _:
            text = str(value)
    if text == _DEFAULTS.get(column):
        return None
    if _IDS.fullmatch(column):
        return None if text == "0" else text
    found = read_number(text) if text.isascii() and "_" not in text else None
    return text if found is None else found or None


def _decode(text: str) -> Any:
    """Return decoded JSON with exact numbers; or the text itself, if it is not JSON."""
    try:
        return _read_json(text)
    except (msgspec.DecodeError, ArithmeticError, RecursionError):
        return text


_read_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def same(column: str, ours: object, theirs: object) -> bool:
    """Whether two values of a column mean the same.

    A field that the objects of one side do not have is not compared: REST reports why an attached order failed, pushes
    do not.
    """
    mine, other = _objects(ours), _objects(theirs)
    if mine is not None and other is not None and mine and other:
        if not (common := _fields(mine) & _fields(other)):
            return False
        mine, other = _restricted(mine, common), _restricted(other, common)
        return canonical(column, mine) == canonical(column, other) and len(mine) == len(other)
    return canonical(column, ours) == canonical(column, theirs)


def _objects(value: object) -> list[Mapping[str, object]] | None:
    """Return the objects in a value that say anything; None if it is something else than objects."""
    if isinstance(value, str):
        value = _decode(value) if value.startswith(("[", "{")) else None
    found = [value] if isinstance(value, Mapping) else value
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        return None
    return [one for one in found if canonical("", one) is not None]


def _fields(objects: Iterable[Mapping[str, object]]) -> set[str]:
    return {name for one in objects for name in one}


def _restricted(objects: Iterable[Mapping[str, object]], names: set[str]) -> list[Mapping[str, object]]:
    return [{name: value for name, value in one.items() if name in names} for one in objects]


# Records


class Rules(msgspec.Struct, frozen=True):
    """How two reports of a record are compared.

    Attributes:
        moving: Columns that are not compared: they change by themselves with prices, or they are of one report and not
            of the record, as the last fill of an order is.
        material: Amounts by which two states of the record differ; a state that differs in none was reported already.
        final: States in which the time of the last change is not compared: an end may be reported again with a later
            time (OKX docs: order channel).
    """

    moving: frozenset[str] = frozenset()
    material: tuple[str, ...] = ()
    final: frozenset[str] = frozenset()


def differing(rules: Rules, ours: Row, theirs: Row) -> Iterator[str]:
    """Yield the columns in which our row does not mean the same as what REST reports.

    Columns that one of the rows does not have are not compared.
    """
    for column in theirs.keys() & ours.keys() - rules.moving:
        if column == _CHANGED_AT and ours.get("state") in rules.final:
            continue
        amount = _QUALIFIES.get(column)
        if amount and all(canonical(amount, row.get(amount)) is None for row in (ours, theirs)):
            continue
        is_same = _same_time if _TIME.fullmatch(column) else same
        if not is_same(column, ours[column], theirs[column]):
            yield column


def _same_time(column: str, ours: object, theirs: object) -> bool:
    """Whether two times are of one event.

    Our time of a change may be later than REST's, for it is the latest of several channels'. Some rows have none.
    """
    mine, other = number(ours), number(theirs)
    if column == _CHANGED_AT:
        return not mine or other - mine <= ASIDE_MS
    return bool(mine) == bool(other) and abs(other - mine) <= ASIDE_MS


ORDER_ENDS: Final = frozenset({"filled", "canceled", "mmp_canceled"})
_LAST_FILL: Final = "fill_px fill_sz trade_id fill_time fill_pnl exec_type fill_fee fill_fee_ccy fill_notional_usd"
_OF_A_PUSH: Final = (
    "fill_mark_px fill_idx_px fill_px_vol fill_px_usd fill_mark_vol fill_fwd_px notional_usd last_px amend_source"
    " amend_result req_id code msg cancel_source_reason"
)
ORDERS: Final = Rules(
    moving=frozenset(f"{_LAST_FILL} {_OF_A_PUSH}".split()), material=("acc_fill_sz", "px", "sz"), final=ORDER_ENDS
)
ALGO_ORDERS: Final = Rules(
    moving=frozenset("last notional_usd req_id amend_result p_time move_trigger_px".split()),
    material=("sz", "trigger_px", "ord_px", "tp_trigger_px", "tp_ord_px", "sl_trigger_px", "sl_ord_px"),
)
POSITIONS: Final = Rules(
    moving=frozenset(
        "mark_px last idx_px usd_px be_px upl upl_ratio upl_last_px upl_ratio_last_px liq_px mgn_ratio mmr imr margin"
        " notional_usd opt_val adl interest base_interest quote_interest pending_close_ord_liab_val hedged_pos p_time"
        " delta_bs delta_pa gamma_bs gamma_pa theta_bs theta_pa vega_bs vega_pa spot_in_use_amt max_spot_in_use_amt"
        " trade_id close_order_algo".split()
    ),
    material=("pos",),
)
BALANCES: Final = Rules(
    moving=frozenset(
        "eq avail_bal avail_eq frozen_bal dis_eq eq_usd iso_eq upl iso_upl upl_liab mgn_ratio imr mmr interest twap"
        " max_loan notional_lever coin_usd_price borrow_froz stgy_eq smt_sync_eq spot_copy_trading_eq spot_in_use_amt"
        " max_spot_in_use_amt spot_upl spot_upl_ratio total_pnl total_pnl_ratio auto_lend_mt_amt col_res".split()
    ),
    material=("cash_bal",),
)
FILLS: Final = Rules(material=("fill_sz",))

BALANCE_AMOUNTS: Final = (
    "eq cash_bal avail_bal avail_eq frozen_bal ord_frozen dis_eq eq_usd iso_eq fixed_bal liab upl upl_liab cross_liab"
    " iso_liab reward_bal imr mmr interest borrow_froz stgy_eq iso_upl spot_in_use_amt cl_spot_in_use_amt"
    " max_spot_in_use_amt spot_iso_bal smt_sync_eq spot_copy_trading_eq spot_bal spot_upl auto_lend_mt_amt"
).split()
"""What is zero of a currency that a complete list does not name: OKX lists all that are not (OKX docs: account
channel)."""
BALANCE_FACTS: Final = (
    "mgn_ratio twap max_loan notional_lever spot_upl_ratio total_pnl total_pnl_ratio open_avg_px acc_avg_px".split()
)
"""What is not known of it any more: ratios, averages and limits of an amount that is not there."""
