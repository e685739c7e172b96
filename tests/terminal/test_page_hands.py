"""Keys, filters, order and the address: everything by the keyboard alone, and no row moves under a hand."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.terminal_page import NOW, ORIGIN, ScriptedServer, eventually, let_pass, shown_accounts

pytestmark = pytest.mark.slow

VIEWS = ("accounts", "positions", "orders", "fills")


def desk(server: ScriptedServer, accounts: int = 60) -> None:
    instruments = [
        ("BTC-USDT-SWAP", "0.1", "0.01"),
        ("ETH-USDT-SWAP", "0.01", "0.1"),
        ("PEPE-USDT-SWAP", "0.000000001", "10000000"),
    ]
    server.put(
        "instruments",
        *(
            {
                "inst_type": "SWAP",
                "inst_id": name,
                "tick_sz": tick,
                "lot_sz": "0.1",
                "ct_val": size,
                "ct_mult": "1",
                "ct_type": "linear",
            }
            for name, tick, size in instruments
        ),
    )
    server.put(
        "marks",
        *(
            {"inst_id": name, "mark_px": price, "state": "live", "covered_until": NOW}
            for name, price in zip([one[0] for one in instruments], ("68012.4", "3413.25", "0.000009154"), strict=True)
        ),
    )
    for index in range(accounts):
        name, inst_id = f"desk{index:03d}", instruments[index % 3][0]
        state = "stale" if index % 20 == 7 else "live"
        until = NOW - (41 * 60_000_000 if state == "stale" else 900_000 + index * 1000)
        server.put(
            "accounts",
            {
                "account": name,
                "state": state,
                "covered_until": until,
                "equity": f"{10000 + 7 * index}.123",
                "upl": f"{index - 30}.5",
                "notional_usd": "1234.5",
                "mgn_ratio": f"{2 + index / 4}",
                "open_orders": 2,
                "positions": 1,
                "gaps": 0,
                "site": "global",
                "acct_lv": "2",
                "reason": "pong late" if state == "stale" else None,
                "u_time": NOW,
                "received_at": NOW,
            },
        )
        server.cover(name, state, until)
        side = "buy" if index % 2 else "sell"
        common = {
            "account": name,
            "inst_id": inst_id,
            "inst_type": "SWAP",
            "u_time": NOW,
            "received_at": NOW,
            "tag": "grid",
        }
        server.put(
            "positions",
            {
                **common,
                "pos_id": "1",
                "mgn_mode": "cross",
                "lever": "5",
                "pos_side": "net",
                "pos": str(index - 30),
                "coin": "0.1",
                "coin_ccy": "BTC",
                "avg_px": "67000.123",
                "mark_px": "68012.4",
                "upl": f"{index - 30}.25",
                "ccy": "USDT",
                "liq_px": "61000",
                "notional_usd": "500.5",
            },
        )
        server.put(
            "orders",
            *(
                {
                    **common,
                    "kind": "order",
                    "id": f"{index}{number}",
                    "side": side,
                    "ord_type": "limit",
                    "state": "live",
                    "px": "67000.5",
                    "sz": "1.5",
                    "filled": "0",
                    "c_time": NOW - index * 60_000_000,
                }
                for number in (1, 2)
            ),
        )
        server.put(
            "fills",
            {
                **common,
                "number": index,
                "side": side,
                "fill_px": "68000.1",
                "fill_sz": "2",
                "fill_pnl": "0.5",
                "fee": "-0.0163",
                "fee_ccy": "USDT",
                "exec_type": "M",
                "fill_time": NOW - index * 1_000_000,
                "trade_id": str(index),
                "ord_id": f"{index}1",
                "source": "rest" if index == 3 else "ws",
            },
        )


ORDER = {
    "kind": "order", "inst_id": "BTC-USDT-SWAP", "inst_type": "SWAP", "side": "buy", "ord_type": "limit",
    "state": "live", "px": "1", "sz": "1", "filled": "0", "c_time": NOW, "u_time": NOW, "received_at": NOW,
}  # fmt: skip
NOTED = """() => {
    globalThis.noted = [];
    const notes = document.querySelector("#notes");
    new MutationObserver(() => noted.push(notes.textContent)).observe(notes, {childList: true});
}"""
"""Keeps all notes that are shown."""


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def test_every_view_by_keys_alone_with_the_layout_in_the_address(
    server: ScriptedServer, screenshots: Path | None
) -> None:
    desk(server)
    page = server.open()
    for view in VIEWS:
        press(page, f"g {view[0]}")
        expect(page).to_have_url(re.compile(f"#{view}"))
        expect(page.locator(f"#head a[href='#{view}']")).to_have_attribute("aria-current", "page")
        expect(page.locator(".view:not([hidden]) .tbody .row:visible")).not_to_have_count(0)
        if screenshots:
            let_pass(page, 1)  # changed cells have faded
            page.screenshot(path=screenshots / f"{view}.png")
    press(page, "g p j Space")
    expect(page).to_have_url(re.compile(r"#positions\?open=.+&row="))
    press(page, "g o i")
    expect(page).to_have_url(re.compile(r"#orders\?by=instrument"))
    expect(page.locator(".view:not([hidden]) .row.group")).to_have_count(3)
    press(page, "Shift+X")
    expect(page.locator(".view:not([hidden]) .row.member").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"open=\*"))
    layout = page.url
    if screenshots:
        page.screenshot(path=screenshots / "orders-grouped.png")
    page.reload()
    expect(page.locator(".view:not([hidden]) .row.member").first).to_be_visible()
    expect(page).to_have_url(layout)
    press(page, "Shift+Slash")
    expect(page.locator("#help")).to_be_visible()
    if screenshots:
        page.screenshot(path=screenshots / "help.png")
    press(page, "Escape")
    expect(page.locator("#help")).to_be_hidden()
    press(page, "Shift+Semicolon b t c")
    expect(page.locator("#command li").first).to_contain_text("BTC-USDT-SWAP")
    press(page, "Enter")
    expect(page).to_have_url(re.compile("inst=BTC-USDT-SWAP"))
    if screenshots:
        page.set_viewport_size({"width": 390, "height": 844})
        press(page, "g a")
        expect(page.locator(".view:not([hidden]) .tbody .row:visible")).not_to_have_count(0)
        page.screenshot(path=screenshots / "accounts-390.png")


def test_keys_work_on_a_russian_layout(server: ScriptedServer) -> None:
    desk(server, 3)
    page = server.open()
    expect(page.locator(".tbody .row:visible")).to_have_count(3)
    page.evaluate(
        """(keys) => keys.forEach(([key, code]) => document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key, code, bubbles: true})))""",
        [("п", "KeyG"), ("щ", "KeyO")],
    )
    expect(page).to_have_url(re.compile("#orders"))


def test_a_filter_hides_rows_says_how_many_and_stands_in_the_address(server: ScriptedServer) -> None:
    desk(server)
    page = server.open()
    expect(page.locator(".tbody .row:visible").first).to_be_visible()
    press(page, "/")
    page.keyboard.type("acct:desk00* -state:stale upl<-25")
    expect(page.locator("#notes")).to_contain_text("6 of 60")
    expect(page.locator("[data-name=equity-live]")).to_have_text("equity 60\u2009105.73")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"acct=desk00\*"))
    press(page, "/")
    page.keyboard.type(" colour:red")
    page.locator("#filter").fill("colour:red")
    expect(page.locator("#notes")).to_contain_text('not applied: no field "colour"')
    expect(page.locator("#filter")).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Escape")
    expect(page.locator("#notes")).not_to_contain_text("not applied")
    press(page, "g o")
    page.locator("#filter").fill("acct:nobody")
    expect(page.locator(".view:not([hidden]) .message")).to_have_text("None of 120 open orders matches the filter.")


def test_sorting_by_keys_and_by_hand(server: ScriptedServer) -> None:
    desk(server)
    page = server.open()
    eventually(page, lambda: shown_accounts(page)[:1], ["desk007"])  # worst first: stale
    press(page, "s")
    expect(page.locator(".thead:visible .cell[data-letter=E]")).to_have_count(1)  # the letters are shown
    press(page, "e")
    expect(page).to_have_url(re.compile("sort=-equity"))
    eventually(page, lambda: shown_accounts(page)[:2], ["desk059", "desk058"])
    expect(page.get_by_role("columnheader", name="equity USD")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="equity USD").click()
    eventually(page, lambda: shown_accounts(page)[:2], ["desk000", "desk001"])
    press(page, "w")
    expect(page).not_to_have_url(re.compile("sort"))
    eventually(page, lambda: shown_accounts(page)[0], "desk007")


def test_no_row_moves_under_the_pointer(server: ScriptedServer) -> None:
    """A change of order waits until the pointer has left; a row that is gone stays, dimmed."""
    desk(server, 12)
    page = server.open("#accounts?sort=-equity")
    expect(page.locator(".tbody .row:visible")).to_have_count(12)
    page.mouse.move(300, 100)
    expect(page.locator("#notes")).to_contain_text("order held")
    before = shown_accounts(page)
    row = dict(
        zip(
            ("account", "state", "covered_until", "reason", "x", "equity"),
            (*before[-1:], "live", NOW, None, None, "999999"),
            strict=True,
        )
    )
    server.put("accounts", {**row, "site": "global", "gaps": 0})
    server.remove("accounts", before[2])
    expect(page.locator(".row.gone")).to_contain_text(before[2])
    let_pass(page, 3)  # the order would be taken anew after one second
    assert shown_accounts(page) == before
    page.mouse.move(300, 1000)
    expect(page.locator(".row.gone:visible")).to_have_count(0)
    eventually(page, lambda: shown_accounts(page)[:2], [before[-1], before[0]])


def test_the_tape_is_held_by_the_pointer_and_counts_what_waits(server: ScriptedServer) -> None:
    desk(server, 12)
    page = server.open("#fills")
    rows = page.locator(".tbody .row:visible")
    expect(rows).to_have_count(12)
    expect(rows.filter(has_text="REST")).to_have_count(1)
    page.mouse.move(300, 100)
    expect(page.locator("#notes")).to_contain_text("order held")
    fill = {
        "account": "desk001",
        "inst_id": "BTC-USDT-SWAP",
        "inst_type": "SWAP",
        "fill_px": "1",
        "fill_sz": "1",
        "source": "ws",
    }
    server.put("fills", *({**fill, "number": 100 + n, "fill_time": NOW + n, "received_at": NOW + n} for n in range(31)))
    expect(page.locator("#notes")).to_contain_text("order held, +31 more")
    expect(rows).to_have_count(12)
    page.mouse.move(300, 1000)
    expect(page.locator("#totals")).to_contain_text("43 of the newest 43 fills")
    expect(page.locator("#notes")).not_to_contain_text("held")
    expect(rows).to_have_count(43)


def test_exact_values_are_copied(server: ScriptedServer) -> None:
    desk(server, 3)
    server.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    long = "-123456789012345678901234567890.000000001"
    server.put(
        "accounts", {"account": "desk000", "state": "live", "covered_until": NOW, "equity": long, "site": "global"}
    )
    page = server.open("#accounts?acct=desk000")
    cell = page.locator(".tbody .row:visible .cell").nth(3)
    expect(cell).to_contain_text("\u2212123\u2009456")
    cell.click()
    expect(page.locator(".row.cursor .here")).to_have_text(re.compile("123"))
    page.evaluate(NOTED)  # a note is shown for two seconds only
    press(page, "y")
    eventually(page, lambda: any("copied" in note for note in page.evaluate("() => globalThis.noted")), True)
    eventually(page, lambda: page.evaluate("() => navigator.clipboard.readText()"), long)


def test_rows_are_selected_summed_and_copied_as_cells_of_a_spreadsheet(server: ScriptedServer) -> None:
    """A text of somebody else must not become a formula there, or begin another row."""
    desk(server, 6)
    server.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    server.put("orders", {**ORDER, "account": "desk001", "id": "7", "sz": "-3", "tag": "=1+1", "cl_id": "@a\tb\nc"})
    page = server.open("#orders?acct=desk001&sort=order_id")
    chosen = page.locator(".tbody .row.chosen:visible")
    expect(page.locator(".tbody .row:visible")).to_have_count(3)
    press(page, "j x j j x")
    expect(chosen).to_have_count(2)
    expect(page.locator("#totals")).to_contain_text("selected 2:live 2 open orders")
    expect(page).to_have_url(re.compile("sel=desk001%2Forder%2F7,desk001%2Forder%2F12"))
    page.reload()
    expect(chosen).to_have_count(2)
    expect(page.locator("[role=row][aria-selected=true]:visible")).to_have_count(2)
    press(page, "Shift+Y")

    def copied() -> list[str]:
        text: str = page.evaluate("() => navigator.clipboard.readText()")
        return text.split("\n")

    eventually(page, lambda: len(copied()), 2)
    first = copied()[0].split("\t")
    assert first[6] == "-3"  # a number stays one
    assert first[13] == "'=1+1"
    assert first[15] == "'@a⟨U+0009⟩b⟨U+000A⟩c"
    press(page, "x")
    expect(chosen).to_have_count(1)
    press(page, "Escape")
    expect(page.locator("#filter")).to_have_value("")
    expect(chosen).to_have_count(1)
    press(page, "Escape")
    expect(chosen).to_have_count(0)
    expect(page.locator("#totals")).to_contain_text("13 open orders")
    expect(page).not_to_have_url(re.compile("sel="))


def test_a_group_is_selected_as_a_whole(server: ScriptedServer) -> None:
    desk(server, 6)
    page = server.open("#positions?open=*")
    expect(page.locator(".tbody .row.member:visible")).to_have_count(6)
    press(page, "j x")
    expect(page.locator(".tbody .row.chosen:visible")).to_have_count(2)
    expect(page.locator("#totals")).to_contain_text("selected 2:")
    expect(page.locator("[data-name=notional-live]")).to_have_text("notional USD 1\u2009001.00")
    press(page, "x")
    expect(page.locator(".tbody .row.chosen:visible")).to_have_count(0)


def test_height_of_rows_and_colours_are_chosen_and_kept(server: ScriptedServer) -> None:
    desk(server, 3)
    page = server.open()
    row = page.locator(".tbody .row:visible").first
    loss = page.locator(".tbody .row:visible .cell.down").first
    expect(row).to_have_css("height", "20px")
    expect(loss).to_have_css("color", "rgb(240, 109, 76)")
    press(page, ",")
    settings = page.locator("#settings")
    expect(settings).to_be_visible()
    press(page, "Space j Space")
    expect(settings.locator("li").nth(1)).to_contain_text("green up")
    press(page, "Escape")
    expect(settings).to_be_hidden()
    expect(row).to_have_css("height", "18px")
    expect(loss).to_have_css("color", "rgb(255, 107, 107)")
    tops = """() => [...document.querySelectorAll(".tbody .row:not([hidden])")]
        .map((row) => row.getBoundingClientRect().top).sort((a, b) => a - b).map((top, at, all) => top - all[0])"""
    eventually(page, lambda: page.evaluate(tops)[:3], [0, 18, 36])
    press(page, "Shift+Semicolon")
    page.keyboard.type("red up")
    press(page, "Enter")
    expect(loss).to_have_css("color", "rgb(63, 185, 127)")
    expect(page.locator(".state-live").first).to_have_css("color", "rgb(99, 175, 233)")  # a state is no gain
    page.reload()
    expect(row).to_have_css("height", "18px")
    expect(loss).to_have_css("color", "rgb(63, 185, 127)")


RECORDED = """
    globalThis.notices = [];
    globalThis.tones = 0;
    globalThis.Notification = class { constructor(title, {body}) { notices.push(body); } };
    Notification.permission = "granted";
    Notification.requestPermission = async () => "granted";
    const make = AudioContext.prototype.createOscillator;
    AudioContext.prototype.createOscillator = function () { tones += 1; return make.call(this); };
