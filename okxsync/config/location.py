"""Where the database is: the path of a file, or the URL of a server."""

import os
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec


class Url(msgspec.Struct, frozen=True):
    """The URL of a database server; it is shown without its password."""

    text: str

    def __str__(self) -> str:
        parts = urlsplit(self.text)
        user, at, host = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}"))

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"


Location: TypeAlias = Path | Url
"""Names a database. Which of the two it is decides the engine (``store.engines.engine_of``) and nothing else."""


def location_of(text: str | os.PathLike[str]) -> Location:
    """Return the location that a user has written."""
    text = os.fspath(text)
    return Url(text) if "://" in text else Path(text)
