"""Order operations over WebSocket: the same operations as over REST, with replies that have ``op`` and the id.

A request without a usable id or list of arguments gets 60013 and no rows. A reply has no ``event``.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import trio

from okxsync.sandbox.exchange.exchange import Member
from okxsync.sandbox.faults.requests import REPLIES, RequestFault, take
from okxsync.sandbox.server import trade
from okxsync.sandbox.server.hub import Hub, text_of
from okxsync.sandbox.server.request_log import LoggedRequest


class Client(Protocol):
    """The connection that a request came on."""

    endpoint: str
    member: Member | None
    reset: Callable[[], None]

    def send(self, frame: str) -> None: ...

    def send_error(self, code: str, message: str, request: Mapping[str, Any] | None = None) -> None: ...


class OrderRequests:
    """Answers the order operations of one connection."""

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client

    def answer(self, op: str, request: Mapping[str, Any], nursery: trio.Nursery) -> None:
        """Answer a request at once, or later under a fault."""
        hub, client = self._hub, self._client
        if client.endpoint != "private":
            client.send_error("60028", "The current operation is not supported by this URL.", request)
            return
        if client.member is None:
            client.send_error("60011", "Please log in", request)
            return
        operation, args = trade.BY_OP[op], request.get("args")
        bodies = [arg for arg in args if isinstance(arg, dict)] if isinstance(args, list) else []
        exp_time = str(request.get("expTime") or "")
        logged = hub.requests.arrived("ws", client.member.name, operation.path, bodies, exp_time)
        fault = take(hub.faults.requests, "ws", operation.path, logged.account, bodies)
        logged.fault = fault.how
        if fault.queue_s or fault.delay_s:
            nursery.start_soon(self._answer_later, operation, request, logged, fault)
            return
        outcome = self._outcome(operation, request, logged) if fault.acts else trade.Outcome("", "", [])
        if outcome is None:
            outcome = self._execute(operation, request, client.member, logged)
        self._reply(operation, request, outcome, fault)

    async def _answer_later(
        self, operation: trade.Operation, request: Mapping[str, Any], logged: LoggedRequest, fault: RequestFault
    ) -> None:
        hub, member = self._hub, self._client.member
        assert member is not None
        outcome = self._outcome(operation, request, logged) if fault.acts else trade.Outcome("", "", [])
        if outcome is None:
            await trio.sleep(fault.queue_s)
            if trade.expired(operation, request.get("expTime"), hub.now_ms()) and not fault.ignores_exp_time:
                outcome = self._rejected(operation, request, *trade.EXPIRED_IN_QUEUE, logged)
            else:
                outcome = self._execute(operation, request, member, logged)
                hub.push_changes()
        await trio.sleep(fault.delay_s)
        self._reply(operation, request, outcome, fault)

    def _outcome(
        self, operation: trade.Operation, request: Mapping[str, Any], logged: LoggedRequest
    ) -> trade.Outcome | None:
        """Return why a request is not executed; None if it is."""
        hub, member = self._hub, self._client.member
        assert member is not None
        args, identity = request.get("args"), request.get("id")
        wrong = ""
        if not isinstance(identity, str) or not (identity.isascii() and identity.isalnum() and len(identity) <= 32):
            wrong = "Invalid args: id"
        elif not args or not isinstance(args, list) or not all(isinstance(arg, dict) for arg in args):
            wrong = "Invalid args"
        elif len(args) > max(operation.batch, 1):
            wrong = "Invalid args: too many of them"
        if wrong:
            logged.codes = ["60013"]
            return trade.Outcome("60013", wrong, [])
        assert isinstance(args, list)
        if "trade" not in member.perm.split(","):
            message = "This API key doesn't have permission to use this function"
            return self._rejected(operation, request, "50120", message, logged)
        if trade.expired(operation, request.get("expTime"), hub.now_ms()):
            return self._rejected(operation, request, *trade.EXPIRED_ON_ARRIVAL, logged)
        if code := trade.over_budget(hub.exchange, hub.limits, member.uid, operation, args):
            message = "Rate limit reached. Please refer to API documentation and throttle requests accordingly."
            return self._rejected(operation, request, code, message, logged)
        return None

    def _rejected(
        self, operation: trade.Operation, request: Mapping[str, Any], code: str, message: str, logged: LoggedRequest
    ) -> trade.Outcome:
        rows = [trade.rejected(operation, arg, code, message, self._hub.now_ms()) for arg in request["args"]]
        logged.codes = [code] * len(rows)
        return trade.outcome(rows)

    def _execute(
        self, operation: trade.Operation, request: Mapping[str, Any], member: Member, logged: LoggedRequest
    ) -> trade.Outcome:
        hub = self._hub
        logged.executed = True
        rows = trade.execute_coded(hub.exchange, member.uid, operation, request["args"], hub.now_ms())
        logged.codes = [row["sCode"] for row in rows]
        return trade.outcome(rows)

    def _reply(
        self, operation: trade.Operation, request: Mapping[str, Any], outcome: trade.Outcome, fault: RequestFault
    ) -> None:
        """Send the reply that the fault leaves; pushes go out after it, unless `Faults.push_first` is set."""
        hub = self._hub
        if hub.faults.push_first:
            hub.push_changes()
        if fault.how == "reset":
            self._client.reset()
        elif fault.how != "lost":
            if fault.how in REPLIES:
                outcome = trade.Outcome(fault.how, "Injected fault", [])
            identity, now_us = request.get("id"), str(time.time_ns() // 1000)
            answer = {"id": identity} if isinstance(identity, str) else {}
            reply = {"op": operation.op, "code": outcome.code, "msg": outcome.message, "data": outcome.rows}
            self._client.send(text_of({**answer, **reply, "inTime": now_us, "outTime": now_us}))
        hub.push_changes()
