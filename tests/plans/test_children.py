"""Ids, bodies, rows and the hash of child orders."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.plans.children import (
    MAX_CHILDREN,
    Attached,
    Basis,
    CancelBody,
    Child,
    LeverageBody,
    OrderBody,
    OwnId,
    from_columns,
    is_plan_id,
    make_cl_ord_id,
    parse_cl_ord_id,
    plain,
    plan_id_of,
    preview_hash,
    to_body,
    to_columns,
    why_invalid,
)
from okxsync.plans.reasons import Reason

PLAN = plan_id_of(123456789)
PREFIXES = st.text("ABCXYZabcxyz0189PT", max_size=16)
SWAP = OrderBody("BTC-USDT-SWAP", "cross", "P2", "buy", "ioc", "0.36", "67213.3")


@given(bits=st.integers(0, 2**55 - 1))
def test_a_plan_id_is_eleven_characters_and_differs_for_all_bits(bits: int) -> None:
    assert is_plan_id(plan_id_of(bits))
    assert len(plan_id_of(bits)) == 11
    assert plan_id_of(bits) != plan_id_of(bits ^ 1)


@given(prefix=PREFIXES, bits=st.integers(0, 2**55 - 1), child=st.integers(0, MAX_CHILDREN), protection=st.booleans())
def test_a_client_order_id_reads_back_as_what_it_was_made_of(
    prefix: str, bits: int, child: int, protection: bool
) -> None:
    own = OwnId(plan_id_of(bits), child, protection, prefix)
    text = make_cl_ord_id(own)
    assert len(text) == len(prefix) + 16 <= 32
    assert text.isascii()
    assert text.isalnum()
    assert parse_cl_ord_id(text) == own


@pytest.mark.parametrize(
    "own",
    [
        OwnId(PLAN, MAX_CHILDREN + 1),
        OwnId(PLAN, -1),
        OwnId(PLAN, 1, prefix="a-b"),
        OwnId(PLAN, 1, prefix="x" * 17),
        OwnId("short", 1),
        OwnId(PLAN.lower().replace("0", "i"), 1),
    ],
)
def test_parts_that_make_no_valid_id_are_refused(own: OwnId) -> None:
    with pytest.raises(ValueError, match="no client order id"):
        make_cl_ord_id(own)


@pytest.mark.parametrize("text", ["", "P2", "e847386590ce4dBC", "P" + PLAN + "00a1", "Q" + PLAN + "0001"])
def test_ids_of_others_are_not_ours(text: str) -> None:
    assert parse_cl_ord_id(text) is None


def test_bodies_are_those_of_the_samples() -> None:
    """The samples of OKX's rules (T 6.1), with our order of the fields."""
    assert to_body(SWAP) == (
        '{"instId":"BTC-USDT-SWAP","tdMode":"cross","clOrdId":"P2","side":"buy","ordType":"ioc","sz":"0.36",'
        '"px":"67213.3"}'
    )
    spot = OrderBody("BTC-USDT", "cash", "P1", "buy", "market", "100", tgt_ccy="quote_ccy", ban_amend=True)
    assert to_body(spot) == (
        '{"instId":"BTC-USDT","tdMode":"cash","clOrdId":"P1","side":"buy","ordType":"market","sz":"100",'
        '"tgtCcy":"quote_ccy","banAmend":true}'
    )
    attached = Attached("P2T", "70000", "-1", "mark", "65000", "-1", "mark")
    bracket = OrderBody("X", "cross", "P2", "buy", "ioc", "1", "2", attach_algo_ords=(attached,))
    assert to_body(bracket).endswith(
        '"attachAlgoOrds":[{"attachAlgoClOrdId":"P2T","tpTriggerPx":"70000","tpOrdPx":"-1","tpTriggerPxType":"mark",'
        '"slTriggerPx":"65000","slOrdPx":"-1","slTriggerPxType":"mark"}]}'
    )
    assert to_body(LeverageBody("X", "3", "cross")) == '{"instId":"X","lever":"3","mgnMode":"cross"}'
    assert to_body((CancelBody("X", algo_cl_ord_id="T1"),)) == '[{"instId":"X","algoClOrdId":"T1"}]'


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (SWAP, ""),
        (OrderBody("X", "cross", "a-b", "buy", "ioc", "1", "2"), "clOrdId"),
        (OrderBody("X", "cross", "P1", "buy", "ioc", "1", "2", tag="a b"), "tag"),
        (OrderBody("X", "cross", "P1", "auto", "ioc", "1", "2"), "side"),
        (OrderBody("X", "", "P1", "buy", "ioc", "1", "2"), "tdMode"),
        (OrderBody("X", "cross", "P1", "buy", "ioc", "1"), "px"),
        (OrderBody("X", "cash", "P1", "buy", "market", "1", "2"), "px"),
        (OrderBody("X", "cross", "P1", "buy", "ioc", "0", "2"), "sz"),
        (OrderBody("X", "cross", "P1", "buy", "ioc", "1E+2", "2"), "sz"),
        (OrderBody("X", "cross", "P1", "buy", "ioc", "", "2"), "sz"),
        (OrderBody("X", "cross", "P1", "buy", "ioc", "1", "-2"), "px"),
        (
            OrderBody("X", "cross", "P1", "buy", "ioc", "1", "2", attach_algo_ords=(Attached("T1", "-1"),)),
            "tpTriggerPx",
        ),
    ],
)
def test_an_order_that_breaks_a_rule_of_form_is_found(order: OrderBody, says: str) -> None:
    found = why_invalid(order)
    assert says in found
    assert bool(says) is bool(found)


