"""What a plan has filled, in USD."""

from decimal import Decimal

import pytest

from okxsync.plans.commands import ChildOrder
from okxsync.plans.results import filled_usd, result_of, total_filled_usd
from okxsync.plans.states import ChildState
from tests.plans.world import make_child


def filled(size: str, average: str, reference: str = "67000") -> ChildOrder:
    """An order of 2 contracts, planned as 1340 USD."""
    return make_child(
        1, sz="2", planned_usd="1340", reference=reference, acc_fill_sz=size, avg_px=average, state=ChildState.FILLED
    )


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


def test_a_plan_counts_all_its_orders() -> None:
    children = [filled("2", "67670"), filled("0.3", "67001"), make_child(3, state=ChildState.WITHHELD)]
    assert total_filled_usd(children) == "1554.4"
    ended = result_of(children, "")
    assert (ended["filled_usd"], ended["accepted"], ended["outcome"]) == ("1554.4", 2, "partial")


def test_a_step_that_is_done_counts_as_planned() -> None:
    children = [make_child(1, kind="leverage", state=ChildState.DONE), filled("2", "67000")]
    assert result_of(children, "")["outcome"] == "complete"
