"""README and docs: their commands are run, their queries are executed, their configuration is loaded."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.settings import load
from okxsync.console.status import render
from okxsync.messages import ConfiguredAccount
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import serve_sandbox
from okxsync.store.database import StoreError
from okxsync.store.engines import reading
from tests.support.desk import NOW, Desk, order
from tests.support.reading import read_details, read_status
from tests.support.replay import until, write_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


SANDBOX, *TOUR = blocks("sh", DOCS["commands.md"])[0].splitlines()


def test_the_readme_is_short_and_has_no_relative_links() -> None:
    """It is the page of a package index too, where relative links are dead: it names files instead.

    Its two pictures have a text each, which is shown where they are not.
    """
    chapters = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE))
    own = {name: len(text.splitlines()) + 1 for name, text in chapters.items()}
    assert own["Trading on many accounts"] <= 51
    assert own["The terminal"] <= 15
    assert len(README.splitlines()) - own["Trading on many accounts"] - own["The terminal"] <= 120
    pictures = re.findall(r"^!\[[^\]]+\]\((docs/[\w-]+\.png)\)$", README, re.MULTILINE)
    assert all((ROOT / name).stat().st_size < 100_000 for name in pictures)
    assert re.findall(r"\]\((?!https://)", README) == re.findall(r"\]\((?=docs/[\w-]+\.png\)$)", README, re.MULTILINE)


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:docs/)?[\w-]+\.md)`", README + "".join(DOCS.values()))
    assert {f"docs/{name}" for name in DOCS} <= set(named)
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.slow
def test_the_sandbox_of_the_tour(tmp_path: Path) -> None:
    assert SANDBOX.endswith("&")
    command = [*SANDBOX.removesuffix("&").split(), "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout
        assert sandbox.stdout.readline() == "accounts.toml\n"
        sandbox.terminate()
    assert sandbox.returncode == 0
    assert len(load(tmp_path / "accounts.toml").accounts) == 3


def has_filled_order(database: Path) -> bool:
    try:
        with reading(database) as reader:
            return bool(reader.execute("SELECT 1 FROM orders WHERE state = 'filled' AND source = 'ws'").fetchone())
    except StoreError:  # the daemon has not created it yet
        return False


class Tour:
    """Runs the lines of the tour in a folder, each of which must end as expected."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.done: list[str] = []

    async def run(self, command: str, code: int, pattern: str, *, again: bool = False) -> None:
        (line,) = [line for line in TOUR if line.startswith(f"okxsync {command}") and (line in self.done) is again]
        done = await trio.run_process(
            line.split(), cwd=self._folder, env=ENVIRONMENT, capture_stdout=True, capture_stderr=True, check=False
        )
        output, errors = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, (line, output, errors)
        assert re.search(pattern, output), (line, output)
        assert "Traceback" not in errors
        if not again:
            self.done.append(line)


@pytest.mark.slow
async def test_the_tour_runs_as_documented(tmp_path: Path) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    for number in range(1, 4):
        exchange.add_member(f"account{number}")
    # Prices do not move: an order that fills after the run would be a difference.
    async with serve_sandbox(exchange, rate=20.0, seed=1, tick_s=3600) as sandbox:
        write_config(tmp_path, sandbox.accounts_toml())
        tour = Tour(tmp_path)
        await tour.run("check", 0, "0 failed")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tour.run, "run", 0, "^$")
            await until(lambda: has_filled_order(tmp_path / "okxsync.db"))
            sandbox.pause_trading()  # a backfill fetches no balances: what is traded after the run would differ
        # Once more, without trading: on a busy machine the first run may have ended before trading was paused.
        await tour.run("run", 0, "^$", again=True)
        await tour.run("status", 3, "no daemon alive")
        await tour.run("verify --ledger", 0, "^identical$")
        await tour.run("backfill", 0, "rows for 3 accounts, complete")
        await tour.run("verify", 0, "^identical$")
        await tour.run("log", 0, '"state":"filled"')
        await tour.run("prune", 0, "would prune 0 frames")
    assert sorted(tour.done) == sorted(TOUR)


