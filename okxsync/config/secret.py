"""A secret: where it is stored and how it is read. It is never printed."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import msgspec


class ConfigError(Exception):
    """The configuration is invalid; ``lines`` has one line for each thing to fix."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class SecretSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is stored: an environment variable, a file, or the desktop's keyring (``service/user``)."""

    env: str | None = None
    file: str | None = None
    keyring: str | None = None


class Secret:
    """A reference to a secret; its ``repr`` never shows the value.

    Raises:
        ValueError: (when constructed) the name of the secret file is invalid.
    """

    def __init__(self, source: SecretSource | str, folder: Path) -> None:
        self._source = source
        self.path = resolve_path(folder, source.file) if isinstance(source, SecretSource) and source.file else None
        self.stamp = stamp(self.path) if self.path else None
        # Secret managers rewrite files with the same content. Only another content is another secret: then the account
        # reconnects, and one whose old key was rejected is retried at once.
        self._digest = _digest(self.path) if self.path else None

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self._source, self.path, self._digest

    @property
    def plain(self) -> bool:
        """Whether accounts.toml contains the secret itself."""
        return isinstance(self._source, str)

    @property
    def may_wait(self) -> bool:
        """Whether ``reveal`` may block for long: a keyring may ask its user to unlock it."""
        return isinstance(self._source, SecretSource) and self._source.keyring is not None

    def reveal(self) -> str:
        """Return a secret for HTTP headers. Raises ConfigError, which names the place and never the value."""
        found, place = self._read()
        if not (found.isascii() and found.isprintable() and found == found.strip()):  # HTTP headers allow no more
            raise ConfigError(f"{place} is not a valid key: newline, surrounding spaces or non-ASCII characters")
        return found

    def reveal_text(self) -> str:
        """Return a secret that may be any text. Raises ConfigError, which names the place and never the value."""
        return self._read()[0]

    def _read(self) -> tuple[str, str]:
        """Return the secret and its place."""
        match self._source:
            case str(value):
                found, place = value, "accounts.toml"
            case SecretSource(env=str(name)):
                found, place = os.environ.get(name, ""), f"environment variable {name}"
            case SecretSource(file=str(name)):
                assert self.path
                found, place = _read_secret_file(self.path), f"file {name}"
            case SecretSource(keyring=str(name)):
                found, place = _read_keyring(name), f"keyring entry {name}"
        if not found:
            raise ConfigError(f"{place} is not set")
        return found, place


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp:
    """Return a value that changes when the file is modified or replaced."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return (0, 0, 0)


def stamp_of(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino


def resolve_path(folder: Path, name: str) -> Path:
    """Return the path, relative to ``folder`` or to a home directory (``~``). Raises ValueError."""
    if "\0" in name:
        raise ValueError("a file name cannot contain a NUL character")
    os.fsencode(name)
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:
        raise ValueError(f'"{name}": no such user') from None


def _digest(path: Path) -> bytes | None:
    """Return a hash of the secret in a file, or None if it cannot be read (now, or more than once: a pipe)."""
    with suppress(OSError, ConfigError):
        if path.is_file():
            return hashlib.sha256(_read_secret_file(path).encode()).digest()
    return None


def _read_secret_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"file {path} cannot be read: {reason}") from None


def _read_keyring(name: str) -> str:
    try:
        import keyring  # an optional dependency: okxsync[keyring]
    except ImportError:
        raise ConfigError('the package "keyring" is not installed (pip install "okxsync[keyring]")') from None
    service, _, user = name.partition("/")
    try:
        return str(keyring.get_password(service, user) or "")
    except Exception as error:  # backends raise their own types; their text may contain the secret
        raise ConfigError(f"keyring entry {name} cannot be read: {type(error).__name__}") from None
