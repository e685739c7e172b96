"""The limits for new connections: OKX counts them per second and IP, over all accounts and endpoints of a host."""

import math
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import trio

from okxsync.feed.causes import first_error
from okxsync.feed.socket import ConnectError, Socket, SocketError, connect
from okxsync.okx.rate_limits import dial_slots
from okxsync.okx.sites import ENDPOINTS, Site
from okxsync.runtime.rate_limiter import Permit, RateLimiter


class Dialers:
    """One rate limiter for all sites with a common host, as live and demo have it.

    They outlive the connections, because the exchange counts connections that are given up too.

    Args:
        on_change: Called before and after each dial with ``counted_s()``.
        earlier_s: For how many seconds the dials of an earlier process count.
    """

    def __init__(
        self, on_change: Callable[[float], None] = lambda counted_s: None, earlier_s: float = -math.inf
    ) -> None:
        self._on_change = on_change
        self._earlier_until = trio.current_time() + earlier_s
        self._by_host: dict[str, RateLimiter] = {}

    def of(self, site: Site) -> RateLimiter:
        """Return the limiter of a site."""
        hosts = [urlsplit(url).hostname or "" for url in (site.rest, *map(site.url, ENDPOINTS))]
        known = (self._by_host[host] for host in hosts if host in self._by_host)
        dialer = next(known, None) or RateLimiter(
            dial_slots(site.dials_per_second), on_change=lambda: self._on_change(self.counted_s())
        )
        for host in hosts:
            self._by_host.setdefault(host, dialer)
        return dialer

    def configure(self, sites: Collection[Site]) -> None:
        """Set each limiter to the lowest rate that is configured for its sites."""
        for dialer in {self.of(site) for site in sites}:
            dialer.limit(min(site.dials_per_second for site in sites if self.of(site) is dialer))

    def counted_s(self) -> float:
        """Return for how many seconds dials count that were begun up to now, should this process end now."""
        until = max([self._earlier_until, *(dialer.counted_until() for dialer in self._by_host.values())])
        return max(0.0, until - trio.current_time())


async def dial(url: str, within_s: float, permit: Permit) -> Socket:
    """Connect as ``socket.connect`` does, and release the permit once the exchange cannot count this dial later.

    A dial that is cancelled, or that was not answered in time, remains for the permit's holder to abandon.
    """
    try:
        socket = await connect(url, within_s)
    except* SocketError as group:
        error = first_error(group)
        if not (isinstance(error, ConnectError) and error.unanswered):
            permit.release()
        raise
    permit.release()
    return socket
