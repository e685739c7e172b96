"""What the page believes: no number looks fresher than it is, nothing unknown looks like zero, no total is partial."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from okxsync.terminal.topics import TOPICS
from tests.support.terminal_page import NOW, ScriptedServer, eventually, shown_accounts

pytestmark = pytest.mark.slow
LIVE = re.compile(r"\blive\b")


GREY = "rgb(125, 136, 147)"


def desk(server: ScriptedServer) -> None:
    """Two live accounts, one that is stale since 41 minutes, and one that was never covered."""
    for name, equity in (("desk1", "100.019"), ("desk2", "200.02"), ("desk3", "5000")):
        server.put(
            "accounts",
            {
                "account": name,
                "state": "live",
                "covered_until": NOW,
                "equity": equity,
                "upl": "-1.5",
                "open_orders": 0,
                "positions": 1,
                "gaps": 0,
                "site": "global",
                "demo": False,
                "acct_lv": "2",
            },
        )
        server.put(
            "positions",
            {
                "account": name,
                "pos_id": "1",
                "inst_id": "BTC-USDT-SWAP",
                "inst_type": "SWAP",
                "mgn_mode": "cross",
                "lever": "5",
                "pos_side": "net",
                "pos": "-3" if name == "desk2" else "5",
                "coin": "0.05",
                "coin_ccy": "BTC",
                "avg_px": "60000",
                "mark_px": "60010.5",
                "upl": "0.3",
                "ccy": "USDT",
                "liq_px": "",
                "notional_usd": "50",
                "u_time": NOW,
                "received_at": NOW,
            },
        )
        server.cover(name)
    stale = NOW - 41 * 60_000_000
    server.rows["accounts"][("desk3",)][1:4] = ["stale", stale, "pong late"]
    server.cover("desk3", "stale", stale)
    server.put("accounts", {"account": "desk4", "state": "never", "reason": "key refused", "gaps": 5, "site": "global"})
    server.cover("desk4", "never")
    server.head = {
        "equity": {"live": [2, "300.039"], "unproved": [0, "0", None], "stale": [1, "5000", stale], "never": 1},
        "upl": {"live": [2, "-3.0"], "unproved": [0, "0", None], "stale": [1, "-1.5", stale], "never": 1},
    }


def row(page: Page, name: str) -> Locator:
    return page.locator(".view:not([hidden]) .tbody .row:visible").filter(has_text=name)


def cell(page: Page, name: str, column: int) -> Locator:
    return row(page, name).locator(".cell").nth(column)


def expect_nothing_live(page: Page) -> None:
    """Every state word has changed, and every number of the table is grey."""
    expect(page.locator("html")).to_have_class("lost")
    expect(page.locator("body")).not_to_contain_text(LIVE)
    expect(page.locator(".tbody .of-live, .tbody .of-unproved, .tbody .state-live")).to_have_count(0)


def test_states_and_totals_of_accounts(server: ScriptedServer, screenshots: Path | None) -> None:
    desk(server)
    page = server.open()
    expect(cell(page, "desk1", 1)).to_have_text("live")
    expect(row(page, "desk3")).to_have_class(re.compile("of-stale"))
    expect(cell(page, "desk3", 1)).to_have_text("STALE")
    expect(cell(page, "desk3", 2)).to_have_text("41 min")
    expect(cell(page, "desk3", 3)).to_have_css("color", GREY)
    expect(cell(page, "desk4", 1)).to_have_text("never")
    for column in (2, 3, 4, 5, 6, 10):
        expect(cell(page, "desk4", column)).to_have_text("-")
    expect(cell(page, "desk1", 10)).to_have_text("0")  # the exchange said so
    totals = page.locator("#totals")
    expect(totals).to_contain_text("live 2")
    expect(totals.locator("[data-name=equity-live]")).to_have_text("equity 300.03")  # cut, not rounded
    expect(totals.locator("[data-name=equity-live]")).to_have_attribute("title", "300.039")
    expect(totals.locator("[data-name=equity-stale]")).to_have_text("equity 5\u2009000.00")
    expect(totals).to_contain_text("stale 1, oldest as of 41 min")
    expect(totals).to_contain_text("never 1: not counted")
    expect(page.locator("#fact-counted")).to_have_text("2 of 4 accounts")
    eventually(page, lambda: shown_accounts(page), ["desk3", "desk4", "desk1", "desk2"])  # down longest first
    if screenshots:
        page.screenshot(path=screenshots / "states.png")


def test_the_line_on_top_and_the_totals_below_agree(server: ScriptedServer) -> None:
    """Though the heartbeat brings its sums later than the rows; and they agree when nothing is live any more."""
    desk(server)
    page = server.open()
    top, below = page.locator("#fact-equity b"), page.locator("[data-name=equity-live] b")
    expect(below).to_have_text("300.03")
    expect(top).to_have_text("300.03")
    page.evaluate(
        """() => {
            globalThis.differ = [];
            const look = () => {
                const [top, below] = ["#fact-equity b", "[data-name=equity-live] b"]
                    .map((name) => document.querySelector(name)?.textContent);
                if (top !== below) differ.push([top, below]);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    row = dict(zip(TOPICS["accounts"].columns, server.rows["accounts"][("desk1",)], strict=True))
    for equity in range(101, 109):
        server.put("accounts", row | {"equity": str(equity)})
        expect(below).to_have_text(f"{equity + 200}.02")
        expect(top).to_have_text(f"{equity + 200}.02")
    assert page.evaluate("() => differ") == []
    server.answers = False
    server.close_socket()
    stale = page.locator("[data-name=equity-stale] b")
    expect(stale).to_have_text("5\u2009308.02")
    expect(top).to_have_text("5\u2009308.02")
    expect(page.locator("#fact-counted")).to_have_text("0 of 4 accounts")


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        ("silence", "no heartbeat of the terminal"),
        ("closed", "the connection to the terminal is closed"),
        ("clock", "the clock of this machine jumped"),
    ],
)
def test_a_page_that_loses_its_server_is_grey(
    server: ScriptedServer, loss: str, why: str, screenshots: Path | None
) -> None:
    """A paused terminal, a closed socket, a machine that slept: no "live" is left anywhere, and the rows stay."""
    desk(server)
    page = server.open()
    expect(cell(page, "desk1", 1)).to_have_text("live")
    server.answers = False
    if loss == "closed":
        server.close_socket()
    elif loss == "clock":
        page.evaluate("() => { const now = Date.now; Date.now = () => now() + 3600e3; }")
    expect_nothing_live(page)
    expect(page.locator("#bars .red")).to_contain_text(f"Connection lost: {why}")  # the first cause stays
    expect(cell(page, "desk1", 1)).to_have_text("STALE")
    expect(cell(page, "desk1", 3)).to_have_text("100.01")
    expect(page).to_have_title(re.compile("lost"))
    expect(page.locator("#fact-counted")).to_have_text("0 of 4 accounts")
    if screenshots:
        page.screenshot(path=screenshots / f"lost-{loss}.png")


