"""The routes of the terminal: the page, the login, the socket, the pictures; and the tasks that run while it is served.

One nursery has the reader's thread, the heartbeat, and a task for each connection. They end with the block.
"""

import gzip
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec
import trio
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from okxsync.config.location import Location
from okxsync.plans.children import is_plan_id
from okxsync.plans.halt import halt_of
from okxsync.runtime.clock import now_us, steady_s
from okxsync.store.database import StoreError
from okxsync.store.engines import engine_of
from okxsync.terminal.access import Origins, Refused, Session, Sessions, new_token
from okxsync.terminal.gallery import draw
from okxsync.terminal.hub import CUT_S, Browser, Hub
from okxsync.terminal.parameters import BadRequest
from okxsync.terminal.reader import Reader, Update
from okxsync.terminal.streams import Peer, Streams
from okxsync.terminal.trading import MAX_REQUEST, TOKEN_AGAIN, Trading

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

BROWSERS: Final = 50
HEARTBEAT_S: Final = 1.0
FIRST_S: Final = 5.0
"""A page must send its first message, and a login its token, within this time."""
MAX_BODY: Final = 4096
PICTURES: Final = "/picture/"
KEY_HEADER: Final = "X-Okxsync-Key"
"""Has the key of the session in requests for pictures, and in those of trading."""
BAD_MESSAGE, NO_SESSION, SILENT, TOO_MANY = 4400, 4401, 4408, 4429
"""Closing codes, see ``topics``."""
PAGE: Final = Path(__file__).with_name("page")
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
"""Only files of these types are served."""
PACKED: Final = frozenset(TYPES[suffix] for suffix in (".html", ".js", ".css", ".json", ".txt", ".svg"))
"""These are compressed where the browser takes that: a quarter of the bytes, for a page that comes over ssh."""
KEPT: Final = {"Cache-Control": "private, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
"""A browser caches the files of the page: the path has their version, so changed files have another path."""


class Address(msgspec.Struct, frozen=True):
    """Where the terminal is served; ``tls`` None: plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which browsers may call it."""
        if self.host in ("127.0.0.1", "localhost"):
            return ("127.0.0.1", "localhost")
        return (f"[{self.host}]" if ":" in self.host else self.host,)

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    def url(self, token: str = "") -> str:
        """Return the address to open. What follows the ``#`` is in no log, and no request carries it."""
        return f"{self.scheme}://{self.names[0]}:{self.port}/" + (f"#token={token}" if token else "")


class _FromPage(msgspec.Struct):
    """A message of the page, see ``topics``."""

    key: str | None = None
    epoch: str | None = None
    sub: dict[str, int | None] | None = None
    plan: str | None = None
    ack: dict[str, int] | None = None
    hidden: bool | None = None


class _Login(msgspec.Struct):
    token: str


class Server:
    """The routes."""

    def __init__(
        self,
        hub: Hub,
        sessions: Sessions,
        address: Address,
        streams: Streams,
        location: Location,
        trading: Trading | None = None,
    ) -> None:
        self._hub = hub
        self._location = location
        self._drawing = trio.CapacityLimiter(1)
        self._sessions = sessions
        self._trading = trading
        self._streams = streams
        self._is_secure = address.tls is not None
        self._cookie = f"okxsync-{address.port}"
        self._files = read_page(PAGE)
        self._version = version_of(self._files)
        index, kind = self._files["index.html"]
        self._files["index.html"] = with_modules(index, self._files, self._version), kind
        self._packed = {content: gzip.compress(content) for content, kind in self._files.values() if kind in PACKED}
        routes = [
            Route("/", self._file),
            Route("/page/{path:path}", self._file),
            Route("/session", self._login, methods=["POST"]),
            Route(f"{PICTURES}{{kind}}", self._picture),
            WebSocketRoute("/ws", self._socket),
        ]
        if trading:
            routes += [
                Route("/session/trade", self._let_trade, methods=["POST"]),
                Route("/request", self._ask, methods=["POST"]),
            ]
        self.app: Final = guarded(Starlette(routes=routes), Origins(address.names, address.port, address.scheme))

    async def _file(self, request: Request) -> Response:
        path = request.path_params.get("path", "index.html")
        version, _, rest = path.partition("/")
        headers = dict(KEPT) if version == self._version else {}
        found = self._files.get(rest if headers else path)
        if found is None:
            return PlainTextResponse("not found\n", 404)
        content, media_type = found
        if media_type in PACKED and "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = self._packed[content], "gzip"
        return Response(content, media_type=media_type, headers=headers)

    async def _login(self, request: Request) -> Response:
        body = await _body(request, MAX_BODY)
        if isinstance(body, Refused):
            return PlainTextResponse(f"{body.reason}\n", body.status, {"Connection": "close"})
        try:
            token = msgspec.json.decode(body, type=_Login).token
        except msgspec.DecodeError:
            return PlainTextResponse("not understood\n", 400)
        found = self._sessions.login(token)
        if isinstance(found, Refused):
            return PlainTextResponse(f"{found.reason}\n", found.status)
        response = Response(msgspec.json.encode({"key": found.key}), media_type="application/json")
        response.set_cookie(self._cookie, found.cookie, httponly=True, samesite="strict", secure=self._is_secure)
        return response

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.cookies.get(self._cookie, ""), request.headers.get(KEY_HEADER, ""))

    async def _let_trade(self, request: Request) -> Response:
        found = await self._changing(request, MAX_BODY)
        if isinstance(found, Refused):
            return _refused(found)
        session, body = found
        try:
            token = msgspec.json.decode(body, type=_Login).token
        except msgspec.DecodeError:
            return _failed(400, "not understood")
        if refused := self._sessions.let_trade(session, token):
            return _refused(refused)
        return Response(b"{}", media_type="application/json")

    async def _ask(self, request: Request) -> Response:
        assert self._trading is not None
        found = await self._changing(request, MAX_REQUEST)
        if isinstance(found, Refused):
            return _refused(found)
        inserted = await self._trading.ask(*found)
        if isinstance(inserted, Refused):
            return _refused(inserted)
        return Response(msgspec.json.encode(inserted._asdict()), media_type="application/json")

    async def _changing(self, request: Request, most: int) -> tuple[Session, bytes] | Refused:
        """Return the session and the body of a request that changes something.

        A form of another page cannot have this type of content, nor the header with the key.
        """
        if (session := self._session(request)) is None:
            return Refused(401, "no session")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return Refused(415, "send JSON")
        body = await _body(request, most)
        return body if isinstance(body, Refused) else (session, body)

    async def _picture(self, request: Request) -> Response:
        if self._session(request) is None:
            return _failed(401, "no session")
        if self._drawing.statistics().tasks_waiting >= BROWSERS:
            return _failed(503, "too many requests at once")
        kind, given = request.path_params["kind"], dict(request.query_params)
        try:
            answer = await trio.to_thread.run_sync(draw, self._location, kind, given, limiter=self._drawing)
        except BadRequest as error:
            return _failed(400, str(error))
        except StoreError as error:
            return _failed(503, str(error))
        return Response(answer, media_type="application/json")

    async def _socket(self, websocket: WebSocket) -> None:
        try:
            await websocket.accept()
            code = await self._follow(websocket)
            with trio.move_on_after(FIRST_S):
                await websocket.close(code)
        except* WebSocketDisconnect:
            pass

    async def _follow(self, websocket: WebSocket) -> int:
        """Send the page what it has subscribed to, until it is to be closed with the code that is returned."""
        first = None
        with trio.move_on_after(FIRST_S):
            first = await _receive(websocket)
        if first is None or first.key is None or first.sub is None:
            return BAD_MESSAGE
        session = self._sessions.find(websocket.cookies.get(self._cookie, ""), first.key)
        if session is None:
            return NO_SESSION
        if len(self._hub.browsers) >= BROWSERS:
            return TOO_MANY
        peer: Peer = (websocket.client.host, websocket.client.port) if websocket.client else ("", 0)
        self._streams.keep(peer)
        code = SILENT
        with self._hub.joined(lambda: self._streams.cut(peer)) as browser, browser.scope:
            self._take(browser, first)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send, websocket, browser)
                code = await self._receive_all(websocket, browser, session)
                nursery.cancel_scope.cancel(reason="the page is closed")
        return code

    async def _receive_all(self, websocket: WebSocket, browser: Browser, session: Session) -> int:
        """Take the messages of the page; return why it is to be closed."""
        while True:
            message = await _receive(websocket)
            if message is None:
                return BAD_MESSAGE
            if not self._sessions.use(session):
                return NO_SESSION
            self._take(browser, message)

    def _take(self, browser: Browser, message: _FromPage) -> None:
        if message.sub is not None:
            browser.pointer.subscribe(message.sub, same_epoch=message.epoch == self._hub.epoch)
            self._hub.follow(browser, message.plan if is_plan_id(message.plan or "") else None)
        if message.ack is not None:
            browser.pointer.acknowledge(message.ack, trio.current_time())
        if message.hidden is not None:
            self._hub.hide(browser, message.hidden)
        browser.wake()


