"""The page with the real terminal, as processes: what it shows equals the database, and it comes back from anything."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from okxsync.messages import ConfiguredAccount
from okxsync.okx.channels import DEFAULT_CHANNELS
from tests.support.desk import NOW, Desk, order
from tests.support.terminal_page import LIMIT_MS, eventually

pytestmark = pytest.mark.slow
STARTING_MS = 180_000
"""For a demo to mirror its accounts; a busy machine is several times slower than a quiet one."""


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command that serves the terminal; yields the process and the address that it prints."""
    command = [sys.executable, "-u", "-m", "okxsync", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if match := re.search(r"http\S+#token=\S+", line):
                    break
            else:
                pytest.fail("".join(lines))
            threading.Thread(target=process.stdout.read, daemon=True).start()  # so that it never waits for us
            yield process, match[0]
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    context.set_default_timeout(LIMIT_MS)
    complaints: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.extend([message.text] if "Policy" in message.text else []))
    yield page
    context.close()
    assert complaints == []


def test_the_page_shows_what_the_database_holds_and_survives_the_terminal(page: Page, desk: Desk) -> None:
    """Every order to the last digit; a killed terminal is a red bar, and the next one asks for its own token."""
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin(*DEFAULT_CHANNELS, pid=os.getpid())
    desk.push("orders", *(order(number, px=f"{number}.000000001", sz="30") for number in range(1, 300)))
    expected = {number: f"{number}.000000001" for number in range(1, 300)}
    with running("terminal", "--db", str(desk.path), "--port", "0") as (process, url):
        page.goto(url)
        page.evaluate("() => { location.hash = 'orders?sort=order_id'; }")
        expect(page.locator("#totals")).to_contain_text("299 open orders")
        expect(page.locator("#bars .amber")).to_contain_text("The daemon stopped")
        page.keyboard.press("Home")
        cursor = page.locator(".view:not([hidden]) .tbody .row.cursor")
        shown: dict[int, str] = {}
        row = 2  # the heading is the first one
        while True:
            expect(cursor).to_have_attribute("aria-rowindex", str(row))  # so the rows around it are painted too
            rows = page.locator(".view:not([hidden]) .tbody .row:visible")
            cells = rows.evaluate_all("(rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent))")
            shown |= {int(cell[14]): cell[4] for cell in cells}
            if row == 300:
                break
            page.keyboard.press("PageDown")
            expect(cursor).not_to_have_attribute("aria-rowindex", str(row))
            row = int(cursor.get_attribute("aria-rowindex") or 0)
        assert shown == expected
        expect(page.locator(".tbody .of-live")).to_have_count(0)
        process.kill()
        expect(page.locator("#bars .red")).to_contain_text("Connection lost")
        expect(page.locator("#totals")).to_contain_text("299 open orders")
        port = re.findall(r":(\d+)/", url)[0]
    with running("terminal", "--db", str(desk.path), "--port", port) as (_, again):
        expect(page.get_by_label("Token")).to_be_visible(timeout=STARTING_MS)
        page.get_by_label("Token").fill(again)
        page.keyboard.press("Enter")
        expect(page.locator("#bars .red")).to_have_count(0)
        expect(page).to_have_url(re.compile("#orders"))
        expect(page.locator("#totals")).to_contain_text("299 open orders")


FOREIGN = """async (terminal) => {
    const outcome = (promise) => promise.then((answer) => `${answer.type} ${answer.status}`, () => "refused");
    const socket = new WebSocket(`${terminal.replace("http", "ws")}ws`);
    const opened = new Promise((resolve) => {
        socket.onopen = () => resolve("opened");
        socket.onerror = () => resolve("refused");
    });
    const loaded = (node) => new Promise((resolve) => {
        node.onload = () => resolve("loaded");
        node.onerror = () => resolve("refused");
        document.body.append(node);
    });
    const made = (tag, more) => Object.assign(document.createElement(tag), more);
    const login = {method: "POST", credentials: "include", body: '{"token": "x"}'};
    return {
        socket: await opened,
        read: await outcome(fetch(terminal, {credentials: "include"})),
        login: await outcome(fetch(`${terminal}session`, login)),
        blind: await outcome(fetch(`${terminal}session`, {...login, mode: "no-cors"})),
        script: await loaded(made("script", {type: "module", src: `${terminal}page/app.js`})),
        plain: await loaded(made("script", {src: `${terminal}page/app.js`})),
        icon: await loaded(made("img", {src: `${terminal}page/icons/well.svg`})),
        key: localStorage.getItem("okxsync.key"),
    };
}"""
"""What a page tries that another program of this machine serves; it is sent our cookie, for cookies know no ports."""


class Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def foreign_page() -> Iterator[str]:
    """Serve an empty page on another port; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_page_on_another_port_gets_nothing(page: Page, desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin(*DEFAULT_CHANNELS, pid=os.getpid())
    with running("terminal", "--db", str(desk.path), "--port", "0") as (_, url), foreign_page() as address:
        page.goto(url)
        expect(page.locator(".tbody .row:visible")).to_have_count(1)
        terminal = url.partition("#")[0]
        other = page.context.new_page()
        other.goto(address)
        sent = [cookie["name"] for cookie in page.context.cookies(address)]
        assert any(name.startswith("okxsync-") for name in sent)
        assert other.evaluate(FOREIGN, terminal) == {
            "socket": "refused",
            "read": "refused",
            "login": "refused",
            "blind": "refused",
            "script": "refused",
            "plain": "refused",
            "icon": "refused",
            "key": None,
        }
        with page.expect_response("**/app.js"):  # the terminal itself still answers
            page.reload()
        expect(page.locator(".tbody .row:visible")).to_have_count(1)
        framed = page.context.new_page()
        framed.goto(address)
        framed.evaluate(
            "(src) => document.body.append(Object.assign(document.createElement('iframe'), {src}))", terminal
        )
        eventually(framed, lambda: [frame.url for frame in framed.frames[1:]], ["chrome-error://chromewebdata/"])


def test_a_paused_demo_turns_the_page_grey_and_comes_back(page: Page, screenshots: Path | None) -> None:
    with running("demo", "--terminal") as (process, url):
        page.goto(url)
        live = page.locator(".tbody .row.of-live:visible")
        expect(live).to_have_count(5, timeout=STARTING_MS)
        expect(page.locator("#fact-counted")).to_have_text("5 of 5 accounts", timeout=STARTING_MS)
        if screenshots:
            page.screenshot(path=screenshots / "demo.png")
        process.send_signal(signal.SIGSTOP)
        expect(page.locator("html")).to_have_class("lost")
        expect(live).to_have_count(0)
        expect(page.locator("body")).not_to_contain_text(re.compile(r"\blive\b"))
        process.send_signal(signal.SIGCONT)
        expect(live).to_have_count(5, timeout=STARTING_MS)
        expect(page.locator("#bars")).to_be_empty()
