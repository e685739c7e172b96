"""REST: authentication, rate limits, and replies.

A reply is ``{"code", "msg", "data"}``. A request that is not authenticated gets HTTP 401 and a body without ``data``,
as observed at OKX.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response

from okxsync.sandbox.exchange.exchange import Member, OrderRejected
from okxsync.sandbox.faults.rules import ScriptedReply
from okxsync.sandbox.server import trade
from okxsync.sandbox.server.auth import Denied
from okxsync.sandbox.server.endpoints import READ_ENDPOINTS
from okxsync.sandbox.server.hub import Hub
from okxsync.sandbox.server.read_request import ReadEndpoint, ReadRequest

_ENDPOINTS = {each.path: each for each in READ_ENDPOINTS}
_BAD_REQUEST = frozenset({"50000", "50002", "50006", "50014", "51000"})
"""Codes that are sent with HTTP 400 (OKX docs: error-code-rest-api); rejected orders come with 200."""


class RestServer:
    """Answers the REST requests of an exchange."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        path, body = request.path_params["path"], await request.body()
        scripted = self._hub.faults.reply(path) or self._rule(request, path)
        if scripted:
            await trio.sleep(scripted.delay_s)
            if not scripted.after:
                return _scripted(scripted)
        try:
            response = self._answer(request, path, body)
        except Denied as denied:
            response = _json({"msg": denied.message, "code": denied.code}, denied.status)
        except OrderRejected as rejection:
            response = _failed(rejection.code, rejection.message, 400 if rejection.code in _BAD_REQUEST else 200)
        return _scripted(scripted) if scripted else response

    def _rule(self, request: Request, path: str) -> ScriptedReply | None:
        name = self._hub.keyring.name_of(request.headers.get("OK-ACCESS-KEY", ""))
        rule = self._hub.faults.rule("rest", account=name, path=path)
        return ScriptedReply(path, int(rule.code or 503), rule.text, delay_s=rule.seconds) if rule else None

    def _answer(self, request: Request, path: str, body: bytes) -> Response:
        if request.method == "POST" and path in trade.BY_PATH:
            return self._operate(request, trade.BY_PATH[path], body)
        if request.method == "GET" and path in _ENDPOINTS:
            return self._read(request, _ENDPOINTS[path])
        if path in trade.BY_PATH or path in _ENDPOINTS:
            return _failed("50115", "Invalid request method", 405)
        return _failed("404", "Not Found", 404)

    def _read(self, request: Request, reading: ReadEndpoint) -> Response:
        hub, query = self._hub, dict(request.query_params)
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

    def _operate(self, request: Request, operation: trade.Operation, body: bytes) -> Response:
        hub, started = self._hub, time.time_ns()
        uid = self._member(request, body, to_trade=True).uid
        requests = _requests(request, operation, body)
        expires = request.headers.get("expTime", "")
        if expires and not (expires.isdecimal() and int(expires) > hub.now_ms()):
            raise OrderRejected("50036", "The expTime can't be earlier than the current system time.")
        if code := trade.over_budget(hub.exchange, hub.limits, uid, operation, requests):
            return self._too_many(code)
        rows = hub.operate(trade.execute, hub.exchange, uid, operation, requests, hub.now_ms())
        if operation.path == "trade/close-position":
            return _closed(rows[0], requests[0])
        outcome = trade.outcome(rows)
        times = {"inTime": str(started // 1000), "outTime": str(time.time_ns() // 1000)}
        return _json({"code": outcome.code, "msg": outcome.message, "data": outcome.rows} | times)

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


def _requests(request: Request, operation: trade.Operation, body: bytes) -> list[Mapping[str, Any]]:
    """Return the requests in the body: an object, or for batches a list of objects."""
    if not body:
        raise OrderRejected("50000", "Body for POST request cannot be empty.")
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise OrderRejected("50006", "Invalid Content-Type. Please use application/json.")
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise OrderRejected("50002", "JSON syntax error") from None
    if isinstance(found, dict) and not operation.batch:
        return [found]
    if not (operation.batch and isinstance(found, list) and found and all(isinstance(each, dict) for each in found)):
        raise OrderRejected("50002", "JSON syntax error")
    if len(found) > operation.batch:
        raise OrderRejected("51111", f"The maximum number of orders in a batch is {operation.batch}")
    return found


def _closed(row: Mapping[str, Any], request: Mapping[str, Any]) -> Response:
    """Return the reply of ``close-position``, which has no ``sCode``."""
    if row["sCode"] != "0":
        return _failed(row["sCode"], row["sMsg"])
    named = {"instId": request.get("instId", ""), "posSide": request.get("posSide") or "net"}
    return _json({"code": "0", "msg": "", "data": [{"clOrdId": row["clOrdId"], **named, "tag": row["tag"]}]})


def _ip(request: Request) -> str:
    return request.client.host if request.client else ""


def _failed(code: str, message: str, status: int = 200) -> Response:
    return _json({"code": code, "msg": message, "data": []}, status)


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _scripted(answer: ScriptedReply) -> Response:
    return Response(answer.body, answer.status, media_type=answer.media_type)
