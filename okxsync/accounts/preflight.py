"""The checks of ``okxsync check``, as findings: what was checked, the result, what to do.

A finding is ``ok``, ``warn`` (works, but an operator should know) or ``fail`` (does not work). Requests use the same
signed client, clock and budgets as the daemon, so a key that passes here works there.
"""

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
import trio

from okxsync.accounts.identity import find_blocked
from okxsync.config.location import Location, Url
from okxsync.config.settings import AccountSettings, Settings
from okxsync.feed.causes import first_error
from okxsync.feed.connection import CONNECT_S
from okxsync.feed.dialers import dial
from okxsync.feed.pool import specs_of
from okxsync.feed.socket import ConnectError, SocketError, reach
from okxsync.mirror.queries import Identity, identities
from okxsync.okx.account_config import ConfigRow, read_config_row
from okxsync.okx.rate_limits import dial_slots
from okxsync.okx.sites import Site
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import UNREADABLE, open_http
from okxsync.runtime.rate_limiter import RateLimiter
from okxsync.store.database import StoreError
from okxsync.store.engines import engine_of

AT_ONCE: Final = 10
ATTEMPTS: Final = 3  # per address, while other programs use up the limit
TOO_MANY: Final = 429
TOO_MANY_S: Final = 1.0
"""The HTTP status for too many new connections from one IP, which are counted per second (OKX docs:
overview-websocket-connect)."""
_STEPS: Final = {
    "wss": "resolve, TCP, TLS and WebSocket handshake succeed",
    "ws": "resolve, TCP and WebSocket handshake succeed",
    "https": "resolve, TCP and TLS succeed",
    "http": "resolve and TCP succeed",
}
_REMEDIES: Final = {
    "resolve": "check the name, DNS and the network",
    "TCP": "check the address and the firewall; OKX's port is 443",
    "TLS": "check this machine's date and certificates, and whether a proxy or firewall intercepts the connection",
    "WebSocket handshake": "check the path of the address, and whether a proxy or firewall intercepts the connection",
}
KEY_S: Final = 30.0
"""The deadline for one account: an exchange that does not answer is a finding."""
SKEW_WARN_S: Final = 1.0
SKEW_FAIL_S: Final = 30.0
"""OKX rejects older signatures (OKX docs: overview-rest-authentication)."""
FILLS_VIP: Final = 4
"""The fee tier from which channel ``fills`` is available (OKX docs: order-book-trading-trade-ws-fills-channel)."""
SLOW_START_S: Final = 60.0


