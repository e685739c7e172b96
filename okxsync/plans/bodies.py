"""Children of drafts: ids, exact bodies, and what they were computed from."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import msgspec

from okxsync.config.trading import TradingSettings
from okxsync.plans.children import (
    Attached,
    Basis,
    CancelBody,
    Child,
    LeverageBody,
    OrderBody,
    OwnId,
    make_cl_ord_id,
    plain,
    to_body,
    why_invalid,
)
from okxsync.plans.drafts import Draft
from okxsync.plans.reasons import Reason
from okxsync.plans.sizing import coins, notional, to_decimal

_NET_MODES_WITH_FLAG = ("2", "3")
"""Account modes in which ``reduceOnly`` exists (T 3.2)."""


class Cancel(msgspec.Struct, frozen=True):
    """An order of an earlier plan that is to be canceled; ``algo``: ``cl_ord_id`` is that of an attached algo order."""

    account: str
    inst_id: str
    cl_ord_id: str
    algo: bool = False


def cancel_child(plan_id: str, number: int, cancel: Cancel, trading: TradingSettings) -> Child:
    """Return the step of phase 1 that cancels an order."""
    body: CancelBody | tuple[CancelBody, ...] = CancelBody(cancel.inst_id, cl_ord_id=cancel.cl_ord_id)
    if cancel.algo:
        body = (CancelBody(cancel.inst_id, algo_cl_ord_id=cancel.cl_ord_id),)
    return Child(
        number=number,
        account=cancel.account,
        leg=0,
        phase=1,
        kind="cancel",
        inst_id=cancel.inst_id,
        cl_ord_id=make_cl_ord_id(OwnId(plan_id, number, prefix=trading.clord_prefix)),
        body=to_body(body),
    )


def leverage_child(plan_id: str, number: int, draft: Draft, trading: TradingSettings) -> Child:
    """Return the step of phase 0 that sets the leverage of a draft's position."""
    ground = draft.ground
    assert ground
    assert ground.lever is not None
    by_side = ground.long_short and ground.td_mode == "isolated"
    pos_side = draft.pos_side if by_side else ""
    body = LeverageBody(draft.leg.instrument, plain(ground.lever), ground.td_mode, pos_side)
    return Child(
        number=number,
        account=draft.account.name,
        leg=draft.leg_number,
        phase=0,
        kind="leverage",
        inst_id=draft.leg.instrument,
        pos_side=pos_side,
        td_mode=ground.td_mode,
        cl_ord_id=make_cl_ord_id(OwnId(plan_id, number, prefix=trading.clord_prefix)),
        body=to_body(body),
        facts=Basis(lever=ground.lever),
    )


class Part(NamedTuple):
    """One order of a draft, or the draft itself if it is skipped.

    Attributes:
        phase: In the execution: each round of a phase of the plan is a phase of its own.
        round: From 0.
        slice: Of all orders of the draft, from 1.
        done: The size of those before it.
    """

    draft: Draft
    phase: int
    round: int = 0
    slice: int = 1
    size: Decimal = Decimal(0)
    done: Decimal = Decimal(0)


def parts_of(draft: Draft, rounds: int) -> Iterator[Part]:
    """Yield the orders of a draft; one that is skipped has a single part. ``rounds``: of the plan."""
    first = (draft.phase - 1) * rounds + 1
    if draft.finding:
        yield Part(draft, first)
        return
    index, done = 1, Decimal(0)
    for number, sizes in enumerate(draft.rounds):
        for size in sizes:
            yield Part(draft, first + number, number, index, size, done)
            index += 1
            done += size


def order_child(plan_id: str, number: int, part: Part, trading: TradingSettings) -> Child:
    """Return the child of a part."""
    return (_skipped if part.draft.finding else _order)(plan_id, number, part, trading)


def _skipped(plan_id: str, number: int, part: Part, trading: TradingSettings) -> Child:
    draft = part.draft
    assert draft.finding
    return Child(
        number=number,
        account=draft.account.name,
        leg=draft.leg_number,
        phase=part.phase,
        inst_id=draft.leg.instrument,
        side=draft.side or "",
        pos_side=draft.pos_side,
        td_mode=draft.ground.td_mode if draft.ground else draft.leg.margin or "",
        ord_type=draft.leg.type,
        px=draft.px,
        sz=draft.size if draft.ground else None,
        cl_ord_id=make_cl_ord_id(OwnId(plan_id, number, prefix=trading.clord_prefix)),
        planned_usd=to_decimal(draft.usd),
        remainder=to_decimal(draft.remainder),
        facts=_basis(draft, draft.size, Decimal(0)),
        reason=draft.finding.reason,
        detail=draft.finding.detail,
    )


