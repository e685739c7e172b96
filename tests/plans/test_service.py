"""Plans from the command line to the exchange and back, on a daemon of its own process."""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.plans.execution import EXPIRES_MS
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from okxsync.store.engines import open_database
from tests.plans.cases import CONTRACTS
from tests.support import processes
from tests.support.desk import make_database
from tests.support.replay import until, write_config
from tests.support.running import is_live
from tests.support.truth import rows, status_of

pytestmark = pytest.mark.slow
BOTH_WAYS = pytest.mark.parametrize("via", ["rest", "ws"])

PLAN = CONTRACTS.replace("{contracts}", "2")


class World:
    """A sandbox with two accounts, and the command line beside a daemon."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.database = folder / "okxsync.db"

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command, and return its exit code and what it printed."""
        given = [*arguments, "--config", str(self.folder / "accounts.toml")]
        result = await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, given, env={"COLUMNS": "200"}))
        return result.exit_code, result.output

    async def preview(self, valid_for: str = "60s", text: str = "") -> dict[str, Any]:
        file = self.folder / "plan.toml"
        file.write_text(text or PLAN.format(valid_for=valid_for))
        code, text = await self.run("plan", "preview", str(file), "--json")
        assert code == 0, text
        found: dict[str, Any] = json.loads(text)
        return found

    async def execute(self, preview: dict[str, Any], *more: str) -> tuple[int, str]:
        return await self.run("plan", "execute", preview["plan"]["plan_id"], "--confirm", preview["confirm"], *more)

    def orders(self, account: str) -> list[str]:
        """Return the ids of the account's orders at the exchange."""
        exchange = self.sandbox.exchange
        member = next(one for one in exchange.members.values() if one.name == account)
        return [order.cl_ord_id for order in exchange.account(member.uid).orders.values() if order.cl_ord_id]

    async def executed(self, leg: str, size: str) -> tuple[str, int, list[dict[str, Any]]]:
        """Execute a plan of one leg on all accounts; return its id, the exit code and the rows of its orders."""
        text = (
            f'title = "t"\n[accounts]\ninclude = ["all"]\n[failure]\ncanary = 0\n[[legs]]\n{leg}\n[legs.size]\n{size}'
        )
        preview = await self.preview(text=text)
        code, printed = await self.execute(preview, "--json")
        return preview["plan"]["plan_id"], code, json.loads(printed)["orders"]

    def states(self, plan_id: str) -> list[str]:
        found = rows(self.database, f"SELECT state FROM plan_orders WHERE plan_id = '{plan_id}' ORDER BY child")
        return [one["state"] for one in found]

    def pending(self) -> int:
        """Return how many orders and algo orders rest at the exchange."""
        exchange = self.sandbox.exchange
        accounts = [exchange.account(one.uid) for one in exchange.members.values()]
        return sum(len(one.pending) + len(one.waiting) for one in accounts)

    def drop(self, account: str) -> None:
        """Reset the account's connections."""
        number = next(one.uid for one in self.sandbox.exchange.members.values() if one.name == account)
        for connection in self.sandbox.connections:
            if connection.uid == number:
                self.sandbox.drop(connection)

    def insert_unreadable_requests(self) -> None:
        with closing(open_database(self.database)) as db:
            for body in ("CAST(x'ff' AS TEXT)", f"'{'[' * 100_000}'"):
                db.execute(
                    "INSERT INTO requests (at, kind, plan_id, body, by, expires_at)"
                    f" VALUES (1, 'preview', '00000000000', {body}, 'me', 9000000000000000)"
                )

    def is_ready(self) -> bool:
        return is_live(self.database, 5) and status_of(self.database).exit_code == 0


@asynccontextmanager
async def world(folder: Path, via: str = "rest") -> AsyncIterator[World]:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for name in ("a0", "a1"):
        exchange.add_member(name)
    async with serve_sandbox(exchange, rate=0.0) as sandbox:
        text = sandbox.accounts_toml().replace("demo = true\napi_key", "demo = true\ntrading = true\napi_key")
        make_database(folder / "okxsync.db")
        write_config(folder, f'[trading]\nenabled = true\nvia = "{via}"\n\n{text}')
        yield World(folder, sandbox)


def assert_free_of_secrets(folder: Path) -> None:
    """No secret is in a table of plans or in the rest of the database, and no control character in an answer."""
    secrets = re.findall(r'(?:secret_key|passphrase) = "(.+)"', (folder / "accounts.toml").read_text())
    assert len(secrets) == 4
    for file in folder.glob("okxsync.db*"):
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), file
    details = [one["detail"] or "" for one in rows(folder / "okxsync.db", "SELECT detail FROM answers")]
    assert details
    assert all(detail.isprintable() for detail in details)


