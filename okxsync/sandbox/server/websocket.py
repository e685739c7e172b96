"""One WebSocket connection: login, subscriptions, order operations, and the frames that wait for its reader.

Frames are answered in the order they come. What goes out is queued, and written by one task; a reader that is too slow
for its queue is closed with 4005. How a connection ended is nobody's error: clients come and go.
"""

import json
import math
import time
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

if TYPE_CHECKING:
    from okxsync.sandbox.exchange.exchange import Member

CLOSE_WITHIN_S = 1.0
"""How long a client may take to answer our close frame."""
HOUR_S = 3600.0
ENDPOINTS = ("public", "private", "business")


class ClientConnection:
    """A client's connection to one endpoint, before and after login.

    Args:
        reset: Cuts the TCP connection, whatever is under way on it.
    """

    def __init__(self, hub: Hub, websocket: WebSocket, endpoint: str, reset: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.conn_id = f"{hub.random.getrandbits(32):08x}"
        self.member: Member | None = None
        self.api_key = ""
        self.reset = reset
        self.half_open = False  # takes what comes and says nothing, without end
        self._hub = hub
        self._websocket = websocket
        self._ip = websocket.client.host if websocket.client else ""
        self._subscriptions: dict[str, Subscription] = {}
        self._waiting: deque[tuple[float, str]] = deque()  # frames, each with the time before which it is not sent
        self._wake = trio.Event()
        self._ending: tuple[int, str] | None = None
        self._cut_at = self._upgrade_at = math.inf
        self._logging_in = False
        now = trio.current_time()
        self._heard, self._told = now, now

    @property
    def uid(self) -> str:
        """Whose connection it is; empty before login."""
        return self.member.uid if self.member else ""

    @property
    def channels(self) -> list[str]:
        """The channels it is subscribed to."""
        return [each.channel.name for each in self._subscriptions.values()]

    # What the server does with it

    def send(self, frame: str) -> None:
        """Queue a frame; too many of them close the connection."""
        if self._ending or self.half_open:
            return
        if len(self._waiting) >= self._hub.terms.frames_waiting:
            self._waiting.clear()
            self.close(4005, "Server buffer is full, the client reads too slowly.")
            return
        self._waiting.append((self._due(), frame))
        self._wake.set()

    def _due(self) -> float:
        """Return when a frame of now is sent: later under the fault ``delay``, and never before an earlier frame."""
        now = trio.current_time()
        name = self.member.name if self.member else ""
        rule = self._hub.faults.rule("delay", account=name, endpoint=self.endpoint)
        earlier = self._waiting[-1][0] if self._waiting else now
        return max(now + (rule.seconds if rule else 0.0), earlier)

    def close(self, code: int, reason: str = "") -> None:
        """Close after the queued frames; reset the connection if the client does not answer the close frame in time."""
        if not self._ending:
            sent_by = self._waiting[-1][0] if self._waiting else trio.current_time()
            self._ending = code, reason
            self._cut_at = max(sent_by, trio.current_time()) + CLOSE_WITHIN_S
            self._wake.set()

    def announce_upgrade(self, within_s: float) -> None:
        """Close in a while, and say so before (OKX docs: overview-websocket-notification; changelog of 2026-06-11)."""
        self._upgrade_at = trio.current_time() + within_s
        if not self._hub.faults.rule("unannounced", endpoint=self.endpoint):
            message = "The connection will soon be closed for a service upgrade. Please reconnect."
            self._tell("notice", code="64008", msg=message)

    def look_after(self, now: float) -> None:
        """Close it if it was silent for too long or its time has come, cut it if it does not end."""
        if self.half_open:
            return
        if now >= self._upgrade_at:
            self.close(1001, "Service upgrade")
        heard = max(self._heard, self._told) if self._hub.terms.idle_counts_pushes else self._heard
        if now - heard >= self._hub.terms.idle_s:
            self.close(4004, f"No data received in {self._hub.terms.idle_s:g}s.")
        if now >= self._cut_at:
            self._cut_at = math.inf
            self.reset()

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
                while self._waiting:
                    due, frame = self._waiting[0]
                    if due > trio.current_time():
                        await trio.sleep_until(due)
                        continue  # the queue may have been cleared meanwhile
                    self._waiting.popleft()
                    await self._websocket.send_text(frame)
                    self._told = trio.current_time()
                if self._ending:
                    await self._websocket.close(*self._ending)
                    return  # the reader ends with the client's answer, or is cut off
                self._wake = trio.Event()
                await self._wake.wait()
        except WebSocketDisconnect:
            return

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._ending or self.half_open:
                continue
            self._heard = trio.current_time()
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
            self._tell_error("60012", f"Illegal request: {text}")
            return
        op = request["op"]
        if op in trade.BY_OP:
            self._operate(op, request)
        elif op not in ("login", "subscribe", "unsubscribe"):
            self._tell_error("60019", f"Invalid op: {op}", request)
        elif not self._admit():
            self._tell_error("60014", "Requests too frequent", request)
        elif (
            not (args := request.get("args"))
            or not isinstance(args, list)
            or not all(isinstance(a, dict) for a in args)
        ):
            self._tell_error("60012", f"Illegal request: {text}", request)
        elif op == "login":
            self._log_in(request, nursery)
        elif self.endpoint == "private" and self.member is None:
            self._tell_error("60011", "Please log in", request)
        else:
            for arg in args:
                (self._subscribe if op == "subscribe" else self._unsubscribe)(arg, request)

    def _admit(self) -> bool:
        limit = self._hub.terms.requests_per_hour
        return not limit or self._hub.limits.admit(f"60014 requests of {self.conn_id}", limit, HOUR_S)

    def _tell(self, event: str, request: Arg | None = None, /, **fields: Any) -> None:
        """Send a control frame; it repeats the request's id and names the connection."""
        echoed = {"id": request["id"]} if request and "id" in request else {}
        self.send(text_of({**echoed, "event": event, **fields, "connId": self.conn_id}))

    def _tell_error(self, code: str, message: str, request: Arg | None = None) -> None:
        self._tell("error", request, code=code, msg=message)

    # Login

    def _log_in(self, request: Arg, nursery: trio.Nursery) -> None:
        if self.member or self._logging_in:
            self._tell_error("60031", "Multiple or repeated login is not supported", request)
            return
        if len(request["args"]) != 1:
            self._tell_error("60026", "Batch login by APIKey is not supported", request)
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
            self._tell_error(denied.code, denied.message, request)
        else:
            self._tell("login", request, code="0", msg="")

    # Subscriptions

    def _subscribe(self, arg: Arg, request: Arg) -> None:
        try:
            channel = channel_of(arg, self.endpoint, self.member, self._hub.exchange)
        except BadArg as bad:
            self._tell_error(bad.code, bad.message, request)
            return
        where = {"account": self.member.name if self.member else "", "endpoint": self.endpoint, "channel": channel.name}
        if rule := self._hub.faults.rule("subscribe-error", **where):
            self._tell_error(rule.code or "60018", rule.text or f"{channel.name} cannot be had.", request)
            return
        self._tell("subscribe", request, arg=arg)
        if self._hub.faults.rule("crowded", **where):
            limit = str(self._hub.terms.connections_per_channel)
            self._tell("channel-conn-count-error", channel=channel.name, connCount=limit)
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
        """Tell how many connections of the account have the channel; one too many gets nothing of it."""
        limit = self._hub.terms.connections_per_channel
        others = self._hub.receivers(self.uid, channel.name) - {self}
        admitted = not limit or len(others) < limit
        event = "channel-conn-count" if admitted else "channel-conn-count-error"
        self._tell(event, channel=channel.name, connCount=str(len(others) + 1 if admitted else limit))
        if not admitted:
            self._hub.limits.violated(f"more than {limit} connections with {channel.name} of {self.uid}")
        return admitted

    def _unsubscribe(self, arg: Arg, request: Arg) -> None:
        channel = CHANNELS.get(str(arg.get("channel", "")))
        if channel is None or channel.endpoint != self.endpoint:
            self._tell_error("60018", f"Wrong URL or channel:{arg.get('channel', '')} doesn't exist.", request)
            return
        try:
            key = Subscription(self, channel, arg, self.uid, 0).key
        except BadArg as bad:
            self._tell_error(bad.code, bad.message, request)
            return
        if known := self._subscriptions.pop(key, None):
            self._hub.unsubscribe(known)
        self._tell("unsubscribe", request, arg=arg)

    # Orders

    def _operate(self, op: str, request: Arg) -> None:
        """Carry out an order operation; the answer has no ``event``, but ``op``, and the request's ``id``."""
        hub, started = self._hub, time.time_ns()
        operation = trade.BY_OP[op]
        if self.endpoint != "private":
            self._tell_error("60028", "The current operation is not supported by this URL.", request)
            return
        if self.member is None:
            self._tell_error("60011", "Please log in", request)
            return
        args, identity = request.get("args"), request.get("id")
        told = self._carry_out(operation, args, identity, request.get("expTime"))
        answer = {"id": identity} if isinstance(identity, str) else {}
        times = {"inTime": str(started // 1000), "outTime": str(time.time_ns() // 1000)}
        if hub.faults.push_first:
            hub.push_changes()
        self.send(text_of({**answer, "op": op, "code": told.code, "msg": told.message, "data": told.rows, **times}))
        hub.push_changes()

    def _carry_out(self, operation: trade.Operation, args: Any, identity: Any, expires: Any) -> trade.Outcome:
        hub, member = self._hub, self.member
        assert member is not None
        if not isinstance(identity, str) or not (identity.isascii() and identity.isalnum() and len(identity) <= 32):
            return trade.Outcome("60013", "Invalid args: id", [])
        if not args or not isinstance(args, list) or not all(isinstance(arg, dict) for arg in args):
            return trade.Outcome("60013", "Invalid args", [])
        if len(args) > max(operation.batch, 1):
            return trade.Outcome("60013", "Invalid args: too many of them", [])
        now_ms = hub.now_ms()
        refusal = ("", "")
        if "trade" not in member.perm.split(","):
            refusal = "50120", "This API key doesn't have permission to use this function"
        elif expires and not (str(expires).isdecimal() and int(expires) > now_ms):
            refusal = "50036", "The expTime can't be earlier than the current system time."
        elif code := trade.over_budget(hub.exchange, hub.limits, member.uid, operation, args):
            refusal = code, "Rate limit reached. Please refer to API documentation and throttle requests accordingly."
        if refusal[0]:
            return trade.outcome([trade.refused(operation, arg, *refusal, now_ms) for arg in args])
        return trade.outcome(trade.carry_out_coded(hub.exchange, member.uid, operation, args, now_ms))