def _order(plan_id: str, number: int, part: Part, trading: TradingSettings) -> Child:
    draft, size = part.draft, part.size
    ground, leg = draft.ground, draft.leg
    assert ground
    assert draft.side
    own = OwnId(plan_id, number, prefix=trading.clord_prefix)
    algo_id = make_cl_ord_id(OwnId(plan_id, number, True, trading.clord_prefix)) if _protects(draft) else ""
    spot_market = ground.instrument.kind == "spot" and leg.type == "market"
    body = OrderBody(
        inst_id=leg.instrument,
        td_mode=ground.td_mode,
        cl_ord_id=make_cl_ord_id(own),
        side=draft.side,
        ord_type=leg.type,
        sz=plain(size),
        px=plain(draft.px) if draft.px is not None else "",
        pos_side=draft.pos_side,
        tag=trading.tag,
        reduce_only=_reduce_only(draft),
        tgt_ccy="base_ccy" if spot_market else "",
        ban_amend=spot_market,
        attach_algo_ords=(_attached(draft, algo_id),) if algo_id else (),
    )
    worth = notional(ground.instrument, size, ground.reference)
    wrong = why_invalid(body)
    return Child(
        number=number,
        account=draft.account.name,
        leg=draft.leg_number,
        phase=part.phase,
        slice=part.slice,
        inst_id=leg.instrument,
        side=draft.side,
        pos_side=draft.pos_side,
        td_mode=ground.td_mode,
        ord_type=leg.type,
        px=draft.px,
        sz=size,
        reduce_only=body.reduce_only,
        cl_ord_id=body.cl_ord_id,
        algo_cl_ord_id=algo_id,
        body="" if wrong else to_body(body),
        planned_usd=to_decimal(worth * ground.usd),
        remainder=to_decimal(draft.remainder) if part.slice == 1 else Decimal(0),
        facts=_basis(draft, size, part.done),
        reason=Reason.BAD_REQUEST if wrong else None,
        detail=wrong,
    )


def _protects(draft: Draft) -> bool:
    return draft.take_profit is not None or draft.stop_loss is not None


def _reduce_only(draft: Draft) -> bool:
    """Whether the flag is sent: long/short mode needs none, spot and Portfolio margin mode have none."""
    ground = draft.ground
    assert ground
    contracts_in_net_mode = ground.instrument.kind != "spot" and not ground.long_short
    return draft.reduces and contracts_in_net_mode and draft.account.mode in _NET_MODES_WITH_FLAG


def _attached(draft: Draft, algo_id: str) -> Attached:
    """Return take-profit and stop-loss: market orders, triggered as the plan says."""
    assert draft.leg.protect
    trigger = draft.leg.protect.trigger
    found = []
    for px in (draft.take_profit, draft.stop_loss):
        found += [plain(px), "-1", trigger] if px is not None else ["", "", ""]
    return Attached(algo_id, *found)


def _basis(draft: Draft, size: Decimal, done: Decimal) -> Basis:
    """Return the facts of a child; ``done`` is the size of the slices before it."""
    account, ground = draft.account, draft.ground
    if not ground or not draft.side:
        return Basis(equity=account.equity, equity_ms=account.equity_ms, warnings=tuple(draft.warnings))
    own = "short" if draft.pos_side == "short" else "long" if draft.pos_side else "net"
    earlier, filled = (
        draft.before.after(draft.side, Fraction(part), reduces=draft.reduces, long_short=ground.long_short)
        for part in (done, done + size)
    )
    before, after = to_decimal(getattr(earlier, own)), to_decimal(getattr(filled, own))
    worth = notional(ground.instrument, size, ground.reference)
    in_coins = coins(ground.instrument, size, ground.reference)
    settled = in_coins if ground.instrument.kind == "inverse" else worth
    margin = None
    if ground.lever and not draft.reduces:
        fee = settled * Fraction(account.takers.get(ground.instrument.inst_id, Decimal(0)))
        margin = to_decimal(settled / Fraction(ground.lever) + fee)
    return Basis(
        reference=ground.reference,
        reference_ms=ground.quotes.at_ms,
        equity=account.equity,
        equity_ms=account.equity_ms,
        position=before,
        position_ms=account.positions_ms,
        position_after=before if draft.finding else after,
        net=to_decimal(earlier.net) if ground.long_short else None,
        coins=to_decimal(in_coins),
        notional=to_decimal(worth),
        usd=to_decimal(ground.usd),
        usd_assumed=ground.assumed,
        lever=ground.lever,
        margin=margin,
        shrink=draft.leg.shrink and draft.reduces,
        warnings=tuple(draft.warnings),
    )
