"""The schema, as a list of migrations: one function a change, never edited once released.

Tables are STRICT. Decimals are TEXT, exactly as sent; times of the exchange are INTEGER milliseconds UTC under OKX's
names, local times INTEGER microseconds UTC named ``*_at``. Tools read the tables, people read the views.
"""

from collections.abc import Iterator
from typing import Final

from sqlite_utils import Database, Migrations

migrations: Final = Migrations("okxsync")


def _columns(declared: str) -> Iterator[str]:
    """Read ``name`` (TEXT), ``name:i`` (INTEGER), each NOT NULL with a ``!`` behind it."""
    for word in declared.split():
        name, _, kind = word.rstrip("!").partition(":")
        yield f'"{name}" {"INTEGER" if kind == "i" else "TEXT"}{" NOT NULL" if word.endswith("!") else ""}'


def _create(database: Database, table: str, key: str, declared: str) -> None:
    columns = ", ".join(_columns(declared))
    database.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({', '.join(key.split())})) STRICT")


@migrations()
def m001_mirror(database: Database) -> None:
    """A table per record of the exchange (OKX docs: the channel or endpoint of each)."""
    _create(
        database,
        "accounts",
        "name",
        "name! uid main_uid acct_lv pos_mode perm site! demo:i! first_seen_at:i! removed_at:i raw",
    )
    _create(
        database,
        "orders",
        "account ord_id",
        """account! ord_id! inst_id inst_type cl_ord_id tag algo_id algo_cl_ord_id attach_algo_cl_ord_id side pos_side
        td_mode ccy ord_type px px_usd px_vol px_type sz tgt_ccy trade_quote_ccy lever reduce_only stp_mode stp_id
        quick_mgn_type outcome notional_usd state acc_fill_sz avg_px ord_source category cancel_source
        cancel_source_reason amend_source amend_result req_id code msg fill_px fill_sz trade_id fill_time:i fill_fee
        fill_fee_ccy fill_pnl exec_type fill_notional_usd fill_mark_px fill_idx_px fill_px_vol fill_px_usd
        fill_mark_vol fill_fwd_px fee fee_ccy rebate rebate_ccy pnl tp_trigger_px tp_trigger_px_type tp_ord_px
        sl_trigger_px sl_trigger_px_type sl_ord_px is_tp_limit attach_algo_ords linked_algo_ord last_px c_time:i
        u_time:i source! received_at:i! version! raw""",
    )
    _create(
        database,
        "algo_orders",
        "account algo_id",
        """account! algo_id! algo_cl_ord_id inst_type inst_id ord_type side pos_side td_mode ccy sz close_fraction
        tgt_ccy trade_quote_ccy lever state tp_trigger_px tp_trigger_px_type tp_ord_px sl_trigger_px
        sl_trigger_px_type sl_ord_px trigger_px trigger_px_type ord_px advance_ord_type actual_sz actual_px
        actual_side trigger_time:i ord_id ord_id_list sub_algo_id_list cl_ord_id fail_code req_id amend_result
        reduce_only last notional_usd tag attach_algo_ords linked_ord amend_px_on_trigger_type is_trade_borrow_mode
        chase_type chase_val max_chase_type max_chase_val count px_var px_spread sz_limit px_limit time_interval
        callback_ratio callback_spread active_px move_trigger_px c_time:i u_time:i p_time:i source! received_at:i!
        version! raw""",
    )
    _create(
        database,
        "fills",
        "account inst_id ord_id trade_id",
        """account! inst_id! ord_id! trade_id! inst_type cl_ord_id bill_id sub_type tag side pos_side fill_px fill_sz
        fill_time:i exec_type fee fee_ccy fee_rate fill_pnl fill_idx_px fill_mark_px fill_px_vol fill_px_usd
        fill_mark_vol fill_fwd_px trade_quote_ccy ts:i trade_id_made:i! source! received_at:i! raw""",
    )
    _create(
        database,
        "positions",
        "account pos_id",
        """account! pos_id! inst_type inst_id mgn_mode pos_side pos ccy pos_ccy avail_pos avg_px non_settle_avg_px
        mark_px last idx_px usd_px be_px upl upl_ratio upl_last_px upl_ratio_last_px lever liq_px mgn_ratio mmr imr
        margin notional_usd opt_val adl realized_pnl pnl fee funding_fee liq_penalty settled_pnl trade_id liab
        liab_ccy interest pending_close_ord_liab_val delta_bs delta_pa gamma_bs gamma_pa theta_bs theta_pa vega_bs
        vega_pa spot_in_use_amt spot_in_use_ccy cl_spot_in_use_amt max_spot_in_use_amt biz_ref_id biz_ref_type
        hedged_pos base_bal quote_bal base_borrowed base_interest quote_borrowed quote_interest close_order_algo
        c_time:i u_time:i p_time:i received_at:i! version! raw""",
    )
    _create(
        database,
        "positions_history",
        "account pos_id c_time",
        """account! pos_id! c_time:i! inst_type inst_id uly mgn_mode type pos_side direction open_avg_px close_avg_px
        non_settle_avg_px open_max_pos close_total_pos realized_pnl settled_pnl pnl pnl_ratio fee funding_fee
        liq_penalty lever trigger_px ccy u_time:i received_at:i! version! raw""",
    )
    _create(
        database,
        "balances",
        "account ccy",
        """account! ccy! eq cash_bal avail_bal avail_eq frozen_bal ord_frozen dis_eq eq_usd iso_eq fixed_bal liab upl
        upl_liab cross_liab iso_liab reward_bal mgn_ratio imr mmr interest twap frp_type max_loan borrow_froz
        notional_lever coin_usd_price stgy_eq iso_upl spot_in_use_amt cl_spot_in_use_amt max_spot_in_use_amt
        spot_iso_bal smt_sync_eq spot_copy_trading_eq spot_bal open_avg_px acc_avg_px spot_upl spot_upl_ratio
        total_pnl total_pnl_ratio col_res col_borr_auto_conversion collateral_restrict collateral_enabled
        auto_lend_status auto_lend_mt_amt u_time:i received_at:i! version! raw""",
    )
    _create(
        database,
        "equity",
        "account",
        """account! total_eq adj_eq iso_eq avail_eq ord_froz imr mmr borrow_froz mgn_ratio notional_usd
        notional_usd_for_borrow notional_usd_for_swap notional_usd_for_futures notional_usd_for_option upl delta
        delta_lever delta_neutral_status u_time:i received_at:i! version! raw""",
    )
    _create(
        database,
        "bills",
        "account bill_id",
        """account! bill_id! type sub_type ccy bal bal_chg pos_bal pos_bal_chg sz px pnl fee interest earn_amt earn_apr
        mgn_mode inst_type inst_id ord_id trade_id cl_ord_id exec_type from to notes tag fill_idx_px fill_mark_px
        fill_px_vol fill_px_usd fill_mark_vol fill_fwd_px fill_time:i ts:i received_at:i! raw""",
    )
    _create(
        database,
        "deposits",
        "account dep_id",
        """account! dep_id! uid sub_acct ccy chain amt from area_code_from to tx_id state from_wd_id
        actual_dep_blk_confirm ts:i p_time:i received_at:i! version! raw""",
    )
    _create(
        database,
        "withdrawals",
        "account wd_id",
        """account! wd_id! uid sub_acct ccy chain non_tradable_asset amt from area_code_from to area_code_to
        to_addr_type tag pmt_id memo addr_ex tx_id fee fee_ccy state client_id note ts:i p_time:i received_at:i!
        version! raw""",
    )
    _create(database, "mark_prices", "inst_id", "inst_id! inst_type mark_px ts:i received_at:i! version!")
    _create(
        database,
        "instruments",
        "inst_id",
        """inst_id! inst_type inst_id_code uly inst_family base_ccy quote_ccy settle_ccy ct_val ct_mult ct_val_ccy
        ct_type opt_type stk list_time:i exp_time:i cont_td_sw_time:i open_type lever tick_sz lot_sz min_sz max_lmt_sz
        max_mkt_sz max_lmt_amt max_mkt_amt max_twap_sz max_iceberg_sz max_trigger_sz max_stop_sz state rule_type
        group_id inst_category future_settlement alias upc_chg received_at:i! raw""",
    )


