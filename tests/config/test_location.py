"""Where the database is: a path or a URL."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.location import Url, location_of
from okxsync.config.settings import load
from okxsync.store.database import StoreError
from okxsync.store.engines import engine_of
from tests.support.replay import Replay, write_config

URL = "postgresql://okxsync:secret@db.example/desk?sslmode=verify-full"


def test_a_path_and_a_url_are_distinguished(tmp_path: Path) -> None:
    assert location_of("okxsync.db") == Path("okxsync.db")
    assert location_of(tmp_path / "a:b") == tmp_path / "a:b"
    assert location_of(URL) == Url(URL)


def test_the_password_of_a_url_is_not_shown() -> None:
    assert str(location_of(URL)) == "postgresql://okxsync@db.example/desk?sslmode=verify-full"
    assert "secret" not in repr(location_of(URL))
    assert str(location_of("postgresql://db.example/desk")) == "postgresql://db.example/desk"


def test_a_url_has_no_engine_yet() -> None:
    with pytest.raises(StoreError, match=r"^postgresql://okxsync@db\.example/desk.*: not supported; give the path"):
        engine_of(Url(URL))


def test_the_configuration_takes_a_url_as_it_is(tmp_path: Path) -> None:
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    config.write_text(f'database = "{URL}"\n' + config.read_text())
    assert load(config).database == Url(URL)


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("log", 1), ("run", 1), ("prune --max-size 1GB", 1)])
def test_a_command_says_in_one_line_that_a_url_is_not_supported(tmp_path: Path, command: str, code: int) -> None:
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    result = CliRunner().invoke(app, [*command.split(), "--config", str(config), "--db", URL])
    assert result.exit_code == code
    assert result.stderr.splitlines() == [
        "okxsync: postgresql://okxsync@db.example/desk?sslmode=verify-full: not supported;"
        " give the path of a database file"
    ]
