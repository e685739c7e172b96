"""accounts.toml, read into frozen settings.

Everything wrong with the file is one line that says where and what is expected (``ConfigError``). Secrets are named
here and fetched late (``Secret.reveal``), when a connection needs them; they are never printed.
"""

import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from okxsync.okx.channels import DEFAULT_CHANNELS, Subscription, subscription
from okxsync.okx.sites import BUILT_IN, ENDPOINTS, Site, built_in_site, why_unusable


class ConfigError(Exception):
    """The configuration cannot be used; ``lines`` has one line for each thing to mend."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class SecretSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is kept: an environment variable, a file, or the desktop's keyring (``service/user``)."""

    env: str | None = None
    file: str | None = None
    keyring: str | None = None


class Secret:
    """A secret that knows where to find itself and never shows itself.

    Raises:
        ValueError: (when made) the file that it stands in cannot be one.
    """

    def __init__(self, source: SecretSource | str, folder: Path) -> None:
        self._source = source
        self.path = _path(folder, source.file) if isinstance(source, SecretSource) and source.file else None
        # A file that has changed is another secret: who was refused with the old one tries at once with the new one.
        self.stamp = stamp(self.path) if self.path else None

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._source, self.stamp) == (other._source, other.stamp)

    def __hash__(self) -> int:
        return hash((self._source, self.stamp))

    @property
    def plain(self) -> bool:
        """Whether the secret itself stands in accounts.toml."""
        return isinstance(self._source, str)

    @property
    def may_wait(self) -> bool:
        """Whether asking for it may take long: a desktop may ask its user first."""
        return isinstance(self._source, SecretSource) and self._source.keyring is not None

    def reveal(self) -> str:
        """Return the secret. Raises ConfigError, naming the place but never the value, where there is none."""
        match self._source:
            case str(value):
                found, place = value, "accounts.toml"
            case SecretSource(env=str(name)):
                found, place = os.environ.get(name, ""), f"environment variable {name}"
            case SecretSource(file=str(name)):
                assert self.path
                found, place = _read_secret_file(self.path), f"file {name}"
            case SecretSource(keyring=str(name)):
                found, place = _ask_keyring(name), f"keyring entry {name}"
        if not found:
            raise ConfigError(f"{place} is not set")
        if not (found.isascii() and found.isprintable() and found == found.strip()):  # no header may hold it
            raise ConfigError(f"{place} holds what is no key: a line end, a blank at its begin or end, or no ASCII")
        return found


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the raw log is kept: ``keep`` in seconds, ``max_size`` in bytes; None: without limit."""

    keep: int | None = None
    max_size: int | None = None


class Account(msgspec.Struct, frozen=True):
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


class Market(msgspec.Struct, frozen=True):
    """The exchange as a listener: public channels, no key."""

    site_name: str
    site: Site
    demo: bool
    subscriptions: tuple[Subscription, ...]


class Settings(msgspec.Struct, frozen=True):
    """All of accounts.toml, checked.

    ``initial_s`` is how far back a new account is filled, in seconds; ``seen`` are the stamps of all files that it and
    its secrets stand in, as they were read.
    """

    path: Path
    database: Path
    log: LogSettings
    initial_s: int
    market: Market | None
    accounts: tuple[Account, ...]
    seen: Mapping[Path, "Stamp"] = {}


# What the file may say, in its own words. Structure and types are msgspec's to check, meaning is ours.


class _Log(msgspec.Struct, forbid_unknown_fields=True):
    keep: str | None = None
    max_size: str | None = None


class _History(msgspec.Struct, forbid_unknown_fields=True):
    initial: str = "7d"


_Channels = list[str | dict[str, str]]


class _Market(msgspec.Struct, forbid_unknown_fields=True):
    channels: _Channels
    site: str = "global"
    demo: bool = False


class _Account(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    api_key: SecretSource | str
    secret_key: SecretSource | str
    passphrase: SecretSource | str
    site: str = "global"
    demo: bool = False
    channels: _Channels = msgspec.field(default_factory=lambda: list(DEFAULT_CHANNELS))
    enabled: bool = True


class _Addresses(msgspec.Struct, forbid_unknown_fields=True):
    rest: str | msgspec.UnsetType = msgspec.UNSET
    public: str | msgspec.UnsetType = msgspec.UNSET
    private: str | msgspec.UnsetType = msgspec.UNSET
    business: str | msgspec.UnsetType = msgspec.UNSET
    dials_per_second: int | msgspec.UnsetType = msgspec.UNSET


class _File(msgspec.Struct, forbid_unknown_fields=True):
    database: str = "okxsync.db"
    log: _Log = msgspec.field(default_factory=_Log)
    history: _History = msgspec.field(default_factory=_History)
    market: _Market | None = None
    accounts: list[_Account] = []
    sites: dict[str, Any] = {}  # of _Addresses, but read one by one: an error names its table


def load(path: Path) -> Settings:
    """Read and check the file. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as opened:
            found = os.fstat(opened.fileno())  # of what is read, and before: what changes since is news
            text = opened.read()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; copy accounts.example.toml or give --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    try:
        file = msgspec.convert(table, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_place(str(error), table)}") from None
    settings, problems = _settings(path, found, file)
    if problems:
        raise ConfigError(*(f"{path}: {problem}" for problem in problems))
    return settings


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp:
    """Return what changes with a file: in place, or by another one of its name."""
    try:
        return _stamp(path.stat())
    except OSError:
        return (0, 0, 0)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino


def stamps(settings: Settings) -> dict[Path, Stamp]:
    """Return the stamps as they are now of all files that were read: accounts.toml, and those that secrets stand in."""
    return {path: stamp(path) for path in settings.seen}


def accounts_named(settings: Settings, names: Sequence[str]) -> list[Account]:
    """Return the enabled accounts, or those that are named.

    Raises:
        ValueError: one that is named is not configured, or not enabled.
    """
    enabled = {account.name: account for account in settings.accounts if account.enabled}
    for name in names:
        if name not in enabled:
            raise ValueError(f'account "{name}" is not in {settings.path}, or not enabled')
    return [enabled[name] for name in names] if names else list(enabled.values())


def missing_secrets(settings: Settings) -> list[str]:
    """Return a line for each secret of an enabled account that is not there, or can be none."""
    lines = []
    for account in settings.accounts:
        for field in ("api_key", "secret_key", "passphrase"):
            try:
                if account.enabled:
                    getattr(account, field).reveal()
            except ConfigError as error:
                lines.append(f'{settings.path}: account "{account.name}", {field}: {error}')
    return lines


_DURATION = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_S = 100 * 366 * 86400
_LARGEST = 10**18
"""Beyond these no number is meant, and in microseconds it would not fit into 64 bits."""


def duration_s(text: str) -> int:
    """Return ``90s``, ``15m``, ``2h``, ``14d`` or ``0`` in seconds. Raises ValueError."""
    if text == "0":
        return 0
    if not (match := _DURATION.fullmatch(text)):
        raise ValueError(f'"{text}" is no duration; write 90s, 15m, 2h, 14d or 0')
    if (seconds := int(match[1]) * _SECONDS[match[2]]) > _LONGEST_S:
        raise ValueError(f'"{text}" is more than a century')
    return seconds