@migrations()
def m002_proof(database: Database) -> None:
    """okxsync's own state: connections, coverage, gaps, and every frame as received."""
    _create(
        database,
        "connections",
        "id",
        """id:i listener! account endpoint! url! site! demo:i! requires_auth:i! phase! since_at:i! last_message_at:i
        last_rtt_us:i messages:i! reconnects:i! conn_id last_error next_attempt_at:i pid:i""",
    )
    database.execute("CREATE UNIQUE INDEX connections_by_listener ON connections (listener, endpoint)")
    _create(
        database,
        "coverage",
        "account channel",
        "account! channel! covered_since:i! covered_until:i! live:i! connection_id:i last_push_at:i",
    )
    database.execute("CREATE INDEX coverage_live ON coverage (connection_id) WHERE live = 1")
    _create(
        database,
        "gaps",
        "id",
        """id:i account! channel! from_at:i! to_at:i reason! outcome filled_at:i rows:i! attempts:i! note""",
    )
    database.execute("CREATE INDEX gaps_open ON gaps (account, channel) WHERE outcome IS NULL")
    database.execute(
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, connection_id INTEGER NOT NULL,"
        " account TEXT, channel TEXT, kind TEXT NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE TABLE codecs (id INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL) STRICT")
    _create(database, "journal", "id", "id:i at:i! level! account event! detail!")
    _create(database, "processes", "pid", "pid:i started_at:i! heartbeat_at:i! version! stopped_at:i exit:i")
    _create(database, "oddities", "kind what", "kind! what! count:i! first_at:i! last_at:i!")
    _create(database, "counters", "name", "name! value:i!")


