"""accounts.toml, read into frozen settings.

Each mistake in the file is one line that says where it is and what is expected (``ConfigError``). Secrets are only
located here, and files compared. They are used when a connection needs them (``Secret.reveal``), and never printed.
"""

import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import msgspec

from okxsync.config.location import Location, Url, location_of
from okxsync.config.secret import ConfigError, Secret, SecretSource, Stamp, resolve_path, stamp, stamp_of
from okxsync.config.trading import AccountKeys, TradingSettings, TradingTable, trading_settings
from okxsync.config.units import duration_s, size_bytes
from okxsync.config.validate import Keys, mistakes
from okxsync.messages import MARKET
from okxsync.okx.channels import DEFAULT_CHANNELS, Subscription, subscription
from okxsync.okx.sites import BUILT_IN, ENDPOINTS, Site, built_in_site, why_unusable

Latency: TypeAlias = Literal["low", "lean"]
"""Of rows in a steady stream of frames: visible soon, or later at less CPU time (see ``feed.reader``)."""


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the raw log is kept: ``keep`` in seconds, ``max_size`` in bytes; None means no limit."""

    keep: int | None = None
    max_size: int | None = None


class AccountSettings(msgspec.Struct, frozen=True):
    """One account to mirror."""

    name: str
    site_name: str
    site: Site
    demo: bool
    api_key: Secret
    secret_key: Secret
    passphrase: Secret
    subscriptions: tuple[Subscription, ...]
    enabled: bool


class MarketSettings(msgspec.Struct, frozen=True):
    """The public channels of one exchange, which need no key."""

    site_name: str
    site: Site
    demo: bool
    subscriptions: tuple[Subscription, ...]


class Settings(msgspec.Struct, frozen=True):
    """All of accounts.toml, checked.

    ``initial_s`` is how far back a new account is filled, in seconds. ``seen`` has the stamps of accounts.toml and of
    all secret files, as they were when they were read.
    """

    path: Path
    database: Location
    log: LogSettings
    initial_s: int
    market: MarketSettings | None
    accounts: tuple[AccountSettings, ...]
    seen: Mapping[Path, "Stamp"] = {}
    trading: TradingSettings = TradingSettings()
    latency: Latency = "low"


# The structure of the file. ``mistakes`` checks it against these types; what the values mean is checked below.


class _LogTable(msgspec.Struct, forbid_unknown_fields=True):
    keep: str | None = None
    max_size: str | None = None


class _RunTable(msgspec.Struct, forbid_unknown_fields=True):
    latency: str = "low"


class _HistoryTable(msgspec.Struct, forbid_unknown_fields=True):
    initial: str = "7d"


_ChannelList = list[str | dict[str, str]]


class _MarketTable(msgspec.Struct, forbid_unknown_fields=True):
    channels: _ChannelList
    site: str = "global"
    demo: bool = False


class _AccountTable(AccountKeys, kw_only=True):
    name: str
    api_key: SecretSource | str
    secret_key: SecretSource | str
    passphrase: SecretSource | str
    site: str = "global"
    demo: bool = False
    channels: _ChannelList = msgspec.field(default_factory=lambda: list(DEFAULT_CHANNELS))
    enabled: bool = True


class _Addresses(msgspec.Struct, forbid_unknown_fields=True):
    rest: str | msgspec.UnsetType = msgspec.UNSET
    public: str | msgspec.UnsetType = msgspec.UNSET
    private: str | msgspec.UnsetType = msgspec.UNSET
    business: str | msgspec.UnsetType = msgspec.UNSET
    dials_per_second: int | msgspec.UnsetType = msgspec.UNSET


class _ConfigFile(msgspec.Struct, forbid_unknown_fields=True):
    database: str = "okxsync.db"
    database_password: SecretSource | str | None = None
    log: _LogTable = msgspec.field(default_factory=_LogTable)
    history: _HistoryTable = msgspec.field(default_factory=_HistoryTable)
    run: _RunTable = msgspec.field(default_factory=_RunTable)
    market: _MarketTable | None = None
    trading: TradingTable = msgspec.field(default_factory=TradingTable)
    accounts: list[_AccountTable] = []
    sites: dict[str, Any] = {}  # of _Addresses, but checked one by one: a built-in site may have a table "demo"


_FILE = msgspec.inspect.type_info(_ConfigFile)
_SITE = msgspec.inspect.type_info(_Addresses)


def load(path: Path) -> Settings:
    """Read and check the file. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as opened:
            found = os.fstat(opened.fileno())  # before reading: a later change must be noticed
            text = opened.read()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; create it with `okxsync init`, or use --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    if wrong := [f"{path}: {_place(keys, table)}{what}" for keys, what in mistakes(table, _FILE)]:
        raise ConfigError(*wrong)
    settings, problems = _settings(path, found, msgspec.convert(table, _ConfigFile))
    if problems:
        raise ConfigError(*(f"{path}: {problem}" for problem in problems))
    return settings


