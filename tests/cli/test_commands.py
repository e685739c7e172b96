"""The commands as users call them: exit codes, one line for each thing to fix, no traceback."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from okxsync import cli
from okxsync.cli import app
from tests.support.desk import make_database
from tests.support.replay import Replay, write_config

ROOT = Path(__file__).parent.parent.parent
runner = CliRunner()


def commands() -> list[str]:
    return [str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands]


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_and_is_documented(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Example: okxsync" in result.stdout
    for document in ("README.md", "docs/commands.md"):
        assert f"| `okxsync {command}` |" in (ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", commands())
def test_every_option_is_documented_and_has_a_readable_metavar(command: str) -> None:
    """``--config``, ``--db``, ``--json`` and ``--help`` are described once for all commands."""
    lines = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `okxsync {command}` |")]
    shown = runner.invoke(app, [command, "--help"]).stdout.partition("Options:")[2]
    assert "<" not in shown.replace("<=x<=", "")
    options = set(re.findall(r"--[a-z-]+", shown)) - {"--config", "--db", "--json", "--help"}
    assert {option for option in options if option not in row} == set()


def test_the_example_is_complete_except_for_its_secrets() -> None:
    secrets = [f"{name}_{part}" for name in ("ALPHA", "ALPHA_DEMO", "BETA", "GAMMA") for part in ("KEY", "SECRET")]
    result = runner.invoke(app, ["run", "--config", str(ROOT / "accounts.example.toml")], env=dict.fromkeys(secrets))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 12
    for line in lines:
        assert line.startswith("okxsync: ")
        assert "environment" in line
    assert all(any(secret in line for line in lines) for secret in secrets)


def test_init_writes_the_example_once_and_for_the_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["init"])
    path = tmp_path / "accounts.toml"
    assert (result.exit_code, result.stderr) == (0, "")
    assert "wrote accounts.toml" in result.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8") == (ROOT / "accounts.example.toml").read_text(encoding="utf-8")
    path.write_text("mine")
    again = runner.invoke(app, ["init"])
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr == "okxsync: accounts.toml: already exists; it is not overwritten\n"
    assert path.read_text() == "mine"


def test_init_follows_no_link_and_reports_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "link.toml").symlink_to(tmp_path / "elsewhere.toml")
    for name in ("link.toml", "none/accounts.toml"):
        result = runner.invoke(app, ["init", "--config", str(tmp_path / name)])
        assert result.exit_code == 2
        assert name in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "elsewhere.toml").exists()


@pytest.mark.parametrize("command", ["run", "status"])
def test_no_configuration_is_one_line(command: str, tmp_path: Path) -> None:
    result = runner.invoke(app, [command, "--config", str(tmp_path / "none.toml")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "none.toml: no such file; create it with `okxsync init`" in result.stderr


def test_a_bad_duration_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, "")
    result = runner.invoke(app, ["run", "--config", str(config), "--for", "soon"])
    assert result.exit_code == 2
    assert "--for" in result.stderr


def test_a_file_that_is_not_a_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear diary" * 100)
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    for command, code in (("run", 1), ("status", 3)):
        result = runner.invoke(app, [command, "--config", str(config), "--db", str(tmp_path / "notes.txt")])
        assert result.exit_code == code
        assert "notes.txt" in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr


def test_status_of_a_database_on_which_nothing_ever_ran(tmp_path: Path) -> None:
    make_database(tmp_path / "new.db")
    result = runner.invoke(app, ["status", "--db", str(tmp_path / "new.db")])
    assert result.exit_code == 3
    assert "no daemon has ever run" in result.stdout
    assert runner.invoke(app, ["status", "--db", str(tmp_path / "none.db")]).exit_code == 3


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BROKEN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


BROKEN = """
from okxsync import cli
@cli.app.command()
def broken():
    secret = "".join(["can", "ary"])
    raise BaseExceptionGroup("of a nursery", [ValueError("two\\nlines \\x1b[2J")])
cli.main()
"""


@pytest.mark.slow
def test_an_unexpected_error_is_one_line_and_with_debug_a_traceback_without_local_variables() -> None:
    plain, debug = run_command("broken"), run_command("--debug", "broken")
    assert (plain.returncode, plain.stdout) == (1, "")
    (line,) = plain.stderr.splitlines()
    assert line.startswith("okxsync: internal error: ValueError: two lines \\u001b[2J")
    assert "Traceback" in debug.stderr
    assert "canary" not in plain.stderr + debug.stderr


def test_an_interrupt_is_no_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A nursery raises it in a group."""
    cli._print_one_line(BaseExceptionGroup, BaseExceptionGroup("of a nursery", [KeyboardInterrupt()]), None)
    assert capsys.readouterr().err == "okxsync: interrupted\n"


def test_the_shell_can_complete_commands() -> None:
    assert "--install-completion" in runner.invoke(app, ["--help"]).stdout
