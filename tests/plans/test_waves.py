"""Who is sent next, and when nothing is sent any more."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.plans.states import ENDED, ChildEvent, ChildState, IllegalTransition, after, can
from okxsync.plans.waves import CANARY_MS, UNDER_WAY, WAVE, Breakers, Decision, Member, Policy, decide

NOW = 1_800_000_000_000
UNTIL = NOW + 60_000
READY, SENT, ACCEPTED, REFUSED = ChildState.READY, ChildState.SENT, ChildState.ACCEPTED, ChildState.REFUSED
FREE = Policy(canary=0)


def members(*states: ChildState, phase: int = 1, **changes: object) -> list[Member]:
    return [
        Member(number, number, phase, state, **changes)  # type: ignore[arg-type]
        for number, state in enumerate(states)
    ]


def decided(found: list[Member], policy: Policy = FREE, breakers: Breakers | None = None, now: int = NOW) -> Decision:
    return decide(found, policy, breakers or Breakers(), now, UNTIL)


def test_a_wave_is_as_large_as_the_connections_that_are_free() -> None:
    assert len(decided(members(*[READY] * 250)).send) == WAVE
    assert len(decided(members(*[SENT] * (UNDER_WAY - WAVE), *[READY] * 250)).send) == WAVE
    assert len(decided(members(*[SENT] * (UNDER_WAY - 30), *[READY] * 250)).send) == 30
    assert decided(members(*[SENT] * UNDER_WAY, READY)).send == ()


def round_trips(accounts: int, hanging: int) -> int:
    """Return after how many round trips all are sent, if all replies but those of the first accounts come at once."""
    states = [READY] * accounts
    for count in range(1, accounts + 1):
        while send := decided(members(*states)).send:
            for number in send:
                states[number] = SENT
        if READY not in states:
            return count
        states = [state if number < hanging or state is READY else ACCEPTED for number, state in enumerate(states)]
    raise AssertionError("some are never sent")


@pytest.mark.parametrize("accounts", [60, 100, 200, 300, 1000])
def test_accounts_that_hang_cost_the_others_no_round_trip(accounts: int) -> None:
    assert round_trips(accounts, hanging=1) == round_trips(accounts, hanging=0)


def test_a_phase_begins_when_the_one_before_has_ended() -> None:
    first = [Member(0, 0, 1, ACCEPTED), Member(1, 1, 2, READY)]
    assert decided(first).send == ()
    assert decided([msgspec.structs.replace(first[0], state=ChildState.FILLED), first[1]]).send == (1,)


def test_the_canary_goes_alone_until_it_is_accepted_and_only_for_a_while() -> None:
    policy = Policy(canary=1)
    assert decided(members(READY, READY, READY), policy).send == (0,)
    sent = [Member(0, 0, 1, SENT, sent_ms=NOW), *members(READY, READY, READY)[1:]]
    assert decided(sent, policy).send == ()
    assert decided(sent, policy).wake_ms == NOW + CANARY_MS
    assert decided(sent, policy, now=NOW + CANARY_MS).withhold == "canary"
    assert decided([msgspec.structs.replace(sent[0], state=ACCEPTED), *sent[1:]], policy).send == (1, 2)
    assert decided([msgspec.structs.replace(sent[0], state=REFUSED), *sent[1:]], policy).withhold == "canary"


def test_an_account_that_was_withheld_is_no_canary() -> None:
    assert decided(members(ChildState.WITHHELD, READY, READY), Policy(canary=1)).send == (1,)


@pytest.mark.parametrize(("policy", "cancels"), [("stop", False), ("cancel", True)])
def test_a_refusal_stops_the_plan_if_it_says_so(policy: str, cancels: bool) -> None:
    found = decided(members(REFUSED, READY), Policy(0, policy))  # type: ignore[arg-type]
    assert (found.withhold, found.cancel_resting) == ("stopped", cancels)
    assert decided(members(REFUSED, READY)).send == (1,)


def test_a_share_of_refusals_stops_the_plan() -> None:
    policy = Policy(0, stop_at=Decimal("0.25"))
    assert decided(members(REFUSED, READY, READY, READY, READY), policy).send
    assert decided(members(REFUSED, REFUSED, READY, READY, READY), policy).withhold == "stopped"


@pytest.mark.parametrize(
    ("codes", "stops"),
    [
        (["51121"] * 3, True),
        (["51121"] * 2, False),
        (["51121", "51121", "51020"], False),
        (["51008", "51121", "51121", "51121"], True),
        (["51008"] * 5, False),
    ],
)
def test_three_equal_refusals_of_the_plan_itself_stop_it(codes: list[str], stops: bool) -> None:
    refused = [Member(n, n, 1, REFUSED, answered_ms=NOW + n, code=code) for n, code in enumerate(codes)]
    assert (decided([*refused, Member(99, 99, 1, READY)]).withhold == "stopped") is stops


def test_an_acceptance_between_equal_refusals_breaks_their_row() -> None:
    refused = [Member(n, n, 1, REFUSED, answered_ms=NOW + 2 * n, code="51121") for n in range(3)]
    between = Member(8, 8, 1, ACCEPTED, answered_ms=NOW + 3)
    assert decided([*refused, between, Member(99, 99, 1, READY)]).send == (99,)


@pytest.mark.parametrize(
    ("breakers", "withhold", "pauses"),
    [
        (Breakers(canceled=True), "canceled", False),
        (Breakers(halted=True), "halted", False),
        (Breakers(doubled=True), "", True),
        (Breakers(clock_error_ms=251), "", True),
        (Breakers(doubted_share=Decimal("0.11")), "stopped", False),
        (Breakers(doubted_share=Decimal("0.1"), clock_error_ms=250), "", False),
    ],
)
def test_a_breaker_stops_or_pauses(breakers: Breakers, withhold: str, pauses: bool) -> None:
    found = decided(members(READY), breakers=breakers)
    assert (found.withhold, bool(found.paused), bool(found.send)) == (withhold, pauses, not withhold and not pauses)


def test_an_unknown_outcome_pauses_if_the_plan_says_so() -> None:
    found = members(ChildState.UNKNOWN, READY)
    assert decided(found).send == (1,)
    assert decided(found, Policy(0, on_unknown="pause")).paused


def test_nothing_is_sent_in_the_last_second_and_a_retry_waits_for_its_time() -> None:
    assert decided(members(READY), now=UNTIL - 1_000).withhold == "expired"
    waiting = members(READY, not_before_ms=NOW + 500)
    assert (decided(waiting).send, decided(waiting).wake_ms) == ((), NOW + 500)
    assert decided(waiting, now=NOW + 500).send == (0,)


MEMBERS = st.lists(
    st.builds(
        Member,
        number=st.integers(0, 999),
        position=st.integers(0, 5),
        phase=st.integers(1, 3),
        state=st.sampled_from(ChildState),
        sent_ms=st.sampled_from([0, NOW - 9_000, NOW - 100]),
        answered_ms=st.sampled_from([0, NOW - 50]),
        code=st.sampled_from(["", "51008", "51121"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.number,
)


@given(MEMBERS, st.integers(0, 3))
def test_a_plan_never_gets_stuck(found: list[Member], canary: int) -> None:
    """Something is sent, something under way will end, or all that is ready is withheld."""
    decision = decided(found, Policy(canary=canary))
    states = {one.number: one.state for one in found}
    assert all(states[number] is READY for number in decision.send)
    if decision.ended:
        assert all(state in ENDED for state in states.values())
    else:
        under_way = any(state not in ENDED and state is not READY for state in states.values())
        assert decision.send or decision.withhold or under_way
        sent = [one for one in found if one.number in decision.send]
        assert all(one.phase == min(m.phase for m in found if m.state not in ENDED) for one in sent)


@pytest.mark.parametrize("breakers", [Breakers(halted=True), Breakers(doubled=True), Breakers()])
def test_only_the_cancellation_of_the_plan_withholds_a_cancellation(breakers: Breakers) -> None:
    found = [Member(0, 0, 1, READY, cancels=True), Member(1, 1, 1, READY)]
    for now in (NOW, UNTIL):
        assert 0 in decided(found, Policy(canary=1), breakers, now).send
    canceled = decided(found, breakers=Breakers(canceled=True))
    assert (canceled.send, canceled.withhold) == ((), "canceled")


def test_a_phase_waits_for_the_cancellations_of_the_one_before() -> None:
    found = [Member(0, 0, 1, SENT, sent_ms=NOW - 60_000, cancels=True), Member(1, 0, 2, READY)]
    assert decided(found, Policy(canary=1)) == Decision(wake_ms=UNTIL - 1_000)


@pytest.mark.parametrize("state", list(ChildState))
def test_what_is_not_in_the_table_cannot_happen(state: ChildState) -> None:
    for event in ChildEvent:
        if can(state, event):
            after(state, event)
        else:
            with pytest.raises(IllegalTransition):
                after(state, event)


@given(st.lists(st.sampled_from(ChildEvent), max_size=12))
def test_an_end_is_left_only_because_the_order_was_found(events: list[ChildEvent]) -> None:
    state = READY
    for event in events:
        if can(state, event):
            if state in (ChildState.WITHHELD, REFUSED, ChildState.ABSENT):
                assert event is ChildEvent.FOUND
            state = after(state, event)
