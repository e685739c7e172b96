"""What a command imports before it has read its configuration, counted in modules: a busy machine changes nothing."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.desk import make_database
from tests.support.replay import write_config

ROOT = Path(__file__).parent.parent.parent
LIGHT = {"typer", "msgspec"}
"""Packages that every command needs: to parse its options, and to read the configuration."""
CONFIGURED = ["run", "check", "check --trading", "plan preview plan.toml", "plan execute 1", "plan retry 1",
              "plan undo 1", "status", "status --json", "status --watch", "backfill", "backfill --since 1h", "verify",
              "verify --ledger", "verify --plans", "log", "log --follow", "prune", "prune --older-than 7d"]  # fmt: skip

RUN = """
import json, sys
from typer.testing import CliRunner
from okxsync.cli import app

runner, loaded = CliRunner(), {}
for words in json.loads(sys.argv[1]):
    result = runner.invoke(app, words.split())
    loaded[words] = [result.exit_code, result.output, sorted({name.partition(".")[0] for name in sys.modules})]
print(json.dumps(loaded))
"""


def packages() -> set[str]:
    """Return the names under which okxsync's dependencies are imported, and pydantic, which typer brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {line.partition(">")[0].replace("-", "_") for line in project["dependencies"]} | {"pydantic"}


def outcomes(commands: list[str], folder: Path) -> dict[str, tuple[int, str, set[str]]]:
    """Run commands in one process; return for each: exit code, output, and top-level modules loaded so far."""
    code = [sys.executable, "-c", RUN, json.dumps(commands)]
    done = subprocess.run(code, cwd=folder, capture_output=True, text=True, check=True)
    return {words: (code, text, set(names)) for words, (code, text, names) in json.loads(done.stdout).items()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[log]\nkeep = 3", "[log] keep: expected a string"),
        ('[[accounts]]\nname = "a"\napi_key = "k"\nsecret_key = "s"', "passphrase"),
        ("= nonsense", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_configuration_is_reported_without_heavy_imports(
    tmp_path: Path, line: str, expected: str
) -> None:
    config = write_config(tmp_path, line)
    for words, (code, text, modules) in outcomes([f"{one} --config {config}" for one in CONFIGURED], tmp_path).items():
        assert (words, code, modules & packages() - LIGHT) == (words, 2, set())
        assert expected in text


def test_a_missing_file_or_secret_and_an_unknown_account_are_reported_without_heavy_imports(tmp_path: Path) -> None:
    secrets = "".join(f"{name} = {{ env = 'NOT_SET' }}\n" for name in ("api_key", "secret_key", "passphrase"))
    config = write_config(tmp_path, f"[[accounts]]\nname = 'a'\n{secrets}")
    words = [f"run --config {tmp_path / 'none.toml'}"]
    words += [f"{one} --config {config}" for one in ("run", "backfill", "verify", "check --account b", "run --for x")]
    for command, (code, _, modules) in outcomes(words, tmp_path).items():
        assert (command, code, modules & packages() - LIGHT) == (command, 2, set())


def test_a_command_that_only_reads_does_not_import_what_only_writing_needs(tmp_path: Path) -> None:
    """``status`` is called in a loop; the package that migrates the schema takes longer to import than it runs."""
    config = write_config(tmp_path, "")
    make_database(tmp_path / "okxsync.db")
    (outcome,) = outcomes([f"status --json --config {config}"], tmp_path).values()
    code, text, modules = outcome
    assert (code, json.loads(text)["daemon"]["alive"]) == (3, False)
    assert modules & {"sqlite_utils", "trio", "httpx", "pydantic", "starlette"} == set()
