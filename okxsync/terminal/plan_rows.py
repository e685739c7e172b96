"""Plans, their orders, and the requests to the daemon, as rows of the page. Pure, but for what is kept of previews.

A preview never changes, so what is made of its document and its orders is made once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from okxsync.plans.approval import confirmation, typed
from okxsync.plans.children import Basis, from_columns, plain
from okxsync.plans.document import Plan, PlanError
from okxsync.plans.plan_file import read
from okxsync.plans.weights import Weight, weights_of
from okxsync.terminal import topics
from okxsync.terminal.book import Row

Record = Mapping[str, Any]

KEPT = 1_000
"""Previews of which something is kept; then all of it is made anew."""
_BASIS_TIMES = {"equity_at": "equity_ms", "position_at": "position_ms", "reference_at": "reference_ms"}
Weights = Mapping[tuple[str, str], Weight]
"""By account and instrument."""
NO_WEIGHTS: Final[Weights] = {}
UNREADABLE: Final = (msgspec.MsgspecError, KeyError, TypeError, ValueError)
"""What rows raise that another version of okxsync has stored."""
_TIMES = ("preview_at", "approved_at", "valid_until", "started_at", "ended_at")


class PlanRows:
    """Makes rows of records."""

    def __init__(self) -> None:
        self._valid_s: dict[str, int | None] = {}
        self._confirmations: dict[tuple[str, str | None], tuple[str, str] | None] = {}
        self._bases: dict[tuple[str, int, str], Record] = {}
        self._rebalancing: dict[str, Plan | None] = {}
        self._weights: dict[str, tuple[list[Any], Weights]] = {}

    def plan(self, record: Record, orders: Sequence[Record] | None) -> Row:
        """Return the row of a plan; ``orders`` is None if no page follows it."""
        row = dict(record) | {name: _us(record[name]) for name in _TIMES}
        row |= {"expires_at": None, "confirm": None, "typed": None}
        if record["state"] == "previewed":
            valid_s = self._valid_for(record)
            row["expires_at"] = None if valid_s is None else row["preview_at"] + valid_s * 1_000_000
            if orders and (found := self._confirmation(record, orders)):
                row["confirm"], row["typed"] = found
        return topics.PLANS.row(row)

    def weights(self, record: Record, orders: Sequence[Record], document: Callable[[], str]) -> Weights:
        """Return the shares of a plan that rebalances, and none of another one.

        Args:
            record: Of the plan.
            document: Returns the plan's document.
        """
        plan_id = record["plan_id"]
        if plan_id not in self._rebalancing:
            _limit(self._rebalancing)
            self._rebalancing[plan_id] = _rebalancing(document())
        if (plan := self._rebalancing[plan_id]) is None:
            return NO_WEIGHTS
        made_of = [record["approved_at"], *(one["acc_fill_sz"] for one in orders)]
        known, found = self._weights.get(plan_id, ([], NO_WEIGHTS))
        if known != made_of:
            _limit(self._weights)
            try:
                listed = weights_of(plan, orders, executed=record["approved_at"] is not None)
            except UNREADABLE:
                listed = []
            found = {(one.account, one.instrument): one for one in listed}
            self._weights[plan_id] = made_of, found
        return found

    def order(self, record: Record, weights: Weights = NO_WEIGHTS) -> Row:
        """Return the row of an order of a plan; ``weights`` are those of the plan."""
        row = {**record, **self._basis(record)} | {"ended_at": _us(record["ended_at"])}
        weight = weights.get((record["account"], record["inst_id"])) if record["kind"] == "order" else None
        for name, column in _SHARES.items():
            row[column] = plain(getattr(weight, name)) if weight else None
        if not record["sz"]:
            row |= {"planned_usd": None, "remainder": None}
        return topics.PLAN_ORDERS.row(row)

    def _valid_for(self, record: Record) -> int | None:
        """Return for how many seconds a preview may be approved; None if its document cannot be read."""
        plan_id = record["plan_id"]
        if plan_id not in self._valid_s:
            _limit(self._valid_s)
            try:
                self._valid_s[plan_id] = read(record["doc"]).valid_for
            except PlanError:  # another version of okxsync has stored it
                self._valid_s[plan_id] = None
        return self._valid_s[plan_id]

    def _confirmation(self, record: Record, orders: Sequence[Record]) -> tuple[str, str] | None:
        """Return what a person types to approve a preview; None if it has nothing to send, or cannot be read."""
        key = record["plan_id"], record["preview_hash"]
        if key not in self._confirmations:
            _limit(self._confirmations)
            self._confirmations[key] = None
            try:
                children = [from_columns(one) for one in orders]
            except UNREADABLE:
                children = []
            if any(not one.reason for one in children):
                self._confirmations[key] = confirmation(children), typed(children)
        return self._confirmations[key]

    def _basis(self, record: Record) -> Record:
        """Return what an order was computed from; what cannot be read is not known."""
        key = record["plan_id"], record["child"], record["facts"]
        if key not in self._bases:
            _limit(self._bases, 20 * KEPT)
            self._bases[key] = _basis_of(record["facts"])
        return self._bases[key]


_SHARES: Final = {"before": "share", "wanted": "share_wanted", "after": "share_after"}


def _rebalancing(document: str) -> Plan | None:
    """Return the plan of a document if it has a leg with a share of the equity."""
    try:
        plan = read(document)
    except PlanError:
        return None
    return plan if any(leg.size.rule == "target_equity" for leg in plan.legs) else None


def _basis_of(facts: str) -> Record:
    try:
        basis = msgspec.json.decode(facts or "{}", type=Basis)
    except msgspec.MsgspecError:
        basis = Basis()
    numbers = "equity position position_after coins notional lever margin reference".split()
    found = {name: getattr(basis, name) for name in numbers}
    return {
        **{name: None if value is None else plain(value) for name, value in found.items()},
        **{name: _us(getattr(basis, ms) or None) for name, ms in _BASIS_TIMES.items()},
        "usd_assumed": int(basis.usd_assumed),
        "warnings": "; ".join(basis.warnings) or None,
    }


def request(record: Record, ahead_us: int) -> Row:
    """Return the row of a request; ``ahead_us``: of the database's clock to that of this machine."""
    times = {name: record[name] + ahead_us for name in ("at", "expires_at")}
    return topics.REQUESTS.row(dict(record) | times)


def _us(ms: int | None) -> int | None:
    return None if ms is None else ms * 1000


def _limit(kept: dict[Any, Any], most: int = KEPT) -> None:
    if len(kept) >= most:
        kept.clear()
