"""What axe-core finds in the page: nothing, in every view and dialog, on the screen of a desk and on a phone."""

from collections.abc import Callable
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.desk import Desk
from tests.support.terminal_page import ScriptedServer, serve_past
from tests.terminal import test_page_details, test_page_plans
from tests.terminal.test_page_hands import desk, press
from tests.terminal.test_page_reach import LETTERS, health

pytestmark = pytest.mark.slow
SHOWN: Final = ".view:not([hidden])"
WIDE, PHONE = {"width": 1920, "height": 1080}, {"width": 390, "height": 844}
AXE: Final = Axe()
OPTIONS: Final = {"resultTypes": ["violations"]}


def expect_nothing_found(page: Page) -> None:
    found = AXE.run(page, options=OPTIONS).response["violations"]
    said = [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in found for node in one["nodes"]]
    assert not said, "\n".join(said)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1080p", "phone"])
@pytest.mark.parametrize("letter", LETTERS)
def test_every_view(server: ScriptedServer, letter: str, size: dict[str, int]) -> None:
    desk(server)
    health(server)
    server.page.set_viewport_size(size)  # type: ignore[arg-type]
    page = server.open(f"#{LETTERS[letter]}?open=*")
    expect(page.locator(f"{SHOWN}.{LETTERS[letter]}")).to_be_visible()
    expect(page.locator("#fact-daemon b")).to_have_text("live")
    if LETTERS[letter] in ("accounts", "positions", "orders", "fills", "health"):
        expect(page.locator(f"{SHOWN} .tbody .row:visible").nth(2)).to_be_visible()
        press(page, "j j x")
    expect_nothing_found(page)
    server.answers = False
    server.close_socket()
    expect(page.locator("#bars .red")).to_be_visible()
    expect_nothing_found(page)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1080p", "phone"])
def test_dialogs_and_the_login(server: ScriptedServer, size: dict[str, int]) -> None:
    desk(server)
    server.page.set_viewport_size(size)  # type: ignore[arg-type]
    server.tolerated.append("403")
    page = server.open(token=None)
    expect(page.locator("#login")).to_be_visible()
    expect_nothing_found(page)
    page.locator("#login input").fill("right")
    page.keyboard.press("Enter")
    expect(page.locator(f"{SHOWN} .tbody .row:visible").first).to_be_visible()
    keys = {"c": "columns", "Comma": "settings", "Shift+Slash": "help", "Shift+Semicolon": "command"}
    for key, dialog in keys.items():
        press(page, key)
        expect(page.locator(f"#{dialog}")).to_be_visible()
        expect_nothing_found(page)
        press(page, "Escape")
    press(page, "Slash")
    expect_nothing_found(page)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1080p", "phone"])
def test_details(server: ScriptedServer, make_desk: Callable[[], Desk], size: dict[str, int]) -> None:
    serve_past(server, test_page_details.make(make_desk()), "alpha")
    test_page_details.rows_of_page(server)
    server.page.set_viewport_size(size)  # type: ignore[arg-type]
    page = server.open()
    for view in ("accounts", "orders"):
        page.evaluate("(view) => { location.hash = view; }", view)
        expect(page.locator(f"{SHOWN} .tbody .row:visible").first).to_be_visible()
        press(page, "j Enter")
        expect(page.locator(f"{SHOWN} .pane table").first).to_be_visible()
        expect_nothing_found(page)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1080p", "phone"])
def test_plans(server: ScriptedServer, size: dict[str, int]) -> None:
    test_page_plans.desk(server)
    server.page.set_viewport_size(size)  # type: ignore[arg-type]
    page = server.open("#plans")
    expect(page.locator(f"{SHOWN} .tbody .row:visible")).to_be_visible()
    expect_nothing_found(page)
    press(page, "p n")
    expect(page.locator(".compose")).to_be_visible()
    expect_nothing_found(page)
    page.evaluate("(id) => { location.hash = `#plan?plan=${id}`; }", test_page_plans.PLAN_ID)
    expect(page.locator(f"{SHOWN} .tbody .row:visible").nth(2)).to_be_visible()
    expect_nothing_found(page)
    server.halted = True
    server.beat()
    expect(page.locator("#head .halt")).to_have_text("HALTED")
    expect_nothing_found(page)
    page.locator("#head .halt").click()
    expect(page.locator("dialog.halted")).to_be_visible()
    expect_nothing_found(page)