class Finding(msgspec.Struct, frozen=True):
    """``todo`` is empty if there is nothing to do; ``step`` is the step of connecting that failed, if one did."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    found: str
    todo: str = ""
    step: str = ""


async def check_all(settings: Settings, database: Location, secrets_missing: Sequence[str]) -> list[Finding]:
    """Run all checks. Each has its own deadline, and a failed one does not stop the others."""
    accounts = [account for account in settings.accounts if account.enabled]
    findings = [
        _file(settings, accounts),
        *(Finding("fail", "secret", line, "set or correct it") for line in secrets_missing),
    ]
    if accounts and not secrets_missing:
        findings.append(Finding("ok", "secrets", "all are set"))
    findings += _database(database, settings.log.max_size)
    findings += dialling(settings, accounts)
    findings += await _addresses(settings)
    async with open_http() as http:
        clients = Clients(http, accounts)
        findings += await _clocks(clients, {account.site for account in accounts})
        trading = {name for name, one in settings.trading.accounts.items() if one.trading}
        findings += await _keys(clients, accounts, _identities(database), trading)
    return findings


def _file(settings: Settings, accounts: Sequence[AccountSettings]) -> Finding:
    if not accounts and not settings.market:
        return Finding("fail", "config", f"{settings.path}: no account is enabled", "add an [[accounts]] table")
    market = " and [market]" if settings.market else ""
    disabled = len(settings.accounts) - len(accounts)
    return Finding("ok", "config", f"{len(accounts)} accounts{market}" + (f", {disabled} disabled" if disabled else ""))


def _database(database: Location, log_max_bytes: int | None) -> list[Finding]:
    try:
        checks = engine_of(database).checks(log_max_bytes)
    except StoreError as error:
        return [Finding("fail", "database", str(error), "give another path with --db")]
    findings = [Finding(one.level, one.subject, one.found, one.todo) for one in checks]
    if isinstance(database, Url) and database.unverified:
        found = f"sslmode={database.unverified}: anyone on the way can pose as the server, and read all"
        findings.append(Finding("warn", "database", found, "use sslmode=verify-full, with sslrootcert for an own CA"))
    return findings


def dialling(settings: Settings, accounts: Sequence[AccountSettings]) -> list[Finding]:
    """Estimate the time until all are connected: OKX limits the new connections per second from one IP."""
    dials: dict[Site, int] = {}
    for account in accounts:
        endpoints = {one.endpoint for one in account.subscriptions}
        dials[account.site] = dials.get(account.site, 0) + len(endpoints)
    if settings.market:
        dials[settings.market.site] = dials.get(settings.market.site, 0) + 1
    count = sum(dials.values())
    takes_s = max((math.ceil(number / site.dials_per_second) for site, number in dials.items()), default=0)
    found = f"{count} connections, at least {takes_s} s until all are live"
    if takes_s > SLOW_START_S:
        return [Finding("warn", "start", found, "nothing; this period is backfilled over REST")]
    return [Finding("ok", "start", found)]


async def _addresses(settings: Settings) -> list[Finding]:
    """Connect to each address that ``run`` will use, with the same rate limit as ``run``."""
    connections = list(specs_of(settings))
    dialer = RateLimiter(dial_slots(min((site.dials_per_second for _, site in connections), default=1)))
    found: list[Finding] = []

    async def connect(url: str) -> None:
        scheme = urlsplit(url).scheme
        try:
            await (_dial(url, dialer) if scheme in ("wss", "ws") else reach(url, CONNECT_S))
        except* SocketError as group:
            error = first_error(group)
            step = error.step if isinstance(error, ConnectError) else ""
            todo = "wait until other programs have connected" if error.code == TOO_MANY else _REMEDIES.get(step, "")
            found.append(Finding("fail", url, str(error), todo, step))
        else:
            found.append(Finding("ok", url, _STEPS[scheme]))

    async with trio.open_nursery() as nursery:
        for url in {site.rest for _, site in connections} | {plan.url for plan, _ in connections}:
            nursery.start_soon(connect, url)
    return sorted(found, key=lambda one: one.subject)


async def _dial(url: str, dialer: RateLimiter) -> None:
    """Open a WebSocket and close it again. A daemon or an earlier check on this IP counts against the limit too."""
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            async with dialer.acquire(priority=1) as permit:
                socket = await dial(url, CONNECT_S, permit)
            await socket.aclose()
            return
        except* SocketError as group:
            if first_error(group).code != TOO_MANY or not attempts_left:
                raise
        await trio.sleep(TOO_MANY_S)


async def _clocks(clients: Clients, sites: Iterable[Site]) -> list[Finding]:
    found = []
    for site in sorted(sites, key=lambda one: one.rest):
        clock = clients.clock_of(site)
        await clock.measure()
        found.append(skew(site.rest, clock.now_s() - time.time() if clock.measured else None))
    return found


def skew(rest: str, offset_s: float | None) -> Finding:
    """Judge the offset of this machine's clock; None means that the exchange returned no time."""
    subject = f"clock {urlsplit(rest).hostname}"
    if offset_s is None:
        return Finding("fail", subject, f"{rest} returns no time", "check the address, proxy and firewall")
    found = f"{abs(offset_s):.3f} s {'behind' if offset_s > 0 else 'ahead'}"
    if abs(offset_s) >= SKEW_FAIL_S:
        return Finding("fail", subject, found, "set this machine's clock (NTP)")
    if abs(offset_s) >= SKEW_WARN_S:
        return Finding(
            "warn", subject, found, "set this machine's clock (NTP); signatures are corrected, `received_at` is not"
        )
    return Finding("ok", subject, found)


def _identities(database: Location) -> Mapping[str, Identity]:
    try:
        return identities(database) if engine_of(database).exists() else {}
    except StoreError:  # reported by the checks of the database
        return {}


