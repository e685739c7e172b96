"""A real connection pooler between us and the server; skipped where ``pgbouncer`` is not installed."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from okxsync.config.location import Url
from okxsync.store.database import StoreError
from okxsync.store.engines import engine_of
from tests.support.postgres import Server, new_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("pgbouncer"), reason="pgbouncer is not installed"),
]

SETTINGS = """
[databases]
* = host={server}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
"""


@contextmanager
def pooler(server: Server, mode: str) -> Iterator[Url]:
    with tempfile.TemporaryDirectory(prefix="pool-", dir="/tmp") as name:  # the path of a socket must be short
        folder = Path(name)
        (folder / "users").write_text('"postgres" ""\n')
        (folder / "settings").write_text(SETTINGS.format(server=server.folder, folder=folder, mode=mode))
        as_user = []
        if os.geteuid() == 0:  # pgbouncer refuses to run as root
            as_user = ["-u", "nobody"]
            for path in (folder, server.folder):
                path.chmod(0o777)
        process = subprocess.Popen(["pgbouncer", "-q", *as_user, str(folder / "settings")])
        try:
            until = time.monotonic() + 30
            while not (folder / ".s.PGSQL.6432").exists():
                assert time.monotonic() < until
                time.sleep(0.02)
            yield Url(f"postgresql:///postgres?host={folder}&port=6432&user=postgres")
        finally:
            process.kill()
            process.wait()


def test_a_daemon_needs_sessions_of_its_own() -> None:
    with new_server() as server:
        with pooler(server, "transaction") as url:
            with pytest.raises(StoreError, match="shares sessions between transactions"), engine_of(url).join():
                pass
            assert "sessions" in {check.subject for check in engine_of(url).checks(None) if check.level == "fail"}
        with pooler(server, "session") as url, engine_of(url).join():
            assert "sessions" in {check.subject for check in engine_of(url).checks(None) if check.level == "ok"}
