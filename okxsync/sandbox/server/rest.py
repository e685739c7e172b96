"""REST: authentication, rate limits, and replies.

A reply is ``{"code", "msg", "data"}``. A request that is not authenticated gets HTTP 401 and a body without ``data``,
as observed at OKX.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from okxsync.sandbox.exchange.exchange import Member, OrderRejected
from okxsync.sandbox.faults.requests import REPLIES, RequestFault, take
from okxsync.sandbox.faults.rules import ScriptedReply
from okxsync.sandbox.server import trade
from okxsync.sandbox.server.auth import Denied
from okxsync.sandbox.server.endpoints import READ_ENDPOINTS
from okxsync.sandbox.server.hub import Hub
from okxsync.sandbox.server.read_request import ReadEndpoint, ReadRequest
from okxsync.sandbox.server.request_log import LoggedRequest
from okxsync.sandbox.server.setting_operations import SETTING_OPERATIONS, SettingOperation
from okxsync.sandbox.server.sockets import Peer

_ENDPOINTS = {each.path: each for each in READ_ENDPOINTS}
_POSTS = trade.BY_PATH.keys() | SETTING_OPERATIONS.keys()
_BAD_REQUEST = frozenset({"50000", "50002", "50006", "50014", "51000"})
"""Codes that are sent with HTTP 400 (OKX docs: error-code-rest-api); rejected orders come with 200."""


class RestServer:
    """Answers the REST requests of an exchange.

    Args:
        reset: Resets the connection of a client's address at once.
    """

    def __init__(self, hub: Hub, reset: Callable[[Peer], None]) -> None:
        self._hub = hub
        self._reset = reset

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        path = request.path_params["path"]
        try:
            body = await request.body()
        except ClientDisconnect:  # nobody receives the answer
            return Response(status_code=400)
        ceiling = self._hub.terms.rest_per_second
        if ceiling and not self._hub.limits.admit(f"edge {_ip(request)}", ceiling, 1.0):
            status, text = REPLIES["http-429"]
            return Response(text, status, media_type="text/html")
        posted = self._log(request, path, body) if request.method == "POST" and path in _POSTS else None
        scripted = self._hub.faults.reply(path) or self._rule(request, path)
        if scripted:
            await trio.sleep(scripted.delay_s)
            if not scripted.after:
                return _scripted(scripted)
        response = await self._post(request, posted, body) if posted else self._get(request, path)
        if self._hub.faults.rest_delay_s:
            await trio.sleep(self._hub.faults.rest_delay_s)
        return _scripted(scripted) if scripted else response

    def _log(self, request: Request, path: str, body: bytes) -> LoggedRequest:
        name = self._hub.keyring.name_of(request.headers.get("OK-ACCESS-KEY", ""))
        return self._hub.requests.arrived("rest", name, path, _objects(body), request.headers.get("expTime", ""))

    def _get(self, request: Request, path: str) -> Response:
        if path.startswith("admin/"):
            return self._administer(path.removeprefix("admin/"))
        try:
            if request.method == "GET" and path in _ENDPOINTS:
                return self._read(request, _ENDPOINTS[path])
        except Denied as denied:
            return _denied(denied)
        except OrderRejected as rejection:
            return _rejected(rejection)
        if path in _POSTS or path in _ENDPOINTS:
            return _failed("50115", "Invalid request method", 405)
        return _failed("404", "Not Found", 404)

    def _administer(self, what: str) -> Response:
        """Answer a test in another process: which orders exist, and which requests arrived. No key is needed."""
        if what == "requests":
            return _json({"data": [each.row() for each in self._hub.requests]})
        if what == "orders":
            exchange = self._hub.exchange
            return _json({"data": {member.name: exchange.order_rows(uid) for uid, member in exchange.members.items()}})
        return _failed("404", "Not Found", 404)

    async def _post(self, request: Request, logged: LoggedRequest, body: bytes) -> Response:
        """Execute a request that trades, as far as the faults let it, and return what the client gets."""
        fault = take(self._hub.faults.requests, "rest", logged.path, logged.account, logged.bodies)
        logged.fault = fault.how
        response = Response()
        if fault.acts:
            try:
                response = await self._execute(request, logged, body, fault)
            except Denied as denied:
                response, logged.codes = _denied(denied), [denied.code]
            except OrderRejected as rejection:
                response, logged.codes = _rejected(rejection), [rejection.code]
        if fault.delay_s:
            await trio.sleep(fault.delay_s)
        match fault.how:
            case "own":
                return response
            case "truncated":
                complete = bytes(response.body)
                return Response(complete[: len(complete) // 2], response.status_code, media_type="application/json")
            case "lost":
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                return response
            case "reset":
                if request.client:
                    self._reset((request.client.host, request.client.port))
                return response
        status, text = REPLIES[fault.how]
        return Response(text, status, media_type="text/html" if text.startswith("<") else "application/json")

    def _rule(self, request: Request, path: str) -> ScriptedReply | None:
        name = self._hub.keyring.name_of(request.headers.get("OK-ACCESS-KEY", ""))
        rule = self._hub.faults.rule("rest", account=name, path=path)
        return ScriptedReply(path, int(rule.code or 503), rule.text, delay_s=rule.seconds) if rule else None

    def _read(self, request: Request, reading: ReadEndpoint) -> Response:
        hub = self._hub
        query = {name: value for name, value in request.query_params.items() if value}
        demo = request.headers.get("x-simulated-trading", "0") == "1"
        who, uid = _ip(request), ""
        if reading.private:
            who = uid = self._member(request, b"").uid
        counted = f"{who} {query.get(reading.per, '')}".strip()
        if not hub.limits.admit(f"50011 GET {reading.path} {counted}", reading.limit, reading.period_s):
            return self._too_many()
        reading.check(query)
        read = ReadRequest(hub.exchange, hub.faults, uid, query, hub.now_ms(), demo)
        return _json({"code": "0", "msg": "", "data": reading.answer(read)})

    async def _execute(self, request: Request, logged: LoggedRequest, body: bytes, fault: RequestFault) -> Response:
        """Execute a request; it may wait in a queue first, until its ``expTime`` has passed."""
        hub, started = self._hub, time.time_ns()
        uid = self._member(request, body, to_trade=True).uid
        if setting := SETTING_OPERATIONS.get(logged.path):
            return await self._set(uid, setting, request, logged, body, fault)
        operation, exp_time = trade.BY_PATH[logged.path], request.headers.get("expTime", "")
        requests = _requests(request, body, operation.batch)
        if trade.expired(operation, exp_time, hub.now_ms()):
            raise OrderRejected(*trade.EXPIRED_ON_ARRIVAL)
        if code := trade.over_budget(hub.exchange, hub.limits, uid, operation, requests):
            logged.codes = [code]
            return self._too_many(code)
        if fault.queue_s:
            await trio.sleep(fault.queue_s)
            if trade.expired(operation, exp_time, hub.now_ms()) and not fault.ignores_exp_time:
                raise OrderRejected(*trade.EXPIRED_IN_QUEUE)
        logged.executed = True
        rows = hub.operate(trade.execute, hub.exchange, uid, operation, requests, hub.now_ms())
        logged.codes = [row["sCode"] for row in rows]
        if operation.path == "trade/close-position":
            return _closed(rows[0], requests[0])
        outcome = trade.outcome(rows)
        times = {"inTime": str(started // 1000), "outTime": str(time.time_ns() // 1000)}
        return _json({"code": outcome.code, "msg": outcome.message, "data": outcome.rows} | times)

    async def _set(
        self,
        uid: str,
        operation: SettingOperation,
        request: Request,
        logged: LoggedRequest,
        body: bytes,
        fault: RequestFault,
    ) -> Response:
        [given] = _requests(request, body, 0)
        counted = f"50011 POST {operation.path} {uid} {given.get(operation.per, '')}".strip()
        if not self._hub.limits.admit(counted, operation.limit, operation.period_s):
            logged.codes = ["50011"]
            return self._too_many()
        if fault.queue_s:
            await trio.sleep(fault.queue_s)
        logged.executed = True
        row = self._hub.operate(operation.execute, self._hub.exchange, uid, given)
        logged.codes = ["0"]
        return _json({"code": "0", "msg": "", "data": [row]})

    def _member(self, request: Request, body: bytes, *, to_trade: bool = False) -> Member:
        scope, headers = request.scope, request.headers
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        hub, ip = self._hub, _ip(request)
        member = hub.keyring.check_request(headers, request.method, target, body, hub.now_ms(), ip)
        if to_trade and "trade" not in member.perm.split(","):
            raise Denied("50120", "This API key doesn't have permission to use this function", status=200)
        return member

    def _too_many(self, code: str = "50011") -> Response:
        return _json({"msg": "Too Many Requests", "code": code}, self._hub.faults.rate_limit_status)


def _objects(body: bytes) -> list[Mapping[str, Any]]:
    """Return the objects in a body, as far as it can be read."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]