async def _keys(
    clients: Clients, accounts: Sequence[AccountSettings], known: Mapping[str, Identity], trading: Collection[str]
) -> list[Finding]:
    limit = trio.CapacityLimiter(AT_ONCE)
    results: dict[str, list[Finding]] = {}
    reported: dict[str, Identity] = {}

    async def check_key(account: AccountSettings) -> None:
        client = clients.of(account.name)
        assert client
        async with limit:
            results[account.name] = await _key(client, account, reported, trades=account.name in trading)

    async with trio.open_nursery() as nursery:
        for account in accounts:
            nursery.start_soon(check_key, account)
    findings = [finding for account in accounts for finding in results[account.name]]
    in_order = {account.name: reported[account.name] for account in accounts if account.name in reported}
    for name, reason in find_blocked(in_order, known).items():
        found, _, todo = reason.why.partition("; ")
        findings.append(Finding("fail", f"account {name}", found, todo))
    return findings


async def _key(
    client: AccountClient, account: AccountSettings, reported: dict[str, Identity], *, trades: bool
) -> list[Finding]:
    subject = f"account {account.name}"
    try:
        with trio.fail_after(KEY_S):
            (row,) = msgspec.json.decode(await client.get("account/config"), type=list[msgspec.Raw])
            config = read_config_row(bytes(row))
    except RestError as error:
        text, _, hint = str(error).partition("; ")
        unknown = "see the code in OKX's docs: error-code-rest-api"
        return [
            Finding("fail", subject, text, hint or (unknown if error.code else "check the address, proxy, firewall"))
        ]
    except trio.TooSlowError:
        return [Finding("fail", subject, f"no answer within {KEY_S:.0f} s", "check the address, proxy, firewall")]
    except (*UNREADABLE, ValueError):
        config = ConfigRow()
    if not config.uid:
        return [Finding("fail", subject, "account/config: unexpected response", "check that the address is OKX's")]
    reported[account.name] = Identity(config.uid, account.demo)
    return judge_key(account, uid=config.uid, perm=config.perm, ip=config.ip, level=config.level, trades=trades)


def judge_key(
    account: AccountSettings, *, uid: str, perm: str, ip: str, level: str, trades: bool = False
) -> list[Finding]:
    """Judge a key by ``account/config`` (OKX docs: trading-account-rest-api-get-account-configuration).

    Args:
        account: As configured.
        uid: The account's user id.
        perm: ``read_only``, ``trade``, ``withdraw``, separated by commas.
        ip: The addresses that the key is bound to, "" if it is not bound.
        level: The fee tier: ``Lv1`` ... or ``VIP1`` ...
        trades: Whether the account may trade: then its key cannot be a read-only one.
    """
    subject = f"account {account.name}"
    rights = {right.strip() for right in perm.split(",")}
    mode = "demo" if account.demo else "live"
    needed = "the permissions Read and Trade" if trades else "the permission Read only"
    findings = []
    if "withdraw" in rights:
        findings.append(Finding("warn", subject, "the key can withdraw", f"use a key with {needed}"))
    if rights & {"trade", "withdraw"} and not ip:
        found = f"the key is not bound to an IP and has the permissions {', '.join(sorted(rights - {'read_only'}))}"
        todo = "OKX deletes it after 14 days without a login or signed call: bind it to an IP"
        todo += "" if trades else ", or use a read-only key"
        findings.append(Finding("warn", subject, found, todo))
    if any(one.channel == "fills" for one in account.subscriptions) and not _reaches_vip(level, FILLS_VIP):
        found = f'channel "fills" requires VIP{FILLS_VIP}, this account is {level or "of unknown tier"}'
        findings.append(Finding("warn", subject, found, 'remove it: "orders" reports fills too'))
    bound = f"bound to {ip}" if ip else "no IP binding"
    return findings or [Finding("ok", subject, f"{account.site_name} {mode}, uid {uid}, {perm}, {bound}")]


def _reaches_vip(level: str, wanted: int) -> bool:
    kind, number = level[:3].upper(), level[3:]
    return kind == "VIP" and number.isdigit() and int(number) >= wanted
