"""Sends requests that trade over REST, each once: no retry, no redirect, no proxy, HTTP/1.1.

The line between "not sent" and "unknown" is the only write of a request (``rest.connections``): ``may_send`` is asked
directly before it, and nothing else runs in between. Everything that may take time is over then: the rate limits, the
signature, a free connection, TCP and TLS. If it says no, no byte leaves.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import httpx
import msgspec
import trio

from okxsync.config.secret import ConfigError
from okxsync.config.settings import AccountSettings
from okxsync.okx.rate_limits import Budget, Slots
from okxsync.plans.replies import Judgement, Stage, failed, judge, judge_repeatable
from okxsync.plans.waves import UNDER_WAY
from okxsync.rest.client import signed
from okxsync.rest.clock import SiteClock
from okxsync.rest.connections import Connections
from okxsync.rest.http import Address, Http, address_of
from okxsync.runtime.rate_limiter import RateLimiter
from okxsync.runtime.turns import Turns

PLACE: Final = "trade/order"
CANCEL: Final = "trade/cancel-order"
CANCEL_ALGOS: Final = "trade/cancel-algos"
SET_LEVERAGE: Final = "account/set-leverage"
CANCEL_ALL_AFTER: Final = "trade/cancel-all-after"
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


def open_sending_connections() -> Connections:
    """Return the connections of ``Sender``: one for each request under way."""
    return Connections(UNDER_WAY, IDLE_S)


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
        connections: From ``open_sending_connections``; the caller closes them.
        ip_rate: Requests per second of this machine.
    """

    def __init__(self, connections: Connections, ip_rate: int) -> None:
        self._connections = connections
        self._http = Http(connections)
        self._ip_limiter = RateLimiter(Slots(ip_rate, 1.0))
        self._turns = Turns()
        self._limiters: dict[tuple[str, str, str], RateLimiter] = {}

    async def warm(self, accounts: Iterable[AccountSettings]) -> None:
        """Open the connections over which the first orders of these accounts are sent."""
        counts = Counter(_address_of(one, PLACE).origin for one in accounts)
        for origin, count in counts.items():
            await self._connections.warm(origin, min(count, UNDER_WAY))

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
            may_send: Asked immediately before the first byte.
        """
        limiter = self._limiter(request.path, account.name, request.subject)
        await self._turns.take()
        async with limiter.acquire(1) as permit, self._ip_limiter.acquire(1) as ip_permit:
            attempt = _Attempt(may_send)
            found = await self._exchange(account, clock, request, attempt)
            if found is None or attempt.stage is Stage.NOT_STARTED or found.http_status is not None:
                permit.release()
                ip_permit.release()
        return found

    async def _exchange(
        self, account: AccountSettings, clock: SiteClock, request: Trade, attempt: "_Attempt"
    ) -> Judgement | None:
        try:
            with trio.fail_after(REPLY_S):
                status, body = await self._post(account, clock, request, attempt)
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
        return request.judge(body, status)

    async def _post(
        self, account: AccountSettings, clock: SiteClock, request: Trade, attempt: "_Attempt"
    ) -> tuple[int, bytes]:
        address, body = _address_of(account, request.path), request.body.encode()
        headers = {
            "Content-Type": "application/json",
            **({"expTime": str(request.exp_ms)} if request.exp_ms else {}),
            **await signed(account, clock, "POST", address.path.encode(), body),
        }
        return await self._http.exchange("POST", address, address.path, headers, body, attempt.begin)

    def _limiter(self, path: str, account: str, subject: str) -> RateLimiter:
        key = path, account, subject
        if key not in self._limiters:
            limit = LIMITS[path]
            self._limiters[key] = RateLimiter(Slots(limit.calls, limit.window_s, patience_s=REPLY_S))
        return self._limiters[key]


def _address_of(account: AccountSettings, path: str) -> Address:
    return address_of(f"{account.site.rest}/api/v5/{path}")


class _Attempt:
    """How far one request has come."""

    def __init__(self, may_send: Callable[[], bool]) -> None:
        self._may_send = may_send
        self.stage = Stage.NOT_STARTED

    def begin(self) -> None:
        """Called directly before the write.

        Raises:
            _Withheld: nothing may be sent.
        """
        if not self._may_send():
            raise _Withheld
        self.stage = Stage.STARTED
