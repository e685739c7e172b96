"""Health, the details of an account and of an order, files for spreadsheets, and fills of the past, in a browser."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from okxsync.messages import ConfiguredAccount, Lost, Note, Subscribed
from tests.support.desk import Desk, order, phase
from tests.support.terminal_page import NOW, ScriptedServer, eventually, serve_past

pytestmark = pytest.mark.slow
MINUTE = 60_000_000
SHOWN = ".view:not([hidden])"
PANE = f"{SHOWN} .pane"
CONFIG = {
    "uid": "7001", "mainUid": "7000", "label": "the key of Alice", "ip": "203.0.113.7", "acctLv": "2",
    "posMode": "net_mode", "perm": "read_only", "level": "Lv1", "autoLoan": False,
}  # fmt: skip


@pytest.fixture
def desk(make_desk: Callable[[], Desk]) -> Desk:
    return make(make_desk())


def make(desk: Desk) -> Desk:
    """Account alpha: a balance, an open order with two fills, a gap while it was open, and an entry of the journal."""
    desk.at = NOW - 60 * MINUTE
    desk.apply(desk.start(desk.at), ConfiguredAccount("alpha", "sandbox", True, desk.at, None))
    desk.apply(phase(desk.at), Subscribed(1, "alpha", ["orders", "account"], desk.at))
    desk.db.execute("UPDATE accounts SET raw = ? WHERE name = 'alpha'", [json.dumps(CONFIG)])
    at = str(desk.at // 1000)
    fill = {"fillSz": "0.5", "fillTime": at, "fillPx": "68000.1", "fee": "-0.01", "feeCcy": "USDT"}
    times = {"cTime": at, "side": "buy", "px": "68000.10", "tag": "=cmd()", "fillPnl": "0"}
    for number in (1, 2):
        desk.push(
            "orders",
            order(7, **times, **fill, uTime=str(int(at) + number), tradeId=f"{number}", accFillSz=f"{number / 2}"),
        )
    desk.push("account", {"uTime": at, "totalEq": "1000.123456789", "details": [
        {"ccy": "USDT", "eq": "999.000000001", "cashBal": "999.000000001", "uTime": at},
    ]})  # fmt: skip
    desk.db.execute("UPDATE coverage SET covered_until = ?", [NOW - 30 * MINUTE])
    desk.apply(Lost(1, "alpha", ["orders"], NOW - 30 * MINUTE, "connection reset"))
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW - 20 * MINUTE))
    desk.apply(Note(NOW - 30 * MINUTE, "warning", "alpha", "disconnected", "alpha private: connection reset"))
    return desk


def rows_of_page(server: ScriptedServer) -> None:
    server.put("accounts", {"account": "alpha", "state": "live", "covered_until": NOW, "equity": "1000.123456789",
                            "upl": "-12.5", "reason": None, "site": "global"})  # fmt: skip
    server.put("orders", {
        "account": "alpha", "kind": "order", "id": "7", "inst_id": "BTC-USDT-SWAP", "inst_type": "SWAP", "side": "buy",
        "ord_type": "limit", "state": "live", "px": "68000.10", "sz": "10", "filled": "1", "tag": "=cmd()",
        "c_time": NOW - 60 * MINUTE, "u_time": NOW - 60 * MINUTE, "received_at": NOW,
    })  # fmt: skip


def section(page: Page, title: str) -> Any:
    return page.locator(f"{PANE} section", has=page.get_by_role("heading", name=title))


def test_an_account_in_detail_without_what_is_secret(
    server: ScriptedServer, desk: Desk, screenshots: Path | None
) -> None:
    serve_past(server, desk, "alpha")
    rows_of_page(server)
    page = server.open("#accounts")
    expect(page.locator(f"{SHOWN} .tbody .row:visible")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(section(page, "Balances")).to_contain_text("999.000000001")
    expect(section(page, "Gaps, 24 h")).to_contain_text("connection reset")
    expect(section(page, "Open orders")).to_contain_text("68\u2009000.10")
    expect(section(page, "Configuration")).to_contain_text("2 (futures)")
    expect(section(page, "Journal")).to_contain_text("disconnected")
    expect(section(page, "Coverage, 24 h")).to_contain_text("orders")
    for secret in ("7001", "7000", "Alice", "203.0.113.7"):
        expect(page.locator(PANE)).not_to_contain_text(secret)
    expect(page).to_have_url(re.compile("detail=1"))
    if screenshots:
        page.screenshot(path=screenshots / "account-detail.png")
    page.reload()
    expect(section(page, "Balances")).to_contain_text("999.000000001")
    page.keyboard.press("Escape")
    expect(page.locator(PANE)).to_have_count(0)
    expect(page).not_to_have_url(re.compile("detail"))


def test_an_order_in_detail_with_its_fills_its_gap_and_what_was_sent(
    server: ScriptedServer, desk: Desk, screenshots: Path | None
) -> None:
    serve_past(server, desk, "alpha")
    rows_of_page(server)
    page = server.open("#orders?row=alpha/order/7&detail=1")
    expect(section(page, "Fills").locator("tbody tr")).to_have_count(2)
    expect(section(page, "Coverage while it was open")).to_contain_text("connection reset")
    raw = page.locator(f"{PANE} details")
    expect(raw).to_contain_text('"px": "68000.10"')
    expect(page.locator(f"{PANE} header")).to_contain_text("live")
    if screenshots:
        raw.locator("summary").click()
        page.screenshot(path=screenshots / "order-detail.png")
    server.cover("alpha", "stale", NOW - MINUTE)
    expect(page.locator(f"{PANE} header")).to_contain_text("STALE")
    server.remove("orders", "alpha", "order", "7")
    expect(page.locator(f"{PANE} header")).to_contain_text("no longer in the table")
    expect(section(page, "Fills").locator("tbody tr")).to_have_count(2)  # the order is still in the database


def test_a_detail_that_cannot_be_read_is_an_error(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha")
    rows_of_page(server)
    server.put("orders", {"account": "alpha", "kind": "order", "id": "8", "inst_id": "BTC-USDT-SWAP", "c_time": NOW})
    server.tolerated.append("400")
    page = server.open("#orders?row=alpha/order/8&detail=1")
    expect(page.locator(PANE)).to_contain_text("Not known: the database does not have this order.")


def test_the_pane_follows_the_cursor_and_its_links_lead_on(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha")
    rows_of_page(server)
    server.put("accounts", {"account": "beta", "state": "live", "covered_until": NOW, "equity": "5"})
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    server.cover("beta")
    page = server.open("#accounts?sort=account")
    expect(page.locator(f"{SHOWN} .tbody .row:visible")).to_have_count(2)
    for key in ("j", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(f"{PANE} h2")).to_have_text("alpha")
    page.keyboard.press("j")
    expect(page.locator(f"{PANE} h2")).to_have_text("beta")
    page.keyboard.press("k")
    link = section(page, "Open orders").get_by_role("link", name="7", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"#orders\?id=7"))


def saved(page: Page) -> tuple[str, list[list[str]]]:
    with page.expect_download() as download:
        page.keyboard.press("e")
    text = download.value.path().read_bytes().decode()
    assert text.endswith("\r\n")
    return download.value.suggested_filename, list(csv.reader(io.StringIO(text, newline="")))


def test_what_a_table_shows_is_exported_exactly_and_no_cell_is_a_formula(server: ScriptedServer, desk: Desk) -> None:
    """The filter, the order and the columns apply; the state of each row is there even if its column is not."""
    serve_past(server, desk, "alpha")
    tags = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=x",
        'say "hi", you',
        "\r=y",
        " =z",
        "a\u202eb",
        "plain",
    ]
    sizes = ["0.000000001", "123456789012345678901234567890.5", "-0.10", "1e-9", "=2", "", "5", "+7", "-", "8"]
    server.put("orders", *(
        {"account": "alpha", "kind": "order", "id": f"{1 << 60}{index}", "inst_id": "X-Y", "side": "buy", "px": "-1.50",
         "sz": size, "tag": tag, "state": "live", "c_time": NOW - index * 1_000_001, "u_time": NOW}
        for index, (tag, size) in enumerate(zip(tags, sizes, strict=True))
    ))  # fmt: skip
    server.put("orders", {"account": "beta", "kind": "order", "id": "1", "inst_id": "X-Y", "c_time": NOW})
    server.cover("beta", "stale", NOW - MINUTE)
    page = server.open("#orders?acct=alpha&sort=-age")
    expect(page.locator("#notes")).to_contain_text("10 of 11")
    page.keyboard.press("c")  # the column "state" is hidden
    dialog = page.locator("#columns li")
    expect(dialog.first).to_be_visible()
    index = [text.split()[1] for text in dialog.all_inner_texts()].index("state")
    for key in ["j"] * index + ["Space", "Escape"]:
        page.keyboard.press(key)
    name, (head, *rows) = saved(page)
    assert re.fullmatch(r"okxsync-orders-2026-09-21T\d{6}Z\.csv", name)
    assert head[-1] == "state"
    records = [dict(zip(head, row, strict=True)) for row in rows]
    assert [one["tag"] for one in records] == [
        *("'=1+1", "'+cmd|' /C calc'!A0", "'-2+3", "'@SUM(A1)", "'\u27e8U+0009\u27e9=x", 'say "hi", you'),
        *("'\u27e8U+000D\u27e9=y", "' =z", "a\u27e8U+202E\u27e9b", "plain"),
    ]
    assert [one["size"] for one in records] == [*sizes[:4], "'=2", *sizes[5:8], "'-", "8"]
    assert {one["price"] for one in records} == {"-1.50"}
    assert records[1]["age"] == "2026-09-21T14:13:18.999999Z"
    assert {one["state"] for one in records} == {"live"}
    server.close_socket()
    expect(page.locator("#bars .red")).to_be_visible()
    eventually(page, lambda: {row[-1] for row in saved(page)[1][1:]}, {"stale"})


def test_health_shows_what_is_down_first_and_the_journal(
    server: ScriptedServer, desk: Desk, screenshots: Path | None
) -> None:
    serve_past(server, desk, "alpha", "desk043")
    server.health = {
        "queue": 0, "rows": 12_345_678, "errors": 0, "messages": 2_100_000, "bytes": 210_000_000,
        "bytes_received": 2_500_000_000, "log_since": NOW - 15 * 1440 * MINUTE, "database_bytes": 3_400_000_000,
        "wal_bytes": 12_000_000, "free_bytes": 41_000_000_000, "turns_s": 25, "turn_us": 4_000,
    }  # fmt: skip
    server.screens = [38_000, None]
    server.put("connections", *(
        {"id": number, "listener": f"desk{number:03d}", "endpoint": "private", "site": "global", "phase": "live",
         "since_at": NOW - 9 * 1440 * MINUTE, "answered_at": NOW, "last_message_at": NOW, "rtt_us": 1234,
         "messages": 1000 * number, "reconnects": 0, "channels": 5}
        for number in range(40)
    ))  # fmt: skip
    lost = {"listener": "desk043", "endpoint": "private", "phase": "backing_off", "since_at": NOW - 155 * MINUTE,
            "answered_at": NOW - 155 * MINUTE, "last_message_at": NOW - 155 * MINUTE, "rtt_us": 900, "messages": 12,
            "reconnects": 9, "channels": 0, "last_error": "pong late", "next_attempt_at": NOW + MINUTE}  # fmt: skip
    server.put("connections", {"id": 43, **lost})
    server.put("journal", *(
        {"id": number, "at": NOW - number * MINUTE, "level": "warning" if number % 3 else "error",
         "account": f"desk{number:03d}", "event": "disconnected", "detail": "<img src=x> pong late",
         "meaning": "a connection ended", "remedy": "nothing"}
        for number in range(30)
    ))  # fmt: skip
    page = server.open()
    page.keyboard.press("g")
    page.keyboard.press("h")
    first = page.locator(f"{SHOWN} .tbody .row[aria-rowindex='2']")
    expect(first).to_contain_text("desk043")
    expect(first).to_contain_text("DOWN")
    expect(first).to_contain_text("pong late")
    expect(page.locator("#totals")).to_contain_text("live 40 of 41 connections")
    facts = page.locator(".healthfacts")
    for text in ("12\u2009345\u2009678", "3.4 GB", "41.0 GB", "2: 38 ms, hidden", "25 a second, 4.0 ms each", "19 ms"):
        expect(facts).to_contain_text(text)
    entries = page.locator(".journal tbody tr")
    expect(entries).to_have_count(30)
    expect(entries.first).to_contain_text("<img src=x> pong late")
    if screenshots:
        page.screenshot(path=screenshots / "health.png")
        page.set_viewport_size({"width": 390, "height": 844})
        expect(page.locator(f"{SHOWN} .thead [role=columnheader]")).to_have_count(4)
        page.screenshot(path=screenshots / "health-390.png")
        page.set_viewport_size({"width": 1920, "height": 1080})
    page.locator("#filter").fill("acct:desk007")
    expect(entries).to_have_count(1)
    page.locator("#filter").fill("")
    server.close_socket()
    server.answers = False
    expect(page.locator("#bars .red")).to_be_visible()
    expect(first).to_contain_text("STALE")
    expect(page.locator("body")).not_to_contain_text(re.compile(r"\blive\b"), use_inner_text=True)


def test_fills_of_the_past_are_read_some_hundred_at_once(
    server: ScriptedServer, desk: Desk, screenshots: Path | None
) -> None:
    """A range that was chosen in a picture holds in the tables too; Escape leads back to the tape."""
    begin = NOW - 20 * 60 * MINUTE
    desk.db.executemany(
        "INSERT INTO fills (account, inst_id, ord_id, trade_id, side, fill_px, fill_sz, fill_time, trade_id_made,"
        " source, received_at) VALUES ('alpha', ?, '1', ?, 'buy', '101.25', '0.5', ?, 0, 'ws', 1)",
        [("X-Y" if number % 7 else "Z", str(number), (begin + number * 1_000_000) // 1000) for number in range(1200)],
    )
    serve_past(server, desk, "alpha")
    server.put(
        "fills", {"number": 1, "account": "alpha", "inst_id": "X-Y", "fill_time": NOW, "fill_px": "1", "fill_sz": "1"}
    )
    page = server.open("#fills")
    expect(page.locator("#totals")).to_contain_text("1 of the newest 1 fills")
    page.evaluate("(end) => { location.hash = `coverage?range=3600&end=${end}`; }", begin + 1200 * 1_000_000)
    expect(page.locator(f"{SHOWN} canvas")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    page.keyboard.press("g")
    page.keyboard.press("f")
    expect(page.locator("#totals")).to_contain_text("500 fills; End: older ones")
    expect(page.locator("#notes")).to_contain_text("Esc: now")
    if screenshots:
        page.screenshot(path=screenshots / "fills-past.png")
    page.keyboard.press("End")
    expect(page.locator("#totals")).to_contain_text("1000 fills; End: older ones")
    page.keyboard.press("End")
    expect(page.locator("#totals")).to_contain_text(re.compile(r"1200 fills(?!;)"))
    page.locator("#filter").fill("inst:Z")
    expect(page.locator("#totals")).to_contain_text(re.compile(r"172 fills(?!;)"))
    page.locator("#filter").fill("")
    page.locator("#filter").press("Enter")
    page.keyboard.press("BracketLeft")  # half an hour earlier: only some of them
    expect(page.locator("#totals")).to_contain_text(re.compile(r"^[^1]*\d+ fills"))
    page.keyboard.press("Escape")
    expect(page.locator("#totals")).to_contain_text("1 of the newest 1 fills")