_REAL: Final = {  # numbers to sort and add up, per table
    "orders": "px sz acc_fill_sz avg_px fill_px fill_sz fee rebate pnl",
    "algo_orders": "sz trigger_px ord_px tp_trigger_px sl_trigger_px actual_sz actual_px",
    "fills": "fill_px fill_sz fee fill_pnl",
    "positions": "pos avg_px mark_px upl upl_ratio lever liq_px notional_usd realized_pnl fee funding_fee",
    "positions_history": "open_avg_px close_avg_px open_max_pos close_total_pos realized_pnl pnl fee funding_fee",
    "balances": "eq cash_bal avail_bal frozen_bal eq_usd upl liab",
    "equity": "total_eq adj_eq iso_eq imr mmr mgn_ratio notional_usd upl",
    "bills": "bal bal_chg sz px pnl fee interest",
    "deposits": "amt",
    "withdrawals": "amt fee",
    "mark_prices": "mark_px",
    "instruments": "ct_val ct_mult tick_sz lot_sz min_sz",
}
_TIMES: Final = (
    "c_time u_time p_time fill_time trigger_time ts list_time exp_time cont_td_sw_time auction_end_time"
    " pre_mkt_sw_time".split()
)
_WITH_VIEW: Final = (*_REAL, "accounts", "connections", "coverage", "gaps", "messages", "journal", "processes")


@migrations()
def m003_views(database: Database) -> None:
    """Views for people: REAL numbers, ISO times, and no raw JSON."""
    for table in _WITH_VIEW:
        _create_view(database, table)


def _create_view(database: Database, table: str, numbers: str = "") -> None:
    real = (numbers or _REAL.get(table, "")).split()
    shown = []
    for (name,) in database.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall():
        if name in real:
            shown.append(f'CAST("{name}" AS REAL) AS "{name}"')
        elif name in _TIMES:
            shown.append(f"strftime('%Y-%m-%dT%H:%M:%fZ', \"{name}\" / 1e3, 'unixepoch') AS \"{name}\"")
        elif name.endswith("_at") or name in ("at", "covered_since", "covered_until"):
            shown.append(f"strftime('%Y-%m-%dT%H:%M:%fZ', \"{name}\" / 1e6, 'unixepoch') AS \"{name}\"")
        elif name not in ("raw", "version", "body") or table in ("processes", "runs"):
            shown.append(f'"{name}"')
    database.execute(f"CREATE VIEW {table}_view AS SELECT {', '.join(shown)} FROM {table}")


