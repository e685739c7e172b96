"""The dead man's switch: when it is renewed, and when it is switched off."""

import pytest

from okxsync.plans.dead_man import RENEW_S, RETRY_S, Renewals, Switch

A, B = Switch("a0", "t"), Switch("a1", "t")


def renewals(*accepted: tuple[dict[Switch, int], float]) -> Renewals:
    """Return switches for which these were wanted, and sent, at these times."""
    found = Renewals()
    for wanted, now in accepted:
        for switch, timeout_s in found.due(wanted, now).items():
            found.answered(switch, timeout_s, now, accepted=True)
    return found


@pytest.mark.parametrize(("timeout_s", "renews_s"), [(120, RENEW_S), (60, RENEW_S), (30, 10.0)])
def test_a_switch_is_renewed_long_before_it_acts(timeout_s: int, renews_s: float) -> None:
    found = renewals(({A: timeout_s}, 100.0))
    assert found.due({A: timeout_s}, 100.0 + renews_s - 0.1) == {}
    assert found.due({A: timeout_s}, 100.0 + renews_s) == {A: timeout_s}
    assert timeout_s / renews_s >= 3


def test_an_account_whose_orders_have_ended_is_switched_off_once() -> None:
    found = renewals(({A: 60, B: 60}, 100.0))
    assert found.due({B: 60}, 101.0) == {A: 0}
    found.answered(A, 0, 101.1, accepted=True)
    assert found.due({B: 60}, 110.0) == {}
    assert found.due({A: 60, B: 60}, 110.0) == {A: 60}


def test_what_fails_is_sent_again_soon_until_okx_has_acted() -> None:
    found = Renewals()
    assert found.due({A: 60}, 100.0) == {A: 60}
    found.answered(A, 60, 100.5, accepted=False)
    assert found.due({A: 60}, 100.5 + RETRY_S) == {A: 60}
    assert found.due({}, 110.0) == {A: 0}
    found.answered(A, 0, 110.0, accepted=False)
    assert found.due({}, 111.0) == {}
    assert found.due({}, 112.0) == {A: 0}
    assert found.due({}, 170.0) == {}
    assert found.due({}, 170.1) == {}


def test_a_late_reply_to_the_end_does_not_end_a_new_switch() -> None:
    found = renewals(({A: 60}, 100.0))
    assert found.due({}, 101.0) == {A: 0}
    assert found.due({A: 60}, 101.5) == {A: 60}
    found.answered(A, 0, 101.6, accepted=True)
    assert found.due({A: 60}, 102.0) == {}


def test_a_shorter_time_counts_at_once() -> None:
    found = renewals(({A: 60}, 100.0))
    assert found.due({A: 30}, 101.0) == {A: 30}
