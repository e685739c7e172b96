"""Where the database is: a path or a URL."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.location import Url, location_of
from okxsync.config.secret import ConfigError
from okxsync.config.settings import Settings, load
from okxsync.mirror.reader import open_mirror
from okxsync.store.database import StoreError
from tests.support.replay import Replay, write_config

URL = "postgresql://okxsync@db.example/desk"


def url_of(text: str) -> Url:
    found = location_of(text)
    assert isinstance(found, Url)
    return found


def loaded(folder: Path, lines: str) -> Settings:
    config = write_config(folder, Replay(1, {}).accounts_toml("orders"))
    config.write_text(lines + config.read_text())
    return load(config)


def test_a_path_and_a_url_are_distinguished(tmp_path: Path) -> None:
    assert location_of("okxsync.db") == Path("okxsync.db")
    assert location_of(tmp_path / "a:b") == tmp_path / "a:b"
    assert location_of(URL) == Url(URL)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("postgresql://okxsync:can%40ry@db.example/desk", URL),
        ("postgres://okxsync@db.example/desk?password=can%40ry", URL),
        ("postgresql://okxsync@db.example/desk?a=b&password=can%40ry&c=d", f"{URL}?a=b&c=d"),
        ("postgresql://okxsync:can%40ry@[::1]:5433,b:5434/desk?target_session_attrs=read-write",
         "postgresql://okxsync@[::1]:5433,b:5434/desk?target_session_attrs=read-write"),
    ],
)  # fmt: skip
def test_the_password_of_a_url_is_kept_apart_and_never_shown(written: str, text: str) -> None:
    found = url_of(written)
    assert found.text == str(found) == text
    assert found.reveal() == "can@ry"
    assert "ry" not in repr(found)
    assert "can" not in found.conninfo


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://", "postgresql:///desk", "postgresql://okxsync@/desk?host=/run/postgresql",
        "postgresql://a:1,b:2,c/desk?target_session_attrs=read-write&connect_timeout=3", "postgresql://%2Frun%2Fpg/desk",
    ],
)  # fmt: skip
def test_everything_else_passes_through(text: str) -> None:
    assert url_of(text) == Url(text)
    assert url_of(text).reveal() is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mysql://u:canary@host/desk", "not a URL of PostgreSQL"),
        ("postgresql+psycopg://u:canary@host/desk", "not a URL of PostgreSQL"),
        ("postgresql://u:can/ary@host/desk", "not allowed"),
        ("postgresql://u:can?ary@host/desk", "not allowed"),
        ("postgresql://u:can@ary@host/desk", "not allowed"),
        ("postgresql://u:can ary@host/desk", "not allowed"),
        ("postgresql://u:canary\n@host/desk", "not a URL of PostgreSQL"),
        ("postgresql://u:canary%@host/desk", "two hexadecimal digits"),
        ("postgresql://u:canary%00@host/desk", "%00"),
        ("postgresql://u:canary@host:port/desk", "HOST:PORT"),
        ("postgresql://u:canary@host:99999/desk", "between 1 and 65535"),
        ("postgresql://u:canary@::1/desk", r"\[IPV6\]"),
        ("postgresql://u:canary@host/desk?sslmode", "NAME=VALUE"),
        ("postgresql://host/desk?sslpassword=canary", "sslpassword cannot be in the URL"),
        ("postgresql://host/desk?a=b@c", "not allowed"),
    ],
)
def test_a_bad_url_is_one_line_that_shows_no_part_of_it(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        location_of(text)
    assert "can" not in str(caught.value).replace("cannot", "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sslmode", "unverified"),
    [
        (URL, "verify-full", ""),
        (f"{URL}?connect_timeout=3", "verify-full", ""),
        (f"{URL}?sslmode=verify-ca", "verify-ca", ""),
        (f"{URL}?sslmode=require", "require", "require"),
        ("postgresql://localhost,db.example/desk", "verify-full", ""),
        ("postgresql://localhost/desk?hostaddr=10.0.0.7", "verify-full", ""),
        ("postgresql:///desk?service=desk", "verify-full", ""),
        ("postgresql://localhost,127.0.0.2:7,[::1]:8/desk", None, ""),
        ("postgresql:///desk", None, ""),
        ("postgresql:///desk?host=/run/postgresql&sslmode=disable", "disable", ""),
    ],
)
def test_tls_is_verified_unless_the_server_is_on_this_machine(
    text: str, sslmode: str | None, unverified: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    url = url_of(text)
    assert url.conninfo.count("sslmode=") == (sslmode is not None)
    assert not sslmode or f"sslmode={sslmode}" in url.conninfo
    assert url.unverified == unverified


def test_a_host_of_the_environment_is_verified_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    assert "sslmode=verify-full" in url_of("postgresql:///desk").conninfo
    assert "sslmode" not in url_of("postgresql://localhost/desk").conninfo


def test_the_password_is_a_secret_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", " canäry")  # a password may be any text
    found = loaded(tmp_path, f'database = "{URL}"\ndatabase_password = {{ env = "DB_PASSWORD" }}\n')
    assert isinstance(found.database, Url)
    assert found.database.reveal() == " canäry"
    assert "ry'" not in repr(found)
    monkeypatch.delenv("DB_PASSWORD")
    with pytest.raises(ConfigError, match="environment variable DB_PASSWORD is not set"):
        found.database.reveal()

    (tmp_path / "password").write_text("one\n")
    lines = f'database = "{URL}"\ndatabase_password = {{ file = "password" }}\n'
    found = loaded(tmp_path, lines)
    assert isinstance(found.database, Url)
    assert found.database.reveal() == "one"
    assert tmp_path / "password" in found.seen
    assert loaded(tmp_path, lines).database == found.database


@pytest.mark.parametrize(
    "lines",
    ['database = "postgresql://u:canary@db.example/desk"\n', f'database = "{URL}"\ndatabase_password = "canary"\n'],
)
def test_a_password_in_the_file_keeps_the_file_private(tmp_path: Path, lines: str) -> None:
    found = loaded(tmp_path, lines)
    assert isinstance(found.database, Url)
    assert found.database.reveal() == "canary"
    found.path.chmod(0o644)
    with pytest.raises(ConfigError, match="contains secrets and is readable by other users") as caught:
        load(found.path)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('database_password = "canary"\n', "database: database_password is for a URL"),
        ('database = "postgresql://u:x@h/d"\ndatabase_password = "canary"\n', "database: the URL has a password, and"),
        ('database = "mysql://u:canary@h/d"\n', "database: not a URL of PostgreSQL"),
        (f'database = "{URL}"\ndatabase_password = {{}}\n', "database_password: expected exactly one of env, file, k"),
        (f'database = "{URL}"\ndatabase_password = 7\n', "database_password: expected"),
    ],
)
def test_a_mistake_is_one_line_without_the_password(tmp_path: Path, lines: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, lines)
    (line,) = caught.value.lines
    assert says in line
    assert "canary" not in line


@pytest.mark.parametrize("command", ["status", "log", "run", "prune --max-size 1GB", "plan list", "terminal", "check"])
def test_a_command_rejects_a_bad_url_in_one_line(tmp_path: Path, command: str) -> None:
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    result = CliRunner().invoke(app, [*command.split(), "--config", str(config), "--db", "mysql://u:canary@h/d"])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("okxsync: --db: not a URL of PostgreSQL")
    assert "canary" not in line


def test_the_python_api_rejects_a_bad_url() -> None:
    with pytest.raises(StoreError, match="the location of the database: not a URL of PostgreSQL"):
        open_mirror("mysql://u:canary@h/d")
