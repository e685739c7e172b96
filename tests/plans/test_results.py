"""What a plan has filled, in USD."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from okxsync.plans.commands import ChildOrder
from okxsync.plans.results import exit_code, filled_usd, result_of, total_filled_usd
from okxsync.plans.states import ChildState
from tests.plans.world import make_child


def filled(size: str, average: str, reference: str = "67000") -> ChildOrder:
    """An order of 2 contracts, planned as 1340 USD."""
    return make_child(
        1, sz="2", planned_usd="1340", reference=reference, acc_fill_sz=size, avg_px=average, state=ChildState.FILLED
    )


def canceled(size: str, average: str) -> ChildOrder:
    return replace(filled(size, average), state=ChildState.CANCELED)


@pytest.mark.parametrize(
    ("child", "usd"),
    [
        (filled("2", "67000"), "1340"),
        (filled("2", "67670"), "1353.4"),
        (filled("0.5", "67670"), "338.35"),
        (filled("1", "67670", reference=""), "670"),  # inverse contracts: the price does not matter
        (filled("0", ""), "0"),
        (filled("", ""), "0"),
    ],
)
def test_an_order_counts_with_its_average_price(child: ChildOrder, usd: str) -> None:
    assert filled_usd(child) == Decimal(usd)


def test_an_amount_of_any_size_is_exact_and_no_error() -> None:
    """The exchange reports it, and an error in it would end the plan again each minute."""
    huge = filled("2" + "0" * 30, "67000")
    assert total_filled_usd([huge, filled("0.5", "67670")]) == "1340" + "0" * 27 + "338.35"
    assert filled_usd(filled("1e999999", "67000")) == 0
    assert filled_usd(filled("2", "1e-999999")) == filled_usd(filled("2", "67000"))


def test_a_plan_counts_all_its_orders() -> None:
    children = [filled("2", "67670"), canceled("0.3", "67001"), make_child(3, state=ChildState.WITHHELD)]
    assert total_filled_usd(children) == "1554.4"
    ended = result_of(children, "")
    assert (ended["filled_usd"], ended["accepted"], ended["outcome"]) == ("1554.4", 2, "partial")


def test_a_step_that_is_done_counts_as_planned() -> None:
    children = [make_child(1, kind="leverage", state=ChildState.DONE), filled("2", "67000")]
    assert result_of(children, "")["outcome"] == "complete"


@pytest.mark.parametrize(
    ("children", "outcome"),
    [
        ([filled("2", "67000"), filled("2", "67000")], "complete"),
        ([filled("2", "67000"), canceled("0.5", "67000")], "partial"),
        ([filled("2", "67000"), canceled("0", "")], "partial"),
        ([canceled("0.5", "67000")], "partial"),
        ([canceled("0", ""), canceled("", "")], "nothing"),
        ([make_child(1, state=ChildState.REFUSED)], "nothing"),
        ([filled("2", "67000"), make_child(2, state=ChildState.SKIPPED)], "partial"),
    ],
)
def test_a_plan_is_complete_exactly_if_its_exit_code_is_0(children: list[ChildOrder], outcome: str) -> None:
    ended = result_of(children, "")
    assert ended["outcome"] == outcome
    assert (exit_code(ended, [asdict(one) for one in children]) == 0) is (outcome == "complete")


@pytest.mark.parametrize(
    ("reason", "code"), [("canary", 7), ("stopped", 7), ("restart", 7), ("expired", 1), ("halted", 1), ("canceled", 1)]
)
def test_what_the_policy_of_the_plan_withholds_has_its_own_exit_code(reason: str, code: int) -> None:
    rows: list[dict[str, Any]] = [
        {"state": "filled", "reason": None, "unprotected": 0},
        {"state": "withheld", "reason": reason, "unprotected": 0},
    ]
    assert exit_code({"state": "stopped"}, rows) == code
    assert exit_code({"state": "stopped"}, [*rows, {"state": "unknown", "reason": None}]) == 5