def stamps(settings: Settings) -> dict[Path, Stamp]:
    """Return the current stamps of all files that were read: accounts.toml and the secret files."""
    return {path: stamp(path) for path in settings.seen}


def accounts_named(settings: Settings, names: Sequence[str]) -> list[AccountSettings]:
    """Return the enabled accounts, or only those in ``names``.

    Raises:
        ValueError: a named account is not configured, or not enabled.
    """
    enabled = {account.name: account for account in settings.accounts if account.enabled}
    for name in names:
        if name not in enabled:
            raise ValueError(f'account "{name}" is not in {settings.path}, or not enabled')
    return [enabled[name] for name in names] if names else list(enabled.values())


def missing_secrets(settings: Settings) -> list[str]:
    """Return a line for each secret of an enabled account that is missing or invalid."""
    lines = []
    for account in settings.accounts:
        for field in ("api_key", "secret_key", "passphrase"):
            try:
                if account.enabled:
                    getattr(account, field).reveal()
            except ConfigError as error:
                lines.append(f'{settings.path}: account "{account.name}", {field}: {error}')
    return lines


def _latency(text: str) -> Latency:
    if text not in get_args(Latency):
        raise ValueError(f"expected {' or '.join(map(repr, get_args(Latency)))}, got {text!r}".replace("'", '"'))
    return cast("Latency", text)


def _database(folder: Path, text: str, password: Secret | None) -> Location:
    found = location_of(text)
    if isinstance(found, Path):
        if password:
            raise ValueError("database_password is for a URL postgresql://..., and this is the path of a file")
        return resolve_path(folder, text)
    if found.password and password:
        raise ValueError("the URL has a password, and there is a database_password too; remove one of them")
    return Url(found.text, password or found.password)


_NAME = re.compile(r"[A-Za-z0-9._-]+")


def _settings(path: Path, found: os.stat_result, file: _ConfigFile) -> tuple[Settings, list[str]]:
    problems: list[str] = []

    def checked(where: str, function: Any, *args: Any) -> Any:
        try:
            return function(*args)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            return None

    def secret_of(where: str, source: SecretSource | str) -> Secret | None:
        if isinstance(source, SecretSource) and sum(map(bool, msgspec.structs.astuple(source))) != 1:
            problems.append(f"{where}: expected exactly one of env, file, keyring")
        found: Secret | None = checked(where, Secret, source, path.parent)
        return found

    own_sites = {name: _own_sites(name, table, problems) for name, table in file.sites.items()}

    def site_of(where: str, name: str, demo: bool) -> Site | None:
        if name in own_sites:
            return own_sites[name][demo]
        if name in BUILT_IN:
            return built_in_site(name, demo=demo)
        known = ", ".join([*BUILT_IN, *file.sites])
        problems.append(f'{where}: unknown site "{name}"; known sites: {known}')
        return None

    def subscriptions(where: str, wanted: _ChannelList, *, public: bool) -> tuple[Subscription, ...]:
        found = [checked(f"{where}, channels", subscription, one) for one in wanted]
        result = tuple(one for one in found if one is not None)
        for one in result:
            if (one.endpoint == "public") is not public:
                belongs = "[market]" if one.endpoint == "public" else "[[accounts]]"
                problems.append(f'{where}, channels: "{one.channel}" belongs to {belongs}')
        for key, times in Counter(one.key for one in result).items():
            if times > 1:
                problems.append(f'{where}, channels: "{key}" is listed {times} times')
        return result

    market: MarketSettings | None = None
    site: Site | None
    if file.market:
        site = site_of("[market]", file.market.site, file.market.demo)
        wanted = subscriptions("[market]", file.market.channels, public=True)
        if site:
            market = MarketSettings(file.market.site, site, file.market.demo, wanted)
    accounts = []
    for number, one in enumerate(file.accounts, 1):
        where = f'account "{one.name}"' if one.name else f"[[accounts]] number {number}"
        if not _NAME.fullmatch(one.name):
            problems.append(f"{where}: invalid name; use letters, digits, - _ and .")
        if one.name == MARKET:
            problems.append(f'{where}: the name "{MARKET}" is reserved for the public connection')
        key, secret, passphrase = (
            secret_of(f"{where}, {field}", getattr(one, field)) for field in ("api_key", "secret_key", "passphrase")
        )
        site = site_of(where, one.site, one.demo)
        wanted = subscriptions(where, one.channels, public=False)
        if site and key and secret and passphrase:
            accounts.append(
                AccountSettings(one.name, one.site, site, one.demo, key, secret, passphrase, wanted, one.enabled)
            )
    for name, times in Counter(one.name for one in file.accounts).items():
        if times > 1:
            problems.append(f'account "{name}": the name is used {times} times')
    password = secret_of("database_password", file.database_password) if file.database_password is not None else None
    database = checked("database", _database, path.parent, file.database, password)
    secrets = [secret for one in accounts for secret in (one.api_key, one.secret_key, one.passphrase)]
    if isinstance(database, Url) and database.password:
        secrets.append(database.password)
    if any(secret.plain for secret in secrets):
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            problems.append(f"contains secrets and is readable by other users (mode {mode:04o}): chmod 600 {path}")
    keep = checked("[log] keep", duration_s, file.log.keep) if file.log.keep else None
    max_size = checked("[log] max_size", size_bytes, file.log.max_size) if file.log.max_size else None
    initial = checked("[history] initial", duration_s, file.history.initial) or 0
    latency = checked("[run] latency", _latency, file.run.latency)
    seen = {path: stamp_of(found), **{secret.path: secret.stamp for secret in secrets if secret.path and secret.stamp}}
    trading = trading_settings(file.trading, {one.name: one for one in file.accounts}, problems)
    log = LogSettings(keep, max_size)
    return Settings(path, database, log, initial, market, tuple(accounts), seen, trading, latency), problems