def _failed(status: int, why: str) -> Response:
    return Response(msgspec.json.encode({"error": why}), status, media_type="application/json")


def _refused(refused: Refused) -> Response:
    """A body that is not read to its end, or not at all, ends the connection."""
    token = {"token": True} if refused.reason == TOKEN_AGAIN else {}
    content = msgspec.json.encode({"error": refused.reason, **token})
    return Response(content, refused.status, {"Connection": "close"}, media_type="application/json")


async def _body(request: Request, most: int) -> bytes | Refused:
    """Return the body of a request, which has at most so many bytes and does not take long."""
    body = b""
    with trio.move_on_after(FIRST_S):
        async with aclosing(request.stream()) as parts:
            async for part in parts:
                body += part
                if len(body) > most:
                    return Refused(413, "too long")
        return body
    return Refused(408, "too slow")


async def _receive(websocket: WebSocket) -> _FromPage | None:
    """Return the next message; None if it is not understood."""
    received = await websocket.receive()
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect
    try:
        return msgspec.json.decode(received.get("text") or "", type=_FromPage)
    except msgspec.DecodeError:
        return None


async def _send(websocket: WebSocket, browser: Browser) -> None:
    while True:
        message = await browser.next()
        with browser.sending():
            await websocket.send_text(message)