def _requests(request: Request, body: bytes, batch: int) -> list[Mapping[str, Any]]:
    """Return the requests in the body: an object, or at most `batch` objects in a list."""
    if not body:
        raise OrderRejected("50000", "Body for POST request cannot be empty.")
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise OrderRejected("50006", "Invalid Content-Type. Please use application/json.")
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise OrderRejected("50002", "JSON syntax error") from None
    if isinstance(found, dict) and not batch:
        return [found]
    if not (batch and isinstance(found, list) and found and all(isinstance(each, dict) for each in found)):
        raise OrderRejected("50002", "JSON syntax error")
    if len(found) > batch:
        raise OrderRejected("51111", f"The maximum number of orders in a batch is {batch}")
    return found


def _closed(row: Mapping[str, Any], request: Mapping[str, Any]) -> Response:
    """Return the reply of ``close-position``, which has no ``sCode``."""
    if row["sCode"] != "0":
        return _failed(row["sCode"], row["sMsg"])
    named = {"instId": request.get("instId", ""), "posSide": request.get("posSide") or "net"}
    return _json({"code": "0", "msg": "", "data": [{"clOrdId": row["clOrdId"], **named, "tag": row["tag"]}]})


def _denied(denied: Denied) -> Response:
    return _json({"msg": denied.message, "code": denied.code}, denied.status)


def _rejected(rejection: OrderRejected) -> Response:
    return _failed(rejection.code, rejection.message, 400 if rejection.code in _BAD_REQUEST else 200)


def _ip(request: Request) -> str:
    return request.client.host if request.client else ""


def _failed(code: str, message: str, status: int = 200) -> Response:
    return _json({"code": code, "msg": message, "data": []}, status)


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _scripted(answer: ScriptedReply) -> Response:
    return Response(answer.body, answer.status, media_type=answer.media_type)
