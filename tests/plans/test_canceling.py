"""A cancellation is repeated until the mirror shows the end of its order."""

import pytest
import trio
from trio.testing import MockClock

from okxsync.plans.canceling import CONFIRM_S, FIRST_S, LAST_S, SLOW_S, cancel_until_ended, is_over, pause_s
from okxsync.plans.replies import Judgement, Stage, failed, judge_repeatable

ACCEPTED = judge_repeatable('{"code":"0","data":[{"ordId":"1","sCode":"0","sMsg":""}]}', 200)
ENDED = judge_repeatable('{"code":"1","data":[{"ordId":"1","sCode":"51400","sMsg":"x"}]}', 200)
NO_REPLY = failed(Stage.STARTED, "a time-out")


@pytest.mark.parametrize(
    ("judgement", "pauses"),
    [
        (ACCEPTED, [CONFIRM_S, CONFIRM_S]),
        (ENDED, [CONFIRM_S]),
        (judge_repeatable('{"code":"50011","msg":"x"}', 429), [SLOW_S, SLOW_S]),
        (NO_REPLY, [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]),
    ],
)
def test_how_long_the_end_is_waited_for(judgement: Judgement, pauses: list[float]) -> None:
    assert [pause_s(judgement, failures) for failures in range(len(pauses))] == pauses
    assert pause_s(NO_REPLY, 99) == LAST_S


def test_what_says_that_there_is_nothing_to_cancel() -> None:
    missing = judge_repeatable('{"code":"51603","data":[],"msg":"x"}', 200)
    assert [is_over(one) for one in (ENDED, missing, ACCEPTED, NO_REPLY)] == [True, True, False, False]


async def test_it_is_sent_again_until_the_end_is_seen(autojump_clock: MockClock) -> None:
    """The reply is lost, OKX accepts, and then says that the order has ended; the mirror is a second later."""
    sent: list[float] = []
    replies = [NO_REPLY, ACCEPTED, ENDED]
    start = trio.current_time()

    async def post() -> Judgement:
        sent.append(trio.current_time() - start)
        return replies[len(sent) - 1]

    def has_ended(reply: Judgement | None) -> bool:
        return reply is ENDED and trio.current_time() - start > sent[-1] + 1

    await cancel_until_ended(post, has_ended)
    assert sent == pytest.approx([0, FIRST_S, FIRST_S + CONFIRM_S], abs=0.11)


async def test_nothing_is_sent_for_an_order_that_has_ended() -> None:
    async def post() -> Judgement:
        raise AssertionError

    await cancel_until_ended(post, lambda _: True)