def test_a_silent_server_is_noticed_within_three_seconds(server: ScriptedServer) -> None:
    """By the clock of the page, which moves only when this test moves it."""
    desk(server)
    clock = server.page.clock
    clock.install(time=0)
    clock.pause_at(1)
    page = server.open()

    def state_later() -> list[str]:
        clock.run_for(100)
        return cell(page, "desk1", 1).all_text_contents()

    eventually(page, state_later, ["live"])
    server.answers = False
    clock.run_for(3000)
    expect_nothing_live(page)


def test_a_page_comes_back_and_shows_rows_as_live_only_when_they_were_sent_again(server: ScriptedServer) -> None:
    desk(server)
    page = server.open()
    expect(cell(page, "desk1", 1)).to_have_text("live")
    server.answers = False
    server.close_socket()
    expect_nothing_live(page)
    server.rows["accounts"][("desk1",)][5] = "111"
    server.answer()
    expect(cell(page, "desk1", 1)).to_have_text("live")
    expect(cell(page, "desk1", 3)).to_have_text("111.00")
    expect(page.locator("#bars")).to_be_empty()
    reconnects = [message for message in server.sent if "key" in message]
    assert reconnects[-1]["epoch"] == "e1"
    assert reconnects[-1]["sub"]["accounts"] is not None


def test_rows_of_a_view_that_was_left_are_not_live_until_they_are_answered(server: ScriptedServer) -> None:
    desk(server)
    page = server.open()
    expect(cell(page, "desk1", 1)).to_have_text("live")
    page.keyboard.press("g")
    page.keyboard.press("f")
    expect(page.locator(".view:not([hidden]) .message")).to_contain_text("Not known")
    server.held_back = {"accounts"}
    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(cell(page, "desk1", 1)).to_have_text("STALE")
    server.held_back = set()
    server.put("accounts", {"account": "desk9", "state": "never", "site": "global"})
    expect(cell(page, "desk1", 1)).to_have_text("live")


