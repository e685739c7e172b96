"""Switches: what the exchange does wrong on request, and the terms it holds its clients to.

All of it may be changed while the server runs; the defaults are those of OKX.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Terms:
    """The limits of the service (OKX docs: overview-websocket-connect, overview-rate-limits); 0 is no limit."""

    dials_per_second: int = 3  # new WebSocket connections of one IP
    requests_per_hour: int = 480  # login, subscribe and unsubscribe on one connection
    connections_per_channel: int = 30  # of one account, for the counted channels
    idle_s: float = 30.0  # silence after which a connection is closed with 4004
    idle_counts_pushes: bool = True  # whether what we send is no silence either
    snapshot_s: float = 5.0  # period of the regular pushes of account and positions
    details_per_page: int = 20  # currencies of one message of account
    frames_waiting: int = 2000  # for a slow reader, before its connection is closed with 4005


@dataclass(frozen=True)
class ScriptedReply:
    """A scripted REST answer; with `after` the request is carried out first, and its own answer lost."""

    path: str  # below /api/v5/, for instance trade/order
    status: int = 200
    body: str = '{"code":"0","msg":"","data":[]}'
    after: bool = False
    media_type: str = "application/json"
    delay_s: float = 0.0


@dataclass(eq=False)
class Rule:
    """A fault that holds for some accounts, endpoints, channels or REST paths; "" means all of them.

    `do` says what: ``refuse`` (handshakes, with HTTP status `code`), ``login-error`` (with `code`), ``login-delay`` (of
    `seconds`), ``subscribe-error`` (with `code`), ``crowded`` (channel-conn-count-error in place of pushes), ``silent``
    (no pushes), ``delay`` (every frame of a connection, pongs and acknowledgements too, is sent `seconds` late, in
    order), ``double`` (each push twice), ``reorder`` (each second push before the one before it), ``join`` (all
    that one operation tells of orders in one message), ``unannounced`` (no notice before an upgrade, as on ``business``
    until 2026-06-11), ``rest`` (status `code`, after `seconds`, with `text` as body).
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
    """Faults to come; each is its own switch, and none is on at first."""

    clock_skew_ms: int = 0  # the exchange's clock is ahead of its own truth
    environment: str = ""  # "demo" or "live": keys of the other one get 50101 on WebSocket; else both are served
    login_delay_s: float = 0.0
    login_errors: deque[str] = field(default_factory=deque)  # codes for the next logins, for instance 60009
    rate_limit_status: int = 429  # of 50011; OKX sometimes says 200
    replies: list[ScriptedReply] = field(default_factory=list)  # each is used once
    deleted_keys: set[str] = field(default_factory=set)
    push_first: bool = False  # pushes of a WebSocket order operation go out before its reply
    repeat_orders_ms: int | None = None  # every order message comes twice, the second with a uTime this much later
    join_orders: bool = False  # what one operation tells of an account's orders comes in one message
    rest_lags_ms: int = 0  # what is new is pushed at once, and can be read this much later
    silent: set[str] = field(default_factory=set)  # channels that push nothing, though subscribed
    rules: list[Rule] = field(default_factory=list)  # those that hold now
    status: list[dict[str, Any]] = field(default_factory=list)  # rows of GET system/status

    def rule(self, do: str, **where: str) -> Rule | None:
        """Return the first rule that holds for what is about to happen."""
        return next((each for each in self.rules if each.holds_for(do, **where)), None)

    def reply(self, path: str) -> ScriptedReply | None:
        """Take the next scripted answer for a path."""
        for number, each in enumerate(self.replies):
            if each.path == path:
                return self.replies.pop(number)
        return None
