"""What the README says: its first run is run, its queries are asked, its configuration is loaded."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from okxsync.config.settings import load
from okxsync.store.database import open_database, open_reader

README = (Path(__file__).parent.parent / "README.md").read_text()
ENDS_WELL = {"status": {3}, "verify": {0, 1}}  # by then no daemon is alive, and the accounts have traded on


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_first_run_runs_as_it_stands(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (block,) = blocks("sh")
    sandbox, *others = block.splitlines()
    assert sandbox.endswith("&")
    command = [*sandbox.removesuffix("&").split(), "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as exchange:
        try:
            given_up = time.monotonic() + 30
            while not (tmp_path / "accounts.toml").exists():
                assert exchange.poll() is None
                assert time.monotonic() < given_up
            for line in others:
                done = subprocess.run(line.split(), cwd=tmp_path, env=environment, capture_output=True, text=True)
                assert done.returncode in ENDS_WELL.get(line.split()[1], {0}), (line, done.stdout, done.stderr)
                assert "Traceback" not in done.stderr
                assert done.stdout or line.split()[1] == "run", line
        finally:
            exchange.terminate()


def test_its_queries_can_be_asked(tmp_path: Path) -> None:
    open_database(tmp_path / "okxsync.db").close()
    database = open_reader(tmp_path / "okxsync.db")
    (block,) = blocks("sql")
    queries = [query for query in block.split(";\n") if query.strip()]
    assert len(queries) == 5
    for query in queries:
        assert database.execute(query).fetchall() == []
    database.close()


def test_its_account_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks("toml")
    path = tmp_path / "accounts.toml"
    path.write_text(block)
    for part in ("KEY", "SECRET", "PASSPHRASE"):
        monkeypatch.setenv(f"ALPHA_{part}", "x")
    assert [account.name for account in load(path).accounts] == ["alpha"]
