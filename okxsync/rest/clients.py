"""One client per account, so that all its requests share its rate limits; one clock per site."""

from collections.abc import Iterable
from typing import Final

import trio

from okxsync.config.settings import AccountSettings, MarketSettings
from okxsync.okx.sites import Site
from okxsync.rest.client import AccountClient, MarketClient
from okxsync.rest.clock import FRESH_S, SiteClock
from okxsync.rest.http import Http
from okxsync.runtime import clock
from okxsync.runtime.rate_limiter import RateLimiters

UNSURE_US: Final = 250_000
"""A clock whose error may be larger is measured again: one slow answer says little, and nothing is traded by it."""
MOST: Final = 2 * clock.CONFIRMATIONS
"""So often a clock in doubt is measured at most: requests may fail, and answers may differ."""


class Clients:
    """The clients of the configured accounts, and that of the market.

    Attributes:
        market: For public data, which needs no key; None if there is no public connection.
    """

    def __init__(self, http: Http, accounts: Iterable[AccountSettings], market: MarketSettings | None = None) -> None:
        self._http = http
        self._limiters = RateLimiters()
        self._clocks: dict[str, SiteClock] = {}
        self._accounts: dict[str, AccountSettings] = {}
        self._clients: dict[str, AccountClient] = {}
        self._market: MarketSettings | None = None
        self.market: MarketClient | None = None
        self.configure(accounts, market)

    def configure(self, accounts: Iterable[AccountSettings], market: MarketSettings | None = None) -> None:
        """Apply a changed configuration; the clients of unchanged accounts stay."""
        if market != self._market:
            self._market = market
            self.market = MarketClient(self._http, market, self.clock_of(market.site)) if market else None
        new = {account.name: account for account in accounts if account.enabled}
        for name in [name for name in self._clients if new.get(name) != self._accounts[name]]:
            del self._clients[name]
        self._accounts = new
        for name, account in new.items():
            if name not in self._clients:
                self._clients[name] = AccountClient(
                    self._http, account, self.clock_of(account.site), limiters=self._limiters
                )

    def of(self, name: str) -> AccountClient | None:
        """Return the client of an account, or None if it is not configured and enabled."""
        return self._clients.get(name)

    def clock_of(self, site: Site) -> SiteClock:
        if site.rest not in self._clocks:
            self._clocks[site.rest] = SiteClock(self._http, site.rest)
        return self._clocks[site.rest]

    async def measure_clocks(self) -> dict[str, float]:
        """Measure the clocks of all sites, more than once if the first answers are surprising or slow.

        Returns:
            By address, how many seconds each site's clock is ahead of the process's afterwards.
        """
        for count in range(1, MOST + 1):
            async with trio.open_nursery() as nursery:
                for one in self._clocks.values():
                    nursery.start_soon(one.measure)
            is_unsure = clock.latest_us() - clock.earliest_us() > 2 * UNSURE_US
            if not clock.current.is_in_doubt and (count >= clock.CONFIRMATIONS or not is_unsure):
                break
            if count < MOST:
                await trio.sleep(FRESH_S)
        return {rest: one.ahead_s() for rest, one in self._clocks.items()}
