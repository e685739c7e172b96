"""The wire between the server and its page: the topics, their columns, and every message.

**Login.** ``POST /session`` with ``{"token": "..."}`` answers 200 with ``{"key": "..."}`` and a cookie, 403 for a wrong
token, 429 after five tries within a minute. The key goes into the first message of each socket.

**Trading**, only with ``okxsync terminal --trade``: ``POST /request`` (see ``ticket``) and ``POST /session/trade``.

**From the page**, over ``/ws``:

    {"key": "...", "epoch": "..."|null, "sub": {"orders": 17, "accounts": null}}     first
    {"epoch": "..."|null, "sub": {...}, "plan": "..."|null}                          another choice of topics
    {"ack": {"orders": 18, "now": 5}}                                                what it has painted
    {"hidden": true|false}                                                           whether anybody can see it

``sub`` replaces the former one. It names each topic with the last number that the page has, or null; numbers of
another ``epoch`` count as null. ``plan`` is the plan whose orders the page wants in ``plan_orders``. The heartbeat
``now`` is always sent: once a second, when a daemon or the database changes its state, and when a page halts or resumes
trading. ``ack`` has the last number of each topic that it names.

**From the server**: each message is a list of parts.

    {"t": "orders", "n": 17, "key": 3, "cols": [...], "rows": [[...], ...]}          snapshot: replaces all rows
    {"t": "orders", "n": 18, "put": [[...], ...], "del": [[...], ...], "at": us}     diff: whole rows; keys of rows
    {"t": "now", "n": 5, ...}                                                        heartbeat

A row begins with its ``key`` columns; ``del`` has lists of these. Every topic of a new ``sub`` is answered at once by a
snapshot, or by diffs, and by an empty diff if the page has everything. ``at`` is the moment of the database that the
diff shows. In a message, rows come before the ``freshness`` that vouches for them. The first message is a heartbeat.

At most four messages are sent that are not acknowledged, and one that is not acknowledged within 30 s ends the
connection. A message is acknowledged when every part of it is.

**Values.** Numbers of the exchange are texts, exactly as it sent them. Times are integers, microseconds UTC, by the
clock of the database; a time of the exchange is a multiple of 1,000. null: absent or not known. Counts are integers.

**Heartbeat**, ``now``:

    at          the time now, by the clock of the database
    epoch       new with each start of the server
    error       null, or {"text", "since"}: why the database cannot be read, in one line, and since when. Then nothing
                that the page has is live; ``daemon`` and ``head`` are as they were, and null before the first read
    daemon      {"state": running | not_storing | stopped | never, "reason", "version", "started_at", "heartbeat_at",
                "stopped_at", "exit", "store_lag_us"}. Only while it is ``running`` anything can be live.
                ``stopped`` without ``stopped_at``: it was killed, at about its last heartbeat
    head        {"live": connections that are live, "all": connections, "gaps": [how many are open, their seconds as of
                ``at``, the earliest ``from_at`` or null], "equity": totals, "upl": totals, "accounts": {state: count},
                "halt": {"at", "by", "reason"} of the last halt that the daemon has recorded and that is not lifted}
    health      null, or what the page of this name shows of the writer, the log and the disk: counters of the database,
                ``log_since``, ``database_bytes``, ``wal_bytes``, ``free_bytes``, and how often (``turns_s``) and how
                long (``turn_us``) the terminal reads
    rows        {topic: how many rows it has}, of the topics that were read
    trade       null: read-only; else {"groups": the names of the groups of accounts}
    halted      whether trading is halted: ``<database>.halt`` exists
    screens     for each page that is connected: how long it took to acknowledge, in microseconds, or for how long it
                has not; null: it is hidden, and paints nothing

Totals, over the accounts by the state of their channel ``account``; sums are exact, and null if one is not a number:

    {"live": [count, sum], "unproved": [count, sum, oldest covered_until], "stale": [count, sum, oldest covered_until],
     "never": count of the accounts without this number}

**Freshness.** Rows of ``orders`` hang on the channel ``orders`` (kind ``order``) or ``orders-algo`` (kind ``algo``),
``positions`` on ``positions``, equity and its like on ``account``, ``fills`` on ``orders``. Every account has a row for
each of these four, and one for each other channel that it subscribes to. If ``positions`` was never received, its row
is that of ``balance_and_position``, which reports the same positions. States, the worst last:

    live        subscribed, and proved within twice the usual interval between two proofs
    unproved    subscribed, but REST could not prove it, or the last proof is older than that
    stale       not received now, or no daemon stores it: as of ``covered_until``
    never       this channel was never received

``accounts.state`` is the worst of all channels that the account subscribes to.

**Closing codes**: 4400 a message that is not understood, 4401 no session: ask for the token, 4408 nothing was
acknowledged for 30 s, 4429 too many pages, 1009 a message is too long.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple


class Topic(NamedTuple):
    """``columns`` in the order of a row; the first ``key`` of them name it."""

    name: str
    key: int
    columns: tuple[str, ...]

    def record(self, row: Sequence[Any]) -> dict[str, Any]:
        """Return the values of a row by column."""
        return dict(zip(self.columns, row, strict=True))

    def row(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(record[name] for name in self.columns)


def _topic(name: str, key: str, others: str) -> Topic:
    return Topic(name, len(key.split()), (*key.split(), *others.split()))


ACCOUNTS: Final = _topic(
    "accounts",
    "account",
    "state covered_until reason next_attempt_at equity upl notional_usd derived mgn_ratio mgn_ccy open_orders"
    " open_algos positions gaps gap_since site demo acct_lv pos_mode u_time received_at",
)
"""``derived``: which of ``upl`` and ``notional_usd`` OKX does not give for this account: they are exact sums of its
currencies, at OKX's prices, and of its positions; names with a space between, null: none. ``mgn_ccy``: the currency
whose margin ratio it is, the lowest; null: it is the account's. ``open_orders``, ``open_algos`` and ``positions`` are
counts, null if not known. ``gaps`` counts what is open, ``gap_since`` is the earliest begin. ``demo`` is true or false.
``next_attempt_at``: when the lost connection is tried again."""

POSITIONS: Final = _topic(
    "positions",
    "account pos_id",
    "inst_id inst_type mgn_mode pos_side pos coin coin_ccy avg_px mark_px last_px upl upl_ratio lever liq_px mgn_ratio"
    " margin imr mmr notional_usd adl ccy pos_ccy c_time u_time received_at",
)
"""``coin`` is ``pos`` times ``ct_val`` times ``ct_mult``, exact, in ``coin_ccy``; null where the instrument or a factor
is not known, and for margin positions. It has the sign of ``pos``, which is positive for both sides of long/short
mode."""

ORDERS: Final = _topic(
    "orders",
    "account kind id",
    "cl_id inst_id inst_type side pos_side td_mode ord_type state px trigger_px tp_trigger_px sl_trigger_px sz filled"
    " avg_px reduce_only lever tag c_time u_time received_at source",
)
"""Open orders only. ``kind``: ``order`` or ``algo``. ``px`` of an algo order is the price of the order that it would
place (-1: market). ``source``: ``ws`` or ``rest``."""

FILLS: Final = _topic(
    "fills",
    "number",
    "account inst_id inst_type side pos_side fill_px fill_sz fill_pnl fee fee_ccy exec_type ord_id trade_id cl_ord_id"
    " tag fill_time ts received_at source",
)
"""The newest 2,000 by ``fill_time``. ``number`` names a fill within one ``epoch`` and has no other meaning."""

MARKS: Final = _topic("marks", "inst_id", "mark_px state covered_until ts received_at")
"""``state`` and ``covered_until`` are of this instrument's channel."""

