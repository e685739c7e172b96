"""The checks of ``okxsync check --trading``: what keeps an account from trading, and what is unsafe. Read-only.

Permissions to withdraw and keys without an IP binding are findings of ``accounts.preflight``.
"""

from collections.abc import Iterator
from typing import Final, Literal

import trio
from msgspec.structs import replace

from okxsync.accounts.preflight import AT_ONCE, KEY_S, Finding
from okxsync.config.location import Location, Url
from okxsync.config.settings import AccountSettings, Settings
from okxsync.config.trading import TradingSettings
from okxsync.plans.checks import CLOCK_ERROR_MS, MODE_NAMES, find_untradable, td_mode_of
from okxsync.plans.checks import Finding as Refusal
from okxsync.plans.document import inst_type_of
from okxsync.plans.facts import AccountFacts, Instrument
from okxsync.plans.file_mode import why_open_to_others
from okxsync.plans.gather import facts_of_config, read_instrument
from okxsync.plans.halt import halt_of
from okxsync.plans.mirror_facts import NEEDED
from okxsync.plans.reasons import REASONS, Reason
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.rest.pages import read_page
from okxsync.runtime import clock
from okxsync.store.engines import engine_of

_TOO_LOW: Final = frozenset("01")
"""``kycLv`` with which OKX rejects orders of live accounts (59113)."""
_POS_MODES: Final = {"net_mode": "net positions", "long_short_mode": "long and short positions"}


