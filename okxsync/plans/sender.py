"""Sends requests that trade over REST, each once: no retry, no redirect, no proxy, HTTP/1.1.

Headers alone place nothing, so the line between "not sent" and "unknown" is the moment at which httpcore is about to
write the request's body. ``may_send`` is asked at that moment, and also before the headers: everything that may take
time - the rate limits, a free connection, TCP and TLS - is over then. If it says no, the connection is closed without a
body, and in most cases without a byte.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, Final

import httpx
import msgspec
import trio

from okxsync.config.secret import ConfigError
from okxsync.config.settings import AccountSettings
from okxsync.okx.rate_limits import Budget, Slots
from okxsync.plans.replies import Judgement, Stage, failed, judge, judge_repeatable
from okxsync.plans.waves import WAVE
from okxsync.rest.client import SignedBy
from okxsync.rest.clock import SiteClock
from okxsync.rest.http import open_http, read_reply
from okxsync.runtime.rate_limiter import RateLimiter

PLACE: Final = "trade/order"
CANCEL: Final = "trade/cancel-order"
CANCEL_ALGOS: Final = "trade/cancel-algos"
SET_LEVERAGE: Final = "account/set-leverage"
CANCEL_ALL_AFTER: Final = "trade/cancel-all-after"
WRITTEN_AT_ONCE: Final = 4
"""Requests whose headers or body are being written. TLS lets other tasks run between the question whether a request
may be sent and its write: with a whole wave of them, halt would be late by all their CPU time."""
IDLE_S: Final = 90.0
"""Connections are kept from one wave to the next: a TLS handshake costs more than an order."""
REPLY_S: Final = 8.0
"""How long a reply is waited for: longer than ``expTime``, and the order is looked up afterwards."""
LIMITS: Final = {
    PLACE: Budget(60, 2),
    CANCEL: Budget(60, 2),
    CANCEL_ALGOS: Budget(20, 2),
    SET_LEVERAGE: Budget(20, 2),
    CANCEL_ALL_AFTER: Budget(1, 1),
}
"""Per account and instrument; the leverage per account, ``cancel-all-after`` per tag (OKX docs: limit of each one)."""


def open_sending_http() -> httpx.AsyncClient:
    """Return the HTTP client of ``Sender``: a connection for each order of a wave."""
    return open_http(at_once=WAVE, idle_s=IDLE_S)


_WRITTEN: Final = frozenset({"send_request_headers.failed", "send_request_body.complete", "send_request_body.failed"})


class Trade(msgspec.Struct, frozen=True):
    """A request that trades: it places an order, or it may be repeated: a cancellation or a setting.

    Attributes:
        path: A key of ``LIMITS``.
        subject: What OKX counts the requests of an account by; ``""``: nothing but the account.
        body: Sent as it is.
        cl_ord_id: Of the order that it places; ``""``: it places none.
        exp_ms: OKX does not process it later; 0: it does not expire.
    """

    path: str
    subject: str
    body: str
    cl_ord_id: str = ""
    exp_ms: int = 0

    def judge(self, body: bytes, status: int) -> Judgement:
        """Return what a reply proves."""
        return judge(self.cl_ord_id, body, status) if self.cl_ord_id else judge_repeatable(body, status)


class _Withheld(Exception):
    """``may_send`` said no."""


class Sender:
    """Sends orders, cancellations and settings of all accounts.

    Args:
        http: From ``open_sending_http``; the caller closes it.
        ip_rate: Requests per second of this machine.
    """

    def __init__(self, http: httpx.AsyncClient, ip_rate: int) -> None:
        self._http = http
        self._writing = trio.Semaphore(WRITTEN_AT_ONCE)
        self._ip_limiter = RateLimiter(Slots(ip_rate, 1.0))
        self._limiters: dict[tuple[str, str, str], RateLimiter] = {}

    async def send(
        self,
        account: AccountSettings,
        clock: SiteClock,
        request: Trade,
        may_send: Callable[[], bool] = lambda: True,
    ) -> Judgement | None:
        """Send a request once, and return what its reply or failure proves; None: ``may_send`` forbade it.

        If it is cancelled, the outcome is unknown: the order may be placed.

        Args:
            may_send: Asked immediately before the first byte, and again immediately before the body.
        """
        attempt = _Attempt(may_send, self._writing)
        expires = {"expTime": str(request.exp_ms)} if request.exp_ms else {}
        responding = self._http.stream(
            "POST",
            _url(account.site.rest, request.path),
            content=request.body.encode(),
            headers={"content-type": "application/json", **expires},
            auth=SignedBy(account, clock),
            extensions={"trace": attempt.trace},
        )
        limiter = self._limiter(request.path, account.name, request.subject)
        async with limiter.acquire(1) as permit, self._ip_limiter.acquire(1) as ip_permit:
            try:
                found = await _exchange(responding, attempt, request.judge)
            finally:
                attempt.end_writing()
            if found is None or attempt.stage is Stage.NOT_STARTED or found.http_status is not None:
                permit.release()
                ip_permit.release()
        return found

    def _limiter(self, path: str, account: str, subject: str) -> RateLimiter:
        key = path, account, subject
        if key not in self._limiters:
            limit = LIMITS[path]
            self._limiters[key] = RateLimiter(Slots(limit.calls, limit.window_s, patience_s=REPLY_S))
        return self._limiters[key]


@lru_cache(maxsize=64)
def _url(rest: str, path: str) -> httpx.URL:
    return httpx.URL(f"{rest}/api/v5/{path}")  # parsing it takes a tenth of what a request costs


class _Attempt:
    """How far one request has come.

    Args:
        writing: The requests that may be written at the same time.
    """

    def __init__(self, may_send: Callable[[], bool], writing: trio.Semaphore) -> None:
        self._may_send = may_send
        self._writing = writing
        self._is_written = False
        self.stage = Stage.NOT_STARTED

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Take an event of httpcore (its docs: extensions, trace)."""
        _, _, event = event.partition(".")
        if event == "send_request_headers.started":
            await self._writing.acquire()
            self._is_written = True
            self._ask()
        elif event == "send_request_body.started":
            self._ask()
            self.stage = Stage.STARTED
        elif event in _WRITTEN:
            self.end_writing()

    def _ask(self) -> None:
        if not self._may_send():
            raise _Withheld

    def end_writing(self) -> None:
        """The request has been written, or never will be; a second call has no effect."""
        if self._is_written:
            self._is_written = False
            self._writing.release()


async def _exchange(
    responding: AbstractAsyncContextManager[httpx.Response],
    attempt: _Attempt,
    judged: Callable[[bytes, int], Judgement],
) -> Judgement | None:
    try:
        with trio.fail_after(REPLY_S):
            status, body = await read_reply(responding)
    except _Withheld:
        return None
    except trio.TooSlowError:
        return failed(attempt.stage, f"no answer within {REPLY_S:.0f} s")
    except (httpx.LocalProtocolError, UnicodeError) as error:  # its text may contain a header, and so a secret
        return failed(attempt.stage, type(error).__name__)
    except ConfigError as error:
        return failed(attempt.stage, str(error))
    except (httpx.HTTPError, OSError, ValueError) as error:
        return failed(attempt.stage, f"{type(error).__name__}: {error}")
    return judged(body, status)