INSTRUMENTS: Final = _topic(
    "instruments", "inst_type inst_id", "state tick_sz lot_sz min_sz ct_val ct_mult ct_val_ccy settle_ccy ct_type"
)

FRESHNESS: Final = _topic("freshness", "account channel", "state covered_until reason")

CONNECTIONS: Final = _topic(
    "connections",
    "id",
    "listener endpoint site demo phase since_at answered_at last_message_at rtt_us messages reconnects channels"
    " last_error next_attempt_at",
)
"""``answered_at`` is of the last ping that was answered, ``channels`` counts those that it is subscribed to."""

JOURNAL: Final = _topic("journal", "id", "at level account event detail meaning remedy")
"""The newest 200 entries. ``meaning`` and ``remedy`` are those of the event; null for one of another version."""

PLANS: Final = _topic(
    "plans",
    "plan_id",
    "title kind parent_id site_modes state outcome preview_at expires_at preview_hash approved_at approved_by"
    " valid_until started_at ended_at accounts ready skipped accepted rejected unknown planned_usd filled_usd note"
    " pause_reason confirm typed",
)
"""The newest plans, and those that a page follows. A preview cannot be approved after ``expires_at``; null: its
document cannot be read. ``confirm`` and ``typed`` are the two forms of what a person types to approve it: of previews
that a page follows, otherwise null."""

PLAN_ORDERS: Final = _topic(
    "plan_orders",
    "plan_id child",
    "account leg phase slice kind inst_id side pos_side td_mode ord_type px sz reduce_only cl_ord_id planned_usd"
    " remainder state reason detail attempts ord_id doubled unprotected acc_fill_sz avg_px fee filled_usd ended_at"
    " equity equity_at position position_at position_after coins notional usd_assumed lever margin reference"
    " reference_at warnings share share_wanted share_after",
)
"""The orders of all plans that any page follows, as the table ``plan_orders`` has them; from ``equity`` on: what the
preview was computed from. The shares are those of a plan that rebalances (``plans.weights``), of the account's equity.
``planned_usd`` and ``remainder`` are null for an order without a size."""

REQUESTS: Final = _topic("requests", "id", "at kind plan_id by expires_at outcome detail answered_at")
"""The newest requests of all clients to the daemon. ``outcome`` null: it has not answered yet."""

TOPICS: Final = {
    one.name: one
    for one in (
        *(REQUESTS, PLANS, PLAN_ORDERS, INSTRUMENTS, MARKS, ORDERS, POSITIONS, FILLS, ACCOUNTS),
        *(CONNECTIONS, JOURNAL, FRESHNESS),
    )
}
"""In the order of the parts of a message: ``freshness`` is the last."""

STATES: Final = ("live", "unproved", "stale", "never")
"""The worst last."""
