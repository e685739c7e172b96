"""What a page may ask of the daemon, and which row of ``requests`` becomes of it."""

import json
from typing import Any

import pytest

from okxsync.plans.canonical import canonical
from okxsync.plans.children import is_plan_id
from okxsync.plans.plan_file import read
from okxsync.terminal.ticket import BadMessage, Row, read_message, row_of
from tests.plans.cases import CONTRACTS, PLAN_ID

DOCUMENT = CONTRACTS.format(valid_for="60s", contracts=2)
PLANS: dict[str, dict[str, Any]] = {
    PLAN_ID: {"kind": "trade", "parent_id": None, "doc": canonical(read(DOCUMENT))},
    "0000000000B": {"kind": "undo", "parent_id": PLAN_ID, "doc": ""},
}


def made(**message: Any) -> Row:
    return row_of(read_message(json.dumps(message).encode()), lambda plan_id: PLANS.get(plan_id))


def test_a_preview_has_the_canonical_document_and_a_new_id() -> None:
    first, second = (made(kind="preview", document=DOCUMENT, precheck=True) for _ in range(2))
    assert first.kind == "preview"
    assert first.body == {"document": canonical(read(DOCUMENT)), "precheck": True}
    assert first.plan_id != second.plan_id
    assert is_plan_id(first.plan_id or "")


def test_a_preview_is_made_again_of_the_same_document_or_of_the_same_parent() -> None:
    again = made(kind="again", plan=PLAN_ID)
    assert (again.kind, again.body["document"]) == ("preview", PLANS[PLAN_ID]["doc"])
    assert again.plan_id not in (None, PLAN_ID)
    again = made(kind="again", plan="0000000000B")
    assert (again.kind, again.body) == ("undo", {"parent_id": PLAN_ID})
    with pytest.raises(BadMessage, match="there is no plan 0000000000C"):
        made(kind="again", plan="0000000000C")


def test_the_other_requests_are_those_of_the_command_line() -> None:
    confirmed = {"preview_hash": "abc", "confirm": "2 accounts 10 USD"}
    assert made(kind="execute", plan=PLAN_ID, **confirmed) == ("execute", PLAN_ID, confirmed)
    assert made(kind="cancel", plan=PLAN_ID, protection=True) == ("cancel", PLAN_ID, {"protection": True})
    assert made(kind="cancel", plan=PLAN_ID) == ("cancel", PLAN_ID, {"protection": False})
    for kind in ("retry", "undo"):
        found = made(kind=kind, plan=PLAN_ID)
        assert (found.kind, found.body) == (kind, {"parent_id": PLAN_ID})
        assert is_plan_id(found.plan_id or "")
    assert made(kind="halt", reason="r") == ("halt", None, {"reason": "r", "cancel_orders": False})
    assert made(kind="resume") == ("resume", None, {})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"kind": "sell"}', '{"kind": "preview"}', '{"kind": "preview", "document": 1}', "\xff",
        "[" * 99999,
        '{"kind": "execute", "plan": "0123456789A"}', '{"kind": "cancel", "plan": "../../etc"}',
        '{"kind": "cancel", "plan": "0123456789A\\n"}', '{"kind": "retry", "plan": "0123456789a"}',
        '{"kind": "resume", "plan": "0123456789A"}', '{"kind": "cancel", "plan": "0123456789A", "protection": 1}',
        json.dumps({"kind": "execute", "plan": PLAN_ID, "preview_hash": "x", "confirm": "x" * 501}),
        json.dumps({"kind": "halt", "reason": "x" * 501}),
    ],
)  # fmt: skip
def test_anything_else_is_not_understood(text: str) -> None:
    with pytest.raises(BadMessage, match="not understood"):
        read_message(text.encode("latin-1"))


def test_a_plan_of_the_page_reads_no_file_of_this_machine() -> None:
    text = DOCUMENT.replace('rule = "contracts"\nvalue = "2"', 'rule = "table"\ncsv = "/etc/passwd"')
    with pytest.raises(BadMessage, match="csv") as error:
        made(kind="preview", document=text)
    assert "root" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["title = 3", "x = " + "[" * 100_000, "\x00", DOCUMENT.replace("60s", "soon"), "é\ud800"]
)
def test_an_invalid_plan_is_refused_with_what_to_fix(text: str) -> None:
    with pytest.raises(BadMessage) as error:
        made(kind="preview", document=text)
    assert str(error.value)
