"""Everything that can be known before the first run, as findings: what was looked at, how it is, what to do.

A finding is ``ok``, ``warn`` (it runs, but somebody should know) or ``fail`` (it will not run as it is). Questions to
the exchange go the daemon's own way - signed client, clock, budgets - so a key that passes here will do there.
"""

import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
import pysqlite3
import trio

from okxsync.accounts.identity import find_blocked
from okxsync.config.settings import AccountSettings, Settings
from okxsync.feed.connection import CONNECT_S
from okxsync.feed.pool import specs_of
from okxsync.feed.socket import ConnectError, SocketError, first_error, open_socket, reach
from okxsync.mirror.queries import Identity, identities
from okxsync.okx.rate_limits import dial_slots
from okxsync.okx.sites import Site
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import UNREADABLE, open_http
from okxsync.runtime.rate_limiter import RateLimiter
from okxsync.store.database import StoreError, open_reader, unsafe_sqlite

AT_ONCE: Final = 10
DIALS: Final = 3  # at one address, while others use the limit up
CROWDED: Final = 429
CROWDED_S: Final = 1.0
"""The HTTP status of too many new connections from one IP, which are counted by the second (OKX docs:
overview-websocket-connect)."""
_STEPS: Final = {
    "wss": "resolve, TCP, TLS and WebSocket handshake succeed",
    "ws": "resolve, TCP and WebSocket handshake succeed",
    "https": "resolve, TCP and TLS succeed",
    "http": "resolve and TCP succeed",
}
_TODO: Final = {
    "resolve": "check the name, DNS and the network",
    "TCP": "check the address and the firewall; OKX's port is 443",
    "TLS": "check this machine's date and certificates, and whether a proxy or firewall answers instead",
    "WebSocket handshake": "check the path of the address, and whether a proxy or firewall answers instead",
}
KEY_S: Final = 30.0
"""How long one account may take: an exchange that does not answer is a finding, not a wait."""
SKEW_WARN_S: Final = 1.0
SKEW_FAIL_S: Final = 30.0
"""OKX refuses a signature that is older (OKX docs: overview-rest-authentication)."""
SPACE_WARN: Final = 5_000_000_000
SPACE_FAIL: Final = 200_000_000
FILLS_VIP: Final = 4
"""The fee tier from which channel ``fills`` is open (OKX docs: order-book-trading-trade-ws-fills-channel)."""
SLOW_START_S: Final = 60.0