def _child(number: int = 1, **changes: object) -> Child:
    values: dict[str, object] = {
        "number": number,
        "account": "alpha",
        "leg": 1,
        "phase": 2,
        "inst_id": "BTC-USDT-SWAP",
        "side": "buy",
        "td_mode": "cross",
        "ord_type": "ioc",
        "px": Decimal("67213.3"),
        "sz": Decimal("0.36"),
        "cl_ord_id": make_cl_ord_id(OwnId(PLAN, number)),
        "body": to_body(SWAP),
        "planned_usd": Decimal("241.24428"),
        "remainder": Decimal("5.66912"),
        "facts": Basis(Decimal("67012.3"), 1, equity=Decimal("12345.67"), warnings=("own-order-ahead",)),
    }
    return Child(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "child",
    [
        _child(),
        _child(reduce_only=True, pos_side="long", algo_cl_ord_id="T1"),
        _child(reason=Reason.BELOW_MIN, detail="0.004 < 0.01", body="", sz=None, px=None),
    ],
)
def test_a_child_survives_the_table(child: Child) -> None:
    row = to_columns(PLAN, child)
    assert row["state"] == ("skipped" if child.reason else "ready")
    assert not any(isinstance(value, bool) or value == "" for value in row.values())
    assert from_columns(row) == child


@pytest.mark.parametrize(("state", "reason"), [("refused", "refused"), ("absent", "absent"), ("withheld", "stale")])
def test_a_child_that_was_executed_is_read_as_it_was_approved(state: str, reason: str) -> None:
    row = to_columns(PLAN, _child()) | {"state": state, "reason": reason, "detail": "51008 not enough margin"}
    assert from_columns(row) == _child()


def test_the_hash_changes_with_document_account_id_and_body() -> None:
    one = preview_hash("doc", [_child(1), _child(2)])
    assert one == preview_hash("doc", [_child(1), _child(2)])
    others = [
        preview_hash("other", [_child(1), _child(2)]),
        preview_hash("doc", [_child(1)]),
        preview_hash("doc", [_child(2), _child(1)]),
        preview_hash("doc", [_child(1, account="beta"), _child(2)]),
        preview_hash("doc", [_child(1, body="{}"), _child(2)]),
    ]
    assert len({one, *others}) == 6


def test_a_body_is_posted_where_its_kind_belongs() -> None:
    assert _child().path == "/api/v5/trade/order"
    assert _child(kind="leverage").path == "/api/v5/account/set-leverage"
    assert _child(kind="cancel").path == "/api/v5/trade/cancel-order"
    assert (
        _child(kind="cancel", body=to_body((CancelBody("X", algo_cl_ord_id="T1"),))).path
        == "/api/v5/trade/cancel-algos"
    )


@pytest.mark.parametrize(
    ("number", "text"), [("1E+3", "1000"), ("0.3600", "0.36"), ("-0.0", "0"), ("1E-8", "0.00000001"), ("100", "100")]
)
def test_numbers_are_written_plainly(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