@migrations()
def m004_open_orders(database: Database) -> None:
    """Index the open orders: few among millions, and queried by status and at each backfill."""
    database.execute("CREATE INDEX orders_open ON orders (account) WHERE state IN ('live', 'partially_filled')")


@migrations()
def m005_wanted(database: Database) -> None:
    """Gaps of channels that are not configured any more do not count.

    Gaps of channels with arguments, and of ``fills``, were closed without a REST request: reopen them.
    """
    database.execute("ALTER TABLE coverage ADD COLUMN wanted INTEGER NOT NULL DEFAULT 1")
    database.execute("CREATE INDEX coverage_unwanted ON coverage (account, channel) WHERE wanted = 0")
    asked = "orders orders-algo algo-advance account positions deposit-info withdrawal-info fills".split()
    named = " OR ".join(f"channel LIKE '{name}:%'" for name in asked)
    database.execute(
        "UPDATE gaps SET outcome = NULL, filled_at = NULL, note = NULL WHERE outcome = 'partial' AND"
        f" note = 'OKX keeps no history of this channel' AND (channel = 'fills' OR {named})"
    )


@migrations()
def m006_closed_gaps(database: Database) -> None:
    """Index closed gaps, which are many: the last one of a channel is queried often."""
    database.execute("CREATE INDEX gaps_closed ON gaps (account, channel, to_at, outcome) WHERE outcome IS NOT NULL")
    database.execute("CREATE INDEX balances_changed ON balances (account, u_time)")
    database.execute("CREATE INDEX positions_changed ON positions (account, u_time)")


@migrations()
def m007_unproved(database: Database) -> None:
    """Live channels that REST could not verify: since when, and why."""
    _create(database, "unproved", "account channel", "account! channel! at:i! why!")


@migrations()
def m008_open_algo_orders(database: Database) -> None:
    """Index open algo orders, and the few synthetic fills: REST may report these under another id."""
    database.execute(
        "CREATE INDEX algo_orders_open ON algo_orders (account) WHERE state IN ('live', 'pause', 'partially_effective')"
    )
    database.execute("CREATE INDEX fills_made ON fills (account, inst_id, ord_id) WHERE trade_id_made = 1")


@migrations()
def m009_clocks(database: Database) -> None:
    """The parts of a row's version, each in a column of its own, and who reported a state first.

    For each channel, how far its pushes have reported; for each connection, up to which ping it has answered.
    """
    version_at = "CAST(substr(version, {}) AS INTEGER)"
    for table, columns, filled in (
        ("orders", "rank:i not_found_at:i",
         f"rank = iif(state = 'gone', 0, {version_at.format('1, 1')}),"
         f" not_found_at = iif(state = 'gone', {version_at.format('2')}, NULL)"),
        ("algo_orders", "rank:i not_found_at:i",
         f"rank = iif(state = 'gone', 0, {version_at.format('17, 1')}),"
         f" not_found_at = iif(state = 'gone', {version_at.format('1, 15')}, NULL)"),
        ("positions", "source full_time:i absent_time:i", _TIMES_OF_VERSION),
        ("balances", "source full_time:i absent_time:i", _TIMES_OF_VERSION),
        ("equity", "as_of:i", f"as_of = {version_at.format('1')}"),
        ("deposits", "as_of:i", f"as_of = {version_at.format('1')}"),
        ("withdrawals", "as_of:i", f"as_of = {version_at.format('1')}"),
        ("positions_history", "", ""),
        ("mark_prices", "", ""),
    ):  # fmt: skip
        for column in columns.split():
            default = {"source": " NOT NULL DEFAULT 'ws'", "not_found_at:i": "", "absent_time:i": ""}
            declared = next(_columns(column)) + default.get(column, " NOT NULL DEFAULT 0")
            database.execute(f"ALTER TABLE {table} ADD COLUMN {declared}")
        if filled:
            database.execute(f"UPDATE {table} SET {filled}")
        database.execute(f"ALTER TABLE {table} DROP COLUMN version")
    for table, time in (("orders", "u_time"), ("algo_orders", "u_time"), ("fills", "fill_time")):
        database.execute(f"CREATE INDEX {table}_by_rest ON {table} (account, {time}) WHERE source = 'rest'")
    for table in ("orders", "algo_orders"):
        database.execute(
            f"CREATE INDEX {table}_not_found ON {table} (account, not_found_at) WHERE not_found_at IS NOT NULL"
        )
    database.execute("ALTER TABLE coverage ADD COLUMN reported_ms INTEGER")
    database.execute("ALTER TABLE connections ADD COLUMN answered_at INTEGER")


