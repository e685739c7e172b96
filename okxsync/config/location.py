"""Where the database is: the path of a file, or the URL of a PostgreSQL server."""

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, unquote

import msgspec

from okxsync.config.secret import Secret

VERIFIED: Final = ("verify-full", "verify-ca")
"""Values of libpq's ``sslmode`` with which a connection is encrypted, and the server's certificate verified."""


class Url(msgspec.Struct, frozen=True):
    """The URL of a PostgreSQL server, as libpq takes it.

    Attributes:
        text: The URL without its password. It is what is shown, logged, and passed to other processes.
        password: Where the password is; None: libpq finds it (``PGPASSWORD``, ``~/.pgpass``), or none is needed.
    """

    text: str
    password: Secret | None = None

    def __str__(self) -> str:
        return self.text

    def reveal(self) -> str | None:
        """Return the password, or None if libpq finds it. Raises ConfigError. It may wait for a keyring."""
        return self.password.reveal_text() if self.password else None

    @property
    def conninfo(self) -> str:
        """What libpq connects with: the text, and TLS that verifies the server, unless that is on this machine."""
        if self._sslmode or self._is_local:
            return self.text
        return f"{self.text}{'&' if '?' in self.text else '?'}sslmode=verify-full"

    @property
    def unverified(self) -> str:
        """The ``sslmode`` of this URL, if with it a server on another machine is not verified; else ``""``."""
        return "" if self._is_local or self._sslmode in VERIFIED else self._sslmode

    @property
    def _parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.text.partition("?")[2], keep_blank_values=True))

    @property
    def _sslmode(self) -> str:
        return self._parameters.get("sslmode", "")

    @property
    def _is_local(self) -> bool:
        given, environment = self._parameters, os.environ
        if "service" in given or "PGSERVICE" in environment:
            return False  # its file may name any host
        parts = _PARTS.fullmatch(self.text)
        hosts = ",".join(host for host, _ in _hosts(parts["hosts"])) if parts else ""
        named = given.get("hostaddr") or given.get("host") or hosts
        named = named or environment.get("PGHOSTADDR") or environment.get("PGHOST") or ""
        return all(_is_local(host) for host in named.split(","))


Location: TypeAlias = Path | Url
"""Names a database. Which of the two it is decides the engine (``store.engines.engine_of``) and nothing else."""


def location_of(text: str | os.PathLike[str]) -> Location:
    """Return the location that a user has written.

    Raises:
        ValueError: it is a URL, but not a valid one of PostgreSQL. No part of it is shown: it may be the password's.
    """
    text = os.fspath(text)
    misspelt = text.startswith("postgres") and "@" in text  # no path, for a path is shown
    return _url(text) if "://" in text or misspelt else Path(text)


_PARTS: Final = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>.*)@)?(?P<hosts>[^@/?]*)(?P<name>/[^@?]*)?(?:\?(?P<query>[^@]*))?"
)
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
_HINT: Final = "in a user, password or parameter write % as %25, @ as %40, / as %2F, ? as %3F, & as %26"


def _url(text: str) -> Url:
    parts = _PARTS.fullmatch(text)
    if not parts:
        raise ValueError(f"not a URL of PostgreSQL; expected postgresql://USER@HOST/NAME ({_HINT})")
    user, colon, password = (parts["user"] or "").partition(":")
    if not text.isprintable() or " " in text or re.search("[@/?]", parts["user"] or ""):
        raise ValueError(f"the URL has a character that is not allowed where it is; {_HINT}")
    if re.search("%(?![0-9A-Fa-f]{2})|%00", text):
        raise ValueError(f"the URL has a % that is not followed by two hexadecimal digits, or is %00; {_HINT}")
    for _, port in _hosts(parts["hosts"]):
        if port and not 0 < int(port) < 65536:
            raise ValueError("a port in the URL is not between 1 and 65535")
    kept = []
    for item in (parts["query"] or "").split("&") if parts["query"] else ():
        name, equals, value = item.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"after ? the URL has something else than NAME=VALUE, joined by &; {_HINT}")
        if name == "password":
            password = value
        elif name.endswith(("password", "secret")):
            raise ValueError(f"{name} cannot be in the URL of a database, for it would be shown")
        else:
            kept.append(item)
    shown = f"postgresql://{user + '@' if user or colon else ''}{parts['hosts']}{parts['name'] or ''}"
    secret = Secret(unquote(password), Path()) if password else None
    return Url(shown + (f"?{'&'.join(kept)}" if kept else ""), secret)


def _hosts(text: str) -> Iterator[tuple[str, str]]:
    """Yield each host and its port, either possibly empty. Raises ValueError."""
    for one in text.split(","):
        found = _HOST.fullmatch(one)
        if not found:
            raise ValueError(f"a host in the URL is not HOST, HOST:PORT or [IPV6]:PORT; {_HINT}")
        yield unquote(found["host"].strip("[]")), found["port"] or ""


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost") or host.startswith(("/", "@"))  # a name of this machine, or a Unix socket
