"""A secret: where it is kept, and how it is read; it is never printed."""

import os
from pathlib import Path

import msgspec


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
        self.path = resolve_path(folder, source.file) if isinstance(source, SecretSource) and source.file else None
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


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp:
    """Return what changes with a file: in place, or by another one of its name."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return (0, 0, 0)


def stamp_of(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino


def resolve_path(folder: Path, name: str) -> Path:
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