_TIMES_OF_VERSION: Final = (
    "full_time = CAST(substr(version, 17, 15) AS INTEGER),"
    " absent_time = iif(version LIKE '% absent', CAST(substr(version, 17, 15) AS INTEGER), NULL)"
)


@migrations()
def m010_plain_words(database: Database) -> None:
    """Names of journal events and reasons of gaps are read by people and programs: the old ones follow the new."""
    database.execute("ALTER TABLE oddities RENAME TO anomalies")
    database.execute("ALTER TABLE unproved RENAME TO unverified")
    for old, new in _EVENTS_RENAMED.items():
        database.execute("UPDATE journal SET event = ? WHERE event = ?", [new, old])
        database.execute("UPDATE anomalies SET kind = ? WHERE kind = ?", [new, old])
    for old, new in _TEXTS_CHANGED.items():
        database.execute("UPDATE gaps SET reason = ? WHERE reason = ?", [new, old])
        database.execute("UPDATE gaps SET note = ? WHERE note = ?", [new, old])
    dead, missed = ": dead, although its connection lives: ", " was not pushed"
    database.execute(
        "UPDATE gaps SET reason = replace(replace(reason, ?1, ': channel stalled on a live connection ('),"
        " ?2, ' was missed)') WHERE reason LIKE '%' || ?1 || '%' || ?2",
        [dead, missed],
    )


_EVENTS_RENAMED: Final = {
    "bug": "internal-error",
    "same-uid": "duplicate-account",
    "other-uid": "account-mismatch",
    "account-unknown": "account-config-failed",
    "can-withdraw": "key-can-withdraw",
    "channel-refused": "channel-rejected",
    "channel-shared": "channel-conn-count",
    "channel-crowded-out": "channel-conn-count-error",
    "not-proved": "verification-unavailable",
    "proved-again": "verification-restored",
    "log-held-up": "wal-checkpoint-blocked",
    "clock-set": "clock-off",
    "config-refused": "config-invalid",
    "needs-restart": "restart-required",
    "new-value": "unknown-value",
    "new-field": "unknown-field",
    "new-type": "unexpected-type",
    "bad-time": "invalid-time",
    "bad-row": "invalid-row",
    "bad-frame": "invalid-frame",
    "bad-message": "invalid-message",
}
_TEXTS_CHANGED: Final = {
    "before the first run": "initial backfill",
    "silent at its end": "old connection silent during takeover",
    "REST is not asked for this channel; the next push tells how things are":
        "not backfilled: the next push carries the full state",
    "OKX keeps three months": "beyond OKX's retention of three months",
}  # fmt: skip


@migrations()
def m011_runs(database: Database) -> None:
    """A run of the daemon has an id; in a container each run has the same pid.

    ``processes`` stays readable: the last run of each pid.
    """
    _create(database, "runs", "id", "id:i started_at:i! heartbeat_at:i! version! host pid:i! stopped_at:i exit:i")
    columns = "pid, started_at, heartbeat_at, version, stopped_at, exit"
    database.execute(  # the last run gets the largest id; the start decides where the counter does not say which it is
        f"INSERT INTO runs ({columns}) SELECT {columns} FROM processes"
        " ORDER BY pid = (SELECT value FROM counters WHERE name = 'pid'), started_at"
    )
    database.execute("DELETE FROM counters WHERE name = 'pid'")
    database.execute("DROP TABLE processes")
    database.execute(
        f"CREATE VIEW processes AS SELECT {columns} FROM runs WHERE id IN (SELECT max(id) FROM runs GROUP BY pid)"
    )
    database.execute("ALTER TABLE connections ADD COLUMN run_id INTEGER")
    database.execute("UPDATE connections SET run_id = (SELECT max(id) FROM runs WHERE runs.pid = connections.pid)")
    _create_view(database, "runs")