def moment_ms(text: str, now_ms: int) -> int:
    """Return a time in milliseconds UTC: ISO 8601 (UTC if it names no zone), or a duration before now.

    Raises:
        ValueError: it is neither.
    """
    if _DURATION.fullmatch(text):
        return now_ms - duration_s(text) * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is no time; write 2026-11-20T08:00Z, or 3d, 2h ago') from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def size_bytes(text: str) -> int:
    """Return ``500MB`` or ``2GB`` in bytes. Raises ValueError."""
    if not (match := _SIZE.fullmatch(text)):
        raise ValueError(f'"{text}" is no size; write 500MB or 2GB')
    if (size := float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ")) > _LARGEST:
        raise ValueError(f'"{text}" is more than a million TB')
    return int(size)


def _settings(path: Path, found: os.stat_result, file: _File) -> tuple[Settings, list[str]]:
    problems: list[str] = []

    def checked(where: str, function: Any, *args: Any) -> Any:
        try:
            return function(*args)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            return None

    own_sites = {name: _own_sites(name, table, problems) for name, table in file.sites.items()}

    def site_of(where: str, name: str, demo: bool) -> Site | None:
        if name in own_sites:
            return own_sites[name][demo]
        if name in BUILT_IN:
            return built_in_site(name, demo=demo)
        known = ", ".join([*BUILT_IN, *file.sites])
        problems.append(f'{where}: unknown site "{name}"; known are {known}')
        return None

    def subscriptions(where: str, wanted: _Channels, *, public: bool) -> tuple[Subscription, ...]:
        found = [checked(f"{where}, channels", subscription, one) for one in wanted]
        result = tuple(one for one in found if one is not None)
        for one in result:
            if (one.endpoint == "public") is not public:
                belongs = "[market]" if one.endpoint == "public" else "[[accounts]]"
                problems.append(f'{where}, channels: "{one.channel}" belongs to {belongs}')
        for key, times in Counter(one.key for one in result).items():
            if times > 1:
                problems.append(f'{where}, channels: "{key}" stands there {times} times')
        return result

    market: Market | None = None
    site: Site | None
    if file.market:
        site = site_of("[market]", file.market.site, file.market.demo)
        wanted = subscriptions("[market]", file.market.channels, public=True)
        if site:
            market = Market(file.market.site, site, file.market.demo, wanted)
    accounts = []
    for number, one in enumerate(file.accounts, 1):
        where = f'account "{one.name}"' if one.name else f"[[accounts]] number {number}"
        if not _NAME.fullmatch(one.name):
            problems.append(f"{where}: a name is made of letters, digits, - _ and .")
        if one.name == MARKET:
            problems.append(f'{where}: the name "{MARKET}" is taken by the public connection')
        keys = []
        for field in ("api_key", "secret_key", "passphrase"):
            source = getattr(one, field)
            if isinstance(source, SecretSource) and sum(map(bool, msgspec.structs.astuple(source))) != 1:
                problems.append(f"{where}, {field}: name one of env, file, keyring")
            keys.append(checked(f"{where}, {field}", Secret, source, path.parent))
        site = site_of(where, one.site, one.demo)
        wanted = subscriptions(where, one.channels, public=False)
        if site and None not in keys:
            key, secret, passphrase = keys
            accounts.append(Account(one.name, one.site, site, one.demo, key, secret, passphrase, wanted, one.enabled))
    for name, times in Counter(one.name for one in file.accounts).items():
        if times > 1:
            problems.append(f'account "{name}": {times} accounts have this name')
    secrets = [secret for one in accounts for secret in (one.api_key, one.secret_key, one.passphrase)]
    if any(secret.plain for secret in secrets):
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            problems.append(f"holds secrets and others can read it (mode {mode:04o}): chmod 600 {path}")
    keep = checked("[log] keep", duration_s, file.log.keep) if file.log.keep else None
    max_size = checked("[log] max_size", size_bytes, file.log.max_size) if file.log.max_size else None
    initial = checked("[history] initial", duration_s, file.history.initial) or 0
    database = checked("database", _path, path.parent, file.database)
    seen = {path: _stamp(found), **{secret.path: secret.stamp for secret in secrets if secret.path and secret.stamp}}
    return Settings(path, database, LogSettings(keep, max_size), initial, market, tuple(accounts), seen), problems


MARKET = "market"
"""The listener's name of the public connection, beside the accounts' names."""
MOST_DIALS = 1000


def _own_sites(name: str, table: Any, problems: list[str]) -> tuple[Site | None, Site | None]:
    """Return live and demo as ``[sites.NAME]`` has them; None where it has a problem.

    A table of one of OKX's own sites changes the addresses that it names, and has one of its own for demo. Any other
    site is one server for both.
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
    try:
        given = msgspec.to_builtins(msgspec.convert(table, _Addresses))
    except msgspec.ValidationError as error:
        problems.append(_place(str(error), {}, title))
        return None
    if missing := [] if built_in else [key for key in ("rest", *ENDPOINTS) if key not in given]:
        may = f"only OKX's own sites ({', '.join(BUILT_IN)}) may leave an address out"
        problems.append(f"{title}: missing {', '.join(missing)}; {may}")
        return None
    site = msgspec.structs.replace(built_in, **given) if built_in else Site(**given)
    _check_site(title, site, problems)
    return site


def _check_site(title: str, site: Site, problems: list[str]) -> None:
    if not 1 <= site.dials_per_second <= MOST_DIALS:
        problems.append(f"{title} dials_per_second: must be 1 or more, and {MOST_DIALS} at most")
    urls = [("rest", site.rest, "https", "http")]
    urls += [(endpoint, site.url(endpoint), "wss", "ws") for endpoint in ENDPOINTS]
    for key, url, secure, plain in urls:
        if why := why_unusable(url, secure, plain):
            problems.append(f'{title} {key} = "{url}": {why}')


_AT = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)


def _place(message: str, table: dict[str, Any], title: str = "") -> str:
    """Turn msgspec's ``Expected `str`, got `int` - at `$.accounts[0].name``` into the words of the file.

    ``title`` is that of the table, where it is not the whole file.
    """
    match = _AT.fullmatch(message)
    what, where = (match[1], match[2] or "") if match else (message, "")
    if account := re.match(r"\.accounts\[(\d+)\]", where):
        found = table["accounts"][int(account[1])]
        name = found.get("name") if isinstance(found, dict) else None
        title = f'account "{name}"' if isinstance(name, str) else f"[[accounts]] number {int(account[1]) + 1}"
        where = title + where[account.end() :].replace(".", ", ", 1)
    what = what.replace("Object contains unknown field", "unknown key").replace(
        "Object missing required field", "missing key"
    )
    where = title + where.replace(".", " ") if title else where.removeprefix(".")
    return f"{where}: {what}" if where else what


def _path(folder: Path, name: str) -> Path:
    """Return the file of that name, from ``folder`` or from a home (``~``). Raises ValueError."""
    if "\0" in name:
        raise ValueError("no file has a NUL in its name")
    os.fsencode(name)
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:
        raise ValueError(f'"{name}": there is no such user') from None


def _read_secret_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"file {path} cannot be read: {reason}") from None


def _ask_keyring(name: str) -> str:
    try:
        import keyring  # optional: only who uses it needs it
    except ImportError:
        raise ConfigError('the package "keyring" is not installed (pip install keyring)') from None
    service, _, user = name.partition("/")
    try:
        return str(keyring.get_password(service, user) or "")
    except Exception as error:  # whatever this desktop's keyring raises; its text is not ours to show
        raise ConfigError(f"keyring entry {name} cannot be read: {type(error).__name__}") from None
