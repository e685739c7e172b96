"""The frames that okxsync sends, and the control frames that it receives (OKX docs: overview-websocket).

There are four kinds of frames. ``ping`` and ``pong`` are plain words. Control frames have the key ``"event"``: the
response to a login, one acknowledgement per argument of a subscribe request, errors (real ones have no argument; the
``id`` of the request identifies it), counts and notices. Replies to order operations have ``op`` and the ``id`` of the
request (OKX docs: order-book-trading-trade). All others are data, and are not decoded here.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from okxsync.okx.channels import NOT_REPEATED, Subscription
from okxsync.okx.signing import sign_login

PING: Final = "ping"
PONG: Final = "pong"

MAX_REQUEST_BYTES: Final = 32 * 1024
"""OKX limits the arguments of one request to 64 KB in total; half of it is safe however the total is counted."""


REQUEST_IDS: Final = "o"
"""With which the id of each order operation begins; those of subscribe requests begin with ``s``."""

EVENTS: Final = frozenset(
    {"login", "subscribe", "unsubscribe", "error", "notice", "channel-conn-count", "channel-conn-count-error"}
)
"""The control frames that OKX documents."""


class Event(msgspec.Struct, rename="camel"):
    """A control frame. Fields that OKX has sent both as a number and as a string accept both."""

    event: str
    id: str | None = None
    code: str | int | None = None
    msg: str | None = None
    arg: dict[str, object] | None = None
    channel: str | None = None
    conn_count: str | int | None = None
    conn_id: str | None = None
    data: msgspec.Raw = msgspec.Raw()

    @property
    def named_channel(self) -> str | None:
        """The channel that it is about: counts name it beside ``arg`` (OKX docs), other events within it."""
        found = self.channel if self.channel is not None else (self.arg or {}).get("channel")
        return found if isinstance(found, str) else None

    def names(self, subscription: Subscription) -> bool:
        """Whether ``arg`` repeats the argument of ``subscription``; the exchange may add keys."""
        if self.arg is None:
            return False
        return all(self.arg.get(key) == value for key, value in subscription.arg.items() if key not in NOT_REPEATED)


_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(Event)


def read_event(frame: str) -> Event | None:
    """Return the control frame, or None if ``frame`` is data or invalid."""
    if frame.startswith('{"arg":{') and frame.find('},"data":[{', 8, 400) > 0:  # a push; no need to decode it
        return None
    if '"event"' not in frame:
        return None
    try:
        event = _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):  # data that contains "event", lone surrogates
        return None
    rows = bytes(event.data)
    is_push = event.arg is not None and rows.startswith(b"[") and bool(rows[1:-1].strip())
    return None if is_push else event  # a frame with rows is a push, even with an "event"


class _Reply(msgspec.Struct):
    id: str
    op: str
    code: str | int


_decode_reply = msgspec.json.Decoder(_Reply).decode


def is_reply(frame: str) -> bool:
    """Whether ``frame`` answers an order operation."""
    try:
        _decode_reply(frame)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


def request_frame(number: str, op: str, arg: bytes, exp_ms: int) -> str:
    """Return the frame of an order operation.

    Args:
        number: Its id.
        arg: Its only argument, as JSON.
        exp_ms: OKX does not process it later; 0: it does not expire.
    """
    expiry = {"expTime": str(exp_ms)} if exp_ms else {}
    return _encode({"id": number, "op": op, **expiry, "args": [msgspec.Raw(arg)]}).decode()


def login_frame(api_key: str, passphrase: str, secret_key: str, timestamp: int) -> str:
    """Return the login request; ``timestamp`` is in Unix seconds on the exchange's clock."""
    login = {
        "apiKey": api_key,
        "passphrase": passphrase,
        "timestamp": str(timestamp),
        "sign": sign_login(secret_key, str(timestamp)),
    }
    return _encode({"op": "login", "args": [login]}).decode()


class SubscribeRequest(msgspec.Struct):
    """One subscribe frame with its subscriptions, and the ``id`` that responses repeat."""

    id: str
    subscriptions: Sequence[Subscription]

    @property
    def frame(self) -> str:
        args = [subscription.arg for subscription in self.subscriptions]
        return _encode({"id": self.id, "op": "subscribe", "args": args}).decode()


def subscribe_requests(subscriptions: Iterable[Subscription], first_id: int = 1) -> Iterator[SubscribeRequest]:
    """Split ``subscriptions`` into requests below OKX's size limit, each with an alphanumeric id."""
    chosen: list[Subscription] = []
    size = 0
    number = first_id
    for subscription in subscriptions:
        added = len(_encode(subscription.arg)) + 1
        if chosen and size + added > MAX_REQUEST_BYTES:
            yield SubscribeRequest(f"s{number}", chosen)
            chosen, size, number = [], 0, number + 1
        chosen.append(subscription)
        size += added
    if chosen:
        yield SubscribeRequest(f"s{number}", chosen)