"""


def test_a_sound_and_a_notification_are_off_until_asked_for(server: ScriptedServer) -> None:
    desk(server, 3)
    server.page.add_init_script(RECORDED)
    page = server.open()

    def trouble(*accounts: str) -> None:
        for account in accounts:
            server.put("accounts", {"account": account, "state": "stale", "covered_until": NOW, "site": "global"})
        expect(page).to_have_title(re.compile(rf"▲ {len(accounts)}"))

    trouble("desk000")
    assert page.evaluate("() => [notices.length, tones]") == [0, 0]
    for setting in ("sound on", "notification on"):
        press(page, "Shift+Semicolon")
        page.keyboard.type(setting)
        press(page, "Enter")
    eventually(page, lambda: page.evaluate("() => tones"), 2)  # as a trial, and as browsers want it
    trouble("desk000", "desk001")
    eventually(page, lambda: page.evaluate("() => notices.length"), 1)
    assert "2" in page.evaluate("() => notices[0]")
    eventually(page, lambda: page.evaluate("() => tones"), 4)
    server.answers = False
    server.close_socket()
    expect(page).to_have_title(re.compile("lost"))
    eventually(page, lambda: "lost" in page.evaluate("() => notices.at(-1)"), True)


def test_each_message_is_acknowledged_after_it_was_painted(server: ScriptedServer) -> None:
    desk(server, 3)
    page = server.open()
    expect(page.locator(".tbody .row:visible")).to_have_count(3)
    server.put("accounts", {"account": "desk009", "state": "live", "covered_until": NOW, "site": "global"})
    expect(page.locator(".tbody .row:visible")).to_have_count(4)
    number = server.numbers["accounts"]
    eventually(page, lambda: server.sent[-1].get("ack", {}).get("accounts"), number)
    assert set(server.sent[-1]["ack"]) == {"now", "freshness", "accounts"}


def test_the_token_is_asked_for_and_leaves_the_address(server: ScriptedServer) -> None:
    desk(server, 3)
    page = server.open("#positions", token=None)
    server.tolerated.append("403")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="This is not the token.")).to_be_visible()
    page.get_by_label("Token").fill("right")
    page.keyboard.press("Enter")
    expect(page.locator(".tbody .row.group:visible")).to_have_count(3)
    expect(page).to_have_url(re.compile("#positions"))
    page = server.open("#orders")
    expect(page).to_have_url(re.compile("/#orders$"))
    expect(page.locator(".view:not([hidden]) .tbody .row.of-live")).not_to_have_count(0)
    eventually(page, lambda: len(server.sockets), 2)  # of each login
    server.close_socket(4401)
    expect(page.get_by_label("Token")).to_be_visible()
    eventually(page, lambda: page.evaluate("() => localStorage.getItem('okxsync.key')"), None)


def test_columns_are_hidden_moved_and_widened_by_keys_or_hand_and_kept(server: ScriptedServer) -> None:
    desk(server, 3)
    page = server.open()
    headings = page.locator(".view:not([hidden]) .thead .name")
    expect(headings.nth(3)).to_have_text("equity USD")
    chooser = page.locator("#columns")
    press(page, "c j j j Shift+J Escape")
    expect(headings.nth(4)).to_have_text("equity USD")
    expect(chooser).to_be_hidden()
    press(page, "c j Space Escape")
    expect(headings.nth(1)).to_have_text("as of")
    expect(chooser).to_be_hidden()
    expect(page.locator(".tbody .row:visible").first.locator(".cell").nth(3)).to_contain_text("10")
    edge = page.locator(".view:not([hidden]) .thead .edge").first
    box = edge.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 63, box["y"] + 8, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="reason").drag_to(page.get_by_role("button", name="as of"))
    expect(headings.nth(1)).to_have_text("reason")
    page.reload()
    expect(headings.nth(1)).to_have_text("reason")
    expect(page.locator(".tbody .row:visible")).to_have_count(3)
    assert "sort" not in page.url  # a drag is no click
    wider = page.locator(".view:not([hidden]) .thead .edge").first.bounding_box()
    assert wider is not None
    assert wider["x"] == pytest.approx(box["x"] + 60, abs=8)
    press(page, "c 0 Escape")
    expect(headings.nth(1)).to_have_text("state")


def test_tabs_of_one_colour_follow_each_other(server: ScriptedServer) -> None:
    desk(server, 12)
    page = server.open()
    other = server.page.context.new_page()
    other.goto(f"{ORIGIN}/#orders?q=side:sell")
    for tab in (page, other):
        expect(tab.locator(".view:not([hidden]) .tbody .row:visible").first).to_be_visible()
        press(tab, "n")
        expect(tab.locator("html")).to_have_attribute("data-link", "blue")
    page.locator("#filter").fill("acct:desk00*")
    expect(other.locator("#filter")).to_have_value("acct:desk00* side:sell")
    expect(other.locator("#notes")).to_contain_text("10 of 24")
    press(other, "n")
    expect(other.locator("html")).to_have_attribute("data-link", "violet")
    other.evaluate(
        """() => {
            globalThis.followed = [];
            new BroadcastChannel("okxsync.link").onmessage = ({data}) => followed.push(data.followed);
        }"""
    )
    page.locator("#filter").fill("acct:desk01*")
    eventually(page, lambda: other.evaluate("() => globalThis.followed"), ["acct:desk01*"])  # heard, and not followed
    expect(other.locator("#filter")).to_have_value("acct:desk00* side:sell")
