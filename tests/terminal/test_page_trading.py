"""Trading from the page to the exchange, as processes: what the page shows is what happened."""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from playwright.sync_api import Page, expect

from okxsync.messages import ConfiguredAccount
from okxsync.okx.channels import DEFAULT_CHANNELS
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support import processes
from tests.support.desk import NOW, Desk
from tests.support.replay import write_config
from tests.support.terminal_page import eventually
from tests.support.truth import rows, status_of
from tests.terminal.test_page_server import STARTING_MS, page, running

__all__ = ["page"]

pytestmark = pytest.mark.slow

ACCOUNTS = 50
ENDS_MS = 240_000
"""For all unknown orders to be resolved on a busy machine."""
FAULTS = (("lost", True), ("lost", False), ("reset", True), ("reset", False), ("50004", True), ("http-500", False))
"""Replies that do not say whether the order was placed; the second value: whether it was."""


@contextmanager
def exchange(folder: Path) -> Iterator[Sandbox]:
    """Serve the built-in exchange in a thread of its own, and write a configuration; all accounts may trade."""
    made: list[Sandbox] = []
    begun, ends = threading.Event(), threading.Event()

    async def serve() -> None:
        venue = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
        for number in range(ACCOUNTS):
            venue.add_member(f"desk{number:02d}")
        async with serve_sandbox(venue, rate=0.0) as sandbox:
            names = [one.name for one in venue.members.values()]
            text = sandbox.accounts_toml({name: ["trading = true"] for name in names})
            write_config(folder, f"[trading]\nenabled = true\n\n{text}")
            made.append(sandbox)
            begun.set()
            await trio.to_thread.run_sync(ends.wait)

    thread = threading.Thread(target=lambda: trio.run(serve))
    thread.start()
    try:
        assert begun.wait(60)
        yield made[0]
    finally:
        ends.set()
        thread.join()


