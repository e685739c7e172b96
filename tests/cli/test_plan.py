"""The commands of plans beside a database, without a daemon."""

import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from okxsync.cli import app
from okxsync.messages import PlanPreviewed, PlanProgress
from okxsync.plans.children import to_columns
from okxsync.plans.preview import to_plan_columns
from tests.plans.cases import PLAN_ID, account, plan, preview
from tests.support.desk import Desk
from tests.support.replay import Replay, write_config

PREVIEW = preview(plan('rule = "target_equity"\nvalue = "50%"', ""), account())


class Shell:
    """A folder with a plan that is ``age_s`` old, and the command line."""

    def __init__(self, folder: Path, age_s: int) -> None:
        self.config = write_config(folder, "[trading]\nenabled = true\n\n" + Replay(3, {}).accounts_toml("orders"))
        self.desk = Desk(folder / "okxsync.db")
        columns = to_plan_columns(PREVIEW) | {"preview_at": time.time_ns() // 1_000_000 - age_s * 1000}
        self.desk.apply(PlanPreviewed(columns, [to_columns(PLAN_ID, one) for one in PREVIEW.children]))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["plan", *words, "--config", str(self.config)], env={"COLUMNS": "200"})


@pytest.mark.parametrize("confirm", [["--confirm", PREVIEW.confirmation], []])
def test_nothing_is_approved_without_a_daemon(tmp_path: Path, confirm: list[str]) -> None:
    """Nobody is asked to type the confirmation either."""
    shell = Shell(tmp_path, age_s=1)
    result = shell.run("execute", PLAN_ID, *confirm)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.endswith("okxsync.db: no daemon is running; start `okxsync run`\n")
    assert shell.desk.rows("SELECT count(*) FROM requests") == [(0,)]


def test_a_preview_that_cannot_be_approved_any_more_is_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["okxsync.cli.plan"], "RESTARTS_S", 3600.0)
    result = Shell(tmp_path, age_s=3600).run("watch", PLAN_ID)
    assert result.exit_code == 1
    assert "previewed: 1 ready" in result.stdout


@pytest.mark.parametrize("state", ["previewed", "executing"])
def test_a_plan_is_not_watched_for_ever_without_a_daemon(
    tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["okxsync.cli.plan"], "RESTARTS_S", 0.0)
    shell = Shell(tmp_path, age_s=1)
    approved: dict[str, str | int | None] = {"state": state, "valid_until": time.time_ns() // 1_000_000 + 60_000}
    shell.desk.apply(PlanProgress(PLAN_ID, [], [], [], plan=approved))
    result = shell.run("watch", PLAN_ID)
    assert result.exit_code == 3
    assert result.stderr == "okxsync: the daemon has stopped before the plan has ended; `okxsync run` continues it\n"


def test_shares_of_the_equity_are_shown_before_and_after_the_execution(tmp_path: Path) -> None:
    shell = Shell(tmp_path, age_s=1)
    *_, shares, _, type_this = shell.run("show", PLAN_ID).stdout.strip().splitlines()
    assert type_this.startswith(f"okxsync plan execute {PLAN_ID}   and type: 1 accounts ")
    assert shares.split() == [
        "alpha", "BTC-USDT-SWAP", "+0.00%", "+50.00%", "+49.99%",
    ]  # fmt: skip
    shell.desk.db.execute("UPDATE plans SET state = 'done', approved_at = 1")
    shell.desk.db.execute("UPDATE plan_orders SET state = 'canceled', acc_fill_sz = '1'")
    assert shell.run("show", PLAN_ID).stdout.strip().splitlines()[-1].split()[2:] == ["+0.00%", "+50.00%", "+5.43%"]


def test_a_plan_whose_document_cannot_be_read_is_shown(tmp_path: Path) -> None:
    shell = Shell(tmp_path, age_s=1)
    shell.desk.db.execute("UPDATE plans SET doc = 'later = 1'")
    result = shell.run("show", PLAN_ID)
    assert result.exit_code == 0
    assert "1 orders ready" in result.stdout


def test_a_price_that_is_no_number_is_shown_as_not_known(tmp_path: Path) -> None:
    shell = Shell(tmp_path, age_s=1)
    shell.desk.db.execute("UPDATE plans SET state = 'done', approved_at = 1")
    shell.desk.db.execute("UPDATE plan_orders SET state = 'filled', acc_fill_sz = '1e30', avg_px = 'much'")
    assert shell.run("show", PLAN_ID).exit_code == 0
