"""The page of the terminal in a browser, with a server that the test scripts message by message.

Files are answered from the package under the security headers of the server, so that a violation shows here too.

The page paints later than it changes its address, and a busy machine delays both. So a test never reads the page once:
it waits with ``expect`` or ``eventually`` until the page is as expected.
"""

import asyncio
import itertools
import json
import mimetypes
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Route, WebSocketRoute, expect

import okxsync.terminal
from okxsync.terminal.gallery import draw
from okxsync.terminal.parameters import BadRequest
from okxsync.terminal.topics import TOPICS
from tests.support.desk import Desk

PAGE: Final = Path(okxsync.terminal.__file__).parent / "page"
ORIGIN: Final = "http://127.0.0.1:8790"
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
    "connect-src 'self' ws://127.0.0.1:8790; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
NOW: Final = 1_790_000_000_000_000
"""Microseconds UTC of the first heartbeat: 2026-09-21 14:13:20."""
LIMIT_MS: Final = 30_000
"""For each expectation; a busy machine is several times slower than a quiet one."""
POLL_MS: Final = 50
BEAT_S: Final = 0.5
"""Between two heartbeats. The real server sends one a second; the page takes more without harm."""

expect.set_options(timeout=LIMIT_MS)

Row = dict[str, Any]


def eventually(page: Page, read: Callable[[], object], expected: object, limit_ms: int = LIMIT_MS) -> None:
    """Wait until what is read of the page equals what is expected."""
    end = time.monotonic() + limit_ms / 1000
    while (found := read()) != expected and time.monotonic() < end:
        page.wait_for_timeout(POLL_MS)  # meanwhile messages and events are handled
    assert found == expected


