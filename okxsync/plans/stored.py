"""Between the execution of a plan and its rows in the database."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from okxsync.messages import PlanAttempt, PlanChildState, PlanMisfire, PlanProgress
from okxsync.plans.children import Basis, Child, OrderBody, from_columns, plain
from okxsync.plans.commands import Attempt, ChildOrder, Misfire, Store
from okxsync.plans.document import Plan, PlanError
from okxsync.plans.mirror_facts import Link
from okxsync.plans.plan_file import read
from okxsync.plans.replies import Judgement
from okxsync.plans.results import filled_usd
from okxsync.plans.sizing import in_cents
from okxsync.plans.states import ChildState
from okxsync.store.engines import Reader

_CHILDREN = (
    "SELECT child AS number, account, phase, inst_id, coalesce(side, '') AS side, coalesce(pos_side, '') AS pos_side,"
    " coalesce(ord_type, '') AS ord_type, coalesce(sz, '') AS sz, coalesce(px, '') AS px, cl_ord_id,"
    " coalesce(body, '') AS body, state, coalesce(reason, '') AS reason, coalesce(detail, '') AS detail, attempts,"
    " coalesce(ord_id, '') AS ord_id, doubled, unprotected, coalesce(algo_cl_ord_id, '') AS algo_cl_ord_id,"
    " coalesce(acc_fill_sz, '') AS acc_fill_sz,"
    " coalesce(avg_px, '') AS avg_px, coalesce(fee, '') AS fee, coalesce(ended_at, 0) AS ended_ms"
    ", kind, planned_usd, facts, coalesce(sz, '') AS approved_sz, (SELECT request FROM plan_attempts AS a"
    " WHERE a.plan_id = o.plan_id AND a.child = o.child ORDER BY attempt DESC LIMIT 1) AS request"
    " FROM plan_orders AS o WHERE plan_id = ? ORDER BY child"
)
_LAST_ATTEMPTS = (
    "SELECT child, attempt, exp_time, armed_at, coalesce(sent_at, 0), coalesce(replied_at, 0), coalesce(verdict, ''),"
    " transport, min(armed_at) OVER (PARTITION BY child) FROM plan_attempts WHERE plan_id = ? ORDER BY child, attempt"
)


class UnreadablePlan(Exception):
    """The rows of a plan are not as this version of okxsync stores them."""


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except PlanError as error:
        raise UnreadablePlan(f"its document: {error}") from None
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadablePlan(f"its rows: {type(error).__name__}: {error}") from error


def read_plan(reader: Reader, row: Mapping[str, Any]) -> tuple[Plan, list[Child]]:
    """Return the plan of a row of ``plans``, and its children as they were approved.

    Raises:
        UnreadablePlan: a stored row is invalid.
        StoreError: the database cannot be read.
    """
    with _readable():
        children = reader.query("SELECT * FROM plan_orders WHERE plan_id = ? ORDER BY child", [row["plan_id"]])
        return read(row["doc"]), [from_columns(child) for child in children]


def read_children(reader: Reader, plan_id: str) -> list[ChildOrder]:
    """Return the children of a plan with their states; the accounts are in the order of their first children.

    Raises:
        UnreadablePlan: a stored row is invalid.
        StoreError: the database cannot be read.
    """
    rows = reader.query(_CHILDREN, [plan_id])
    positions = {account: position for position, account in enumerate(dict.fromkeys(row["account"] for row in rows))}
    with _readable():
        return [_child(row, positions[row["account"]]) for row in rows]


def _child(row: Mapping[str, Any], position: int) -> ChildOrder:
    given = dict(row)
    sent = given.pop("request")
    if sent and row["kind"] == "order":  # a reduction may have been sent with a smaller size
        given |= {"body": sent, "sz": msgspec.json.decode(sent, type=OrderBody).sz}
    reference = msgspec.json.decode(given.pop("facts"), type=Basis).reference
    return ChildOrder(
        **{
            **given,
            "state": ChildState(row["state"]),
            "doubled": bool(row["doubled"]),
            "unprotected": bool(row["unprotected"]),
        },
        position=position,
        reference="" if reference is None or _is_inverse(row["inst_id"]) else plain(reference),
    )


def _is_inverse(inst_id: str) -> bool:
    """Whether a contract is worth a number of USD: ``BTC-USD-SWAP``, not ``BTC-USD_UM-SWAP``."""
    parts = inst_id.split("-")
    return len(parts) > 2 and parts[1] == "USD"


def read_attempts(reader: Reader, plan_id: str) -> dict[int, Attempt]:
    """Return the last attempt of each child that has one."""
    found = {}
    for child, number, exp_ms, armed_ms, sent_ms, replied_ms, verdict, transport, first_ms in reader.rows(
        _LAST_ATTEMPTS, [plan_id]
    ):
        found[child] = Attempt(
            child, number, exp_ms, armed_ms, first_ms, sent_ms, replied_ms, verdict, transport=transport
        )
    return found


def progress_of(
    plan_id: str,
    store: Store,
    children: Mapping[int, ChildOrder],
    at_us: int,
    links: Mapping[str, Link],
    clock_error_ms: int,
) -> PlanProgress:
    """Return the message that stores what an execution wants to be stored.

    Args:
        children: By number: an attempt is stored with the body of its child.
        at_us: Local time of the misfires.
        links: The connections of the accounts that have misfires.
        clock_error_ms: How wrong the exchange's time can be.
    """
    return PlanProgress(
        plan_id,
        [_state(one) for one in store.children],
        [_attempt(one, children[one.child].body) for one in store.attempts],
        [_misfire(one, at_us, links.get(one.account, Link()), clock_error_ms) for one in store.misfires],
        plan={},
        receipt=store.receipt,
    )


def _misfire(one: Misfire, at_us: int, link: Link, clock_error_ms: int) -> PlanMisfire:
    return PlanMisfire(
        at_us,
        one.child,
        one.account,
        one.reason,
        one.detail,
        link.phase,
        link.last_message_at,
        link.covered_until,
        clock_error_ms,
    )


def _state(child: ChildOrder) -> PlanChildState:
    return PlanChildState(
        child.number,
        str(child.state),
        child.reason or None,
        child.detail or None,
        child.attempts,
        child.ord_id or None,
        int(child.doubled),
        child.acc_fill_sz or None,
        child.avg_px or None,
        child.fee or None,
        child.ended_ms or None,
        in_cents(filled_usd(child)) if child.acc_fill_sz else None,
        int(child.unprotected),
    )


def _attempt(attempt: Attempt, body: str) -> PlanAttempt:
    row = PlanAttempt(
        attempt.child,
        attempt.number,
        attempt.transport,
        body,
        attempt.exp_ms,
        attempt.armed_ms,
        attempt.sent_ms or None,
        attempt.replied_ms or None,
        verdict=attempt.verdict or None,
        proof=attempt.proof or None,
    )
    if attempt.reply is None:
        return row
    return msgspec.structs.replace(row, **columns_of_reply(attempt.reply))


def columns_of_reply(reply: Judgement) -> dict[str, Any]:
    """Return what the exchange has answered, as columns."""
    names = ("code", "s_code", "sub_code", "s_msg", "in_time", "out_time")
    return {"http_status": reply.http_status, **{name: getattr(reply, name) or None for name in names}}


def unfinished_plans(reader: Reader) -> list[str]:
    """Return the ids of the plans that were approved and have not ended, in the order of their approvals.

    Raises:
        StoreError: the database cannot be read.
    """
    sql = "SELECT plan_id FROM plans WHERE state IN ('approved', 'executing', 'paused') ORDER BY approved_at, plan_id"
    return [plan_id for (plan_id,) in reader.rows(sql)]


def numbers(children: Iterable[ChildOrder]) -> dict[int, ChildOrder]:
    return {one.number: one for one in children}
