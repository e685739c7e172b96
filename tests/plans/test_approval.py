"""Which approvals are accepted."""

from typing import Any

import pytest
from msgspec.structs import replace

from okxsync.config.trading import Limits
from okxsync.plans.approval import Refused, confirms, find_refused
from tests.plans.cases import NOW, D, account, plan, preview, system, trading

PREVIEW = preview(plan('rule = "contracts"\nvalue = 30'), *map(account, ("alpha", "beta", "gamma")))


def refused(**changes: Any) -> Refused | None:
    given: dict[str, Any] = {
        "given_hash": PREVIEW.hash,
        "given_confirmation": "3/60311",
        "doc": PREVIEW.doc,
        "stored_hash": PREVIEW.hash,
        "children": PREVIEW.children,
        "trading": trading(),
        "system": system(),
        "preview_ms": NOW,
        "valid_for": 60,
    }
    return find_refused(**(given | changes))


def test_the_confirmation_has_two_forms() -> None:
    assert confirms("3/60311", PREVIEW.children)
    assert confirms(" 3 accounts  60,311 USD ", PREVIEW.children)
    assert not confirms("2/60311", PREVIEW.children)
    assert not confirms("", PREVIEW.children)


def test_dollars_of_any_size_are_rounded_half_up() -> None:
    """A sum of more than 28 digits is neither an error nor rounded to 28 digits."""
    child = replace(PREVIEW.children[0], planned_usd=D("9" * 15))
    many = [replace(child, planned_usd=D(10**40)), replace(child, planned_usd=D("0.5"))]
    assert confirms(f"1/{10**40 + 1}", many)


def test_an_approval_of_what_was_previewed_is_accepted() -> None:
    assert refused() is None
    assert refused(system=system(now_ms=NOW + 60_000)) is None
    limit = Limits(day_usd=D("60311.07"))
    assert refused(trading=trading(limits=limit)) is None


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"trading": trading(enabled=False)}, "trading-off"),
        ({"system": system(halted="by hand")}, "halted"),
        ({"system": system(now_ms=NOW + 60_001)}, "stale-preview"),
        ({"given_hash": "0" * 64}, "hash"),
        ({"doc": PREVIEW.doc + " "}, "hash"),
        ({"stored_hash": "0" * 64}, "hash"),
        ({"children": PREVIEW.children[:2]}, "hash"),
        ({"children": (replace(PREVIEW.children[0], body="{}"), *PREVIEW.children[1:])}, "hash"),
        ({"given_confirmation": "3/60312"}, "confirmation"),
        ({"given_confirmation": ""}, "confirmation"),
        ({"system": system(day_usd=D(1)), "trading": trading(limits=Limits(day_usd=D(60311)))}, "limit-day"),
    ],
)
def test_any_other_approval_is_refused(changes: dict[str, Any], outcome: str) -> None:
    found = refused(**changes)
    assert found
    assert found.outcome == outcome
    assert found.detail


def test_a_preview_without_an_order_cannot_be_approved() -> None:
    empty = preview(plan(), account(live=False))
    found = refused(
        given_hash=empty.hash,
        given_confirmation="0/0",
        doc=empty.doc,
        stored_hash=empty.hash,
        children=empty.children,
    )
    assert found == Refused("nothing", "no account has an order")
