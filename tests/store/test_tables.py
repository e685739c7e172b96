"""Versions sort as the exchange's history does."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from okxsync.okx.models import AlgoOrder, Order
from okxsync.store.records import moment, number
from okxsync.store.tables import algo_version, amount, gone_version, order_version

amounts = st.decimals(min_value=0, max_value=10**15, places=12).map(lambda number: f"{number:f}")


@given(amounts, amounts)
def test_amounts_sort_as_numbers_do(one: str, other: str) -> None:
    assert (amount(one) < amount(other)) == (Decimal(one) < Decimal(other))
    assert (amount(one) == amount(other)) == (Decimal(one) == Decimal(other))


@given(st.text() | st.sampled_from(["NaN", "Infinity", "1E+999999", "-1", "٣", "1e3", "1_000"]))
def test_amounts_survive_anything(text: str) -> None:
    amount(text)


def test_an_amount_in_scientific_notation_is_that_number() -> None:
    assert amount("1e3") == amount("1000.0")


def push(state: str, filled: str, u_time: int, trade_id: str = "") -> str:
    return order_version(Order(state=state, acc_fill_sz=filled, u_time=str(u_time), trade_id=trade_id), "ws")


def rest(state: str, filled: str, u_time: int) -> str:
    return order_version(Order(state=state, acc_fill_sz=filled, u_time=str(u_time)), "rest")


def test_orders_go_forward() -> None:
    history = [
        push("live", "0", 1000),
        push("live", "0", 1005),  # amended
        push("partially_filled", "9", 1005, "1"),
        push("partially_filled", "10", 1005, "2"),
        push("canceled", "10", 1006),
    ]
    assert history == sorted(history)
    assert len(set(history)) == len(history)


def test_an_end_told_again_later_is_no_news() -> None:
    assert push("canceled", "1", 2000) > push("canceled", "1", 2001)


def test_filled_without_a_fill_is_a_market_orders_last_word() -> None:
    assert push("filled", "5", 1001) > push("filled", "5", 1000, trade_id="77")


def test_a_push_beats_the_same_state_by_rest_but_not_a_later_one() -> None:
    assert push("live", "0", 1000) > rest("live", "0", 1000)
    assert push("filled", "5", 1000, "1") > rest("filled", "5", 1000)
    assert rest("filled", "5", 1002) > push("partially_filled", "5", 1001)
    assert rest("live", "0", 1001) > push("live", "0", 1000)


def test_what_is_gone_is_over_all_that_is_pending_and_under_every_end() -> None:
    assert push("partially_filled", "3", 1000) < gone_version("orders", moment("900")) < rest("canceled", "0", 900)
    assert gone_version("orders", moment("900")) < gone_version("orders", moment("901"))


def test_an_algo_order_that_is_gone_was_so_at_its_time() -> None:
    def version(u_time: int) -> str:
        return algo_version(AlgoOrder(state="live", u_time=str(u_time)), "ws")

    assert version(899) < gone_version("orders-algo", moment("900")) < version(900)


@given(st.text() | st.sampled_from(["NaN", "sNaN", "-Infinity", "1E+999999", "1E-999999"]))
def test_whatever_is_told_as_a_number_can_be_reckoned_with(text: str) -> None:
    found = number(text)
    assert found == found
    assert (found * found + 1).is_finite()


def test_algo_orders_go_by_time_then_by_state() -> None:
    def version(state: str, u_time: int, p_time: str = "") -> str:
        return algo_version(AlgoOrder(state=state, u_time=str(u_time), p_time=p_time), "ws")

    assert version("live", 1000) < version("effective", 1000) < version("live", 1001)
    assert version("live", 1000, "5") < version("live", 1000, "60")