@pytest.mark.parametrize(
    ("daemon", "text"),
    [
        ({"state": "stopped", "stopped_at": NOW - 3_000_000, "exit": 0}, "The daemon stopped 14:13:17 (exit 0)."),
        ({"state": "stopped", "heartbeat_at": NOW - 9_000_000}, "The daemon stopped without notice."),
        ({"state": "not_storing", "reason": "disk full"}, "The daemon cannot store: disk full."),
        ({"state": "never", "heartbeat_at": None}, "No daemon has run on this database yet."),
        ({"heartbeat_at": NOW - 6_000_000}, "The daemon is silent."),
    ],
    ids=["stopped", "killed", "disk full", "never", "silent"],
)
def test_without_a_daemon_nothing_is_live(server: ScriptedServer, daemon: dict[str, object], text: str) -> None:
    desk(server)
    server.daemon_beats = False
    server.daemon |= daemon
    page = server.open()
    expect(page.locator("#bars .amber")).to_contain_text(text)
    expect(cell(page, "desk1", 1)).to_have_text("STALE")
    expect_nothing_live(page)
    expect(page.locator("#fact-daemon")).not_to_contain_text("live")


def test_a_database_that_cannot_be_read_is_an_error_and_no_empty_table(server: ScriptedServer) -> None:
    server.error = {"text": "okxsync.db: the database is newer than this okxsync", "since": NOW - 1_000_000}
    page = server.open()
    expect(page.locator("#bars .red")).to_contain_text("the database is newer than this okxsync")
    expect(page.locator(".view:not([hidden]) .message")).to_contain_text("The database cannot be read")
    desk(server)
    expect(cell(page, "desk1", 1)).to_have_text("STALE")
    server.error = None
    expect(cell(page, "desk1", 1)).to_have_text("live")


def test_emptiness_comes_with_its_proof(server: ScriptedServer) -> None:
    server.put("accounts", {"account": "desk1", "state": "live", "site": "global"})
    server.cover("desk1")
    page = server.open("#orders")
    message = page.locator(".view:not([hidden]) .message")
    expect(message).to_contain_text(re.compile(r"No open orders\. 1 account covered, last proved [\d.]+ s ago\."))
    server.cover("desk1", "stale", NOW - 5_000_000, channels=["orders-algo"])
    expect(message).to_have_text("Not known: 1 account stale.")


def test_positions_sum_exactly_and_take_the_worst_state(server: ScriptedServer) -> None:
    desk(server)
    page = server.open("#positions")
    group = row(page, "BTC-USDT-SWAP")
    expect(group.locator(".cell").nth(1)).to_have_text("3")
    expect(group.locator(".cell").nth(2)).to_have_text("1 STALE")
    expect(group.locator(".cell").first).to_have_css("color", GREY)
    expect(group.locator(".cell").nth(1)).to_have_css("color", GREY)
    expect(group.locator(".cell").nth(6)).to_have_text("+7")  # 5 - 3 + 5
    expect(group.locator(".cell").nth(9)).to_have_text("-")  # long and short have no common price
    expect(group.locator(".cell").nth(11)).to_have_text("+0.90")
    expect(page.locator("#totals")).to_contain_text("1 never covered: not counted")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    expect(cell(page, "desk2", 6)).to_have_text("\u22123")
    expect(cell(page, "desk2", 5)).to_have_text("short")
    server.put(
        "positions",
        {
            "account": "desk2",
            "pos_id": "1",
            "inst_id": "BTC-USDT-SWAP",
            "inst_type": "SWAP",
            "pos_side": "net",
            "pos": "0.000000001",
        },
    )
    expect(group.first.locator(".cell").nth(6)).to_have_text("+10.000000001")
    expect(group.first.locator(".cell").nth(11)).to_have_text("-")  # one part is not known


def test_hostile_text_is_text(server: ScriptedServer) -> None:
    """Tags, quotes, invisible and direction-turning characters in every text column of every view."""
    nasty = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'\u202egnp\u0000"
    server.put(
        "accounts",
        {
            "account": nasty,
            "state": "live",
            "covered_until": NOW,
            "reason": nasty,
            "site": nasty,
            "acct_lv": nasty,
            "mgn_ccy": nasty,
            "equity": nasty,
        },
    )
    server.cover(nasty)
    texts = dict.fromkeys(
        (
            "inst_id",
            "side",
            "ord_type",
            "state",
            "tag",
            "cl_id",
            "px",
            "sz",
            "fee_ccy",
            "exec_type",
            "ord_id",
            "mgn_mode",
            "lever",
            "coin_ccy",
            "ccy",
            "pos",
            "pos_side",
            "source",
            "fill_px",
        ),
        nasty,
    )
    server.put("orders", {**texts, "account": nasty, "kind": "order", "id": nasty, "c_time": NOW})
    server.put("positions", {**texts, "account": nasty, "pos_id": "1"})
    server.put("fills", {**texts, "number": 1, "account": nasty, "fill_time": NOW, "received_at": NOW})
    server.daemon |= {"state": nasty, "reason": nasty}
    server.error = {"text": nasty, "since": NOW}
    page = server.open()
    for view in ("positions?open=*", "orders?by=instrument&open=*", "fills", "accounts"):
        page.evaluate("(view) => { location.hash = view; }", view)
        expect(page.locator(".view:not([hidden]) .tbody .row:visible").last).to_contain_text(
            "<img src=x onerror=alert(1)>"
        )
        expect(page.locator(".view:not([hidden]) .tbody")).to_contain_text("⟨U+202E⟩")
    expect(page.locator("#bars")).to_contain_text("⟨U+202E⟩")
    assert page.locator("img, main script").count() == 0
    assert server.complaints == []
    server.tolerated.append("TrustedHTML")
    with pytest.raises(Exception, match="TrustedHTML"):  # the policy is on
        page.evaluate("() => { document.body.innerHTML = '<b>'; }")


