"""All connections that the settings require: one per endpoint and account, and a public one for the market.

New settings can be applied at any time. Connections whose spec has not changed are left alone.
"""

import logging
from collections.abc import Callable, Iterator, Mapping

import msgspec
import trio

from okxsync.config.settings import AccountSettings, MarketSettings, Settings
from okxsync.feed.connection import FeedConnection
from okxsync.feed.dialers import Dialers
from okxsync.feed.reader import PAUSES_S, SocketReader
from okxsync.feed.requests import NotSent
from okxsync.feed.spec import ConnectionSpec, Keys
from okxsync.messages import MARKET, ConnectionRemoved, Lost, WantedChannels
from okxsync.okx.sites import ENDPOINTS, Site
from okxsync.runtime.clock import ExchangeClock, now_us
from okxsync.runtime.outbox import Outbox

log = logging.getLogger("okxsync.feed")

SpecKey = tuple[str, str]  # listener and endpoint


class ConnectionPool:
    """Runs the connections of the current settings in one nursery.

    Args:
        send: Where frames and reports go.
        clock_of: The exchange's clock of a site.
        dialers: Limit new connections.
        known_ids: The register's ids of the connections of earlier runs, which keep them.
        blocked: Returns why a listener must not be connected, "" while that is being determined, None if it may be.
    """

    def __init__(
        self,
        send: Outbox,
        clock_of: Callable[[Site], ExchangeClock],
        dialers: Dialers,
        known_ids: Mapping[SpecKey, int],
        blocked: Callable[[str], str | None] = lambda listener: None,
    ) -> None:
        self._send = send
        self._reader = SocketReader(send)
        self._clock_of = clock_of
        self._dialers = dialers
        self._ids = dict(known_ids)
        self._blocked = blocked
        self._initial_s = 0
        self._running: dict[SpecKey, tuple[ConnectionSpec, trio.CancelScope, trio.Event]] = {}
        self._connections: dict[SpecKey, FeedConnection] = {}

    async def run(self, settings: Settings, changes: trio.MemoryReceiveChannel[Settings | str]) -> None:
        """Run the connections until cancelled, or until ``changes`` is closed and no connection is left.

        A change is new settings, or the name of a listener for which ``blocked`` returns something new.
        """
        async with self._reader.running(), trio.open_nursery() as nursery:
            await self._apply(settings, nursery)
            async for changed in changes:
                if isinstance(changed, Settings):
                    settings = changed
                    await self._apply(settings, nursery)
                else:
                    await self._apply(settings, nursery, changed)

    async def _apply(self, settings: Settings, nursery: trio.Nursery, only: str | None = None) -> None:
        """Start and end connections as the settings require, for all listeners or for one."""
        self._initial_s = settings.initial_s
        self._reader.pause_s = PAUSES_S[settings.latency]
        if only is None:
            self._dialers.configure({site for _, site in specs_of(settings)})
        wanted = {}
        for spec, site in specs_of(settings, only):
            if (blocked := self._blocked(spec.listener)) != "":
                wanted[spec.listener, spec.endpoint] = msgspec.structs.replace(spec, blocked=blocked), site
        for key, (spec, scope, ended) in list(self._running.items()):
            if only not in (None, spec.listener):
                continue
            if key not in wanted or wanted[key][0] != spec:
                scope.cancel(reason="configuration changed")
                await ended.wait()
                del self._running[key], self._connections[key]
                await self._send.send(ConnectionRemoved(self._ids[key], spec.listener, now_us()))
                log.info("%s closed: the settings have changed", spec.name)
        for key, (spec, site) in wanted.items():
            if key not in self._running:
                scope, ended = trio.CancelScope(), trio.Event()
                self._running[key] = spec, scope, ended
                self._connections[key] = self._connection(key, spec, site)
                nursery.start_soon(self._run_connection, self._connections[key], scope, ended)

    async def report_lost(self, why: str) -> None:
        """Report every channel as lost; call it once the connections are cancelled for good."""
        for key, (spec, _, _) in self._running.items():
            channels = [one.key for one in spec.subscriptions]
            await self._send.send(Lost(self._ids[key], spec.listener, channels, now_us(), why))

    async def mark_stale(self, listener: str, channel: str, why: str) -> None:
        """Pushes of a channel are missing: reconnect (see ``FeedConnection.mark_stale``)."""
        for (name, _), connection in list(self._connections.items()):
            if name == listener:
                await connection.mark_stale(channel, why)

    def takes_requests(self, account: AccountSettings) -> bool:
        """Return whether the private connection of an account is live."""
        connection = self._private(account)
        return connection is not None and connection.takes_requests

    async def ask(self, account: AccountSettings, op: str, arg: bytes, exp_ms: int, begin: Callable[[], None]) -> str:
        """Send an order operation on the private connection of an account: see ``Session.ask``."""
        if (connection := self._private(account)) is None:
            raise NotSent("the account has no private connection")
        return await connection.ask(op, arg, exp_ms, begin)

    def _private(self, account: AccountSettings) -> FeedConnection | None:
        """Return a connection that was opened with these very settings: after a change it may be another's account."""
        found = self._connections.get((account.name, "private"))
        wanted = (
            Keys(account.api_key, account.secret_key, account.passphrase),
            account.site.url("private"),
            account.demo,
        )
        return found if found and (found.spec.keys, found.spec.url, found.spec.demo) == wanted else None

    def _connection(self, key: SpecKey, spec: ConnectionSpec, site: Site) -> FeedConnection:
        number = self._ids.setdefault(key, max(self._ids.values(), default=0) + 1)
        initial_us = int(self._initial_s * 1e6) if spec.keys else 0
        return FeedConnection(
            number, spec, self._send, self._reader, self._dialers.of(site), self._clock_of(site), initial_us
        )

    async def _run_connection(self, connection: FeedConnection, scope: trio.CancelScope, ended: trio.Event) -> None:
        try:
            with scope:
                await connection.run()
        finally:
            ended.set()


def wanted_channels(settings: Settings) -> WantedChannels:
    """Return all channels in the settings."""
    return WantedChannels([(spec.listener, one.key) for spec, _ in specs_of(settings) for one in spec.subscriptions])


def specs_of(settings: Settings, only: str | None = None) -> Iterator[tuple[ConnectionSpec, Site]]:
    """Return the connections that the settings require, of all listeners or of one, each with its site."""
    listeners: list[tuple[str, AccountSettings | MarketSettings]] = [
        (one.name, one) for one in settings.accounts if one.enabled
    ]
    if settings.market:
        listeners.append((MARKET, settings.market))
    for name, one in listeners:
        if only not in (None, name):
            continue
        keys = Keys(one.api_key, one.secret_key, one.passphrase) if isinstance(one, AccountSettings) else None
        for endpoint in ENDPOINTS:
            subscriptions = tuple(wanted for wanted in one.subscriptions if wanted.endpoint == endpoint)
            if subscriptions:
                account = name if keys else None
                url = one.site.url(endpoint)
                yield (
                    ConnectionSpec(name, account, endpoint, url, one.site_name, one.demo, subscriptions, keys),
                    one.site,
                )
