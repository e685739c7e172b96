"""The exchange as a server on the loopback address: REST, WebSocket, ticks, and a trader.

One nursery runs the listener with a task for each connection, the ticks, and the trader. They end with the block.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import trio
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from okxsync.sandbox.exchange.exchange import Credentials, Exchange, Push
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.faults.rules import Faults, Terms
from okxsync.sandbox.server.hub import Hub
from okxsync.sandbox.server.limits import RequestLimits
from okxsync.sandbox.server.request_log import RequestLog
from okxsync.sandbox.server.rest import RestServer
from okxsync.sandbox.server.sockets import Peer, Sockets
from okxsync.sandbox.server.websocket import ENDPOINTS, ClientConnection

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

P = ParamSpec("P")
T = TypeVar("T")
NO_LIMIT = 1000
"""The value of ``dials_per_second`` in accounts.toml if there is no limit."""


class Sandbox:
    """A running exchange, and its controls for tests."""

    def __init__(self, hub: Hub) -> None:
        self.port = 0
        self._hub = hub
        self._connections: dict[ClientConnection, None] = {}
        self._trading = trio.Event()
        self._trading.set()
        rest = RestServer(hub, lambda peer: self._sockets.reset(peer))
        self._sockets = Sockets(
            cast(
                "ASGIFramework",
                Starlette(
                    routes=[
                        Route("/api/v5/{path:path}", rest.answer, methods=["GET", "POST"]),
                        WebSocketRoute("/ws/v5/{endpoint}", self._connect),
                    ]
                ),
            )
        )

    @property
    def exchange(self) -> Exchange:
        return self._hub.exchange

    @property
    def violations(self) -> list[str]:
        """The violations of rate limits, a line each."""
        return self._hub.violations

    @property
    def faults(self) -> Faults:
        """The faults; see `Faults`."""
        return self._hub.faults

    @property
    def terms(self) -> Terms:
        """The limits of the service; see `Terms`."""
        return self._hub.terms

    @property
    def requests(self) -> RequestLog:
        """All requests that trade, with their arrival times."""
        return self._hub.requests

    @property
    def limits(self) -> RequestLimits:
        """The counters of requests and dials."""
        return self._hub.limits

    @property
    def connections(self) -> list[ClientConnection]:
        """The open WebSocket connections, oldest first."""
        return list(self._connections)

    @property
    def url_rest(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url_ws(self, endpoint: str) -> str:
        """Return the address of ``public``, ``private`` or ``business``."""
        return f"ws://127.0.0.1:{self.port}/ws/v5/{endpoint}"

    def accounts_toml(self, more: Mapping[str, Sequence[str]] | None = None, market: Sequence[str] = ()) -> str:
        """Return the accounts.toml that mirrors all members, with one more account for each added key.

        Args:
            more: Lines to add to the table of an account, by its name.
            market: More channels of the market, beside the mark prices; tables of TOML.
        """
        marks = [f'{{ channel = "mark-price", instId = "{inst_id}" }}' for inst_id in self._lasting()]
        lines = ["[sites.sandbox]", f'rest = "{self.url_rest}"']
        lines += [f'{endpoint} = "{self.url_ws(endpoint)}"' for endpoint in ENDPOINTS]
        lines += [f"dials_per_second = {self.terms.dials_per_second or NO_LIMIT}", ""]
        lines += ["[market]", 'site = "sandbox"', "demo = true", "channels = ["]
        lines += [f"    {channel}," for channel in (*marks, *market)] + ["]"]
        accounts = [(each.name, each.demo, each.credentials) for each in self.exchange.members.values()]
        for name, credentials, uid in self._hub.keyring.added.values():
            accounts.append((name, self.exchange.members[uid].demo, credentials))
        for name, demo, credentials in accounts:
            lines += ["", "[[accounts]]", f"name = {json.dumps(name)}", 'site = "sandbox"']
            lines += [f"demo = {json.dumps(demo)}", f"api_key = {json.dumps(credentials.api_key)}"]
            lines += [f"secret_key = {json.dumps(credentials.secret_key)}"]
            lines += [f"passphrase = {json.dumps(credentials.passphrase)}", *(more or {}).get(name, ())]
        return "\n".join(lines) + "\n"

    def _lasting(self) -> list[str]:
        """The instruments without expiry: a subscription to others would fail one day."""
        return [each.inst_id for each in self.exchange.listed if not each.exp_time]

    def add_key(self, uid: str, name: str) -> Credentials:
        """Create another key of an account; accounts.toml lists it as a separate account."""
        return self._hub.keyring.add(uid, name)

    def operate(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation of the exchange, push its changes at once, and return its result."""
        return self._hub.operate(function, *args, **kwargs)

    def push(self, push: Push) -> None:
        """Send a scripted push."""
        self._hub.push(push)

    def pause_trading(self) -> None:
        """Pause the trader; prices keep moving."""
        if self._trading.is_set():
            self._trading = trio.Event()

    def resume_trading(self) -> None:
        """Resume the trader."""
        self._trading.set()

    def drop_all(self, kind: str = "rst") -> None:
        """End every WebSocket connection by ``rst``, by a close code such as ``4006``, or leave it ``half-open``."""
        for each in self.connections:
            self.drop(each, kind)

    def drop(self, connection: ClientConnection, kind: str = "rst") -> None:
        """End one WebSocket connection."""
        if kind == "rst":
            connection.reset()
        elif kind == "half-open":
            connection.half_open = True
        else:
            connection.close(int(kind))

    def announce_upgrade(self, within_s: float = 60.0) -> None:
        """Close every WebSocket connection later; each gets the notice 64008 now."""
        for each in self.connections:
            each.announce_upgrade(within_s)

    def delete_key(self, api_key: str) -> None:
        """Delete a key: its connections close with 4007, and its requests and logins fail."""
        self.faults.deleted_keys.add(api_key)
        for each in self.connections:
            if each.api_key == api_key:
                each.close(4007, "API key has been updated or deleted.")

    async def _connect(self, websocket: WebSocket) -> None:
        endpoint = websocket.path_params["endpoint"]
        peer: Peer = (websocket.client.host, websocket.client.port) if websocket.client else ("", 0)
        if endpoint not in ENDPOINTS:
            await websocket.send_denial_response(Response(status_code=404))
        elif rule := self.faults.rule("refuse", endpoint=endpoint):
            await websocket.send_denial_response(Response(status_code=int(rule.code or 429)))
        elif not self._hub.limits.admit_dial(peer[0], self.terms.dials_per_second):
            await websocket.send_denial_response(Response(status_code=429))
        else:
            connection = ClientConnection(self._hub, websocket, endpoint, lambda: self._sockets.reset(peer))
            self._connections[connection] = None
            try:
                await websocket.accept()
                await connection.run()
            finally:
                self._connections.pop(connection)

    async def _tick(self, tick_s: float) -> None:
        """Advance prices, send regular snapshots, and check the deadlines of connections, again and again."""
        while True:
            await trio.sleep(tick_s)
            self.operate(self.exchange.tick)
            self._hub.send_due_snapshots()
            now = trio.current_time()
            for each in self.connections:
                each.check_deadlines(now)

    async def _trade(self, trader: Trader, rate: float) -> None:
        """Run the trader, `rate` operations per second."""
        due = trio.current_time()
        while True:
            await self._trading.wait()
            due = max(due + 1 / rate, trio.current_time() - 1)  # catch up with at most one second
            await trio.sleep_until(due)
            self.operate(trader.step)

    async def _serve(self, nursery: trio.Nursery, port: int) -> None:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=1024)
        self.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(self._sockets.serve, listeners)


