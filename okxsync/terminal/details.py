"""One account, one order or one order of a plan with all that belongs to it, for the pane beside a table.

    account     account                   {"facts": [[name, text]], "balances", "positions", "orders", "lanes",
                                          "gaps", "journal"}: lanes are those of the picture ``coverage``, of the last
                                          24 hours; gaps touch that time; ``states`` names the states of lanes
    order       account, kind, id, inst   {"facts": [[name, text]] or null, "raw", "fills", "gaps", "since", "until"}:
                                          ``raw`` is the order as the exchange sent it, indented; gaps are those of its
                                          channel while it was open, from ``since`` to ``until`` or now
    plan_order  plan, child               {"facts": [[name, text]], "attempts", "requests": [text]}: every request that
                                          was to send or to cancel it, with what the exchange replied and what that
                                          proved; ``requests`` are their bodies, indented

Tables are {"cols", "rows", "more"}. No secret is in the database; of an account's configuration only what is listed in
``CONFIGURATION`` is sent, which names no person and no address.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from okxsync.mirror import screen
from okxsync.mirror.closeup import of_exchange
from okxsync.mirror.past import PastGap
from okxsync.plans.codes import meaning_of
from okxsync.terminal import pictures
from okxsync.terminal.parameters import DAY, BadRequest, Moment, Parameters
from okxsync.terminal.pictures import Window

Answer: TypeAlias = Callable[[], dict[str, Any]]

LISTED: Final = 200
"""Rows of a table; a view has all of them."""
ENTRIES: Final = 20
LANE: Final = 48
"""Parts of a lane, half an hour each."""
CONFIGURATION: Final = {
    "acctLv": {"1": "spot", "2": "futures", "3": "multi-currency margin", "4": "portfolio margin"},
    "posMode": {},
    "perm": {},
    "level": {},
    "feeType": {},
    "acctStpMode": {},
    "autoLoan": {},
    "ctIsoMode": {},
    "mgnIsoMode": {},
    "greeksType": {},
    "liquidationGear": {},
    "enableSpotBorrow": {},
    "spotBorrowAutoRepay": {},
    "spotOffsetType": {},
    "settleCcy": {},
    "roleType": {},
    "type": {},
}
"""Fields of OKX's ``account/config`` that are shown, and what their codes mean."""
BALANCES: Final = (
    "ccy eq cash_bal avail_bal avail_eq frozen_bal ord_frozen eq_usd upl liab imr mmr mgn_ratio u_time".split()
)
POSITIONS: Final = "inst_id mgn_mode pos_side pos avg_px mark_px upl liq_px lever notional_usd u_time".split()
ORDERS: Final = "kind id inst_id side ord_type px sz filled state c_time".split()
FILLS: Final = "fill_time ts side fill_px fill_sz fee fee_ccy fill_pnl exec_type trade_id source received_at".split()
GAPS: Final = PastGap._fields
JOURNAL: Final = ("at", "level", "event", "detail")
PLAN_ORDER: Final = (
    "account inst_id kind side pos_side td_mode ord_type px sz reduce_only state reason detail cl_ord_id ord_id"
    " acc_fill_sz avg_px fee filled_usd doubled unprotected"
).split()
ATTEMPT: Final = (
    "action attempt transport sent_at replied_at http_status code s_code sub_code s_msg meaning in_time out_time"
    " verdict proof"
).split()
CHANNELS: Final = {"order": ("orders",), "algo": ("orders-algo", "algo-advance")}


def account(moment: Moment, given: Parameters) -> Answer:
    name = given.name("account")
    read = moment.close_up
    if (found := read.account(name)) is None:
        raise BadRequest(f"no account {name!r}")
    balances = read.rows(screen.BALANCES, BALANCES, name, LISTED + 1)
    positions = read.rows(screen.POSITIONS, POSITIONS, name, LISTED + 1)
    orders = [
        row for records in (screen.ORDERS, screen.ALGO_ORDERS) for row in read.rows(records, ORDERS, name, LISTED + 1)
    ]
    window = Window(moment.now - DAY, moment.now, LANE, moment.now)
    channels = [one for one in moment.past.channels() if one.account == name]
    gaps = moment.past.gaps(window.begin, window.end, name)
    not_stored = moment.not_stored()
    entries = read.journal(name, ENTRIES)

    def finish() -> dict[str, Any]:
        spans = [(gap.account, gap.channel, gap.from_at, gap.to_at, gap.outcome) for gap in gaps]
        lanes = pictures.coverage(channels, spans, not_stored, window).get(name, [])
        return {
            "facts": _configuration(found),
            "balances": _table(BALANCES, balances),
            "positions": _table(POSITIONS, positions),
            "orders": _table(ORDERS, orders),
            "states": pictures.STATES,
            "lanes": [[one.channel, one.runs, one.covered, one.wanted, one.open_since] for one in lanes],
            "gaps": _table(GAPS, gaps[::-1]),
            "journal": _table(JOURNAL, entries),
        }

    return finish


