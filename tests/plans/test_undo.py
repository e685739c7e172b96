"""Plans that take an earlier one back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from okxsync.plans.canonical import canonical
from okxsync.plans.document import Plan
from okxsync.plans.facts import AccountFacts, Balance, OpenOrder
from okxsync.plans.plan_file import read
from okxsync.plans.preview import Preview, make_preview
from okxsync.plans.reasons import Reason
from okxsync.plans.undo import Done, Undo, undo_of
from tests.plans.cases import BTC, SPOT, D, account, plan, position, preview, system, trading

NEW_ID = "ZZZZZZZZZZZ"


def undone(undo: Undo, *accounts: AccountFacts) -> Preview:
    assert undo.plan
    assert read(canonical(undo.plan)) == undo.plan
    facts = {one.name: one for one in accounts}
    return make_preview(undo.plan, NEW_ID, facts, trading(*facts), system(), undo.cancels)


def only(of: Plan, holder: AccountFacts, state: str, filled: str, **more: object) -> Undo:
    (child,) = preview(of, holder).children
    return undo_of(of, [Done(child, state, D(filled), **more)])  # type: ignore[arg-type]


def test_fills_are_reversed_as_a_reduction_with_a_cap() -> None:
    undo = only(plan(leg='side = "buy"\nprice = "mark +0.5%"'), account(), "filled", "0.7")
    (child,) = undone(undo, account(positions=(position("1"),))).children
    assert (child.side, child.sz, child.phase, child.reduce_only, child.px) == ("sell", D("0.7"), 2, True, D("66677.3"))


def test_what_rests_and_what_protects_is_canceled_first() -> None:
    of = plan(leg='side = "buy"\nprotect = { stop_loss = "-2%" }')
    undo = only(of, account(), "working", "0.4", protected=True)
    found = undone(undo, account(positions=(position("0.4"),))).children
    assert [(one.number, one.kind, one.phase) for one in found] == [(1, "cancel", 1), (2, "cancel", 1), (3, "order", 2)]
    assert found[0].body == '{"instId":"BTC-USDT-SWAP","clOrdId":"P0123456789A0001"}'
    assert found[1].body == '[{"instId":"BTC-USDT-SWAP","algoClOrdId":"T0123456789A0001"}]'
    assert found[2].sz == D("0.4")


def test_a_stop_that_is_canceled_first_is_not_ahead_of_the_reduction() -> None:
    of = plan(leg='side = "buy"\nprotect = { stop_loss = "-2%" }')
    undo = only(of, account(), "filled", "1", protected=True)
    stop = OpenOrder(BTC, "sell", reduces=True, cl_ord_id="T0123456789A0001")
    for orders, warnings in (((stop,), ()), ((replace(stop, cl_ord_id=""),), ("own-order-ahead",))):
        holder = account(positions=(position("1"),), open_orders=orders)
        found = undone(undo, holder).children
        assert [(one.kind, one.facts.warnings) for one in found] == [("cancel", ()), ("order", warnings)]


def test_a_plan_that_only_rests_is_only_canceled() -> None:
    undo = only(plan(leg='side = "buy"\ntype = "post_only"\nprice = "mark -1%"'), account(), "working", "0")
    found = undone(undo, account())
    assert [(one.kind, one.reason) for one in found.children] == [("cancel", None)]


def test_an_account_of_which_only_an_order_rests_has_no_row_for_nothing_to_reverse() -> None:
    rests, filled = account(), account("beta", positions=(position("1"),))
    both = zip(preview(plan(), rests, filled).children, ("working", "filled"), ("0", "1"), strict=True)
    undo = undo_of(plan(), [Done(child, state, D(size)) for child, state, size in both])
    found = undone(undo, rests, filled)
    assert [(one.account, one.kind, one.reason) for one in found.children] == [
        ("alpha", "cancel", None),
        ("beta", "order", None),
    ]


def test_nothing_is_undone_of_a_plan_that_did_nothing() -> None:
    assert only(plan(), account(), "refused", "0") == Undo(None, ())


def test_both_sides_of_a_long_short_account_are_reversed_on_their_own_side() -> None:
    holder = account(pos_mode="long_short_mode")
    undo = only(plan(leg='side = "sell"'), holder, "filled", "1")
    held = account(pos_mode="long_short_mode", positions=(position("1", pos_side="short"),))
    (child,) = undone(undo, held).children
    assert (child.side, child.pos_side, child.sz) == ("buy", "short", D(1))


@pytest.mark.parametrize(("side", "held"), [("sell", "long"), ("buy", "short")])
def test_what_closed_a_position_of_a_long_short_account_is_not_opened_again(side: str, held: str) -> None:
    """Nor does its reversal close the other position, which the plan has not opened."""
    other = "short" if held == "long" else "long"
    both = (position("3", pos_side=held), position("2", pos_side=other))
    closer, opener = account(pos_mode="long_short_mode", positions=both), account("beta")
    of = plan(leg=f'side = "{side}"\nintent = "reduce"')
    (closed,) = preview(of, closer).children
    assert (closed.side, closed.pos_side) == (side, held)
    done = Done(closed, "filled", D(1))
    assert undo_of(of, [done]) == Undo(None, (), ("alpha",))
    (opened,) = preview(plan(leg=f'side = "{side}"'), opener).children
    undo = undo_of(plan(leg=f'side = "{side}"'), [done, Done(opened, "filled", D(1))])
    holder = account("beta", positions=(position("1" if side == "buy" else "-1"),))
    found = undone(undo, closer, holder).children
    assert {one.account: one.reason for one in found} == {"alpha": Reason.NOTHING_TO_DO, "beta": None}


def test_spot_sells_the_coins_received_net_of_fees() -> None:
    of = plan('rule = "coins"\nvalue = "0.01"', inst=SPOT)
    undo = only(of, account(), "filled", "0.01", fee=D("-0.00001"))
    (child,) = undone(undo, account(balances={"BTC": Balance(D("0.5"), D(33000), D("0.5"))})).children
    assert (child.side, child.sz) == ("sell", D("0.00999"))


@given(
    filled=st.decimals("0", "5", places=2),
    held=st.decimals("-9", "9", places=2),
    side=st.sampled_from(["buy", "sell"]),
)
def test_an_undo_never_opens_and_never_exceeds_what_was_filled(filled: object, held: object, side: str) -> None:
    undo = only(plan('rule = "contracts"\nvalue = 5', f'side = "{side}"'), account(), "filled", str(filled))
    if undo.plan is None:
        assert filled == 0
        return
    for child in undone(undo, account(positions=(position(str(held)),))).ready:
        assert child.sz
        assert child.sz <= D(str(filled))
        assert child.sz <= abs(D(str(held)))
        assert (child.side == "sell") is (D(str(held)) > 0)
