"""What a daemon that starts knows of cancellations that an earlier one was asked for."""

import pytest

from okxsync.messages import PlanAnswer
from okxsync.plans.cancel_requests import was_asked
from okxsync.store.engines import Reader
from tests.support.desk import NOW, Desk

PLAN, OTHER = "0123456789A", "0123456789B"
HALT_ALL = '{"reason":"x","cancel_orders":true}'


def asked(desk: Desk, *requests: tuple[str, str, str, str], halted: bool = False) -> bool:
    """Return what is found for ``PLAN``; each request: kind, plan, body, and the outcome of its answer or ``""``."""
    for number, (kind, plan_id, body, outcome) in enumerate(requests, 1):
        desk.db.execute(
            "INSERT INTO requests (id, at, kind, plan_id, body, by, expires_at) VALUES (?, ?, ?, ?, ?, 'me', ?)",
            [number, NOW, kind, plan_id, body, NOW + 30_000_000],
        )
        if outcome:
            desk.apply(PlanAnswer(number, NOW, outcome, ""))
    reader = Reader(desk.path)
    try:
        return was_asked(reader, PLAN, halted=halted)
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("", True), ("canceled", True), ("canceling", True), ("stale-request", False), ("store-error", False)],
)
def test_a_cancellation_of_the_plan_counts_unless_it_was_refused(desk: Desk, outcome: str, expected: bool) -> None:
    assert asked(desk, ("cancel", PLAN, "{}", outcome)) is expected


def test_that_of_another_plan_does_not(desk: Desk) -> None:
    assert not asked(desk, ("cancel", OTHER, "{}", "canceled"), ("execute", PLAN, "{}", "executing"), halted=True)


@pytest.mark.parametrize(
    ("last", "halted", "expected"),
    [
        (("halt", "", HALT_ALL, "canceling"), True, True),
        (("halt", "", HALT_ALL, ""), True, True),
        (("halt", "", HALT_ALL, "canceled"), False, False),  # the file was removed without a daemon
        (("halt", "", '{"reason":"x"}', "halted"), True, False),
        (("halt", "", "not JSON", "halted"), True, False),
        (("resume", "", "{}", "resumed"), True, False),
    ],
)
def test_a_halt_counts_while_it_lasts_and_if_it_cancels(
    desk: Desk, last: tuple[str, str, str, str], halted: bool, expected: bool
) -> None:
    first = ("halt", "", HALT_ALL, "canceled")
    assert asked(desk, *([] if last[0] == "halt" else [first]), last, halted=halted) is expected
