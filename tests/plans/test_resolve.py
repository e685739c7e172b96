"""An order of unknown outcome: what is asked, when, and what proves that it does not exist."""

import json

import pytest

from okxsync.plans.resolve import (
    FORGOTTEN_MS,
    MARGIN_MS,
    Absent,
    Answer,
    Ask,
    Doubled,
    Found,
    OrderRow,
    OrderTerms,
    Question,
    Resolver,
    differences,
)

ARMED = 1_800_000_000_000
SENT = OrderTerms("a", "BTC-USDT-SWAP", "buy", "", "ioc", "0.36", "67213.3", "P1")
EXPIRES = ARMED + 3_000
FENCE = EXPIRES + MARGIN_MS
ORDER = OrderRow("7", "P1", "BTC-USDT-SWAP", "buy", "net", "ioc", "0.36", "67213.30", "live", c_time=str(ARMED + 50))


def nothing(resolver: Resolver, at_ms: int, *, back_to_ms: int = ARMED - 1_000) -> Question:
    """Answer what is asked next, at that time, with no orders."""
    step = resolver.next_step(at_ms)
    assert isinstance(step, Ask), step
    assert step.not_before_ms <= at_ms
    covers = back_to_ms if step.question in (Question.HISTORY, Question.FILLS) else 0
    resolver.take(Answer(step.question, at_ms, covers_from_ms=covers), at_ms)
    return step.question


def test_the_mirror_is_read_first_and_lookups_follow_at_growing_pauses() -> None:
    resolver = Resolver(SENT, ARMED, EXPIRES, ARMED + 100)
    assert nothing(resolver, ARMED + 100) is Question.MIRROR
    for pause in (300, 1_000, 2_000, 4_000):
        assert resolver.next_step(ARMED + 100) == Ask(Question.ORDER, ARMED + 100 + pause)
        nothing(resolver, ARMED + 100 + pause)
    assert resolver.next_step(ARMED + 4_100) == Ask(Question.ORDER, FENCE + 1)


def test_it_is_absent_after_two_lookups_a_second_apart_and_both_lists_after_the_fence() -> None:
    resolver = Resolver(SENT, ARMED, EXPIRES, ARMED)
    nothing(resolver, ARMED)
    now = FENCE + 1
    asked = [nothing(resolver, now), nothing(resolver, now)]
    assert resolver.next_step(now) == Ask(Question.ORDER, now + 1_000)
    asked += [nothing(resolver, now + 1_000) for _ in range(3)]
    assert asked == [Question.MIRROR, Question.ORDER, Question.ORDER, Question.PENDING, Question.HISTORY]
    found = resolver.next_step(now + 1_000)
    assert isinstance(found, Absent)
    assert found.may_resend
    assert json.loads(found.proof)["fence_ms"] == FENCE


def test_what_was_asked_before_the_fence_proves_nothing() -> None:
    resolver = Resolver(SENT, ARMED, EXPIRES, ARMED)
    nothing(resolver, ARMED)
    for question in (Question.ORDER, Question.ORDER, Question.PENDING, Question.HISTORY):
        resolver.take(Answer(question, FENCE, covers_from_ms=ARMED - 5_000), FENCE)
    assert isinstance(resolver.next_step(FENCE + 1), Ask)


@pytest.mark.parametrize("back_to_ms", [0, ARMED, ARMED - 999])
def test_a_history_that_does_not_reach_back_to_the_first_attempt_proves_nothing(back_to_ms: int) -> None:
    resolver = Resolver(SENT, ARMED, EXPIRES, FENCE + 1)
    at = FENCE + 1
    for _ in range(4):
        nothing(resolver, at := at + 1_000)
    nothing(resolver, at, back_to_ms=back_to_ms)
    assert isinstance(resolver.next_step(at + 2_000), Ask)


def test_a_channel_that_is_proved_covered_replaces_the_lists() -> None:
    resolver = Resolver(SENT, ARMED, EXPIRES, FENCE + 1)
    resolver.take(Answer(Question.MIRROR, FENCE + 1, covers_from_ms=ARMED - 1_000, covers_until_ms=FENCE), FENCE + 1)
    nothing(resolver, FENCE + 1)
    nothing(resolver, FENCE + 1_001)
    assert isinstance(resolver.next_step(FENCE + 1_001), Absent)


def test_a_failing_exchange_is_asked_for_ever_with_growing_pauses() -> None:
    resolver = Resolver(SENT, ARMED, EXPIRES, FENCE + 1)
    nothing(resolver, FENCE + 1)
    at, pauses = FENCE + 1, []
    for _ in range(12):
        step = resolver.next_step(at)
        assert isinstance(step, Ask)
        pauses.append(step.not_before_ms - at)
        at = max(at, step.not_before_ms)
        resolver.take(Answer(step.question, at, error="HTTP status 502"), at)
    assert pauses[1:4] == [1_000, 2_000, 4_000]
    assert pauses[-1] == 60_000


def test_after_two_hours_only_fills_prove_and_it_is_never_sent_again() -> None:
    late = ARMED + FORGOTTEN_MS
    resolver = Resolver(SENT, ARMED, EXPIRES, late)
    asked = [nothing(resolver, late + 1_000 * n) for n in range(5)]
    assert asked[-1] is Question.FILLS
    found = resolver.next_step(late + 9_000)
    assert isinstance(found, Absent)
    assert (found.may_resend, found.note) == (False, "no fill")


@pytest.mark.parametrize("question", list(Question))
def test_the_order_is_found_by_any_answer(question: Question) -> None:
    resolver = Resolver(SENT, ARMED, EXPIRES, ARMED)
    resolver.take(Answer(question, ARMED, [OrderRow("1", "OTHER"), ORDER]), ARMED)
    found = resolver.next_step(ARMED)
    assert isinstance(found, Found)
    assert found.order is ORDER


def test_two_orders_of_one_id_are_an_alarm_and_so_is_an_order_of_somebody_else() -> None:
    import msgspec

    second = msgspec.structs.replace(ORDER, ord_id="8")
    other = msgspec.structs.replace(ORDER, side="sell")
    for rows in ([ORDER, second], [other]):
        resolver = Resolver(SENT, ARMED, EXPIRES, ARMED)
        resolver.take(Answer(Question.ORDER, ARMED, rows), ARMED)
        assert isinstance(resolver.next_step(ARMED), Doubled)


@pytest.mark.parametrize(
    ("changed", "is_ours"),
    [
        ({}, True),
        ({"sz": "0.360"}, True),
        ({"sz": "0.37"}, False),
        ({"sz": "0.1", "amend_source": "4"}, True),
        ({"px": "1"}, False),
        ({"side": "sell"}, False),
        ({"inst_id": "ETH-USDT-SWAP"}, False),
        ({"ord_type": "limit"}, False),
        ({"c_time": str(ARMED - 60_000)}, False),
        ({"c_time": ""}, True),
        ({"sz": "", "px": "", "ord_type": ""}, True),
    ],
)
def test_an_order_is_ours_if_it_is_what_was_sent(changed: dict[str, str], is_ours: bool) -> None:
    import msgspec

    assert (differences(SENT, ARMED, msgspec.structs.replace(ORDER, **changed)) == "") is is_ours