_COMMENT_LINES: Final = re.compile(rb"^[ \t]*(?://|/\*\*|\*).*$", re.MULTILINE)
"""Lines of a script that are a comment as a whole; the project writes no other ones of more than a line."""


def read_page(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Return the files of the page with their types, by their path: no other file can be asked for.

    Comments are not sent; their lines are, so that the numbers of lines stay.
    """
    return {
        path.relative_to(folder).as_posix(): (_sent(path), TYPES[path.suffix])
        for path in folder.rglob("*")
        if path.suffix in TYPES and path.is_file()
    }


def _sent(path: Path) -> bytes:
    content = path.read_bytes()
    return _COMMENT_LINES.sub(b"", content) if path.suffix == ".js" else content


def version_of(files: Mapping[str, tuple[bytes, str]]) -> str:
    """Return what changes whenever a file does."""
    digest = hashlib.sha256()
    for path, (content, _) in sorted(files.items()):
        digest.update(path.encode() + b"\0" + content)
    return digest.hexdigest()[:16]


def with_modules(index: bytes, files: Mapping[str, tuple[bytes, str]], version: str) -> bytes:
    """Return the page with the files of this version, all its modules named at its beginning.

    A browser finds a module only when it has read the one that imports it: with ten levels that is ten round trips.
    """
    modules = sorted(path for path in files if path.endswith(".js"))
    links = "".join(f'<link rel="modulepreload" href="page/{path}">\n' for path in modules)
    found = index.replace(b"<script type", links.encode() + b"<script type")
    return found.replace(b'"page/', f'"page/{version}/'.encode())


def guarded(app: ASGIApp, origins: Origins) -> ASGIApp:
    """Return an app that refuses foreign requests, and adds the security headers to each answer."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        headers = Headers(scope=scope)
        acts = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        refused = origins.refuse(headers, acts=acts, reads=scope["path"].startswith(PICTURES))
        more = origins.headers(headers.get("host", ""))

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in more.items():
                    headers.setdefault(name, value)
            await send(message)

        if refused is None:
            await app(scope, receive, send_with_headers)
            return
        response = PlainTextResponse(f"{refused.reason}\n", refused.status, {"Connection": "close"})
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send_with_headers).send_denial_response(response)
        else:
            await response(scope, receive, send_with_headers)

    return guard


@asynccontextmanager
async def serve_terminal(
    location: Location,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    token: str | None = None,
    cut_s: float = CUT_S,
    trade: Sequence[str] | None = None,
    steady_s: Callable[[], float] = steady_s,
) -> AsyncIterator[tuple[Address, str]]:
    """Serve the terminal of a database while the block runs; yields its address and the token.

    Args:
        port: 0 selects a free one.
        token: Default: a new one.
        cut_s: For how long a page may acknowledge nothing.
        trade: Let pages trade: the names of the groups of accounts. None: nothing can be changed.
        steady_s: The clock of sessions.

    Raises:
        OSError: the port is not available.
    """
    token = token or new_token()
    resolved = _resolved(location)
    sessions = Sessions(token, steady_s)
    halt = halt_of(resolved, followed=True)
    hub = Hub(new_token(), now_us, cut_s, halt.exists)
    trading = None if trade is None else Trading(resolved, halt, sessions, hub.beat)
    hub.trade = None if trade is None else {"groups": [*trade]}
    listeners = await trio.open_tcp_listeners(port, host=host)
    address = Address(host, listeners[0].socket.getsockname()[1], tls)
    streams = Streams(tls)
    server = Server(hub, sessions, address, streams, location, trading)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(streams.serve, cast("ASGIFramework", server.app), listeners)
        nursery.start_soon(halt.follow)
        nursery.start_soon(_beat, hub, streams)
        nursery.start_soon(_read, location, hub)
        yield address, token
        nursery.cancel_scope.cancel(reason="the terminal closes")


def _resolved(location: Location) -> Location:
    try:
        return engine_of(location).resolved()
    except StoreError:  # the page says why
        return location


async def _beat(hub: Hub, streams: Streams) -> None:
    while True:
        hub.beat()
        hub.cut_silent()
        streams.cut_strangers()
        await trio.sleep(HEARTBEAT_S)


async def _read(location: Location, hub: Hub) -> None:
    """Run the reader in a thread of its own until cancelled."""

    def publish(update: Update) -> None:
        trio.from_thread.run_sync(hub.publish, update)

    reader = Reader(location, publish, followed=lambda: hub.followed, is_watched=lambda: hub.is_watched)
    await trio.to_thread.run_sync(reader.run, trio.from_thread.check_cancelled, limiter=trio.CapacityLimiter(1))