MAX_DIALS_PER_SECOND = 1000


def _own_sites(name: str, table: Any, problems: list[str]) -> tuple[Site | None, Site | None]:
    """Return the live and the demo site of ``[sites.NAME]``; None where there is a problem.

    A table with the name of a built-in site replaces single addresses, and its table ``demo`` those of demo trading.
    Any other site is one server for live and demo accounts.
    """
    title = f"[sites.{name}]"
    if name not in BUILT_IN:
        site = _own_site(title, table, None, problems)
        return site, site
    of_demo = table.pop("demo", {}) if isinstance(table, dict) else {}
    return (
        _own_site(title, table, built_in_site(name, demo=False), problems),
        _own_site(f"[sites.{name}.demo]", of_demo, built_in_site(name, demo=True), problems),
    )


def _own_site(title: str, table: Any, built_in: Site | None, problems: list[str]) -> Site | None:
    if wrong := [f"{' '.join([title, *map(str, keys)])}: {what}" for keys, what in mistakes(table, _SITE)]:
        problems += wrong
        return None
    given = msgspec.to_builtins(msgspec.convert(table, _Addresses))
    if missing := [] if built_in else [key for key in ("rest", *ENDPOINTS) if key not in given]:
        optional = f"addresses are optional for OKX's own sites only ({', '.join(BUILT_IN)})"
        problems.append(f"{title}: missing {', '.join(missing)}; {optional}")
        return None
    site = msgspec.structs.replace(built_in, **given) if built_in else Site(**given)
    _check_site(title, site, problems)
    return site


def _check_site(title: str, site: Site, problems: list[str]) -> None:
    if not 1 <= site.dials_per_second <= MAX_DIALS_PER_SECOND:
        problems.append(f"{title} dials_per_second: must be between 1 and {MAX_DIALS_PER_SECOND}")
    urls = [("rest", site.rest, "https", "http")]
    urls += [(endpoint, site.url(endpoint), "wss", "ws") for endpoint in ENDPOINTS]
    for key, url, secure, plain in urls:
        if why := why_unusable(url, secure, plain):
            problems.append(f'{title} {key} = "{url}": {why}')


def _place(keys: Keys, table: dict[str, Any]) -> str:
    """Return where a mistake is, as the file has it: ``account "alpha", demo: ``, ``[log] keep: ``, or nothing."""
    match keys:
        case ("accounts", int(index), *rest):
            found = table["accounts"][index]
            name = found.get("name") if isinstance(found, dict) else None
            title = f'account "{name}"' if isinstance(name, str) else f"[[accounts]] number {index + 1}"
            return ", ".join([title, *(str(key) for key in rest if isinstance(key, str))]) + ": "
        case (str(key),):
            return f"[{key}]: " if isinstance(table[key], dict) else f"{key}: "
        case (str(key), *rest):
            return " ".join([f"[{key}]", *(str(one) for one in rest if isinstance(one, str))]) + ": "
    return ""