class PlansTour:
    """Runs the commands of the chapter on plans beside a demo."""

    def __init__(self, config: str) -> None:
        self._config = config
        _, commands = blocks("sh", README)
        self._lines = [line.partition("#")[0].strip() for line in commands.splitlines()]

    async def run(self, command: str, plan_id: str = "", *more: str) -> tuple[int, str]:
        """Run the line that begins so, with an id in place of ID; return the exit code and what was printed."""
        line = next((line for line in self._lines if line.startswith(f"okxsync {command}")), f"okxsync {command}")
        given = [plan_id if word == "ID" else word for word in shlex.split(line)[1:]]
        invoke = partial(CliRunner().invoke, app, [*given, *more], env={"OKXSYNC_CONFIG": self._config})
        result = await trio.to_thread.run_sync(invoke)
        assert isinstance(result.exception, SystemExit | None), result.output
        return result.exit_code, result.stdout

    async def preview(self, command: str, plan_id: str = "") -> dict[str, Any]:
        code, text = await self.run(command, plan_id, "--json")
        assert code == 0, text
        found: dict[str, Any] = json.loads(text)
        return found

    async def execute(self, preview: dict[str, Any]) -> tuple[int, str]:
        return await self.run("plan execute", preview["plan"]["plan_id"], "--confirm", preview["confirm"], "--json")


def filled(code: int, text: str) -> dict[str, Decimal]:
    """Return what each account has filled of a plan whose orders have all ended at OKX; the demo's book is thin."""
    assert code in (0, 1), text
    orders = json.loads(text)["orders"]
    assert {one["state"] for one in orders} <= {"filled", "canceled"}, text
    return {one["account"]: Decimal(one["acc_fill_sz"] or 0) for one in orders}


def sizes(preview: dict[str, Any]) -> dict[str, Decimal]:
    return {one["account"]: Decimal(one["sz"]) for one in preview.get("orders", [])}


