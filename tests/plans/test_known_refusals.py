"""Refusals that are not tried again for a day."""

import pytest

from okxsync.messages import PlanAttempt, PlanPreviewed, PlanProgress
from okxsync.okx.endpoints import DAY_MS
from okxsync.plans.children import to_columns
from okxsync.plans.known_refusals import read_known_refusals
from okxsync.plans.preview import to_plan_columns
from okxsync.plans.reasons import Reason
from okxsync.store.engines import Reader
from tests.plans.cases import BTC, NOW, PLAN_ID, account, plan, preview
from tests.support.desk import Desk


@pytest.mark.parametrize(
    ("codes", "known"),
    [
        ({"code": "1", "s_code": "54092"}, {BTC: Reason.DISCLAIMER}),
        ({"code": "1", "s_code": "51155"}, {BTC: Reason.REGION}),
        ({"code": "1", "s_code": "59113"}, {"": Reason.REGION}),
        ({"code": "59113"}, {"": Reason.REGION}),
        ({"code": "1", "s_code": "51008"}, None),  # the balance may be another one
        ({"code": "1", "s_code": "51159"}, None),  # a lead trader may still close the position
        ({"code": "0", "s_code": "0"}, None),
    ],
)
def test_a_refusal_that_okx_will_repeat_is_known_for_a_day(
    desk: Desk, reader: Reader, codes: dict[str, str], known: dict[str, Reason] | None
) -> None:
    found = preview(plan(), account(), account("beta"))
    desk.apply(PlanPreviewed(to_plan_columns(found), [to_columns(PLAN_ID, child) for child in found.children]))
    times = {"exp_time": NOW + 3000, "armed_at": NOW, "sent_at": NOW, "replied_at": NOW + 100}
    attempt = PlanAttempt(1, 1, "rest", found.children[0].body, **times, **codes, verdict="refused")  # type: ignore[arg-type]
    desk.apply(PlanProgress(PLAN_ID, [], [attempt], [], plan={"approved_at": NOW}))
    expected = {"alpha": known} if known else {}
    assert read_known_refusals(reader, NOW + DAY_MS) == expected
    assert read_known_refusals(reader, NOW + DAY_MS + 100) == {}
    (child,) = preview(plan(), account(known=read_known_refusals(reader, NOW).get("alpha", {}))).children
    assert child.reason == (next(iter(known.values())) if known else None)
