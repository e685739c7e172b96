"""What a page may ask of the daemon, and the row of ``requests`` that becomes of it. Pure.

``POST /request`` has one of these as JSON, with the field ``kind``:

    {"kind": "preview", "document": "<the plan file>", "precheck": false}
    {"kind": "again", "plan": "ID"}                  a new preview of the same
    {"kind": "execute", "plan": "ID", "preview_hash": "...", "confirm": "37/184200"}
    {"kind": "cancel", "plan": "ID", "protection": false}
    {"kind": "retry", "plan": "ID"}, {"kind": "undo", "plan": "ID"}
    {"kind": "halt", "reason": "...", "cancel_orders": false}, {"kind": "resume"}

The answer 200 is {"request": number, "plan": "ID", "note": "..."}: the daemon's own answer comes in the topic
``requests``. ``request`` is null for ``halt`` and ``resume`` if no daemon takes it, and the file alone counts; ``note``
says so. Any other answer is {"error": "...", "token": true if the token must be given again}.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec

from okxsync.plans.canonical import canonical
from okxsync.plans.client import new_plan_id
from okxsync.plans.document import PlanError
from okxsync.plans.plan_file import read

PlanId: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9A-HJKMNP-TV-Z]{11}$", max_length=11)]
Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=500)]


class _Message(msgspec.Struct, frozen=True, tag_field="kind", tag=str.lower, forbid_unknown_fields=True):
    pass


class Preview(_Message, frozen=True):
    document: str
    precheck: bool = False


class Again(_Message, frozen=True):
    plan: PlanId


class Execute(_Message, frozen=True):
    plan: PlanId
    preview_hash: Line
    confirm: Line


class Cancel(_Message, frozen=True):
    plan: PlanId
    protection: bool = False


class Retry(_Message, frozen=True):
    plan: PlanId


class Undo(_Message, frozen=True):
    plan: PlanId


class Halt(_Message, frozen=True):
    reason: Line = ""
    cancel_orders: bool = False


class Resume(_Message, frozen=True):
    pass


Message: TypeAlias = Preview | Again | Execute | Cancel | Retry | Undo | Halt | Resume
_decoder: Final = msgspec.json.Decoder(Message)


class BadMessage(Exception):
    """The message is not understood, or a plan is invalid; each line is one thing to fix."""


class Row(NamedTuple):
    """A row of ``requests``."""

    kind: str
    plan_id: str | None
    body: dict[str, object]


def read_message(content: bytes) -> Message:
    """Return the message.

    Raises:
        BadMessage: it is none.
    """
    try:
        message: Message = _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadMessage(f"not understood: {error}") from None
    return message


def row_of(message: Message, find_plan: Callable[[str], dict[str, Any] | None]) -> Row:
    """Return the row.

    Args:
        find_plan: Returns the row of ``plans``; None: there is none.

    Raises:
        BadMessage: the plan is invalid, or does not exist.
    """
    match message:
        case Preview(document, precheck):
            return _preview(document, precheck=precheck)
        case Again(plan):
            if (found := find_plan(plan)) is None:
                raise BadMessage(f"there is no plan {plan}")
            if found["kind"] in ("retry", "undo"):
                return Row(found["kind"], new_plan_id(), {"parent_id": found["parent_id"]})
            return _preview(found["doc"], precheck=False)
        case Execute(plan, preview_hash, confirm):
            return Row("execute", plan, {"preview_hash": preview_hash, "confirm": confirm})
        case Cancel(plan, protection):
            return Row("cancel", plan, {"protection": protection})
        case Retry(plan):
            return Row("retry", new_plan_id(), {"parent_id": plan})
        case Undo(plan):
            return Row("undo", new_plan_id(), {"parent_id": plan})
        case Halt(reason, cancel_orders):
            return Row("halt", None, {"reason": reason, "cancel_orders": cancel_orders})
        case Resume():
            return Row("resume", None, {})


def _preview(document: str, *, precheck: bool) -> Row:
    try:
        text = canonical(read(document))  # a plan of the page names no file of this machine
    except PlanError as error:
        raise BadMessage(str(error)) from None
    return Row("preview", new_plan_id(), {"document": text, "precheck": precheck})
