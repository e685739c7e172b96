"""The picture of coverage in a browser: what the canvas shows is what the table of gaps says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from okxsync.messages import ConfiguredAccount, GapResult, Lost, Subscribed
from tests.support.desk import Desk, phase
from tests.support.terminal_page import NOW, ScriptedServer, serve_past

pytestmark = pytest.mark.slow
MINUTE = 60_000_000
COLOURS = {"open": "ff5470", "filled": "7aa2ff", "partial": "ffd166", "covered": "1f5c50"}
LEFT, RIGHT, HEAD, LANE = 96, 124, 20, 16
SHOWN = ".view:not([hidden])"

PIXELS = """(canvas, [x, y, width, height]) => {
  const ratio = canvas.width / canvas.clientWidth;
  const box = [x, y, Math.max(1, width), height].map((one) => Math.round(one * ratio));
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(...box);
  const found = new Set();
  for (let at = 0; at < data.length; at += 4)
    found.add([0, 1, 2].map((one) => data[at + one].toString(16).padStart(2, "0")).join(""));
  return [...found];
}"""


@pytest.fixture
def desk(make_desk: Callable[[], Desk]) -> Desk:
    """Two accounts; alpha has a gap that REST filled, one that it could not, and one that is open."""
    desk = make_desk()
    begin = NOW - 20 * 60 * MINUTE
    desk.apply(desk.start(NOW))
    for number, name in enumerate(("alpha", "beta"), 1):
        desk.apply(ConfiguredAccount(name, "sandbox", True, begin, None))
        desk.apply(phase(begin, number=number, listener=name), Subscribed(number, name, ["orders"], begin))
    for hours, minutes, outcome in ((10, 30, "filled"), (6, 60, "partial"), (1, 0, None)):
        at = NOW - hours * 60 * MINUTE
        desk.db.execute("UPDATE coverage SET covered_until = ? WHERE account = 'alpha'", [at])
        desk.apply(Lost(1, "alpha", ["orders"], at, f"lost for {minutes} minutes"))
        if outcome:
            desk.apply(Subscribed(1, "alpha", ["orders"], at + minutes * MINUTE))
            (number,) = desk.rows("SELECT max(id) FROM gaps")[0]
            desk.apply(GapResult(number, at + 2 * minutes * MINUTE, outcome, 5, None))
    desk.db.execute("UPDATE coverage SET covered_until = ? WHERE account = 'beta'", [NOW])
    return desk


def drawn(page: Page) -> None:
    """Wait for the first picture."""
    expect(page.locator(f"{SHOWN} canvas")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    expect(page.locator(f"{SHOWN} .line")).to_contain_text("%")


def colours(page: Page, row: int, hours: float, width: float = 1) -> set[str]:
    """Return the colours of a lane at so many hours before now."""
    canvas = page.locator(f"{SHOWN} canvas")
    plot = canvas.evaluate("canvas => canvas.clientWidth") - LEFT - RIGHT
    x = LEFT + int(plot) * (1 - hours / 24)
    box = [x, HEAD + row * LANE, width, LANE]
    return {name for name, colour in COLOURS.items() if colour in canvas.evaluate(PIXELS, box)}


def test_the_canvas_shows_the_gaps_of_the_database(
    server: ScriptedServer, desk: Desk, screenshots: Path | None
) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#coverage")
    drawn(page)
    expect(page.locator(f"{SHOWN} canvas")).to_have_attribute(
        "aria-label", re.compile("2 accounts.*1 with an open gap")
    )
    assert colours(page, 0, 9.75) == {"filled"}  # the account that is worse off is the first
    assert colours(page, 0, 5.5, width=6) == {"partial"}
    assert colours(page, 0, 0.5) == {"open"}
    assert colours(page, 0, 15) == {"covered"}
    assert colours(page, 0, 21) == set()  # before it began
    for hours in (9.75, 5.5, 0.5, 15):
        assert colours(page, 1, hours) == {"covered"}
    if screenshots:
        page.screenshot(path=screenshots / "coverage.png")


def test_keys_change_the_time_and_it_stands_in_the_address(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#accounts")
    page.keyboard.press("g")
    page.keyboard.press("c")
    drawn(page)
    pressed = page.locator(f"{SHOWN} .picturebar [aria-pressed=true]")
    expect(pressed).to_have_text("24 h")
    page.keyboard.press("-")
    expect(pressed).to_have_text("7 d")
    expect(page).to_have_url(re.compile("#coverage\\?range=7d$"))
    page.keyboard.press("=")
    page.keyboard.press("=")
    expect(pressed).to_have_text("6 h")
    page.keyboard.press("[")
    expect(page).to_have_url(re.compile("range=6h&end=\\d+"))
    page.keyboard.press("]")
    expect(page).to_have_url(re.compile("range=6h$"))


def test_enter_lists_the_gaps_and_t_shows_a_table(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#coverage")
    drawn(page)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    rows = page.locator(f"{SHOWN} .inside tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("open")
    expect(rows.nth(2)).to_contain_text("lost for 30 minutes")
    expect(rows.nth(2)).to_contain_text("filled")
    page.keyboard.press("Escape")
    expect(page.locator(f"{SHOWN} .inside")).to_be_hidden()
    page.keyboard.press("t")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("alpha")
    expect(rows.nth(1)).to_contain_text("no open gap")
    page.keyboard.press("t")
    drawn(page)


def test_pointing_at_a_gap_says_why_and_what_closed_it(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#coverage")
    drawn(page)
    canvas = page.locator(f"{SHOWN} canvas")
    plot = canvas.evaluate("canvas => canvas.clientWidth") - LEFT - RIGHT
    canvas.hover(position={"x": LEFT + plot * (1 - 9.75 / 24), "y": HEAD + LANE / 2})
    tip = page.locator(f"{SHOWN} .tip")
    expect(tip).to_contain_text("alpha  orders")
    expect(tip).to_contain_text("lost for 30 minutes; filled, 5 rows")


def test_a_filter_chooses_the_accounts(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#coverage?acct=b*")
    drawn(page)
    expect(page.locator("#notes")).to_contain_text("1 of 2")
    expect(page.locator(f"{SHOWN} canvas")).to_have_attribute("aria-label", re.compile("1 accounts.*100 %"))


def test_a_picture_that_cannot_be_read_is_an_error_and_not_an_empty_one(server: ScriptedServer, desk: Desk) -> None:
    server.tolerated = ["503"]  # the browser reports it
    server.picture = lambda kind, given: {"status": 503, "json": {"error": "the database is locked"}}
    server.cover("alpha")
    page = server.open("#coverage")
    expect(page.locator(f"{SHOWN} .message")).to_have_text("Not known: the database is locked.")
    expect(page.locator(f"{SHOWN} canvas")).to_be_hidden()
    serve_past(server, desk, "alpha", "beta")
    drawn(page)


def test_a_lost_page_has_no_fresh_picture(server: ScriptedServer, desk: Desk) -> None:
    serve_past(server, desk, "alpha", "beta")
    page = server.open("#coverage")
    drawn(page)
    server.answers = False
    server.close_socket()
    expect(page.locator("html")).to_have_class("lost")
    expect(page.locator(f"{SHOWN} canvas")).to_have_css("filter", re.compile("grayscale"))
