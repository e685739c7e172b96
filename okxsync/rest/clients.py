"""One client per account, so that all its requests share its rate limits; one clock per site."""

from collections.abc import Iterable

import httpx

from okxsync.config.settings import AccountSettings
from okxsync.okx.sites import Site
from okxsync.rest.client import AccountClient
from okxsync.rest.clock import SiteClock


class Clients:
    """The clients of the configured accounts."""

    def __init__(self, http: httpx.AsyncClient, accounts: Iterable[AccountSettings]) -> None:
        self._http = http
        self._clocks: dict[str, SiteClock] = {}
        self._accounts: dict[str, AccountSettings] = {}
        self._clients: dict[str, AccountClient] = {}
        self.configure(accounts)

    def configure(self, accounts: Iterable[AccountSettings]) -> None:
        """Apply a changed configuration; the clients of unchanged accounts stay."""
        new = {account.name: account for account in accounts if account.enabled}
        for name in [name for name in self._clients if new.get(name) != self._accounts[name]]:
            del self._clients[name]
        self._accounts = new
        for name, account in new.items():
            if name not in self._clients:
                self._clients[name] = AccountClient(self._http, account, self.clock_of(account.site))

    def of(self, name: str) -> AccountClient | None:
        """Return the client of an account, or None if it is not configured and enabled."""
        return self._clients.get(name)

    def clock_of(self, site: Site) -> SiteClock:
        return self._clocks.setdefault(site.rest, SiteClock(self._http, site.rest))

    async def measure_clocks(self) -> None:
        for clock in list(self._clocks.values()):
            await clock.measure()