def shown_accounts(page: Page) -> list[str]:
    """Return the first cells of the rows that are shown, from top to bottom; elements stand in any order."""
    names: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(".view:not([hidden]) .tbody .row:not([hidden])")]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.firstChild.textContent)"""
    )
    return names


def serve_past(server: "ScriptedServer", desk: Desk, *accounts: str) -> None:
    """Answer requests for pictures and details from a database; the page gets rows only to know who is there."""

    def answer(kind: str, given: dict[str, str]) -> dict[str, Any]:
        now = server.now
        desk.db.execute("UPDATE runs SET heartbeat_at = ?", [now])
        try:
            body = draw(desk.path, kind, given, lambda: now)
        except BadRequest as error:
            return {"status": 400, "json": {"error": str(error)}}
        return {"body": body, "content_type": "application/json"}

    server.picture = answer
    for name in accounts:
        server.cover(name)


def let_pass(page: Page, seconds: int) -> None:
    """Wait until the page has painted a clock that is later by so many seconds, and all else that was due by then."""
    clock = page.locator("#fact-time b")
    read = "() => Date.parse(document.querySelector('#fact-time b').textContent.replace(' ', 'T'))"
    expect(clock).to_have_text(re.compile(r"\d\d:\d\d:\d\d$"))
    begin = page.evaluate(read)
    eventually(page, lambda: page.evaluate(read) >= begin + seconds * 1000, True)


class ScriptedServer:
    """Answers the page as the server would, from rows that the test sets.

    Attributes:
        sent: All messages of the page.
        violations: What the browser has complained about: errors, violations of the CSP, dialogs.
        tolerated: Patterns of complaints that the test provokes.
        now: The server's time in microseconds. It runs as the real clock does.
        beats: Whether a heartbeat is sent each half second.
        answers: Whether a new socket is answered.
        held_back: Topics that a subscription does not bring yet.
        trade: What the heartbeat says of trading; ``halted`` likewise.
        asked: All requests to the daemon.
        request: Answers one of these, with what ``Route.fulfill`` takes.
        picture: Answers a request for a picture, by its kind and parameters, with what ``Route.fulfill`` takes.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], list[Any]]] = {name: {} for name in TOPICS}
        self.numbers = dict.fromkeys(TOPICS, 1)
        self.beat_numbers = itertools.count(1)
        self.beats = True
        self.began = time.monotonic()
        self.error: dict[str, Any] | None = None
        self.daemon: dict[str, Any] = {
            "state": "running", "reason": None, "version": "1", "started_at": NOW, "heartbeat_at": NOW,
            "stopped_at": None, "exit": None, "store_lag_us": 19_000,
        }  # fmt: skip
        self.daemon_beats = True
        self.head: dict[str, Any] = {}
        self.health: dict[str, Any] = {}
        self.screens: list[int | None] = []
        self.counts: dict[str, int] = {}
        self.sent: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.tolerated: list[str] = []
        self.wanted: list[str] = []
        self.sockets: list[WebSocketRoute] = []
        self.unanswered: list[tuple[WebSocketRoute, dict[str, Any]]] = []
        self.answers = True
        self.held_back: set[str] = set()
        self.tokens = {"right"}
        self.trade: dict[str, Any] | None = None
        self.halted = False
        self.asked: list[dict[str, Any]] = []
        self.request: Callable[[dict[str, Any]], dict[str, Any]] = self._accept_request
        self.picture: Callable[[str, dict[str, str]], dict[str, Any]] = self._no_past
        context.route(f"{ORIGIN}/**", self._answer)
        context.route_web_socket("**/ws", self._open)
        self.page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.violations.append(str(error)))
        self.page.on("dialog", lambda dialog: self.violations.append(dialog.message))
        # Playwright runs this loop whenever a test waits for the browser.
        self.loop = asyncio.get_running_loop()
        self.timer = self.loop.call_later(BEAT_S, self._beat_again)

    @property
    def now(self) -> int:
        return NOW + int((time.monotonic() - self.began) * 1_000_000)

    @property
    def complaints(self) -> list[str]:
        """Violations that the test did not provoke."""
        return [text for text in self.violations if not any(re.search(one, text) for one in self.tolerated)]

    def close(self) -> None:
        """Stop the heartbeats."""
        self.timer.cancel()

    # What the test does.

    def put(self, topic: str, *rows: Row) -> None:
        """Add or replace rows, by column name; send them if the page is subscribed."""
        wire = TOPICS[topic]
        made = [[row.get(column) for column in wire.columns] for row in rows]
        for row in made:
            self.rows[topic][tuple(row[: wire.key])] = row
        self.numbers[topic] += 1
        self._push({"t": topic, "n": self.numbers[topic], "put": made, "del": [], "at": self.now})

    def remove(self, topic: str, *key: Any) -> None:
        del self.rows[topic][key]
        self.numbers[topic] += 1
        self._push({"t": topic, "n": self.numbers[topic], "put": [], "del": [list(key)], "at": self.now})

    def cover(self, account: str, state: str = "live", until: int | None = None, channels: Iterable[str] = ()) -> None:
        """Set how fresh the channels of an account are."""
        chosen = list(channels) or ["account", "positions", "orders", "orders-algo"]
        if until is None and state != "never":
            until = self.now - 300_000
        self.put(
            "freshness",
            *({"account": account, "channel": name, "state": state, "covered_until": until} for name in chosen),
        )

    def beat(self) -> None:
        """Send a heartbeat now."""
        for socket in self.sockets:
            socket.send(json.dumps([self._heartbeat()]))

    def answer(self) -> None:
        """Answer new sockets again, and those that wait."""
        self.answers = True
        waiting, self.unanswered = self.unanswered, []
        for socket, message in waiting:
            self._message(socket, message)

    def open(self, address: str = "", *, token: str | None = "right") -> Page:
        """Open the page, logged in."""
        fragment = f"#token={token}" if token else ""
        if token and address:
            fragment += f"&{address.removeprefix('#')}"
        self.page.goto(f"{ORIGIN}/{fragment or address}")
        return self.page

    def close_socket(self, code: int = 1001) -> None:
        for socket in self.sockets:
            socket.close(code=code)
        self.sockets.clear()

    # What the page asks.

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN).split("?")[0].split("#")[0]
        if path == "/session":
            right = (route.request.post_data_json or {}).get("token") in self.tokens
            route.fulfill(status=200 if right else 403, json={"key": "half"} if right else {})
            return
        if path == "/session/trade":
            right = (route.request.post_data_json or {}).get("token") in self.tokens
            route.fulfill(status=200 if right else 403, json={} if right else {"error": "wrong token"})
            return
        if path == "/request":
            self.asked.append(route.request.post_data_json or {})
            route.fulfill(**self.request(self.asked[-1]))
            return
        if path.startswith("/picture/"):
            given = dict(parse_qsl(urlsplit(route.request.url).query))
            route.fulfill(**self.picture(path.removeprefix("/picture/"), given))
            return
        file = PAGE / ("index.html" if path == "/" else path.removeprefix("/page/"))
        if not file.is_file():
            route.fulfill(status=404)
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        route.fulfill(body=file.read_bytes(), content_type=kind, headers={"Content-Security-Policy": CSP})

    def _no_past(self, kind: str, given: dict[str, str]) -> dict[str, Any]:
        """Answer as from a database without a past."""
        lists = "cols rows states accounts candles fills holes points breaks transfers".split()
        nothing: dict[str, Any] = dict.fromkeys(lists, ()) | {
            "since": None,
            "more": False,
            "never": 0,
            "step": 60_000_000,
        }
        if kind in ("account", "order"):
            names = "balances positions orders gaps journal fills".split()
            tables = {name: {"cols": (), "rows": ()} for name in names}
            nothing |= tables | {"facts": (), "lanes": (), "raw": None, "since": self.now, "until": None}
        return {"json": {"now": self.now, **nothing}}

    def _accept_request(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"json": {"request": len(self.asked), "plan": message.get("plan", "0123456789A"), "note": ""}}

    def _open(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda message: self._message(socket, json.loads(message)))

    def _message(self, socket: WebSocketRoute, message: dict[str, Any]) -> None:
        if not self.answers:
            self.unanswered.append((socket, message))
            return
        self.sent.append(message)
        if "sub" not in message:
            return
        if socket not in self.sockets:
            self.sockets.append(socket)
        self.wanted = list(message["sub"])
        chosen = [name for name in TOPICS if name in self.wanted and name not in self.held_back]
        parts = [self._heartbeat(), *map(self._snapshot, chosen)]
        socket.send(json.dumps(parts))

    def _snapshot(self, name: str) -> dict[str, Any]:
        wire = TOPICS[name]
        rows = list(self.rows[name].values())
        return {"t": name, "n": self.numbers[name], "key": wire.key, "cols": list(wire.columns), "rows": rows}

    def _beat_again(self) -> None:
        if self.beats and self.answers:
            self.beat()
        self.timer = self.loop.call_later(BEAT_S, self._beat_again)

    def _heartbeat(self) -> dict[str, Any]:
        if self.daemon["state"] == "running" and self.daemon_beats:
            self.daemon["heartbeat_at"] = self.now - 200_000
        states = {row[1] for row in self.rows["accounts"].values()}
        head = {
            "live": 2, "all": 2, "gaps": [0, 0, None],
            "equity": {"live": [0, "0"], "unproved": [0, "0", None], "stale": [0, "0", None], "never": 0},
            "upl": {"live": [0, "0"], "unproved": [0, "0", None], "stale": [0, "0", None], "never": 0},
            "accounts": {state: sum(row[1] == state for row in self.rows["accounts"].values()) for state in states},
            **self.head,
        }  # fmt: skip
        return {
            "t": "now", "n": next(self.beat_numbers), "at": self.now, "epoch": "e1", "error": self.error,
            "daemon": self.daemon, "head": head, "health": self.health, "screens": self.screens, "rows": self.counts,
            "trade": self.trade, "halted": self.halted,
        }  # fmt: skip

    def _push(self, part: dict[str, Any]) -> None:
        if part["t"] not in self.wanted:
            return
        for socket in self.sockets:
            socket.send(json.dumps([part]))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.violations.append(message.text)