@migrations()
def m013_revisions(database: Database) -> None:
    """Each row of the mirror gets the revision of the transaction that changed its content last.

    Rows of older versions have revision 1. What was deleted from ``fills`` is in ``replaced_fills``.
    """
    database.execute("INSERT INTO counters (name, value) VALUES ('revision', 1)")
    for table in _REAL:
        database.execute(f"ALTER TABLE {table} ADD COLUMN revision INTEGER NOT NULL DEFAULT 1")
        database.execute(f"CREATE INDEX {table}_revision ON {table} (revision)")
    _create(
        database,
        "replaced_fills",
        "account inst_id ord_id trade_id",
        "account! inst_id! ord_id! trade_id! revision:i!",
    )
    database.execute("CREATE INDEX replaced_fills_revision ON replaced_fills (revision)")


@migrations()
def m014_instruments(database: Database) -> None:
    """An instrument id may be listed as SPOT and as MARGIN: the key of ``instruments`` has the type too.

    ``as_of`` is when a row was true, in the exchange's milliseconds. Rows without a type belong to no known listing;
    they are loaded again with the next subscription. Algo orders get the fields that OKX has added.
    """
    columns = """inst_type! inst_id! inst_id_code uly inst_family series_id base_ccy quote_ccy settle_ccy
        trade_quote_ccy_list ct_val ct_mult ct_val_ccy ct_type opt_type stk list_time:i exp_time:i auction_end_time:i
        cont_td_sw_time:i pre_mkt_sw_time:i open_type lever tick_sz lot_sz min_sz max_lmt_sz max_mkt_sz max_lmt_amt
        max_mkt_amt max_twap_sz max_iceberg_sz max_trigger_sz max_stop_sz pos_lmt_amt pos_lmt_pct max_plat_oi_lmt
        max_plat_oi_coin_lmt long_pos_remaining_quota short_pos_remaining_quota init_px_lmt_pct float_px_lmt_pct
        max_px_lmt_pct state rule_type method freq category group_id inst_category future_settlement rpi elp alias
        upc_chg as_of:i! received_at:i! raw revision:i!"""
    database.execute("DROP VIEW instruments_view")
    database.execute("ALTER TABLE instruments RENAME TO instruments_by_id")
    _create(database, "instruments", "inst_type inst_id", columns)
    kept = [name for (name,) in database.execute("SELECT name FROM pragma_table_info('instruments_by_id')").fetchall()]
    named = ", ".join(f'"{name}"' for name in kept)
    database.execute(
        f"INSERT INTO instruments ({named}, as_of) SELECT {named}, 0 FROM instruments_by_id WHERE inst_type IS NOT NULL"
    )
    database.execute("DROP TABLE instruments_by_id")
    database.execute("CREATE INDEX instruments_revision ON instruments (revision)")
    _create_view(database, "instruments")
    database.execute("DROP VIEW algo_orders_view")
    for declared in _columns("quick_mgn_type adv_chase_params lmt_order_number aggressiveness trigger_params"):
        database.execute(f"ALTER TABLE algo_orders ADD COLUMN {declared}")
    _create_view(database, "algo_orders")


@migrations()
def m015_pushed_sizes(database: Database) -> None:
    """``fills.pushed_sz``: how much of a fill was pushed, if that is another size than its own.

    And an index of what a snapshot does not list any more: it calls for bills.
    """
    database.execute("ALTER TABLE fills ADD COLUMN pushed_sz TEXT")
    for table in ("positions", "balances"):
        database.execute(f"CREATE INDEX {table}_absent ON {table} (account, received_at) WHERE absent_time IS NOT NULL")


@migrations()
def m016_types_of_algo_orders(database: Database) -> None:
    """Index the few types of algo orders: REST lists each type on its own, and OKX adds new ones."""
    database.execute("CREATE INDEX algo_orders_type ON algo_orders (ord_type)")


@migrations()
def m019_fetched(database: Database) -> None:
    """The windows of time that ``backfill --since`` has fetched completely, by subject."""
    _create(database, "fetched", "account subject since_ms", "account! subject! since_ms:i! until_ms:i!")


