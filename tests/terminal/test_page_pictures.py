"""Market, equity and the day of an account in a browser: the past is drawn where it is known, and nowhere else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from okxsync.messages import ConfiguredAccount, Subscribed
from tests.support.desk import Desk, phase
from tests.support.terminal_page import NOW, ScriptedServer, serve_past

pytestmark = pytest.mark.slow
MINUTE = 60_000_000
SHOWN = ".view:not([hidden])"
BEGIN = NOW // (60 * MINUTE) * 60 * MINUTE - 3 * 60 * MINUTE

MODULE = """async ([module, name, argument]) => (await import(module))[name](argument)"""


@pytest.fixture
def desk(make_desk: Callable[[], Desk]) -> Desk:
    """Two accounts, three hours of prices with a hole of one, and equity; beta is not known in the last hour."""
    desk = make_desk()
    desk.apply(desk.start(NOW))
    for number, name in enumerate(("alpha", "beta"), 1):
        desk.apply(ConfiguredAccount(name, "sandbox", True, BEGIN, None))
        desk.apply(phase(BEGIN, number=number, listener=name), Subscribed(number, name, ["account"], BEGIN))
    market = "market"
    desk.apply(phase(BEGIN, number=3, listener=market), Subscribed(3, market, ["mark-price:instId=X-Y"], BEGIN))
    desk.db.execute("UPDATE coverage SET covered_until = ?", [NOW])
    for minute in range(180):
        at = BEGIN + minute * MINUTE
        if not 60 <= minute < 120:
            desk.db.execute(
                "INSERT INTO mark_candles (inst_id, at, o, h, l, c, ticks, source, first_ts, last_ts)"
                " VALUES ('X-Y', ?, '100', '110.5', '95', '105', 6, 'ws', 1, 2)", [at],
            )  # fmt: skip
        for name, equity in (("alpha", "1000.10"), ("beta", "500.05"))[: 2 if minute < 120 else 1]:
            desk.db.execute(
                "INSERT INTO equity_history (account, at, total_eq, as_of) VALUES (?, ?, ?, ?)",
                (name, at, equity, at // 1000),
            )
    for number, side in enumerate(("buy", "sell")):
        desk.db.execute(
            "INSERT INTO fills (account, inst_id, ord_id, trade_id, side, fill_px, fill_sz, fill_time, trade_id_made,"
            " source, received_at) VALUES ('alpha', 'X-Y', '1', ?, ?, '101.25', '0.5', ?, 0, 'rest', 1)",
            (str(number), side, (BEGIN + (30 + number) * MINUTE) // 1000),
        )
    return desk


def drawn(page: Page) -> None:
    expect(page.locator(f"{SHOWN} canvas")).to_have_attribute("data-drawn", re.compile(r"\d+"))


def test_a_market_shows_prices_fills_and_orders(server: ScriptedServer, desk: Desk, screenshots: Path | None) -> None:
    serve_past(server, desk, "alpha", "beta")
    server.put("marks", {"inst_id": "X-Y", "mark_px": "104.50", "state": "live", "covered_until": server.now})
    order = {"account": "alpha", "kind": "order", "inst_id": "X-Y", "state": "live", "px": "99.5", "sz": "2",
             "filled": "0.5", "side": "buy"}  # fmt: skip
    server.put("orders", order | {"id": "1"}, order | {"id": "2"}, order | {"id": "3", "inst_id": "Z"})
    page = server.open("#market?inst=X-Y&range=6h")
    drawn(page)
    line = page.locator(f"{SHOWN} .line")
    expect(line).to_contain_text("X-Y  mark 104.50 (live, as of")
    expect(line).to_contain_text("2 fills  2 orders")
    words = page.locator(f"{SHOWN} canvas")
    expect(words).to_have_attribute("aria-label", re.compile("mark price from 100 to 105, 2 own fills, 2 open orders"))
    if screenshots:
        page.screenshot(path=screenshots / "market.png")
    page.keyboard.press("t")
    rows = page.locator(f"{SHOWN} .inside tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("sell")
    expect(rows.nth(0)).to_contain_text("101.25")


def test_a_market_that_was_never_stored_says_so(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#market?inst=NEVER")
    drawn(page)
    canvas = page.locator(f"{SHOWN} canvas")
    expect(canvas).to_have_attribute("aria-label", re.compile("no mark price was ever stored, 0 own fills"))
    expect(page.locator(f"{SHOWN} .line")).to_contain_text("NEVER  mark - (not mirrored)")


def test_equity_names_what_it_leaves_out(server: ScriptedServer, desk: Desk, screenshots: Path | None) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#equity?range=6h")
    drawn(page)
    line = page.locator(f"{SHOWN} .line")
    said = r"\d\d:\d\d:\d\d: 1\u2009000\.10 USD of 1 accounts; 1 unknown, last 500\.05; never 2: not counted"
    expect(line).to_have_text(re.compile(said))  # with the minute that it is of: nobody may be known since then
    if screenshots:
        page.screenshot(path=screenshots / "equity.png")
    page.keyboard.press("t")
    cells = page.locator(f"{SHOWN} .inside tbody tr").last.locator("td")
    expect(cells.nth(1)).to_have_text("1500.15")  # the exact sum
    page.keyboard.press("t")
    page.keyboard.press("/")
    page.keyboard.type("acct:bet*")
    expect(line).to_contain_text("- USD of 0 accounts; 1 unknown, last 500.05; never 1: not counted")


def test_a_line_of_equity_bridges_no_time_in_which_nobody_was_known(server: ScriptedServer) -> None:
    page = server.open("#accounts")
    points = [
        [0, "1", 1, None, 0],
        [60, "1", 1, None, 0],
        [180, "1", 1, None, 0],
        [240, None, 0, "1", 1],
        [300, "1", 1, None, 0],
    ]
    module = "/page/views/equity.js"
    given = {"points": points, "breaks": [60], "step": 60}
    assert page.evaluate(MODULE, [module, "connected", given]) == [[0, 1], [2], [4]]


def test_the_day_of_an_account_is_without_its_transfers(server: ScriptedServer, desk: Desk) -> None:
    midnight = NOW // (24 * 60 * MINUTE) * 24 * 60 * MINUTE
    desk.db.execute(
        "INSERT INTO equity_history (account, at, total_eq, as_of) VALUES ('alpha', ?, '900.00', 1)",
        [midnight - MINUTE],
    )
    desk.db.execute(
        "INSERT INTO balances (account, ccy, coin_usd_price, source, received_at)"
        " VALUES ('alpha', 'USDT', '1', 'ws', 1)"
    )
    desk.db.execute(
        "INSERT INTO bills (account, bill_id, type, ts, bal_chg, ccy, received_at)"
        " VALUES ('alpha', '1', '1', ?, '60.5', 'USDT', 1)", [midnight // 1000 + 1],
    )  # fmt: skip
    serve_past(server, desk, "alpha", "beta")
    for name in ("alpha", "beta"):
        server.put("accounts", {"account": name, "state": "live", "covered_until": server.now, "equity": "1000.10",
                                "gaps": 0, "site": "global", "demo": False})  # fmt: skip
    page = server.open("#accounts")

    def cell(name: str, column: int) -> Any:
        return page.locator(f"{SHOWN} .tbody .row").filter(has_text=name).locator(".cell").nth(column)

    expect(cell("alpha", 4)).to_have_text("+39.60")
    expect(cell("alpha", 5)).to_have_text("+4.40 %")
    expect(cell("beta", 4)).to_have_text("-")  # its equity at the begin of the day is not known
    expect(cell("beta", 5)).to_have_text("-")
    expect(cell("alpha", 14)).to_contain_text("\u2588")


def test_a_narrow_page_is_no_wider_than_its_window(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha", "beta")
    server.page.set_viewport_size({"width": 390, "height": 800})
    for view in ("coverage", "market?inst=X-Y", "equity"):
        page = server.open(f"#{view}")
        drawn(page)
        expect(page.locator("body")).to_have_js_property("scrollWidth", 390)