@BOTH_WAYS
async def test_what_is_previewed_and_approved_is_placed_once_on_each_account(tmp_path: Path, via: str) -> None:
    async with world(tmp_path, via) as here:
        with processes.daemon(tmp_path / "accounts.toml"):
            await until(here.is_ready)
            here.insert_unreadable_requests()
            preview = await here.preview()
            assert [one["state"] for one in preview["orders"]] == ["ready", "ready"]
            assert [one["facts"]["equity"] is not None for one in preview["orders"]] == [True, True]
            code, text = await here.execute(preview, "--json")
            found = json.loads(text)
            assert code == (0 if all(one["state"] == "filled" for one in found["orders"]) else 1), text
            for order in found["orders"]:
                assert here.orders(order["account"]) == [order["cl_ord_id"]]
                assert order["state"] == ("filled" if order["acc_fill_sz"] == "2" else "canceled")
                assert order["attempts"] == 1
            assert {one["transport"] for one in found["attempts"]} == {via}
            assert {one.transport for one in here.sandbox.requests.of(path="trade/order")} == {via}
            assert (await here.execute(preview))[0] == 6
            assert (await here.run("plan", "show", preview["plan"]["plan_id"]))[0] == code
            unwanted = (await here.preview())["plan"]["plan_id"]
            canceled = [await here.run("plan", "cancel", unwanted) for _ in range(2)]
            assert [code for code, _ in canceled] == [0, 0], "a preview that is discarded has nothing to wait for"
            hostile = PLAN.replace('["all"]', '["a0", "\\u001b[2J"]')
            (tmp_path / "plan.toml").write_text(hostile.format(valid_for="60s"))
            assert (await here.run("plan", "preview", str(tmp_path / "plan.toml")))[0] == 2
        assert_free_of_secrets(tmp_path)


@BOTH_WAYS
async def test_an_account_with_an_open_gap_is_withheld_with_a_reason_and_the_other_one_trades(
    tmp_path: Path, via: str
) -> None:
    async with world(tmp_path, via) as here:
        with processes.daemon(tmp_path / "accounts.toml"):
            await until(here.is_ready)
            preview = await here.preview()
            here.drop("a1")
            open_gaps = "SELECT * FROM gaps WHERE account = 'a1' AND channel LIKE 'orders%' AND outcome IS NULL"
            await until(lambda: bool(rows(here.database, open_gaps)) and is_live(here.database, 5))
            code, text = await here.execute(preview, "--json")
            assert code == 1, text
            found = json.loads(text)
            states = {one["account"]: one["state"] for one in found["orders"]}
            assert states["a1"] == "withheld"
            assert states["a0"] in ("filled", "canceled")  # it may be filled in part
            assert [(one["account"], one["reason"]) for one in found["misfires"]] == [("a1", "orders-uncovered")]
            assert (len(here.orders("a0")), len(here.orders("a1"))) == (1, 0)
            code, text = await here.run("misfires", "--json")
            assert [one["reason"] for one in json.loads(text)] == ["orders-uncovered"]


@BOTH_WAYS
async def test_after_kill_9_between_intent_and_outcome_there_is_exactly_one_order(tmp_path: Path, via: str) -> None:
    async with world(tmp_path, via) as here:
        with processes.daemon(tmp_path / "accounts.toml") as process:
            await until(here.is_ready)
            later = await here.preview(text=PLAN.format(valid_for="600s").replace("BTC", "ETH"))
            preview = await here.preview()
            here.sandbox.faults.requests.append(RequestFault("lost", path="trade/order", times=2))
            code, text = await here.execute(preview, "--no-wait")
            assert code == 0, text
            await until(lambda: all(len(here.orders(name)) == 1 for name in ("a0", "a1")))
            process.kill()
            process.wait()
        open_intents = rows(here.database, "SELECT child FROM plan_attempts WHERE verdict IS NULL")
        assert len(open_intents) == 2
        with processes.daemon(tmp_path / "accounts.toml"):
            await until(here.is_ready)
            code, text = await here.run("plan", "watch", preview["plan"]["plan_id"], "--json")
            assert code in (0, 1), text  # an order of this type may be filled in part
            found = json.loads(text)
            assert {(one["state"] in ("filled", "canceled"), one["attempts"]) for one in found["orders"]} == {(True, 1)}
            assert {one["account"]: here.orders(one["account"]) for one in found["orders"]} == {
                one["account"]: [one["cl_ord_id"]] for one in preview["orders"]
            }
            # A preview of the earlier process may be one that a lost copy of the database has executed already.
            code, text = await here.execute(later, "--json")
            assert code in (0, 1), text
            found = json.loads(text)
            waited = {one["armed_at"] - found["plan"]["approved_at"] > EXPIRES_MS for one in found["attempts"]}
            assert (len(found["attempts"]), waited) == (2, {True})
            ids = [one["cl_ord_id"] for one in later["orders"]]
            assert sorted(one for name in ("a0", "a1") for one in here.orders(name) if one in ids) == sorted(ids)


