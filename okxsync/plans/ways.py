"""The two ways of a request to OKX: REST, and the private WebSocket connection that the mirror holds.

Both ask ``begin`` directly before their only write, and repeat nothing. What REST can do and the other way cannot goes
over REST: set a leverage, cancel algo orders, and place an order with attached take-profit or stop-loss, which OKX does
not document for WebSocket. A WebSocket request names the instrument by ``instIdCode``; if OKX did not say it, likewise.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from okxsync.config.settings import AccountSettings
from okxsync.plans.trades import CANCEL, PLACE, Trade, Transport
from okxsync.rest.client import signed
from okxsync.rest.clock import SiteClock
from okxsync.rest.connections import Connections
from okxsync.rest.http import Address, Http, address_of

_OPS: Final = {PLACE: "order", CANCEL: "cancel-order"}
_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Sockets(Protocol):
    """The private connections of all accounts: ``feed.pool.ConnectionPool``."""

    def takes_requests(self, account: AccountSettings) -> bool: ...

    async def ask(
        self, account: AccountSettings, op: str, arg: bytes, exp_ms: int, begin: Callable[[], None]
    ) -> str: ...


def address_for(account: AccountSettings, path: str) -> Address:
    return address_of(f"{account.site.rest}/api/v5/{path}")


class RestWay:
    """A POST over a kept connection: no retry, no redirect, no proxy, HTTP/1.1."""

    transport: Final[Transport] = "rest"

    def __init__(self, connections: Connections) -> None:
        self._http = Http(connections)

    async def exchange(
        self, account: AccountSettings, clock: SiteClock, request: Trade, begin: Callable[[], None]
    ) -> tuple[bytes, int | None]:
        """Send a request, and return the reply's body and HTTP status."""
        address, body = address_for(account, request.path), request.body.encode()
        headers = {
            "Content-Type": "application/json",
            **({"expTime": str(request.exp_ms)} if request.exp_ms else {}),
            **await signed(account, clock, "POST", address.path.encode(), body),
        }
        status, reply = await self._http.exchange("POST", address, address.path, headers, body, begin)
        return reply, status


class WsWay:
    """An order operation on the private connection.

    Args:
        is_wanted: Whether ``[trading] via`` says so.
        code_of: Returns the ``instIdCode`` of an instrument for an account; None: it is not known.
    """

    transport: Final[Transport] = "ws"

    def __init__(
        self, sockets: Sockets, is_wanted: Callable[[], bool], code_of: Callable[[AccountSettings, str], int | None]
    ) -> None:
        self._sockets = sockets
        self._is_wanted = is_wanted
        self._code_of = code_of

    def takes(self, account: AccountSettings, request: Trade) -> bool:
        """Return whether a request goes this way. A cancellation that cannot now goes over REST."""
        if not self._is_wanted() or request.path not in _OPS or self._code_of(account, request.subject) is None:
            return False
        return self._sockets.takes_requests(account) if request.path == CANCEL else not _has_attached(request.body)

    async def exchange(
        self, account: AccountSettings, clock: SiteClock, request: Trade, begin: Callable[[], None]
    ) -> tuple[bytes, int | None]:
        """Send a request, and return the reply.

        Raises:
            NotSent: nothing of it has left.
            NoReply: the connection has ended since.
        """
        fields = _decode(request.body)
        del fields["instId"]
        arg = msgspec.json.encode({"instIdCode": self._code_of(account, request.subject), **fields})
        reply = await self._sockets.ask(account, _OPS[request.path], arg, request.exp_ms, begin)
        return reply.encode(errors="replace"), None


def _has_attached(body: str) -> bool:
    return "attachAlgoOrds" in _decode(body)
