"""The facts of previews and checks as they are now: of the accounts, from the mirror; of the system; of the day."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from okxsync.config.location import Location
from okxsync.config.settings import AccountSettings, Settings
from okxsync.okx.endpoints import DAY_MS
from okxsync.plans.checks import CLOCK_AGE_MS, CLOCK_ERROR_MS
from okxsync.plans.desk import moment
from okxsync.plans.document import Plan
from okxsync.plans.facts import AccountFacts, SystemFacts
from okxsync.plans.file_mode import why_open_to_others
from okxsync.plans.gather import Gatherer
from okxsync.plans.halt import Switch
from okxsync.plans.mirror_facts import read_facts
from okxsync.plans.reasons import Reason
from okxsync.plans.running import Running, approved_since
from okxsync.reconcile.held import Reads
from okxsync.rest.clients import Clients
from okxsync.store.engines import Reader

_APPROVED_SINCE: Final = (
    "SELECT o.plan_id, o.account, o.planned_usd FROM plan_orders AS o JOIN plans AS p ON p.plan_id = o.plan_id"
    " WHERE p.approved_at >= ? AND o.state <> 'skipped'"
)


class CurrentFacts:
    """Reads them.

    Args:
        reader: For short queries.
        reads: For what concerns all accounts, beside the event loop.
        blocked: Returns why an account must not be connected; None if it may.
        running: The plans that are being executed, by id.

    Attributes:
        accounts: The settings of all accounts by name; replaced when the configuration changes.
        reads: As given.
    """

    def __init__(
        self,
        settings: Settings,
        database: Location,
        clients: Clients,
        gatherer: Gatherer,
        reader: Reader,
        reads: Reads,
        halt: Switch,
        blocked: Callable[[str], str | None],
        running: Mapping[str, Running],
    ) -> None:
        self._database = database
        self._clients = clients
        self._gatherer = gatherer
        self._reader = reader
        self.reads = reads
        self._halt = halt
        self._blocked = blocked
        self._running = running
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Apply a changed configuration."""
        self.trading = settings.trading
        self.accounts = {one.name: one for one in settings.accounts}

    def enabled_account(self, name: str) -> AccountSettings | None:
        found = self.accounts.get(name)
        return found if found and found.enabled else None

    async def of_accounts(self, plan: Plan, accounts: Mapping[str, AccountSettings]) -> dict[str, AccountFacts]:
        """Return what the mirror has of some accounts.

        Raises:
            StoreError: the database cannot be read.
        """
        sites = {name: (one.site_name, one.demo) for name, one in accounts.items()}
        instruments = frozenset(leg.instrument for leg in plan.legs)
        facts = await self.reads.in_thread(read_facts, sites, instruments)
        return {name: self._barred(accounts[name], one) for name, one in facts.items()}

    def unread(self, account: AccountSettings) -> AccountFacts:
        """Return what is known of an account without the mirror: whether it is used at all."""
        return self._barred(account, AccountFacts(name=account.name, site=account.site_name, demo=account.demo))

    def _barred(self, account: AccountSettings, facts: AccountFacts) -> AccountFacts:
        if not account.enabled:
            return msgspec.structs.replace(facts, barred=Reason.NO_KEY, barred_detail="enabled = false")
        if (why := self._blocked(account.name)) is not None:
            why = why or "the account is not identified yet"
            return msgspec.structs.replace(facts, barred=Reason.BARRED, barred_detail=why)
        return facts

    async def of_system(self, plan: Plan, accounts: list[AccountSettings]) -> SystemFacts:
        """Return the facts of the system, without those of the day.

        Clocks that are not good enough to trade by are measured first.
        """
        if moment().error_ms > CLOCK_ERROR_MS or self._clock_age_s(accounts) * 1000 > CLOCK_AGE_MS:
            await self._clients.measure_clocks()
        quotes = await self._gatherer.quotes(plan, accounts)
        now_ms = moment().now_ms
        age_s = self._clock_age_s(accounts)
        return SystemFacts(
            now_ms=now_ms,
            halted="`okxsync resume` lifts it" if self._halt.exists() else "",
            file_mode=why_open_to_others(self._database),
            clock_ms=0 if age_s == float("inf") else now_ms - int(age_s * 1000),
            clock_error_ms=moment().error_ms,
            quotes=quotes,
        )

    def _clock_age_s(self, accounts: list[AccountSettings]) -> float:
        return max((self._clients.clock_of(one.site).age_s() for one in accounts), default=0.0)

    async def of_system_and_day(self, plan: Plan, accounts: list[AccountSettings]) -> SystemFacts:
        """Return the facts of the system, with what was approved today, for the limits per day.

        Raises:
            StoreError: the database cannot be read.
        """
        system = await self.of_system(plan, accounts)
        day_of = self.approved_today(system.now_ms)
        return msgspec.structs.replace(system, day_usd=sum(day_of.values(), Decimal(0)), day_usd_of=day_of)

    def approved_today(self, now_ms: int, but: str = "") -> dict[str, Decimal]:
        """Return what was approved today (UTC), in USD by account.

        Args:
            now_ms: The exchange's time.
            but: A plan that does not count.

        Raises:
            StoreError: the database cannot be read.
        """
        since_ms = now_ms - now_ms % DAY_MS
        others = {plan_id: one for plan_id, one in self._running.items() if plan_id != but}
        rows = self._reader.rows(_APPROVED_SINCE, [since_ms])
        return approved_since(since_ms, (row for row in rows if row[0] != but), others)
