"""Without a mouse, without eyes, on a phone, enlarged, hidden: the page can be used, and says what it is."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.terminal_page import NOW, PAGE, ScriptedServer, eventually, let_pass
from tests.terminal.test_page_hands import desk, press

SHOWN = ".view:not([hidden])"
NAMED = (
    "button, a[href], input, dialog, nav, aside, [tabindex='0'],"
    " [role=columnheader], [role=grid], [role=treegrid], [role=img], [role=listbox], [role=region], [role=group]"
)
UNNAMED = f"""() => [...document.querySelectorAll("{NAMED}")]
    .filter((node) => node.offsetParent !== null && !node.textContent.trim() && !node.ariaLabel && !node.title
        && !node.closest("label"))
    .map((node) => node.outerHTML.slice(0, 200))"""
LETTERS = dict(zip("apofhmec", "accounts positions orders fills health market equity coverage".split(), strict=True))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def colours() -> dict[str, str]:
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", (PAGE / "app.css").read_text()))


@pytest.mark.parametrize("ground", ["ground", "raised", "high"])
@pytest.mark.parametrize("text", "text dim stale attention wrong up down accent".split())
def test_every_text_can_be_read_on_every_ground(ground: str, text: str) -> None:
    """WCAG 2.2, 1.4.3."""
    known = colours()
    assert contrast(known[text], known[ground]) >= 4.5


def test_words_on_grounds_of_trouble_can_be_read() -> None:
    known = colours()
    assert contrast("#ffffff", known["act"]) >= 4.5
    assert contrast(known["attention"], "#3a2f0f") >= 4.5
    sheet = (PAGE / "app.css").read_text()
    assert "opacity" not in sheet  # it would lower the contrast of what is below it
    for chosen in re.findall(r"--(?:up|down): (#[0-9a-f]{6})", sheet):
        assert contrast(chosen, known["high"]) >= 4.5
    for ground in re.findall(r"\.fade\d \{ background: (#[0-9a-f]{6})", sheet):
        for text in ("text", "dim", "up", "down", "attention", "wrong"):
            assert contrast(known[text], ground) >= 4.5, (text, ground)


def health(server: ScriptedServer) -> None:
    server.put("connections", *(
        {"id": number, "listener": f"desk{number:03d}", "endpoint": "private", "phase": "live", "since_at": NOW,
         "answered_at": NOW, "last_message_at": NOW, "rtt_us": 900, "messages": 5, "reconnects": 0, "channels": 5}
        for number in range(40)
    ))  # fmt: skip
    server.put("journal", {"id": 1, "at": NOW, "level": "warning", "account": "desk001", "event": "disconnected",
                           "detail": "pong " * 40, "meaning": "a connection ended", "remedy": "nothing"})  # fmt: skip


@pytest.mark.slow
def test_every_view_and_everything_in_it_is_reached_by_keys(server: ScriptedServer) -> None:
    """Focus is always somewhere in the view, is seen there, and comes back when a dialog or a detail is closed."""
    desk(server)
    health(server)
    page = server.open()
    expect(page.locator(f"{SHOWN} .tbody .row:visible").first).to_be_visible()
    for letter, name in LETTERS.items():
        press(page, f"g {letter}")
        expect(page).to_have_url(re.compile(f"#{name}"))
        expect(page.locator(f"{SHOWN}.{name} > [tabindex='0']").first).to_be_focused()
        for opened, dialog in (("c", "#columns"), ("Comma", "#settings"), ("Shift+Slash", "#help")):
            if opened == "c" and name in ("market", "equity", "coverage"):
                continue
            press(page, opened)
            expect(page.locator(dialog)).to_be_visible()
            press(page, "Escape")
            expect(page.locator(f"{SHOWN}.{name} > [tabindex='0']").first).to_be_focused()
    press(page, "g a j Enter")
    expect(page.locator(f"{SHOWN} .pane")).to_be_visible()
    grid = page.locator(f"{SHOWN} .grid")
    expect(grid).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(f"{SHOWN} .pane")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Close the detail")).to_be_focused()
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(f"{SHOWN} .pane")).to_have_count(0)
    expect(grid).to_be_focused()
    press(page, "g h")
    for region in (".healthfacts", ".journal"):
        page.keyboard.press("Tab")
        expect(page.locator(region)).to_be_focused()
    press(page, "g o j o")  # the link of the cell
    expect(page).to_have_url(re.compile(r"#accounts\?acct=desk"))


@pytest.mark.slow
def test_roles_names_and_states_are_said(server: ScriptedServer) -> None:
    desk(server)
    health(server)
    page = server.open("#positions")
    group = page.locator(f"{SHOWN} .tbody .row.group").first
    expect(group).to_have_attribute("aria-expanded", "false")
    press(page, "j Space")
    expect(page.locator(f"{SHOWN} .tbody .row.group[aria-expanded=true]")).to_have_count(1)
    grid = page.get_by_role("treegrid", name="Positions")
    expect(grid).to_have_attribute("aria-activedescendant", re.compile(r"positions-\d+"))
    orphans = """() => {
        const inside = {gridcell: "row", columnheader: "row", row: "rowgroup", rowgroup: "grid", option: "listbox"};
        return [...document.querySelectorAll("[role]")].filter((node) => inside[node.role]
            && node.parentElement?.role.replace("tree", "") !== inside[node.role]).length;
    }"""
    for letter in LETTERS:
        press(page, f"g {letter}")
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate(orphans) == 0
    page.keyboard.press("Shift+Semicolon")
    box = page.get_by_role("combobox")
    expect(box).to_have_attribute("aria-activedescendant", "offer-0")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#offer-1")).to_have_attribute("aria-selected", "true")


@pytest.mark.slow
def test_what_is_spoken_is_a_change_of_state_and_no_number_of_the_market(server: ScriptedServer) -> None:
    """Ages, prices and sums change all the time; the only live region is the one that says what is in trouble."""
    desk(server, 12)
    page = server.open()
    expect(page.locator("#spoken")).to_have_text("1 account in trouble")
    live = page.locator("[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log], output")
    expect(live.filter(visible=True)).to_have_count(1)  # the tickets of plans answer those who use them
    page.evaluate("""() => {
        window.spoken = [];
        new MutationObserver(() => window.spoken.push(document.getElementById("spoken").textContent))
            .observe(document.getElementById("spoken"), {childList: true, characterData: true, subtree: true});
    }""")
    for number in range(20):
        server.put("accounts", {"account": "desk000", "state": "live", "covered_until": NOW, "equity": f"{number}.5"})
        page.wait_for_timeout(1)
    let_pass(page, 2)
    assert page.evaluate("() => window.spoken") == []
    server.close_socket()
    server.answers = False
    expect(page.locator("#spoken")).to_have_text("Connection lost")
    let_pass(page, 7)  # the bar counts up meanwhile
    assert page.evaluate("() => window.spoken") == ["Connection lost"]


@pytest.mark.slow
def test_no_row_moves_when_a_bar_appears(server: ScriptedServer) -> None:
    desk(server, 30)
    page = server.open()
    rows = page.locator(f"{SHOWN} .tbody .row:visible")
    expect(rows).to_have_count(30)
    box = rows.first.bounding_box()
    for width in (1920, 390):
        page.set_viewport_size({"width": width, "height": 844})
        let_pass(page, 1)
        box = rows.first.bounding_box()
        server.close_socket()
        server.answers = False
        expect(page.locator("#bars .red")).to_be_visible()
        assert rows.first.bounding_box() == box
        server.answer()
        expect(page.locator("#bars .red")).to_have_count(0)
        expect(rows.nth(1)).to_have_class(re.compile("of-live|of-stale"))
        eventually(page, lambda: page.locator("html.lost").count(), 0)
        server.head = {"gaps": [3, 60, NOW]}  # the line on top says more, and stays as high
        expect(page.locator("#fact-gaps")).to_be_visible()
        assert rows.first.bounding_box() == box
        server.head = {}
        expect(page.locator("#fact-gaps")).to_be_hidden()


OVERFLOW = """() => {
    const wide = document.documentElement.clientWidth;
    return [...document.querySelectorAll("body, body > *:not(dialog), .view:not([hidden]), .view:not([hidden]) > *")]
        .filter((node) => node.offsetParent !== null || node === document.body)
        .map((node) => [node.id || node.className, node.getBoundingClientRect()])
        .filter(([, box]) => box.left < -0.5 || box.right > wide + 0.5 || box.bottom > innerHeight + 0.5)
        .map(([name, box]) => `${name} ${box.left} ${box.right} ${box.bottom}`);
}"""
BEYOND = "(node) => node.scrollWidth - node.clientWidth"
NARROW = {
    "accounts": ["account", "state", "as of", "equity USD"],
    "positions": ["instrument", "accounts", "net contracts", "uPnL", "state"],
    "orders": ["account", "instrument", "side", "price", "state"],
    "fills": ["time UTC", "account", "instrument", "side", "size"],
    "health": ["account", "state", "proved", "again"],
}


@pytest.mark.slow
def test_a_phone_shows_what_matters_and_the_rest_in_the_detail(
    server: ScriptedServer, screenshots: Path | None
) -> None:
    desk(server)
    health(server)
    server.page.set_viewport_size({"width": 390, "height": 844})
    page = server.open()
    for letter, name in LETTERS.items():
        press(page, f"g {letter}")
        expect(page.locator(f"{SHOWN}.{name}")).to_be_visible()
        expect(page.get_by_role("link", name=name.title())).to_be_in_viewport()
        if name in NARROW:
            expect(page.locator(f"{SHOWN} .thead [role=columnheader]")).to_have_text(NARROW[name])
            eventually(page, lambda: page.locator(f"{SHOWN} .grid").evaluate(BEYOND), 0)
        eventually(page, lambda: page.evaluate(OVERFLOW), [])
        if screenshots:
            page.screenshot(path=screenshots / f"{name}-390.png")
    press(page, "g a")
    page.locator(f"{SHOWN} .tbody .row[aria-rowindex='2']").click()
    pane = page.locator(f"{SHOWN} .pane")
    expect(pane).to_be_visible()
    eventually(page, lambda: page.evaluate(OVERFLOW), [])
    box, place = pane.bounding_box(), page.locator(SHOWN).bounding_box()
    assert box == place  # it covers the table
    page.get_by_role("button", name="Close the detail").click()
    expect(pane).to_have_count(0)
    page.set_viewport_size({"width": 1920, "height": 1080})  # all columns are back
    eventually(page, lambda: page.locator(f"{SHOWN} .thead [role=columnheader]").count() > 10, True)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(960, 540), (640, 400), (360, 640)])
def test_the_page_can_be_enlarged(server: ScriptedServer, width: int, height: int) -> None:
    """960 by 540 is a screen of 1920 by 1080 at 200 %; nothing is cut off, and rows are left to be read."""
    desk(server)
    health(server)
    server.page.set_viewport_size({"width": width, "height": height})
    page = server.open()
    for letter in LETTERS:
        press(page, f"g {letter}")
        eventually(page, lambda: page.evaluate(OVERFLOW), [])
    press(page, "g a")
    expect(page.locator(f"{SHOWN} .tbody .row:visible").nth(5)).to_be_in_viewport()
    press(page, "Shift+Slash")
    box = page.locator("#help").bounding_box()
    assert box
    assert box["height"] <= height
    assert box["width"] <= width


@pytest.mark.slow
def test_nothing_moves_for_who_wants_less_motion(server: ScriptedServer) -> None:
    server.page.emulate_media(reduced_motion="reduce")
    desk(server, 3)
    page = server.open()
    rows = page.locator(f"{SHOWN} .tbody .row:visible")
    expect(rows).to_have_count(3)
    server.put("accounts", {"account": "desk000", "state": "live", "covered_until": NOW, "equity": "7.5"})
    grounds = "() => [...document.querySelectorAll('.cell')].map((cell) => getComputedStyle(cell).backgroundColor)"
    expect(page.locator(f"{SHOWN} .tbody")).to_contain_text("7.50")
    assert set(page.evaluate(grounds)) <= {"rgba(0, 0, 0, 0)", "rgb(11, 14, 17)"}
    moving = "() => document.getAnimations().length"
    assert page.evaluate(moving) == 0


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.mark.slow
def test_a_hidden_page_paints_nothing_asks_nothing_and_recovers(server: ScriptedServer) -> None:
    """It acknowledges what it has taken in, so that the server keeps it; and says that nobody sees it."""
    desk(server, 3)
    page = server.open()
    expect(page.locator(f"{SHOWN} .tbody .row:visible")).to_have_count(3)
    requests: list[str] = []
    page.evaluate(HIDE, True)
    eventually(page, lambda: [one for one in server.sent if "hidden" in one][-1:], [{"hidden": True}])
    page.evaluate("""() => {
        window.painted = 0;
        for (const name of ["main", "totals", "head", "notes"])
            new MutationObserver((all) => (window.painted += all.length)).observe(document.getElementById(name),
                {childList: true, characterData: true, attributes: true, subtree: true});
    }""")
    page.on("request", lambda request: requests.append(request.url))
    server.sent.clear()
    for number in range(30):
        server.put("accounts", {"account": "desk000", "state": "live", "covered_until": NOW, "equity": f"{number}.25"})
    wanted = server.numbers["accounts"]
    eventually(page, lambda: bool(server.sent) and server.sent[-1].get("ack", {}).get("accounts"), wanted)
    assert page.evaluate("() => window.painted") == 0
    assert requests == []
    assert {key for one in server.sent for key in one} == {"ack"}
    page.evaluate(HIDE, False)
    expect(page.locator(f"{SHOWN} .tbody")).to_contain_text("29.25")
    eventually(page, lambda: {"hidden": False} in server.sent, True)


def axis(page: Page, zone: str) -> Any:
    return page.evaluate(
        """async ([zone, begin, days]) => {
            const [time, range] = [await import("/page/time.js"), await import("/page/range.js")];
            time.setZone(zone);
            const end = begin + days * 86400e6;
            return range.ticks({begin, end}, 900).map(({x, text}) => {
                const at = begin + (x / 900) * (end - begin);
                return `${text} = ${new Date(Math.round(at / 1000)).toISOString().slice(0, 16)}`;
            });
        }""",
        [zone, 1_792_670_400_000_000, 8],  # 2026-10-22 12:00 UTC; clocks in Berlin go back on the 25th
    )


@pytest.mark.slow
def test_days_of_an_axis_begin_at_midnight_of_the_chosen_zone(server: ScriptedServer) -> None:
    page = server.open()
    assert axis(page, "UTC")[0] == "10-23 = 2026-10-23T00:00"
    assert axis(page, "UTC+8")[:2] == ["10-23 = 2026-10-22T16:00", "10-24 = 2026-10-23T16:00"]


@pytest.mark.slow
def test_days_of_an_axis_follow_clocks_that_are_changed(browser: Any) -> None:
    context = browser.new_context(timezone_id="Europe/Berlin")
    server = ScriptedServer(context)
    page = server.open()
    assert axis(page, "local")[:5] == [
        "10-23 = 2026-10-22T22:00",
        "10-24 = 2026-10-23T22:00",
        "10-25 = 2026-10-24T22:00",
        "10-26 = 2026-10-25T23:00",
        "10-27 = 2026-10-26T23:00",
    ]
    server.close()
    context.close()


@pytest.mark.slow
def test_how_much_there_is_to_read_is_said_while_it_is_read(server: ScriptedServer) -> None:
    desk(server, 3)
    server.counts = {"orders": 5000}
    server.held_back = {"orders"}
    page = server.open("#orders")
    expect(page.locator(f"{SHOWN} .message")).to_have_text("Reading 5\u2009000 orders \u2026")