async def check_trading(settings: Settings, database: Location) -> list[Finding]:
    """Run the checks of all accounts that may trade. Each has its own deadline."""
    accounts = [one for one in settings.accounts if one.enabled and _may_trade(settings.trading, one.name)]
    findings = [*_rails(settings, accounts, database)]
    results: dict[str, list[Finding]] = {}
    limit = trio.CapacityLimiter(AT_ONCE)
    async with open_http() as http:
        clients = Clients(http, accounts)
        await clients.measure_clocks()

        async def check_account(account: AccountSettings) -> None:
            client = clients.of(account.name)
            assert client
            async with limit:
                results[account.name] = await _account(client, account, settings.trading)

        async with trio.open_nursery() as nursery:
            for account in accounts:
                nursery.start_soon(check_account, account)
        if any(clients.clock_of(one.site).measured for one in accounts):
            findings.append(judge_clock((clock.latest_us() - clock.earliest_us()) // 2000))
    return findings + [finding for account in accounts for finding in results[account.name]]


def judge_clock(error_ms: int) -> Finding:
    """Judge by how much the exchange's time, as measured, can be wrong."""
    found = f"the exchange's time is known to {error_ms} ms"
    if error_ms > CLOCK_ERROR_MS:
        return Finding("fail", "clock", f"{found}, at most {CLOCK_ERROR_MS} ms is possible", "use a faster connection")
    return Finding("ok", "clock", found)


def _may_trade(trading: TradingSettings, name: str) -> bool:
    return name in trading.accounts and trading.accounts[name].trading


def _rails(settings: Settings, accounts: list[AccountSettings], database: Location) -> Iterator[Finding]:
    trading, subject = settings.trading, "trading"
    if not trading.enabled:
        yield _refused(subject, Reason.TRADING_OFF)
    if not accounts:
        yield Finding("fail", subject, "no account may trade", REASONS[Reason.ACCOUNT_OFF].remedy)
    else:
        yield Finding("ok", subject, f"{len(accounts)} accounts may trade")
    limits = trading.limits
    for key, value in (
        ("max_order_usd", limits.order_usd),
        ("max_plan_usd", limits.plan_usd),
        ("max_day_usd", limits.day_usd),
        ("instruments", limits.instruments),
    ):
        if value is None:
            yield Finding("warn", subject, f"no limit {key}", f"set [trading] {key}")
    halt = halt_of(database)
    if halt.exists():
        yield Finding("warn", subject, f"trading is halted ({halt.place})", "`okxsync resume`")
    if isinstance(database, Url):
        yield Finding("ok", "database", "whoever may insert into its table `requests` can approve orders")
    elif not engine_of(database).exists():
        yield Finding("ok", "database file", "is created for its owner alone")
    elif why := why_open_to_others(database):
        yield Finding("fail", "database file", why, REASONS[Reason.FILE_MODE].remedy)
    else:
        yield Finding("ok", "database file", "belongs to this user alone")


async def _account(client: AccountClient, account: AccountSettings, trading: TradingSettings) -> list[Finding]:
    try:
        with trio.fail_after(KEY_S):
            row = next(iter(await read_page(client, "account/config", {})), {})
            facts = AccountFacts(name=account.name, demo=account.demo, **facts_of_config(row))
            instruments: dict[str, Instrument] = {}
            for inst_id in sorted(trading.accounts[account.name].limits.instruments or ()):
                if found := await _instrument(client, inst_id):
                    instruments[inst_id] = found
    except (RestError, trio.TooSlowError) as error:
        why = str(error) or f"no answer within {KEY_S:.0f} s"
        return [Finding("fail", f"account {account.name}", f"not checked: {why}", "see the other findings")]
    facts = replace(facts, instruments=instruments)
    return judge_account(account, trading, facts, str(row.get("kycLv", "")), client.now_ms())


async def _instrument(client: AccountClient, inst_id: str) -> Instrument | None:
    params = {"instType": inst_type_of(inst_id) or "", "instId": inst_id}
    try:
        rows = await read_page(client, "account/instruments", params)
    except RestError as error:
        if error.is_rejection:  # OKX does not offer it
            return None
        raise
    return read_instrument(rows[0]) if rows else None


def judge_account(
    account: AccountSettings, trading: TradingSettings, facts: AccountFacts, kyc: str, now_ms: int
) -> list[Finding]:
    """Judge an account that may trade.

    Args:
        account: As configured.
        trading: The settings of trading.
        facts: With its modes, permissions, and those of the allowed instruments that OKX offers to it.
        kyc: ``kycLv`` of ``account/config``.
        now_ms: The exchange's time.
    """
    subject = f"account {account.name}"
    findings = [*_find_wrong(subject, account, trading, facts, kyc)]
    allowed = sorted(trading.accounts[account.name].limits.instruments or ())
    refused = {one: refusal for one in allowed if (refusal := _find_refusal(facts, one, now_ms))}
    level: Literal["warn", "fail"] = "fail" if len(refused) == len(allowed) else "warn"
    for inst_id, refusal in refused.items():
        detail = "" if refusal.detail == inst_id else f": {refusal.detail}"
        findings.append(Finding(level, subject, f"{inst_id}: {refusal.reason}{detail}", REASONS[refusal.reason].remedy))
    mode, positions = MODE_NAMES.get(facts.mode), _POS_MODES.get(facts.pos_mode)
    if mode and positions and not any(one.level == "fail" for one in findings):
        offered = f", {len(allowed) - len(refused)} of {len(allowed)} instruments" if allowed else ""
        findings.append(Finding("ok", subject, f"may trade: {mode} mode, {positions}{offered}"))
    return findings


def _find_wrong(
    subject: str, account: AccountSettings, trading: TradingSettings, facts: AccountFacts, kyc: str
) -> Iterator[Finding]:
    if not account.demo and not trading.live:
        yield _refused(subject, Reason.NOT_LIVE)
    if "trade" not in facts.permissions:
        yield _refused(subject, Reason.NO_PERMISSION)
    if missing := [one for one in NEEDED if one not in {channel.channel for channel in account.subscriptions}]:
        yield Finding("fail", subject, f"not mirrored: {', '.join(missing)}", REASONS[Reason.NOT_MIRRORED].remedy)
    if facts.mode not in MODE_NAMES:
        yield Finding("fail", subject, f'account mode "{facts.mode}" is not known', "exclude the account from plans")
    if facts.pos_mode not in _POS_MODES:
        yield Finding("fail", subject, f'position mode "{facts.pos_mode}" is not known', "exclude it from plans")
    if not account.demo and kyc in _TOO_LOW:
        yield Finding("warn", subject, f"identity verification is at level {kyc}", "OKX wants level 2 for orders")


def _find_refusal(facts: AccountFacts, inst_id: str, now_ms: int) -> Refusal | None:
    if untradable := find_untradable(facts, inst_id, "ioc", now_ms, 0):
        return untradable
    assert facts.instruments
    td_mode = td_mode_of(facts, None, facts.instruments[inst_id])
    return td_mode if isinstance(td_mode, Refusal) else None


def _refused(subject: str, reason: Reason) -> Finding:
    return Finding("fail", subject, REASONS[reason].meaning, REASONS[reason].remedy)