class Finding(msgspec.Struct, frozen=True):
    """``todo`` is empty where there is nothing to do; ``step`` is the one of connecting that failed, if one did."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    found: str
    todo: str = ""
    step: str = ""


class _KeyFields(msgspec.Struct):
    uid: str = ""
    perm: str = ""
    ip: str = ""
    level: str = ""


async def check_all(settings: Settings, database: Path, secrets_missing: Sequence[str]) -> list[Finding]:
    """Look at all of it; every question has its own deadline, and a failing one stops no other."""
    accounts = [account for account in settings.accounts if account.enabled]
    findings = [_file(settings, accounts), *(Finding("fail", "secret", line, "set it") for line in secrets_missing)]
    if accounts and not secrets_missing:
        findings.append(Finding("ok", "secrets", "all are there"))
    findings += [sqlite_version(pysqlite3.sqlite_version_info), disk(database, settings.log.max_size)]
    findings += dialling(settings, accounts)
    findings += await _addresses(settings)
    async with open_http() as http:
        clients = Clients(http, accounts)
        findings += await _clocks(clients, {account.site for account in accounts})
        findings += await _keys(clients, accounts, _identities(database))
    return findings


def _file(settings: Settings, accounts: Sequence[AccountSettings]) -> Finding:
    if not accounts and not settings.market:
        return Finding("fail", "config", f"{settings.path}: no account is enabled", "add an [[accounts]] table")
    market = " and [market]" if settings.market else ""
    off = len(settings.accounts) - len(accounts)
    return Finding("ok", "config", f"{len(accounts)} accounts{market}" + (f", {off} not enabled" if off else ""))


def sqlite_version(version: tuple[int, ...]) -> Finding:
    text = ".".join(map(str, version))
    if problem := unsafe_sqlite(version):
        return Finding("fail", "SQLite", *problem.split("; "))
    return Finding("ok", "SQLite", text)


def disk(database: Path, max_size: int | None) -> Finding:
    """Whether the database can be written where it is, and has room to grow."""
    folder = database.absolute().parent
    if not folder.is_dir():
        return Finding("fail", "disk", f"{folder}: no such folder", "make it, or change database")
    target = database if database.exists() else folder
    if not os.access(target, os.W_OK):
        return Finding("fail", "disk", f"{target}: cannot be written", "change its owner or mode, or use --db")
    if database.exists() and database.stat().st_size:
        try:
            open_reader(database).close()
        except StoreError as error:
            return Finding("fail", "database", str(error), "give another path with --db")
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if free < SPACE_FAIL:
        return Finding("fail", "disk", found, "make room")
    if free < max(SPACE_WARN, max_size or 0):
        return Finding("warn", "disk", found, "make room, or lower [log] max_size")
    return Finding("ok", "disk", found)


def dialling(settings: Settings, accounts: Sequence[AccountSettings]) -> list[Finding]:
    """How long it takes until all are connected: OKX takes so many new connections a second from one IP."""
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
        return [Finding("warn", "start", found, "what happens meanwhile is asked for over REST; nothing to do")]
    return [Finding("ok", "start", found)]


async def _addresses(settings: Settings) -> list[Finding]:
    """Connect to each address that ``run`` will use: once, and no faster than ``run`` does."""
    connections = list(specs_of(settings))
    dialer = RateLimiter(dial_slots(min((site.dials_per_second for _, site in connections), default=1)))
    found: list[Finding] = []

    async def look(url: str) -> None:
        scheme = urlsplit(url).scheme
        try:
            await (_dial(url, dialer) if scheme in ("wss", "ws") else reach(url, CONNECT_S))
        except* SocketError as group:
            error = first_error(group)
            step = error.step if isinstance(error, ConnectError) else ""
            todo = "wait until other programs have connected" if error.code == CROWDED else _TODO.get(step, "")
            found.append(Finding("fail", url, str(error), todo, step))
        else:
            found.append(Finding("ok", url, _STEPS[scheme]))

    async with trio.open_nursery() as nursery:
        for url in {site.rest for _, site in connections} | {plan.url for plan, _ in connections}:
            nursery.start_soon(look, url)
    return sorted(found, key=lambda one: one.subject)


async def _dial(url: str, dialer: RateLimiter) -> None:
    """Open a WebSocket and close it again; what else dials from here counts too, a daemon or the check before."""
    for more in reversed(range(DIALS)):
        try:
            async with dialer.acquire(priority=1) as turn, open_socket(url, CONNECT_S):
                turn.release()
            return
        except* SocketError as group:
            if first_error(group).code != CROWDED or not more:
                raise
        await trio.sleep(CROWDED_S)


async def _clocks(clients: Clients, sites: Iterable[Site]) -> list[Finding]:
    found = []
    for site in sorted(sites, key=lambda one: one.rest):
        clock = clients.clock_of(site)
        await clock.measure()
        found.append(skew(site.rest, clock.offset_s if clock.measured else None))
    return found


def skew(rest: str, offset_s: float | None) -> Finding:
    """Judge this machine's clock by the exchange's; None: it gave no time."""
    subject = f"clock {urlsplit(rest).hostname}"
    if offset_s is None:
        return Finding("fail", subject, f"{rest} gives no time", "check the address, proxy and firewall")
    found = f"{abs(offset_s):.3f} s {'behind' if offset_s > 0 else 'ahead'}"
    if abs(offset_s) >= SKEW_FAIL_S:
        return Finding("fail", subject, found, "set this machine's clock (NTP)")
    if abs(offset_s) >= SKEW_WARN_S:
        return Finding("warn", subject, found, "set this machine's clock (NTP); signatures are corrected meanwhile")
    return Finding("ok", subject, found)


def _identities(database: Path) -> Mapping[str, Identity]:
    try:
        return identities(database) if database.exists() else {}
    except StoreError:  # which is a finding already
        return {}


async def _keys(clients: Clients, accounts: Sequence[AccountSettings], known: Mapping[str, Identity]) -> list[Finding]:
    limit = trio.CapacityLimiter(AT_ONCE)
    asked: dict[str, list[Finding]] = {}
    told: dict[str, Identity] = {}

    async def ask(account: AccountSettings) -> None:
        client = clients.of(account.name)
        assert client
        async with limit:
            asked[account.name] = await _key(client, account, told)

    async with trio.open_nursery() as nursery:
        for account in accounts:
            nursery.start_soon(ask, account)
    findings = [finding for account in accounts for finding in asked[account.name]]
    in_order = {account.name: told[account.name] for account in accounts if account.name in told}
    for name, refusal in find_blocked(in_order, known).items():
        found, _, todo = refusal.why.partition("; ")
        findings.append(Finding("fail", f"account {name}", found, todo))
    return findings


async def _key(client: AccountClient, account: AccountSettings, told: dict[str, Identity]) -> list[Finding]:
    subject = f"account {account.name}"
    try:
        with trio.fail_after(KEY_S):
            (config,) = msgspec.json.decode(await client.get("account/config"), type=list[_KeyFields])
    except RestError as error:
        text, _, hint = str(error).partition("; ")
        unknown = "look the code up in OKX's docs: error-code-rest-api"
        return [
            Finding("fail", subject, text, hint or (unknown if error.code else "check the address, proxy, firewall"))
        ]
    except trio.TooSlowError:
        return [Finding("fail", subject, f"no answer within {KEY_S:.0f} s", "check the address, proxy, firewall")]
    except (*UNREADABLE, ValueError):
        config = _KeyFields()
    if not config.uid:
        return [Finding("fail", subject, "account/config: not the reply that is documented", "is this site OKX?")]
    told[account.name] = Identity(config.uid, account.demo)
    return judge_key(account, uid=config.uid, perm=config.perm, ip=config.ip, level=config.level)


def judge_key(account: AccountSettings, *, uid: str, perm: str, ip: str, level: str) -> list[Finding]:
    """Judge what ``account/config`` says of a key (OKX docs: trading-account-rest-api-get-account-configuration).

    Args:
        account: As configured.
        uid: The account's.
        perm: ``read_only``, ``trade``, ``withdraw``, with commas between.
        ip: The addresses that the key is bound to, or "".
        level: The fee tier: ``Lv1`` ... or ``VIP1`` ...
    """
    subject = f"account {account.name}"
    rights = {right.strip() for right in perm.split(",")}
    mode = "demo" if account.demo else "live"
    findings = []
    if "withdraw" in rights:
        findings.append(Finding("warn", subject, "this key may withdraw", "use a key that may only read"))
    if rights & {"trade", "withdraw"} and not ip:
        found = f"key without IP binding and with {', '.join(sorted(rights - {'read_only'}))}"
        todo = "OKX deletes it after 14 days without a login or signed call: bind it to an IP, or use a read key"
        findings.append(Finding("warn", subject, found, todo))
    if any(one.channel == "fills" for one in account.subscriptions) and not _reaches_vip(level, FILLS_VIP):
        found = f'channel "fills" is for VIP{FILLS_VIP} and above, this account is {level or "of unknown tier"}'
        findings.append(Finding("warn", subject, found, 'leave it out: fills come with "orders" too'))
    bound = f"bound to {ip}" if ip else "no IP binding"
    return findings or [Finding("ok", subject, f"{account.site_name} {mode}, uid {uid}, {perm}, {bound}")]


def _reaches_vip(level: str, wanted: int) -> bool:
    kind, number = level[:3].upper(), level[3:]
    return kind == "VIP" and number.isdigit() and int(number) >= wanted