async def test_without_trading_or_a_daemon_the_commands_say_so(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        (tmp_path / "plan.toml").write_text(PLAN.format(valid_for="60s"))
        assert (await here.run("plan", "preview", str(tmp_path / "plan.toml")))[0] == 3
        (tmp_path / "bad.toml").write_text("title = 3")
        assert (await here.run("plan", "preview", str(tmp_path / "bad.toml")))[0] == 2
        config = tmp_path / "accounts.toml"
        config.write_text(config.read_text().replace("enabled = true", "enabled = false", 1))
        assert (await here.run("plan", "preview", str(tmp_path / "plan.toml")))[0] == 6
        assert (await here.run("halt", "--reason", "test"))[0] == 0
        assert (tmp_path / "okxsync.db.halt").exists()
        assert (await here.run("resume"))[0] == 0
        assert not (tmp_path / "okxsync.db.halt").exists()


@BOTH_WAYS
async def test_what_rests_is_canceled_and_steps_and_phases_follow_each_other(tmp_path: Path, via: str) -> None:
    rests = 'instrument = "BTC-USDT-SWAP"\nside = "buy"\ntype = "limit"\nprice = "mark -1.5%"\n'
    one = 'rule = "contracts"\nvalue = "1"'
    async with world(tmp_path, via) as here:
        with processes.daemon(tmp_path / "accounts.toml"):
            await until(here.is_ready)
            plan_id, code, _ = await here.executed(rests, one)
            assert (code, here.pending()) == (0, 2)
            for _ in range(2):
                assert (await here.run("plan", "cancel", plan_id))[0] == 0
                assert (here.states(plan_id), here.pending()) == (["canceled"] * 2, 0)

            plan_id, code, _ = await here.executed(f'{rests}cancel_after = "1s"\n', one)
            assert code == 0
            await until(lambda: here.states(plan_id) == ["canceled"] * 2)

            plan_id, code, _ = await here.executed(rests, one)
            code, text = await here.run("halt", "--cancel-orders")
            assert (code, here.states(plan_id), here.pending()) == (0, ["canceled"] * 2, 0), text
            assert (await here.run("resume"))[0] == 0

            takes = 'instrument = "BTC-USDT-SWAP"\nprice = "mark +1%"\n'
            protect = '[legs.protect]\nstop_loss = "-5%"\n[legs.leverage]\nset = "4"\n'
            plan_id, _, orders = await here.executed(
                f'{takes}side = "buy"\n{protect}', 'rule = "contracts"\nvalue = "2"'
            )
            assert [(step["kind"], step["state"]) for step in orders][:2] == [("leverage", "done")] * 2
            assert all(float(order["filled_usd"]) > 0 for order in orders[2:])
            await until(lambda: here.pending() == 2)
            code, text = await here.run("plan", "cancel", plan_id, "--protection")
            assert (code, here.pending()) == (1, 0), text

            await until(here.is_ready)
            _, _, orders = await here.executed(
                takes, 'rule = "target"\nvalue = "-1"'
            )  # phase 2 opens what phase 1 frees
            assert {order["phase"] for order in orders} == {1, 2}
            assert {order["state"] for order in orders} <= {"filled", "canceled"}

            plan_id, _, _ = await here.executed(rests, one)
            assert here.pending() == 2
            code, text = await here.run("plan", "undo", plan_id, "--json")
            preview = json.loads(text)
            code, text = await here.execute(preview, "--json")
            steps = [order for order in json.loads(text)["orders"] if order["kind"] == "cancel"]
            assert [(step["state"], step["detail"]) for step in steps] == [("done", "canceled")] * 2, text
            assert (here.pending(), here.states(plan_id)) == (0, ["canceled"] * 2)
        assert {one.transport for one in here.sandbox.requests.of(path="trade/cancel-order")} == {via}