@migrations()
def m020_directions(database: Database) -> None:
    """A position can be opened, reversed and closed within one millisecond: its direction belongs to the key.

    A key has no NULL, so a missing direction is "".
    """
    old = database.execute("SELECT name, type, \"notnull\" FROM pragma_table_info('positions_history')").fetchall()
    declared = [f"{name}{':i' if kind == 'INTEGER' else ''}{'!' if required else ''}" for name, kind, required in old]
    declared[declared.index("direction")] = "direction!"
    database.execute("DROP VIEW positions_history_view")
    database.execute("ALTER TABLE positions_history RENAME TO positions_history_by_time")
    _create(database, "positions_history", "account pos_id c_time direction", " ".join(declared))
    names = ", ".join(f'"{name}"' for name, _, _ in old)
    values = names.replace('"direction"', "coalesce(direction, '')")
    database.execute(f"INSERT INTO positions_history ({names}) SELECT {values} FROM positions_history_by_time")
    database.execute("DROP TABLE positions_history_by_time")
    database.execute("CREATE INDEX positions_history_revision ON positions_history (revision)")
    _create_view(database, "positions_history")


@migrations()
def m021_plans(database: Database) -> None:
    """Plans, their child orders, every attempt to send one, and what was not sent.

    Times of plans, orders and attempts are the exchange's milliseconds; ``at``, ``expires_at`` and what is copied from
    ``connections`` and ``coverage`` are local microseconds. Other programs insert into ``requests``, nowhere else.
    """
    _create(database, "requests", "id", "id:i at:i! kind! plan_id! body! by! expires_at:i!")
    _create(database, "answers", "request_id", "request_id:i at:i! outcome! detail!")
    _create(
        database,
        "plans",
        "plan_id",
        """plan_id! title! kind! parent_id doc! doc_hash! site_modes! state! outcome preview_at:i preview_hash
        approved_at:i approved_by valid_until:i started_at:i ended_at:i accounts:i! ready:i! skipped:i! accepted:i!
        rejected:i! unknown:i! planned_usd! filled_usd note""",
    )
    database.execute("CREATE INDEX plans_open ON plans (state) WHERE state IN ('approved', 'executing', 'paused')")
    _create(
        database,
        "plan_orders",
        "plan_id child",
        """plan_id! child:i! account! leg:i! phase:i! slice:i! kind! inst_id! side pos_side td_mode ord_type px sz
        reduce_only:i! cl_ord_id! algo_cl_ord_id body planned_usd! remainder! facts! state! reason detail attempts:i!
        ord_id doubled:i! acc_fill_sz avg_px fee filled_usd ended_at:i""",
    )
    database.execute("CREATE UNIQUE INDEX plan_orders_by_id ON plan_orders (account, cl_ord_id)")
    database.execute("CREATE INDEX orders_cl_ord_id ON orders (account, cl_ord_id)")
    _create(
        database,
        "plan_attempts",
        "plan_id child attempt",
        """plan_id! child:i! attempt:i! transport! request! exp_time:i! armed_at:i! sent_at:i replied_at:i http_status:i
        code s_code sub_code s_msg in_time out_time verdict proof""",
    )
    database.execute("CREATE INDEX plan_attempts_open ON plan_attempts (plan_id) WHERE verdict IS NULL")
    _create(
        database,
        "misfires",
        "id",
        """id:i at:i! plan_id! child:i! account! reason! detail! phase last_message_at:i covered_until:i
        clock_error_ms:i""",
    )
    database.execute("CREATE INDEX misfires_at ON misfires (at)")
    _create(database, "halts", "id", "id:i at:i! by! reason! lifted_at:i lifted_by")
    live = "state acc_fill_sz avg_px fee fee_ccy u_time cancel_source".split()
    database.execute(
        "CREATE VIEW plan_orders_view AS SELECT o.*,"
        f" {', '.join(f'm.{name} AS order_{name}' for name in live)},"
        " a.algo_id AS algo_id, a.state AS algo_state, a.u_time AS algo_u_time"
        " FROM plan_orders AS o"
        " LEFT JOIN orders AS m ON m.account = o.account AND m.cl_ord_id = o.cl_ord_id"
        " LEFT JOIN algo_orders AS a ON a.account = o.account AND a.algo_cl_ord_id = o.algo_cl_ord_id"
    )
    database.execute("CREATE INDEX algo_orders_cl_ord_id ON algo_orders (account, algo_cl_ord_id)")


