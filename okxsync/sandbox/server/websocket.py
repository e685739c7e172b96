"""One WebSocket connection: login, subscriptions, order operations, and its send queue.

Requests are answered in order. All frames are queued, and sent by one task; a connection whose queue is full is closed
with 4005. The end of a connection is never an error: clients come and go.
"""

import json
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from okxsync.sandbox.exchange.exchange import Member
from okxsync.sandbox.server import trade
from okxsync.sandbox.server.auth import Denied
from okxsync.sandbox.server.channels import CHANNELS, Arg, BadArg, Channel, channel_of
from okxsync.sandbox.server.hub import Hub, Subscription, text_of
from okxsync.sandbox.server.ws_orders import OrderRequests

if TYPE_CHECKING:
    from okxsync.sandbox.exchange.exchange import Member

CLOSE_WITHIN_S = 1.0
"""How long a client may take to answer the close frame."""
HOUR_S = 3600.0
ENDPOINTS = ("public", "private", "business")


class ClientConnection:
    """A client's connection to one endpoint, before and after login.

    Args:
        reset: Resets the TCP connection at once.
    """

    def __init__(self, hub: Hub, websocket: WebSocket, endpoint: str, reset: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.conn_id = f"{hub.random.getrandbits(32):08x}"
        self.member: Member | None = None
        self.api_key = ""
        self.reset = reset
        self.half_open = False  # receives everything and sends nothing
        self._hub = hub
        self._websocket = websocket
        self._ip = websocket.client.host if websocket.client else ""
        self._subscriptions: dict[str, Subscription] = {}
        self._queue: deque[tuple[float, str]] = deque()  # frames, each with the time before which it is not sent
        self._wake = trio.Event()
        self._closing: tuple[int, str] | None = None
        self._reset_at = self._upgrade_at = math.inf
        self._logging_in = False
        self._orders = OrderRequests(hub, self)
        now = trio.current_time()
        self._received_at, self._sent_at = now, now

    @property
    def uid(self) -> str:
        """The account's uid; "" before login."""
        return self.member.uid if self.member else ""

    @property
    def channels(self) -> list[str]:
        """The subscribed channels."""
        return [each.channel.name for each in self._subscriptions.values()]

    # Called by the server

    def send(self, frame: str) -> None:
        """Queue a frame; a full queue closes the connection."""
        if self._closing or self.half_open:
            return
        if len(self._queue) >= self._hub.terms.frames_waiting:
            self._queue.clear()
            self.close(4005, "Server buffer is full, the client reads too slowly.")
            return
        self._queue.append((self._due(), frame))
        self._wake.set()

    def _due(self) -> float:
        """Return when a frame of now is sent: later under the fault ``delay``, and never before an earlier frame."""
        now = trio.current_time()
        name = self.member.name if self.member else ""
        rule = self._hub.faults.rule("delay", account=name, endpoint=self.endpoint)
        earlier = self._queue[-1][0] if self._queue else now
        return max(now + (rule.seconds if rule else 0.0), earlier)

    def close(self, code: int, reason: str = "") -> None:
        """Close after the queued frames; reset the connection if the client does not answer the close frame in time."""
        if not self._closing:
            sent_by = self._queue[-1][0] if self._queue else trio.current_time()
            self._closing = code, reason
            self._reset_at = max(sent_by, trio.current_time()) + CLOSE_WITHIN_S
            self._wake.set()

    def announce_upgrade(self, within_s: float) -> None:
        """Send notice 64008 and close later (OKX docs: overview-websocket-notification; changelog of 2026-06-11)."""
        self._upgrade_at = trio.current_time() + within_s
        if not self._hub.faults.rule("unannounced", endpoint=self.endpoint):
            message = "The connection will soon be closed for a service upgrade. Please reconnect."
            self._send_control("notice", code="64008", msg=message)

    def check_deadlines(self, now: float) -> None:
        """Close after too long a silence or for the upgrade; reset if the client does not answer the close frame."""
        if self.half_open:
            return
        if now >= self._reset_at:
            self._reset_at = math.inf
            self.reset()
        if now >= self._upgrade_at:
            self.close(1001, "Service upgrade")
        last = max(self._received_at, self._sent_at) if self._hub.terms.idle_counts_pushes else self._received_at
        if now - last >= self._hub.terms.idle_s:
            self.close(4004, f"No data received in {self._hub.terms.idle_s:g}s.")

    async def run(self) -> None:
        """Serve the client until either side ends it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read(nursery)
                nursery.cancel_scope.cancel()
        finally:
            for each in self._subscriptions.values():
                self._hub.unsubscribe(each)
            self._subscriptions.clear()

    # Reading and writing

    async def _write(self) -> None:
        try:
            while True:
                while self._queue:
                    due, frame = self._queue[0]
                    if due > trio.current_time():
                        await trio.sleep_until(due)
                        continue  # the queue may have been cleared meanwhile
                    self._queue.popleft()
                    await self._websocket.send_text(frame)
                    self._sent_at = trio.current_time()
                if self._closing:
                    await self._websocket.close(*self._closing)
                    return  # `_read` ends with the client's answer, or by a reset
                self._wake = trio.Event()
                await self._wake.wait()
        except WebSocketDisconnect:
            return

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._closing or self.half_open:
                continue
            self._received_at = trio.current_time()
            text = message.get("text")
            if text is None:
                text = bytes(message.get("bytes") or b"").decode(errors="replace")
            if text == "ping":
                self.send("pong")
            else:
                self._answer(text, nursery)

    def _answer(self, text: str, nursery: trio.Nursery) -> None:
        try:
            request = json.loads(text)
        except ValueError:
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("op"), str) or request["op"] == "ping":
            self.send_error("60012", f"Illegal request: {text}")
            return
        op = request["op"]
        if op in trade.BY_OP:
            self._orders.answer(op, request, nursery)
        elif op not in ("login", "subscribe", "unsubscribe"):
            self.send_error("60019", f"Invalid op: {op}", request)
        elif not self._admit():
            self.send_error("60014", "Requests too frequent", request)
        elif (
            not (args := request.get("args"))
            or not isinstance(args, list)
            or not all(isinstance(a, dict) for a in args)
        ):
            self.send_error("60012", f"Illegal request: {text}", request)
        elif op == "login":
            self._log_in(request, nursery)
        elif self.endpoint == "private" and self.member is None:
            self.send_error("60011", "Please log in", request)
        else:
            for arg in args:
                (self._subscribe if op == "subscribe" else self._unsubscribe)(arg, request)

    def _admit(self) -> bool:
        limit = self._hub.terms.requests_per_hour
        return not limit or self._hub.limits.admit(f"60014 requests of {self.conn_id}", limit, HOUR_S)

    def _send_control(self, event: str, request: Arg | None = None, /, **fields: Any) -> None:
        """Send a control frame with the request's id and the connection's id."""
        echoed = {"id": request["id"]} if request and "id" in request else {}
        self.send(text_of({**echoed, "event": event, **fields, "connId": self.conn_id}))

    def send_error(self, code: str, message: str, request: Arg | None = None) -> None:
        self._send_control("error", request, code=code, msg=message)

    # Login

    def _log_in(self, request: Arg, nursery: trio.Nursery) -> None:
        if self.member or self._logging_in:
            self.send_error("60031", "Multiple or repeated login is not supported", request)
            return
        if len(request["args"]) != 1:
            self.send_error("60026", "Batch login by APIKey is not supported", request)
            return
        self._logging_in = True
        rule = self._hub.faults.rule("login-delay", account=self._name_of(request), endpoint=self.endpoint)
        delay_s = rule.seconds if rule else self._hub.faults.login_delay_s
        if delay_s:
            nursery.start_soon(self._finish_login_later, request, delay_s)
        else:
            self._finish_login(request)

    async def _finish_login_later(self, request: Arg, delay_s: float) -> None:
        await trio.sleep(delay_s)
        self._finish_login(request)

    def _name_of(self, request: Arg) -> str:
        return self._hub.keyring.name_of(str(request["args"][0].get("apiKey")))

    def _finish_login(self, request: Arg) -> None:
        self._logging_in = False
        faults = self._hub.faults
        try:
            if rule := faults.rule("login-error", account=self._name_of(request), endpoint=self.endpoint):
                raise Denied(rule.code or "60009", "Login failed.")
            if faults.login_errors:
                raise Denied(faults.login_errors.popleft(), "Login failed.")
            self.member, self.api_key = self._hub.keyring.check_login(request["args"][0], self._hub.now_ms(), self._ip)
        except Denied as denied:
            self.send_error(denied.code, denied.message, request)
        else:
            self._send_control("login", request, code="0", msg="")

    # Subscriptions

    def _subscribe(self, arg: Arg, request: Arg) -> None:
        try:
            channel = channel_of(arg, self.endpoint, self.member, self._hub.exchange)
        except BadArg as bad:
            self.send_error(bad.code, bad.message, request)
            return
        where = {"account": self.member.name if self.member else "", "endpoint": self.endpoint, "channel": channel.name}
        if rule := self._hub.faults.rule("subscribe-error", **where):
            self.send_error(rule.code or "60018", rule.text or f"{channel.name} is not available.", request)
            return
        self._send_control("subscribe", request, arg=arg)
        if self._hub.faults.rule("crowded", **where):
            limit = str(self._hub.terms.connections_per_channel)
            self._send_control("channel-conn-count-error", channel=channel.name, connCount=limit)
            return
        subscription = Subscription(self, channel, arg, self.uid, self._hub.terms.snapshot_s)
        if channel.counted and not self._count(channel):
            return
        if known := self._subscriptions.get(subscription.key):
            self._hub.unsubscribe(known)
        self._subscriptions[subscription.key] = subscription
        self._hub.subscribe(subscription)
        self._hub.send_snapshot(subscription)

    def _count(self, channel: Channel) -> bool:
        """Send the number of the account's connections with this channel; one above the limit receives no pushes."""
        limit = self._hub.terms.connections_per_channel
        others = self._hub.receivers(self.uid, channel.name) - {self}
        admitted = not limit or len(others) < limit
        event = "channel-conn-count" if admitted else "channel-conn-count-error"
        self._send_control(event, channel=channel.name, connCount=str(len(others) + 1 if admitted else limit))
        if not admitted:
            self._hub.limits.violated(f"more than {limit} connections with {channel.name} of {self.uid}")
        return admitted

    def _unsubscribe(self, arg: Arg, request: Arg) -> None:
        channel = CHANNELS.get(str(arg.get("channel", "")))
        if channel is None or channel.endpoint != self.endpoint:
            self.send_error("60018", f"Wrong URL or channel:{arg.get('channel', '')} doesn't exist.", request)
            return
        try:
            key = Subscription(self, channel, arg, self.uid, 0).key
        except BadArg as bad:
            self.send_error(bad.code, bad.message, request)
            return
        if known := self._subscriptions.pop(key, None):
            self._hub.unsubscribe(known)
        self._send_control("unsubscribe", request, arg=arg)