@contextmanager
def demo_with_plans(output: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = blocks("sh", README)[0].split()
    with output.open("w") as out, subprocess.Popen(command, env=ENVIRONMENT, stdout=out) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
async def test_the_chapter_on_plans_runs_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each example of a plan is previewed on the way."""
    monkeypatch.chdir(ROOT)
    printed = tmp_path / "printed"
    with demo_with_plans(printed) as demo:
        await until(lambda: "\nready" in printed.read_text())
        (config,) = re.findall(r"export OKXSYNC_CONFIG=(\S+)", printed.read_text())
        tour = PlansTour(config)
        code, text = await tour.run("check --trading")
        assert (code, "4 accounts may trade" in text) == (0, True)
        preview = await tour.preview("plan preview docs/plans/open.toml")
        plan_id = preview["plan"]["plan_id"]
        opened = filled(*await tour.execute(preview))
        assert sorted(opened) == ["demo1", "demo2", "demo3", "demo4"]
        assert (await tour.run("plan show", plan_id))[0] in (0, 1)
        for path in sorted((ROOT / "docs" / "plans").glob("*.toml")):
            found = await tour.preview(f"plan preview docs/plans/{path.name}")
            assert found["plan"]["skipped"] == 0
        code, text = await tour.run("plan retry", plan_id, "--json")
        rests = {name for name, size in sizes(preview).items() if size > opened[name]}
        assert (code, set(sizes(json.loads(text)))) == (0, rests)
        undo = await tour.preview("plan undo", plan_id)
        same = await tour.preview("plan undo", plan_id)
        assert sizes(undo) == sizes(same) == {name: size for name, size in opened.items() if size}
        undone = filled(*await tour.execute(undo))
        assert (await tour.execute(same))[0] == 6, "what it reverses is reversed already"
        _, text = await tour.run("plan undo", plan_id, "--json")
        left = {name: opened[name] - size for name, size in undone.items() if size < opened[name]}
        assert sizes(json.loads(text)) == left
        assert await tour.run("verify --plans") == (0, "identical\n")
        assert (await tour.run("halt"))[0] == 0
        assert (await tour.execute(await tour.preview("plan preview docs/plans/open.toml")))[0] == 6
        assert (await tour.run("resume"))[0] == 0
        assert demo.poll() is None


def test_the_queries_find_what_they_describe(desk: Desk) -> None:
    """Each query returns the one row that it is about; ``now`` is the time of the data."""
    hour_ms, now_ms = 3_600_000, time.time_ns() // 1_000_000
    desk.at = now_ms * 1000
    desk.begin("orders", "positions", "account")
    fill = {"fillSz": "2", "fillPx": "100", "tradeId": "5", "fillTime": str(now_ms), "fillFee": "-0.5"}
    done = {"state": "filled", "accFillSz": "2", "sz": "2", "side": "buy"}
    desk.push("orders", order(1, **done, **fill), order(2, cTime=str(now_ms - 2 * hour_ms), uTime=str(now_ms)))
    desk.push("positions", position("10", pos="3", upl="7"), position("11", pos="0", upl=""))
    desk.push("account", {"uTime": str(now_ms), "totalEq": "1234.5", "details": []})
    desk.database.execute("DELETE FROM gaps")
    desk.database.execute(
        "INSERT INTO gaps (account, channel, from_at, to_at, reason, outcome, rows, attempts)"
        " VALUES ('alpha', 'orders', ?, ?, 'x', 'filled', 0, 1), ('alpha', 'orders', 0, 1, 'old', 'filled', 0, 1)",
        (desk.at, desk.at + 1),
    )
    (block,) = blocks("sql", DOCS["database.md"])
    queries = [query for query in block.split(";\n") if query.strip()]
    assert [tuple(row[:3]) for query in queries for row in desk.rows(query)] == [
        ("alpha", 1234.5, iso(now_ms)),
        ("alpha", "BTC-USDT-SWAP", 3.0),
        ("alpha", "BTC-USDT-SWAP", 1),
        ("alpha", "BTC-USDT-SWAP", None),
        ("alpha", "orders", desk.rows("SELECT from_at FROM gaps_view WHERE reason = 'x'")[0][0]),
    ]
    assert blocks("sql", README)[0].strip() == queries[0].strip() + ";"


def position(number: str, **fields: str) -> dict[str, str]:
    now_ms = str(time.time_ns() // 1_000_000)
    row = {"posId": number, "instId": "BTC-USDT-SWAP", "instType": "SWAP", "avgPx": "100", "uTime": now_ms}
    return row | {"cTime": now_ms, "pTime": now_ms} | fields


def iso(at_ms: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at_ms // 1000))}.{at_ms % 1000:03}Z"


def test_the_status_shown_is_what_the_command_prints(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin("orders")
    desk.push("orders", order())
    status, details = read_status(desk.path, NOW), read_details(desk.path, NOW, storing=True)
    output = io.StringIO()
    Console(width=160, file=output).print(render(status, details=details))
    (shown,) = blocks("text", README)
    printed = [line.split() for line in output.getvalue().splitlines()]
    for line in shown.splitlines():
        if line.startswith((" listener", " account")):
            assert line.split() in printed
    starts = [line.partition(" ")[0] for line in shown.splitlines()[:5]]
    assert starts == ["daemon", "gaps", "writer", "log", "disk"] == [line[0] for line in printed[:5]]


def test_the_account_is_a_valid_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks("toml", README)
    path = tmp_path / "accounts.toml"
    path.write_text(block)
    for part in ("KEY", "SECRET", "PASSPHRASE"):
        monkeypatch.setenv(f"ALPHA_{part}", "x")
    assert [account.name for account in load(path).accounts] == ["alpha"]