def order(moment: Moment, given: Parameters) -> Answer:
    name, kind, number = given.name("account"), given.name("kind"), given.name("id")
    if kind not in CHANNELS:
        raise BadRequest(f"kind: expected one of {', '.join(CHANNELS)}")
    read = moment.close_up
    found = read.order("orders" if kind == "order" else "algo_orders", name, number)
    inst_id = (found and found["inst_id"]) or given.name("inst")
    numbers = [number] if kind == "order" else _placed_by(found)
    fills = read.fills(FILLS, name, inst_id, numbers, LISTED + 1)
    if found is None and not fills:
        raise BadRequest("the database does not have this order")
    since, until = _lifetime(found, fills, moment.now)
    gaps = [
        gap
        for gap in moment.past.gaps(since, until or moment.now, name)
        if gap.channel.partition(":")[0] in CHANNELS[kind]
    ]

    def finish() -> dict[str, Any]:
        facts = of_exchange(found).items() if found else None
        return {
            "facts": facts and [*facts],
            "raw": found and found["raw"] and indented(found["raw"]),
            "fills": _table(FILLS, fills),
            "gaps": _table(GAPS, gaps[::-1]),
            "since": since,
            "until": until,
        }

    return finish


def plan_order(moment: Moment, given: Parameters) -> Answer:
    plan_id, child = given.name("plan"), given.integer("child", 0, 10**9)
    read = moment.plans
    if (found := read.order(plan_id, child)) is None:
        raise BadRequest("the database does not have this order of a plan")
    sent = [{"action": "send", **one} for one in read.attempts(plan_id, child)]
    canceled = [{"proof": None, **one} for one in read.cancels(plan_id, child)]

    def finish() -> dict[str, Any]:
        tried = [{"meaning": _meaning(one), **one} for one in sent + canceled]
        return {
            "facts": [(name, found[name]) for name in PLAN_ORDER if found[name] not in (None, "", 0)],
            "attempts": _table(ATTEMPT, [[one[name] for name in ATTEMPT] for one in tried]),
            "requests": [indented(one["request"]) for one in tried[:LISTED]],
        }

    return finish


def indented(raw: str) -> str:
    """Return JSON with one field a line; nothing else of it changes, so numbers stay as they were sent."""
    try:
        return msgspec.json.format(raw, indent=2)
    except msgspec.DecodeError:
        return raw


def _meaning(attempt: dict[str, Any]) -> str | None:
    """Return what the code of a reply means; None if it is no error, or there was no reply."""
    code = attempt["s_code"] or attempt["code"]
    return None if code in (None, "", "0") else meaning_of(code, attempt["sub_code"] or "").text


def _configuration(found: dict[str, Any]) -> list[tuple[str, Any]]:
    facts = [("site", f"{found['site']}{' demo' if found['demo'] else ''}"), ("first seen", found["first_seen_at"])]
    if found["removed_at"] is not None:
        facts.append(("removed", found["removed_at"]))
    try:
        known = msgspec.json.decode(found["raw"] or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        known = {}
    for name, words in CONFIGURATION.items():
        if (value := known.get(name)) not in (None, ""):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            facts.append((name, f"{text} ({words[text]})" if text in words else text))
    return facts


def _placed_by(algo: dict[str, Any] | None) -> list[str]:
    """Return the ids of the orders that an algo order has placed; OKX lists them in one field or in another."""
    if algo is None:
        return []
    return sorted({*re.findall(r"\w+", algo["ord_id_list"] or ""), *re.findall(r"\w+", algo["ord_id"] or "")})


def _lifetime(found: dict[str, Any] | None, fills: Sequence[Sequence[Any]], now: int) -> tuple[int, int | None]:
    """Return from when to when an order was open, in microseconds; None: until now."""
    if found is None:
        times = [row[0] or row[1] or 0 for row in fills]
        return min(times), max(times) + 1
    is_open = found["state"] in ("live", "partially_filled", "pause", "partially_effective")
    until = None if is_open else (found["u_time"] or found["c_time"] or 0) * 1000 + 1
    return min((found["c_time"] or found["u_time"] or 0) * 1000, now), until


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {"cols": columns, "rows": rows[:LISTED], "more": len(rows) > LISTED}
