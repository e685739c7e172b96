"""The faults of the exchange, and the limits that it enforces.

Both may be changed while the server runs. The defaults are those of OKX.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from okxsync.sandbox.faults.requests import RequestFault


@dataclass
class Terms:
    """The limits of the service (OKX docs: overview-websocket-connect, overview-rate-limits); 0 is no limit."""

    dials_per_second: int = 3  # new WebSocket connections of one IP
    requests_per_hour: int = 480  # login, subscribe and unsubscribe on one connection
    connections_per_channel: int = 30  # of one account, for the counted channels
    rest_per_second: int = 0  # REST requests of one IP; more get HTTP 429 and a page of HTML from the edge
    idle_s: float = 30.0  # without a frame, then the connection is closed with 4004
    idle_counts_pushes: bool = True  # whether frames that we send end a silence too
    snapshot_s: float = 5.0  # period of the regular pushes of account and positions
    details_per_page: int = 20  # currencies of one message of account
    frames_waiting: int = 2000  # queued for a slow reader; more close its connection with 4005


@dataclass(frozen=True)
class ScriptedReply:
    """A scripted REST reply. With `after` the request is executed first, and its own reply is discarded."""

    path: str  # below /api/v5/, for instance trade/order
    status: int = 200
    body: str = '{"code":"0","msg":"","data":[]}'
    after: bool = False
    media_type: str = "application/json"
    delay_s: float = 0.0


@dataclass(eq=False)
class Rule:
    """A fault that lasts; account, endpoint, channel and REST path limit it, and "" means all.

    `do` is one of ``refuse`` (handshakes, with HTTP status `code`), ``login-error`` (with `code`), ``login-delay`` (of
    `seconds`), ``subscribe-error`` (with `code`), ``crowded`` (channel-conn-count-error in place of pushes), ``silent``
    (no pushes), ``delay`` (every frame of a connection, pongs and acknowledgements too, is sent `seconds` late, in
    order), ``double`` (each push twice), ``reorder`` (each second push before the one before it), ``join`` (all
    order rows of one operation in one message), ``unannounced`` (no notice before an upgrade, as on ``business``
    until 2026-06-11), ``rest`` (status `code`, after `seconds`, with `text` as body).
    A script also has ``request``, which is a `RequestFault`.
    """

    do: str
    account: str = ""
    endpoint: str = ""
    channel: str = ""
    path: str = ""
    code: str = ""
    seconds: float = 0.0
    text: str = ""

    def holds_for(self, do: str, **where: str) -> bool:
        return self.do == do and all(getattr(self, name) in ("", value) for name, value in where.items())


@dataclass
class Faults:
    """The faults that are set. None is at first."""

    clock_skew_ms: int = 0  # how far the clock that clients see is ahead
    environment: str = ""  # "demo" or "live": keys of the other one get 50101 on WebSocket; "" serves both
    login_delay_s: float = 0.0
    login_errors: deque[str] = field(default_factory=deque)  # error codes of the next logins, for instance 60009
    rate_limit_status: int = 429  # of 50011; OKX sometimes says 200
    replies: list[ScriptedReply] = field(default_factory=list)  # each is used once
    requests: list[RequestFault] = field(default_factory=list)  # of requests that trade
    deleted_keys: set[str] = field(default_factory=set)
    push_first: bool = False  # pushes of a WebSocket order operation go out before its reply
    repeat_orders_ms: int | None = None  # every order message comes twice, the second with a uTime this much later
    join_orders: bool = False  # all order rows of one operation and account come in one message
    rest_delay_s: float = 0.0  # how late every REST reply is sent
    rest_lags_ms: int = 0  # a new row is pushed at once, and REST shows it this much later
    spellings: bool = False  # pushes and REST spell equal values differently (`server.spellings`)
    silent: set[str] = field(default_factory=set)  # channels that push nothing, though subscribed
    rules: list[Rule] = field(default_factory=list)  # the lasting faults
    status: list[dict[str, Any]] = field(default_factory=list)  # rows of GET system/status

    def rule(self, do: str, **where: str) -> Rule | None:
        """Return the first rule that applies."""
        return next((each for each in self.rules if each.holds_for(do, **where)), None)

    def reply(self, path: str) -> ScriptedReply | None:
        """Take the next scripted reply for a path."""
        for number, each in enumerate(self.replies):
            if each.path == path:
                return self.replies.pop(number)
        return None