def test_an_error_of_the_page_leaves_no_number_on_the_screen(server: ScriptedServer) -> None:
    desk(server)
    page = server.open()
    expect(cell(page, "desk1", 1)).to_have_text("live")
    server.tolerated.append("JSON")
    for socket in server.sockets:
        socket.send("no JSON")
    expect(page.locator("#bars .red")).to_contain_text("This page has failed")
    expect(page.locator("#main")).to_be_hidden()
    expect(page.locator("#totals")).to_be_hidden()
    expect(page.locator("#bars .red")).to_be_visible()


def test_a_group_whose_rows_are_all_gone_stays_dimmed_while_order_is_held(server: ScriptedServer) -> None:
    desk(server)
    page = server.open("#positions")
    expect(row(page, "BTC-USDT-SWAP")).to_be_visible()
    row(page, "BTC-USDT-SWAP").hover()
    expect(page.locator("#notes")).to_contain_text("order held")
    for name in ("desk1", "desk2", "desk3"):
        server.remove("positions", name, "1")
    expect(page.locator(".row.group.gone")).to_contain_text("BTC-USDT-SWAP")
    page.mouse.move(300, 1000)
    expect(page.locator(".view:not([hidden]) .message")).to_contain_text("Not known: 1 account stale, 1 never covered.")


def test_what_stands_still_is_shown_ever_older(server: ScriptedServer) -> None:
    """Rows, groups and totals: without any change of a row, while the daemon is stopped."""
    desk(server)
    server.daemon_beats = False
    server.daemon |= {"state": "stopped", "stopped_at": NOW, "exit": 0}
    page = server.open("#positions?open=*")
    server.remove("positions", "desk3", "1")
    server.cover("desk3", "never")
    older = r"(([3-9]|\d\d)\.\d|\d\d+) s"
    expect(cell(page, "desk1", 3)).to_have_text(re.compile(f"^{older}$"))
    expect(row(page, "BTC-USDT-SWAP").first.locator(".cell").nth(3)).to_have_text(re.compile(f"^{older}$"))
    expect(page.locator("#totals")).to_contain_text(re.compile(f"oldest as of {older}"))
    expect(page.locator("#totals")).to_contain_text(re.compile(f"stale 2, oldest as of {older}"))


def test_a_row_follows_the_rows_of_other_topics_that_it_is_shown_with(server: ScriptedServer) -> None:
    """An order its instrument's mark price, a position the equity of its account."""
    desk(server)
    order = {"account": "desk1", "kind": "order", "id": "1", "inst_id": "BTC-USDT-SWAP", "inst_type": "SWAP"}
    server.put("orders", order | {"px": "90", "sz": "1", "side": "buy", "state": "live", "c_time": NOW})
    page = server.open("#orders")
    distance = cell(page, "BTC-USDT-SWAP", 10)
    expect(distance).to_have_text("-")
    for mark, expected in (("100", "\u221210.00 %"), ("80", "+12.50 %")):
        server.put("marks", {"inst_id": "BTC-USDT-SWAP", "mark_px": mark, "state": "live", "covered_until": NOW})
        expect(distance).to_have_text(expected)
    expect(page.locator("#totals")).to_contain_text("live 1 open order")
    server.cover("desk1", "stale", NOW)
    expect(page.locator("#totals")).to_contain_text("stale 1 open order, oldest as of ")
    page.evaluate("() => { location.hash = '#positions?open=*'; }")
    share = cell(page, "desk1", 14)
    expect(share).to_have_text("49.9 %")
    known = dict(zip(TOPICS["accounts"].columns, server.rows["accounts"][("desk1",)], strict=True))
    server.put("accounts", known | {"equity": "500"})
    expect(share).to_have_text("10.0 %")
