"""Asks OKX for what the mirror does not know: the facts of a preview, and those of the checks before a send.

    per account    account/config, account/instruments; then leverage-info, max-size or max-avail-size, trade-fee
    per site       price-limit, mark-price, ticker

Accounts are asked side by side, each within its own rate limits. What does not come in time is not known, and the
account is skipped for a reason.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
import trio
from msgspec.structs import replace

from okxsync.config.settings import AccountSettings, MarketSettings
from okxsync.okx import models
from okxsync.okx.codes import Action
from okxsync.plans.checks import Finding, td_mode_of
from okxsync.plans.document import Leg, Plan, inst_type_of
from okxsync.plans.facts import AccountFacts, Instrument, MaxSize, decimal_of, instrument_of
from okxsync.plans.fees import Fees
from okxsync.plans.prices import Quotes
from okxsync.plans.reasons import Reason
from okxsync.rest.client import AccountClient, Client, MarketClient, RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import UNREADABLE, Http
from okxsync.runtime import clock

log = logging.getLogger("okxsync.plans")

AT_ONCE: Final = 64
"""Accounts that are asked at the same time."""
ACCOUNT_S: Final = 10.0
"""How long one account may take: the others of a preview wait for it."""
CONFIG_FRESH_S: Final = 10.0
"""Before a send, an account that answered a private call so recently is not asked again."""
INSTRUMENT_FRESH_MS: Final = 120_000
QUOTE_FRESH_MS: Final = 1_000
"""A quote that is younger is not asked for again: it may be 2 s old when it is used."""
FOLLOWED_S: Final = 120
"""So long at most the prices of a preview are kept fresh, three requests in half a second, and its connections open."""

ANSWERED: Final = (
    "mode", "pos_mode", "permissions", "uid", "main_uid", "lead_instruments", "instruments", "levers", "max_sizes",
    "takers", "barred", "barred_detail",
)  # fmt: skip
"""The facts of an account that only REST knows."""

Row: TypeAlias = Mapping[str, Any]
Asking: TypeAlias = Callable[[], Awaitable[None]]


class Gatherer:
    """Collects facts over REST.

    Args:
        http: Shared with the accounts' clients.
    """

    def __init__(self, http: Http, clients: Clients) -> None:
        self._http = http
        self._clients = clients
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._public: dict[tuple[str, bool], MarketClient] = {}
        self._quotes: dict[tuple[str, bool, str], Quotes] = {}
        self._locks: dict[tuple[str, bool, str], trio.Lock] = {}
        self._configs: dict[str, tuple[AccountClient, float, Row]] = {}
        self._instruments: dict[tuple[str, str], tuple[AccountClient, Instrument]] = {}
        self._fees = Fees()

    async def complete(
        self, plan: Plan, facts: Mapping[str, AccountFacts], accounts: Mapping[str, AccountSettings]
    ) -> dict[str, AccountFacts]:
        """Return the facts of these accounts with all that a preview needs of each."""
        found: dict[str, AccountFacts] = {}

        async def one(name: str) -> None:
            async with self._limit:
                found[name] = await self._account(plan, facts[name], fresh_s=0.0, sizes=True)

        async with trio.open_nursery() as nursery:
            for name in facts:
                if name in accounts:
                    nursery.start_soon(one, name)
        return {**facts, **found}

    async def refresh(self, plan: Plan, facts: AccountFacts) -> AccountFacts:
        """Return the facts of one account as the checks before a send need them."""
        return await self._account(plan, facts, fresh_s=CONFIG_FRESH_S, sizes=False)

    async def follow_quotes(self, plan: Plan, accounts: Sequence[AccountSettings]) -> None:
        """Keep the prices fresh for as long as a preview may be approved: the checks then need not wait for them."""
        with trio.move_on_after(min(plan.valid_for, FOLLOWED_S)):
            while True:
                await trio.sleep(QUOTE_FRESH_MS / 2000)
                await self.quotes(plan, accounts, fresh_ms=QUOTE_FRESH_MS // 2)

    async def follow_first(self, plan: Plan, accounts: Sequence[AccountSettings]) -> None:
        """Keep the answers of the first accounts fresh, likewise: their orders are sent before all others.

        Args:
            accounts: In the order of the plan.
        """
        first = accounts[: max(1, plan.failure.canary)]
        with trio.move_on_after(min(plan.valid_for, FOLLOWED_S)):
            while True:
                await trio.sleep(CONFIG_FRESH_S / 2)
                for one in first:
                    facts = AccountFacts(name=one.name, site=one.site_name, demo=one.demo)
                    await self._account(plan, facts, fresh_s=CONFIG_FRESH_S / 2, sizes=False)

    async def quotes(
        self, plan: Plan, accounts: Sequence[AccountSettings], fresh_ms: int = QUOTE_FRESH_MS
    ) -> dict[tuple[str, bool, str], Quotes]:
        """Return the prices of the plan's instruments on the sites of these accounts; a failed request has none.

        Args:
            fresh_ms: A quote that is younger is not asked for again.
        """
        sites = {(one.site_name, one.demo): one for one in accounts}
        found: dict[tuple[str, bool, str], Quotes] = {}

        async def ask(account: AccountSettings, key: tuple[str, bool, str]) -> None:
            async with self._locks.setdefault(key, trio.Lock()):
                known = self._fresh_quotes(key, fresh_ms)  # another task may have asked meanwhile
                if known is None:
                    known = await self._ask_quotes(account, key[2], _needs_index(plan, key[2]))
            if known is not None:
                self._quotes[key] = found[key] = known

        asking: list[Asking] = []
        for (site, demo), account in sites.items():
            for instrument in dict.fromkeys(leg.instrument for leg in plan.legs):
                key = site, demo, instrument
                if known := self._fresh_quotes(key, fresh_ms):
                    found[key] = known
                else:
                    asking.append(partial(ask, account, key))
        if asking:
            async with trio.open_nursery() as nursery:
                for one in asking:
                    nursery.start_soon(one)
        return found

    def _fresh_quotes(self, key: tuple[str, bool, str], fresh_ms: int) -> Quotes | None:
        known = self._quotes.get(key)
        return known if known and _now_ms() - known.at_ms < fresh_ms else None

    async def _ask_quotes(self, account: AccountSettings, instrument: str, with_index: bool) -> Quotes | None:
        client = self._public_client(account)
        inst_type = inst_type_of(instrument) or ""
        rows: dict[str, Row] = {}

        async def ask(path: str, params: Mapping[str, str]) -> None:
            try:
                rows[path] = await _first(client, path, params)
            except RestError as error:
                log.warning("%s: %s", instrument, error)

        at_ms = _now_ms()
        with trio.move_on_after(ACCOUNT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "public/price-limit", {"instId": instrument})
                mark_type = "MARGIN" if inst_type == "SPOT" else inst_type
                nursery.start_soon(ask, "public/mark-price", {"instType": mark_type, "instId": instrument})
                nursery.start_soon(ask, "market/ticker", {"instId": instrument})
                if with_index:
                    nursery.start_soon(ask, "market/index-tickers", {"instId": "-".join(instrument.split("-")[:2])})
        ticker, limits = rows.get("market/ticker", {}), rows.get("public/price-limit", {})
        mark = decimal_of(rows.get("public/mark-price", {}).get("markPx"))
        last = decimal_of(ticker.get("last"))
        if mark is None and last is None:
            return None
        limited = str(limits.get("enabled", True)).lower() != "false"
        return Quotes(
            mark=mark,
            last=last,
            bid=decimal_of(ticker.get("bidPx")),
            ask=decimal_of(ticker.get("askPx")),
            index=decimal_of(rows.get("market/index-tickers", {}).get("idxPx")),
            buy_limit=decimal_of(limits.get("buyLmt")) if limited else None,
            sell_limit=decimal_of(limits.get("sellLmt")) if limited else None,
            at_ms=at_ms,
        )

    def _public_client(self, account: AccountSettings) -> MarketClient:
        key = account.site_name, account.demo
        if key not in self._public:
            settings = MarketSettings(account.site_name, account.site, account.demo, ())
            self._public[key] = MarketClient(self._http, settings, self._clients.clock_of(account.site))
        return self._public[key]

    async def _account(self, plan: Plan, facts: AccountFacts, *, fresh_s: float, sizes: bool) -> AccountFacts:
        if facts.barred:
            return facts
        if (client := self._clients.of(facts.name)) is None:
            return replace(facts, barred=Reason.NO_KEY, barred_detail="the account is not enabled")
        try:
            with trio.fail_after(ACCOUNT_S):
                return await self._ask_account(client, plan, facts, fresh_s, sizes)
        except trio.TooSlowError:
            return replace(facts, barred=Reason.NOT_CONNECTED, barred_detail=f"no answer within {ACCOUNT_S:.0f} s")
        except RestError as error:
            rejects_key = error.action in (Action.GIVE_UP, Action.RESIGN)
            reason = Reason.KEY_REFUSED if rejects_key else Reason.NOT_CONNECTED
            return replace(facts, barred=reason, barred_detail=str(error))

    async def _ask_account(
        self, client: AccountClient, plan: Plan, facts: AccountFacts, fresh_s: float, sizes: bool
    ) -> AccountFacts:
        names = list(dict.fromkeys(leg.instrument for leg in plan.legs))
        config = dict(self._known_config(client, fresh_s))
        instruments = {} if sizes else self._known_instruments(client, names)
        asking: list[Asking] = [] if config else [partial(self._config, client, config)]
        asking += [partial(self._instrument, client, name, instruments) for name in names if name not in instruments]
        await _side_by_side(asking)
        facts = replace(facts, instruments=instruments, **facts_of_config(config))
        if not sizes:
            return facts
        levers: dict[tuple[str, str, str], Decimal] = {}
        max_sizes: dict[tuple[str, str], MaxSize] = {}
        takers: dict[str, Decimal] = {}
        asking = [partial(self._fees.ask, client, one, takers) for one in instruments.values()]
        for leg in plan.legs:
            if (instrument := instruments.get(leg.instrument)) is None:
                continue
            td_mode = td_mode_of(facts, leg.margin, instrument)
            if isinstance(td_mode, Finding):
                continue
            if instrument.kind != "spot":
                asking.append(partial(_levers, client, leg, td_mode, levers))
            asking.append(partial(_max_size, client, leg, td_mode, instrument, max_sizes))
        await _side_by_side(asking)
        return replace(facts, levers=levers, max_sizes=max_sizes, takers=takers)

    def _known_config(self, client: AccountClient, fresh_s: float) -> Row:
        known = self._configs.get(client.name)
        is_fresh = known and known[0] is client and trio.current_time() - known[1] < fresh_s
        return known[2] if known and is_fresh else {}

    def _known_instruments(self, client: AccountClient, names: Iterable[str]) -> dict[str, Instrument]:
        oldest_ms = _now_ms() - INSTRUMENT_FRESH_MS
        known = {name: one for name in names if (one := self._known_instrument(client, name))}
        return {name: one for name, one in known.items() if one.at_ms >= oldest_ms}

    def _known_instrument(self, client: AccountClient, name: str) -> Instrument | None:
        """Return what was answered to this very client: after a change of the settings the account may be another."""
        asked, found = self._instruments.get((client.name, name), (None, None))
        return found if asked is client else None

    def code_of(self, account: AccountSettings, name: str) -> int | None:
        """Return the ``instIdCode`` of an instrument, as OKX last told the account, or None if it has not."""
        client = self._clients.of(account.name)
        found = self._known_instrument(client, name) if client else None
        return found.code if found else None

    async def _config(self, client: AccountClient, into: dict[str, Any]) -> None:
        row = await _first(client, "account/config", {}, rejected_is_empty=False)
        self._configs[client.name] = client, trio.current_time(), row
        into.update(row)

    async def _instrument(self, client: AccountClient, name: str, into: dict[str, Instrument]) -> None:
        row = await _first(client, "account/instruments", {"instType": inst_type_of(name) or "", "instId": name})
        if row and (found := read_instrument(row)):
            self._instruments[client.name, name] = client, found
            into[name] = found


def with_answers(facts: AccountFacts, answered: AccountFacts) -> AccountFacts:
    """Return facts of the mirror with what REST has answered about the account."""
    if facts.barred:
        return facts
    return replace(facts, **{name: getattr(answered, name) for name in ANSWERED})


async def _side_by_side(asking: Sequence[Asking]) -> None:
    """Ask all at the same time.

    Raises:
        RestError: a request has failed; the first error.
    """
    if not asking:
        return
    errors: list[RestError] = []

    async def one(ask: Asking) -> None:
        try:
            await ask()
        except RestError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for ask in asking:
            nursery.start_soon(one, ask)
    if errors:
        raise errors[0]


async def _levers(client: AccountClient, leg: Leg, td_mode: str, into: dict[tuple[str, str, str], Decimal]) -> None:
    for row in await _rows(client, "account/leverage-info", {"instId": leg.instrument, "mgnMode": td_mode}):
        if (lever := decimal_of(row.get("lever"))) is not None:
            into[leg.instrument, td_mode, str(row.get("posSide") or "")] = lever


async def _max_size(
    client: AccountClient, leg: Leg, td_mode: str, instrument: Instrument, into: dict[tuple[str, str], MaxSize]
) -> None:
    params = {"instId": leg.instrument, "tdMode": td_mode}
    key = leg.instrument, td_mode
    if instrument.kind == "spot":
        row = await _first(client, "account/max-avail-size", params)
        into[key] = MaxSize(avail_buy=decimal_of(row.get("availBuy")), avail_sell=decimal_of(row.get("availSell")))
        return
    if leg.leverage and leg.leverage.set:
        params["leverage"] = f"{leg.leverage.value:f}"
    row = await _first(client, "account/max-size", params)
    into[key] = MaxSize(buy=decimal_of(row.get("maxBuy")), sell=decimal_of(row.get("maxSell")))


def read_instrument(row: Row) -> Instrument | None:
    try:
        return instrument_of(msgspec.json.decode(msgspec.json.encode(row), type=models.Instrument), _now_ms())
    except msgspec.MsgspecError:
        return None


def facts_of_config(row: Row) -> dict[str, Any]:
    """Return the facts of ``account/config``."""
    lead: set[str] = set()
    for role, listed in (("roleType", "traderInsts"), ("spotRoleType", "spotTraderInsts")):
        if str(row.get(role)) == "1" and isinstance(row.get(listed), list):
            lead.update(map(str, row[listed]))
    return {
        "mode": str(row.get("acctLv") or ""),
        "pos_mode": str(row.get("posMode") or ""),
        "permissions": frozenset(one.strip() for one in str(row.get("perm") or "").split(",") if one.strip()),
        "uid": str(row.get("uid") or ""),
        "main_uid": str(row.get("mainUid") or ""),
        "lead_instruments": frozenset(lead),
    }


def _needs_index(plan: Plan, instrument: str) -> bool:
    legs = [leg for leg in plan.legs if leg.instrument == instrument]
    return any(
        (leg.price and leg.price.base == "index") or (leg.protect and leg.protect.trigger == "index") for leg in legs
    )


async def _first(client: Client, path: str, params: Mapping[str, str], *, rejected_is_empty: bool = True) -> Row:
    """Return the first row of a reply; {} if there is none."""
    return next(iter(await _rows(client, path, params, rejected_is_empty=rejected_is_empty)), {})


async def _rows(
    client: Client, path: str, params: Mapping[str, str], *, rejected_is_empty: bool = True
) -> list[dict[str, Any]]:
    """Return the rows of a reply. If OKX rejects this one request, it has nothing to say: what it asks is not known.

    Raises:
        RestError: the request failed.
    """
    try:
        return msgspec.json.decode(await client.get(path, params, priority=0), type=list[dict[str, Any]])
    except UNREADABLE:
        raise RestError(f"{path}: data is not a list of objects", Action.RETRY) from None
    except RestError as error:
        if rejected_is_empty and error.is_rejection:
            return []
        raise


def _now_ms() -> int:
    return clock.now_us() // 1000