@migrations()
def m022_what_plans_did(database: Database) -> None:
    """Each request that cancels an order of a plan, why a plan is paused, and whether attached orders exist.

    ``action`` is ``cancel``, or ``cancel-attached`` for the take-profit and stop-loss of the order.
    """
    _create(
        database,
        "plan_cancels",
        "plan_id child action attempt",
        """plan_id! child:i! action! attempt:i! transport! request! sent_at:i! replied_at:i! http_status:i code s_code
        sub_code s_msg in_time out_time verdict!""",
    )
    database.execute("ALTER TABLE plans ADD COLUMN pause_reason TEXT")
    database.execute("DROP VIEW plan_orders_view")
    database.execute("ALTER TABLE plan_orders ADD COLUMN unprotected INTEGER NOT NULL DEFAULT 0")
    live = "state acc_fill_sz avg_px fee fee_ccy u_time cancel_source".split()
    database.execute(
        "CREATE VIEW plan_orders_view AS SELECT o.*,"
        f" {', '.join(f'm.{name} AS order_{name}' for name in live)},"
        " a.algo_id AS algo_id, a.state AS algo_state, a.u_time AS algo_u_time"
        " FROM plan_orders AS o"
        " LEFT JOIN orders AS m ON m.account = o.account AND m.cl_ord_id = o.cl_ord_id"
        " LEFT JOIN algo_orders AS a ON a.account = o.account AND a.algo_cl_ord_id = o.algo_cl_ord_id"
    )


@migrations()
def m023_history(database: Database) -> None:
    """What pictures of the past need: equity and mark prices by the minute, and indexes of gaps, fills and transfers.

    ``at`` is the begin of the minute. It leads both keys: rows that are written again and again within a minute lie
    together, on few pages.
    """
    for table, key, declared in (
        (
            "equity_history",
            "at, account",
            "account! at:i! total_eq adj_eq upl imr mmr mgn_ratio notional_usd as_of:i!",
        ),
        ("mark_candles", "at, inst_id", "inst_id! at:i! o! h! l! c! ticks:i! source! first_ts:i! last_ts:i!"),
    ):
        columns = ", ".join(_columns(declared))
        database.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key})) STRICT, WITHOUT ROWID")
    _create_view(database, "equity_history", "total_eq adj_eq upl imr mmr mgn_ratio notional_usd")
    _create_view(database, "mark_candles", "o h l c")
    database.execute("CREATE INDEX gaps_ended ON gaps (to_at)")
    database.execute("CREATE INDEX fills_by_instrument ON fills (inst_id, fill_time)")
    database.execute("CREATE INDEX bills_transfers ON bills (ts) WHERE type = '1'")


@migrations()
def m024_undocumented_states(database: Database) -> None:
    """Orders in a state that is not documented are found without reading all of them; normally there are none."""
    ends = "'filled', 'canceled', 'mmp_canceled', 'gone'"
    database.execute(
        f"CREATE INDEX orders_undocumented ON orders (account) WHERE state NOT IN ('live', 'partially_filled', {ends})"
    )
    algo_ends = "'effective', 'canceled', 'order_failed', 'partially_failed', 'order_placed', 'filled', 'gone'"
    database.execute(
        "CREATE INDEX algo_orders_undocumented ON algo_orders (account)"
        f" WHERE state NOT IN ('live', 'pause', 'partially_effective', {algo_ends})"
    )


@migrations()
def m025_newest_fills(database: Database) -> None:
    """The newest fills, and those of a time, are found without sorting all of them."""
    database.execute("CREATE INDEX fills_by_time ON fills (coalesce(fill_time, ts, 0))")


@migrations()
def m026_copies(database: Database) -> None:
    """Which database was copied into this one; ``finished_at`` is NULL until all of it is here."""
    _create(database, "copies", "source", "source! started_at:i! finished_at:i")


@migrations()
def m027_switch(database: Database) -> None:
    """The newest of the requests to halt and to resume is found without reading all others."""
    database.execute("CREATE INDEX requests_switch ON requests (id) WHERE kind IN ('halt', 'resume')")
