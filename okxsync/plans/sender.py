"""Sends requests that trade, each once, over one of the two ways of ``plans.ways``.

The line between "not sent" and "unknown" is the only write of a request: ``may_send`` is asked directly before it, and
nothing else runs in between. Everything that may take time is over then: the rate limits, the signature, a free
connection, TCP and TLS. If it says no, no byte leaves.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Final

import httpx
import msgspec
import trio

from okxsync.config.secret import ConfigError
from okxsync.config.settings import AccountSettings
from okxsync.feed.requests import NoReply, NotSent
from okxsync.okx.rate_limits import Slots
from okxsync.plans.replies import Judgement, Stage, failed
from okxsync.plans.trades import LIMITS, PLACE, Trade, Transport
from okxsync.plans.waves import UNDER_WAY
from okxsync.plans.ways import RestWay, WsWay, address_for
from okxsync.rest.clock import SiteClock
from okxsync.rest.connections import Connections
from okxsync.runtime.rate_limiter import RateLimiter
from okxsync.runtime.turns import Turns

IDLE_S: Final = 90.0
"""Connections are kept from one wave to the next: a TLS handshake costs more than an order."""
REPLY_S: Final = 8.0
"""How long a reply is waited for: longer than ``expTime``, and the order is looked up afterwards."""


def open_sending_connections() -> Connections:
    """Return the connections of ``Sender``: one for each request under way."""
    return Connections(UNDER_WAY, IDLE_S)


class _Withheld(Exception):
    """``may_send`` said no."""


class Sender:
    """Sends orders, cancellations and settings of all accounts.

    Args:
        connections: From ``open_sending_connections``; the caller closes them.
        ip_rate: Requests over REST per second of this machine.
        ws: Sends over WebSocket what can go that way; None: everything goes over REST.
    """

    def __init__(self, connections: Connections, ip_rate: int, ws: WsWay | None = None) -> None:
        self._connections = connections
        self._rest = RestWay(connections)
        self._ws = ws
        self._ip_limiter = RateLimiter(Slots(ip_rate, 1.0))
        self._turns = Turns()
        self._limiters: dict[tuple[str, str, str], RateLimiter] = {}

    async def warm(self, accounts: Iterable[AccountSettings]) -> None:
        """Open the REST connections over which the first orders of these accounts are sent."""
        counts = Counter(address_for(one, PLACE).origin for one in accounts)
        for origin, count in counts.items():
            await self._connections.warm(origin, min(count, UNDER_WAY))

    def transport_of(self, account: AccountSettings, request: Trade) -> Transport:
        """Return the way on which a request would go now."""
        return self._way(account, request).transport

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
        way = self._way(account, request)
        limiters = [self._limiter(request.path, account.name, request.subject)]
        if way is self._rest:
            limiters.append(self._ip_limiter)
        await self._turns.take()
        async with AsyncExitStack() as stack:
            permits = [await stack.enter_async_context(one.acquire(1)) for one in limiters]
            attempt = _Attempt(may_send)
            found = await self._exchange(way, account, clock, request, attempt)
            if found is None or attempt.stage is Stage.NOT_STARTED or attempt.is_answered:
                for permit in permits:
                    permit.release()
        return found and msgspec.structs.replace(found, transport=way.transport)

    def _way(self, account: AccountSettings, request: Trade) -> RestWay | WsWay:
        return self._ws if self._ws and self._ws.takes(account, request) else self._rest

    async def _exchange(
        self, way: RestWay | WsWay, account: AccountSettings, clock: SiteClock, request: Trade, attempt: "_Attempt"
    ) -> Judgement | None:
        try:
            with trio.fail_after(REPLY_S):
                body, status = await way.exchange(account, clock, request, attempt.begin)
        except _Withheld:
            return None
        except NotSent as error:
            return failed(Stage.NOT_STARTED, str(error))
        except NoReply as error:
            return failed(Stage.STARTED, str(error))
        except trio.TooSlowError:
            return failed(attempt.stage, f"no answer within {REPLY_S:.0f} s")
        except (httpx.LocalProtocolError, UnicodeError) as error:  # its text may contain a header, and so a secret
            return failed(attempt.stage, type(error).__name__)
        except ConfigError as error:
            return failed(attempt.stage, str(error))
        except (httpx.HTTPError, OSError, ValueError) as error:
            return failed(attempt.stage, f"{type(error).__name__}: {error}")
        attempt.is_answered = True
        return request.judge(body, status)

    def _limiter(self, path: str, account: str, subject: str) -> RateLimiter:
        key = path, account, subject
        if key not in self._limiters:
            limit = LIMITS[path]
            self._limiters[key] = RateLimiter(Slots(limit.calls, limit.window_s, patience_s=REPLY_S))
        return self._limiters[key]


class _Attempt:
    """How far one request has come."""

    def __init__(self, may_send: Callable[[], bool]) -> None:
        self._may_send = may_send
        self.stage = Stage.NOT_STARTED
        self.is_answered = False

    def begin(self) -> None:
        """Called directly before the write.

        Raises:
            _Withheld: nothing may be sent.
        """
        if not self._may_send():
            raise _Withheld
        self.stage = Stage.STARTED