@asynccontextmanager
async def serve_sandbox(
    exchange: Exchange,
    *,
    port: int = 0,
    rate: float = 0.0,
    seed: int = 0,
    tick_s: float = 0.1,
    dials_per_second: int = 3,
    terms: Terms | None = None,
) -> AsyncIterator[Sandbox]:
    """Serve an exchange on the loopback address for as long as the block runs.

    Args:
        exchange: The exchange to serve; change it only through `Sandbox.operate`, which pushes the changes.
        port: 0 selects a free one, see `Sandbox.port`.
        rate: Operations per second of a trader, over all members; 0 for no trader.
        seed: Seed of the trader and of the connection ids.
        tick_s: How often the exchange's prices move.
        dials_per_second: New WebSocket connections per second and IP; 0 for no limit.
        terms: All other limits.

    Raises:
        OSError: the port is not available.
    """
    terms = terms or Terms()
    terms.dials_per_second = dials_per_second
    exchange.take_pushes()  # history is not pushed
    sandbox = Sandbox(Hub(exchange, terms, seed))
    async with trio.open_nursery() as nursery:
        await sandbox._serve(nursery, port)
        nursery.start_soon(sandbox._tick, tick_s)
        if rate:
            nursery.start_soon(sandbox._trade, Trader(exchange, seed), rate)
        yield sandbox
        nursery.cancel_scope.cancel(reason="the sandbox closes")
