"""Cancel one order until its end is seen. A cancellation may be repeated, also while halted and after ``valid_until``.

OKX's reply never ends it: code 0 says that the request was accepted, and the order may fill all the same. The end comes
from the mirror; until then the cancellation is sent again.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from okxsync.plans.children import CancelBody
from okxsync.plans.codes import Reaction
from okxsync.plans.replies import Judgement, Verdict
from okxsync.plans.trades import CANCEL, CANCEL_ALGOS

CONFIRM_S: Final = 5.0
"""How long the mirror may take after OKX has accepted a cancellation, or said that the order has ended."""
SLOW_S: Final = 2.0
"""After a rate limit: OKX's limits count over two seconds."""
FIRST_S: Final = 0.5
LAST_S: Final = 60.0
"""Pauses after failures, doubled each time: an account whose key was deleted is asked for ever."""
POLL_S: Final = 0.1
APPEARS_MS: Final = 10_000
"""So long an order of a lost request, or the attached order of a fill, may not exist yet."""
NOT_FOUND: Final = frozenset({"51603", "51063"})


class Target(msgspec.Struct, frozen=True):
    """What is canceled: the endpoint, and the ``clOrdId`` or ``algoClOrdId`` of the order."""

    path: str
    inst_id: str
    cl_ord_id: str

    @property
    def is_algo(self) -> bool:
        return self.path == CANCEL_ALGOS


def is_over(judgement: Judgement) -> bool:
    """Whether OKX says that there is nothing to cancel: the order has ended, or does not exist."""
    return judgement.reaction is Reaction.ENDED or judgement.decisive_code in NOT_FOUND


def target_of(body: str) -> Target:
    """Return the order that the body of a step cancels."""
    if body.startswith("["):
        (one,) = msgspec.json.decode(body, type=tuple[CancelBody, ...])
        return Target(CANCEL_ALGOS, one.inst_id, one.algo_cl_ord_id)
    found = msgspec.json.decode(body, type=CancelBody)
    return Target(CANCEL, found.inst_id, found.cl_ord_id)


def pause_s(judgement: Judgement, failures: int) -> float:
    """Return how long the end is waited for before the cancellation is sent again.

    Args:
        failures: How many cancellations before this one have failed in a row.
    """
    if judgement.verdict is Verdict.PLACED or is_over(judgement):
        return CONFIRM_S
    if judgement.reaction is Reaction.SLOW:
        return SLOW_S
    return min(LAST_S, FIRST_S * (1 << min(failures, 10)))


async def cancel_until_ended(
    post: Callable[[], Awaitable[Judgement]], has_ended: Callable[[Judgement | None], bool]
) -> None:
    """Return when the order has ended.

    Args:
        post: Sends the cancellation.
        has_ended: Whether the end is seen, given the last reply; None: there is none yet.
    """
    failures = 0
    judgement: Judgement | None = None
    while not has_ended(judgement):
        judgement = await post()
        until = trio.current_time() + pause_s(judgement, failures)
        accepted = judgement.verdict is Verdict.PLACED or is_over(judgement)
        failures = 0 if accepted else failures + 1
        while True:
            await trio.sleep(POLL_S)
            if trio.current_time() >= until or has_ended(judgement):
                break