def type_keys(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def shown_orders(page: Page) -> dict[str, dict[str, str]]:
    """Return the rows of the plan by account, as texts of the exchange."""
    table = """() => {
        const shown = document.querySelector(".view:not([hidden])");
        const heads = [...shown.querySelectorAll(".thead .cell")].map((cell) => cell.textContent);
        const plain = (cell) => cell.textContent.replaceAll("\\u2009", "").replace("\\u2212", "-");
        return [...shown.querySelectorAll(".tbody .row:not([hidden])")].map((row) => Object.fromEntries(
            [...row.children].map((cell, at) => [heads[at], plain(cell)])
        ));
    }"""
    return {row["account"]: row for row in page.evaluate(table)}


def orders_at(sandbox: Sandbox, plan_id: str) -> dict[str, list[Any]]:
    """Return the orders of a plan at the exchange by account."""
    members = sandbox.exchange.members.values()
    of = {one.name: sandbox.exchange.account(one.uid).orders.values() for one in members}
    return {name: [one for one in orders if plan_id in (one.cl_ord_id or "")] for name, orders in of.items()}


def test_a_plan_on_fifty_accounts_with_faults_ends_on_the_page_as_at_the_exchange(
    page: Page, tmp_path: Path, screenshots: Path | None
) -> None:
    page.set_viewport_size({"width": 1920, "height": 1400})  # all accounts are on the screen
    with exchange(tmp_path) as sandbox, processes.daemon(tmp_path / "accounts.toml"):
        database = tmp_path / "okxsync.db"
        with running("terminal", "--trade", "--config", str(tmp_path / "accounts.toml"), "--port", "0") as (_, url):
            page.goto(url)
            expect(page.locator("#fact-counted")).to_have_text("50 of 50 accounts", timeout=STARTING_MS)
            eventually(page, lambda: status_of(database).exit_code, 0, STARTING_MS)
            type_keys(page, "g", "t", "p", "n")
            page.locator("[name=instrument]").fill("BTC-USDT-SWAP")
            page.locator("[name=rule]").select_option("contracts")
            page.locator("[name=value]").fill("1")
            page.locator("[name=accounts]").fill("all")
            page.locator("[name=canary]").fill("0")
            page.locator("[name=valid_for]").fill("120s")
            page.keyboard.press("Enter")
            summary, expected = page.locator(".ticket:visible .summary"), page.locator(".expected")
            expect(summary).to_contain_text("accounts send", timeout=STARTING_MS)
            while "50 of 50 accounts send" not in (summary.text_content() or ""):  # some were not heard in time
                shown = page.url
                type_keys(page, "p", "p")
                expect(page).not_to_have_url(shown, timeout=STARTING_MS)
                expect(summary).to_contain_text("accounts send")
            expect(expected).to_contain_text("50 accounts ")
            plan_id = page.locator(".ticket:visible b").first.text_content() or ""
            for how, acts in FAULTS:
                sandbox.faults.requests.append(RequestFault(how, path="trade/order", acts=acts))
            type_keys(page, "p", "c")
            page.keyboard.type(expected.text_content() or "")
            page.keyboard.press("Enter")
            state = page.locator(".ticket:visible > p > b").nth(1)
            expect(state).to_contain_text(re.compile("done|stopped|expired"), timeout=ENDS_MS)
            assert sandbox.faults.requests == []
            found = shown_orders(page)
            at_exchange = orders_at(sandbox, plan_id)
            assert found.keys() == at_exchange.keys()
            for name, shown_order in found.items():
                placed = shown_order["order"] in ("filled", "canceled")
                assert placed or shown_order["reason"], shown_order  # a busy machine may have withheld some
                assert len(at_exchange[name]) == placed, shown_order
                for order in at_exchange[name]:
                    assert shown_order["order"] == order.state, shown_order
                    for heading, number in (("filled", order.acc_fill_sz), ("average", order.avg_px)):
                        assert not number or Decimal(shown_order[heading]) == Decimal(number), shown_order
            assert sum(map(len, at_exchange.values())) > len(FAULTS)
            if screenshots:
                page.screenshot(path=screenshots / "plan-done.png")
            # The approval cannot be sent once more: the daemon executes a plan once.
            replayed = page.evaluate(
                """async (message) => {
                    const loaded = document.querySelector("script[type=module]").src;
                    return (await import(loaded.replace("app.js", "ask.js"))).ask(message);
                }""",
                {"kind": "execute", "plan": plan_id, "preview_hash": "x", "confirm": "50/1"},
            )
            outcome = f"SELECT outcome FROM answers WHERE request_id = {replayed['request']}"
            eventually(page, lambda: [one["outcome"] for one in rows(database, outcome)], ["not-previewed"])
            assert {name: len(orders) for name, orders in orders_at(sandbox, plan_id).items()} == dict.fromkeys(
                found, 1
            )


def test_trading_is_halted_from_the_page_while_the_daemon_is_dead(page: Page, desk: Desk, tmp_path: Path) -> None:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin(*DEFAULT_CHANNELS, pid=os.getpid())
    config = write_config(tmp_path, "[trading]\nenabled = true\n")
    file = Path(f"{desk.path}.halt")
    with running("terminal", "--trade", "--config", str(config), "--db", str(desk.path), "--port", "0") as (_, url):
        page.goto(url)
        expect(page.locator("#bars .amber")).to_contain_text("The daemon stopped")
        page.get_by_role("button", name="HALT").click()
        expect(page.get_by_role("button", name="HALTED")).to_be_visible()
        assert file.exists()
        expect(page.locator("#head .says")).to_contain_text("no daemon is running; the file is enough")
        page.get_by_role("button", name="HALTED").click()
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="HALT", exact=True)).to_be_visible()
        assert not file.exists()
        type_keys(page, "g", "t", "p", "n")
        page.locator("[name=instrument]").fill("BTC-USDT-SWAP")
        page.locator("[name=value]").fill("1%")
        page.keyboard.press("Enter")
        expect(page.locator(".ticket:visible .says")).to_have_text("no daemon is running; start `okxsync run`")
    assert desk.rows("SELECT count(*) FROM requests") == [(0,)]
