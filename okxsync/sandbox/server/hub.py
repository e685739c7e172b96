"""Between the exchange and its connections: who is subscribed to what, and who is told of a push.

A push goes once to every subscription that asked for its rows; it is written as text once for each distinct arg, not
once for each connection. What happens while nobody is subscribed is told to nobody, ever.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from random import Random
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec
import trio

from okxsync.sandbox.exchange.exchange import Exchange, Push
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.faults.rules import Faults, Terms
from okxsync.sandbox.server.auth import Keyring
from okxsync.sandbox.server.channels import Arg, Channel, interval_s, pushed_arg, select
from okxsync.sandbox.server.endpoints import index_row
from okxsync.sandbox.server.limits import RequestLimits

P = ParamSpec("P")
T = TypeVar("T")


class Receiver(Protocol):
    """Where frames go: a connection."""

    def send(self, frame: str) -> None: ...


class Subscription:
    """One arg of one connection; `due` is when its next regular snapshot is, in seconds."""

    def __init__(self, receiver: Receiver, channel: Channel, arg: Arg, uid: str, usual_s: float) -> None:
        self.receiver = receiver
        self.channel = channel
        self.uid = "" if channel.endpoint == "public" else uid
        self.arg = pushed_arg(channel, arg, uid)
        self.key = text_of(self.arg)
        self.interval_s = interval_s(arg, usual_s) if channel.paged else 0.0
        self.due = trio.current_time() + self.interval_s


def text_of(content: Any) -> str:
    """Write JSON."""
    return msgspec.json.encode(content).decode()


class Hub:
    """An exchange with its clients. All of it may be looked at, and its `terms` and `faults` changed, at any time."""

    def __init__(self, exchange: Exchange, terms: Terms, seed: int) -> None:
        self.exchange = exchange
        self.terms = terms
        self.faults = Faults()
        self.violations: list[str] = []
        self.limits = RequestLimits(trio.current_time, self.violations)
        self.keyring = Keyring(exchange, self.faults)
        self.random = Random(f"connections {seed}")
        self._subscriptions: dict[tuple[str, str], dict[Subscription, None]] = {}
        self._kept: dict[Subscription, str] = {}  # pushes that come after the next one of their subscription

    def now_ms(self) -> int:
        """The time that we show to clients, in ms UTC."""
        return self.exchange._clock() + self.faults.clock_skew_ms

    def operate(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation on the exchange and push what it caused, at once."""
        try:
            return function(*args, **kwargs)
        finally:
            self.push_changes()

    def push_changes(self) -> None:
        """Push what has happened at the exchange and is not pushed yet."""
        pushes = self.exchange.take_pushes()
        for push in _joined(pushes) if self.faults.join_orders or self.faults.rule("join") else pushes:
            self.push(push)

    # Subscriptions

    def subscribe(self, subscription: Subscription) -> None:
        """Let a subscription have what comes from now on."""
        self._subscriptions.setdefault((subscription.uid, subscription.channel.name), {})[subscription] = None

    def unsubscribe(self, subscription: Subscription) -> None:
        """Let it have nothing any more; harmless if it had nothing."""
        place = subscription.uid, subscription.channel.name
        found = self._subscriptions.get(place, {})
        found.pop(subscription, None)
        self._kept.pop(subscription, None)
        if not found:
            self._subscriptions.pop(place, None)

    def receivers(self, uid: str, channel: str) -> set[Receiver]:
        """Return the connections that have a channel of an account."""
        return {each.receiver for each in self._subscriptions.get((uid, channel), ())}

    # Pushes

    def push(self, push: Push) -> None:
        """Send a push to all who asked for it."""
        self._spread(push.uid, push.channel, push.rows)
        if push.channel in ("orders", "orders-algo") and (later := self.faults.repeat_orders_ms) is not None:
            again = [row | {"uTime": str(int(row["uTime"]) + later)} for row in push.rows]
            self._spread(push.uid, push.channel, again)
        if push.channel in ("deposit-info", "withdrawal-info"):
            main = self.exchange.members[push.uid].main_uid
            if main != push.uid:
                self._spread(main, push.channel, push.rows)
        elif push.channel == "orders" and (push.uid, "fills") in self._subscriptions:
            self._spread(push.uid, "fills", [_fill(row) for row in push.rows if row["tradeId"]])
        elif push.channel == "tickers" and ("", "index-tickers") in self._subscriptions:
            self._spread("", "index-tickers", [index_row(row) for row in push.rows if row["instType"] == "SPOT"])

    def _spread(self, uid: str, channel: str, rows: list[Row]) -> None:
        subscriptions = self._subscriptions.get((uid, channel))
        if not subscriptions or channel in self.faults.silent:
            return
        frames: dict[str, str] = {}
        for each in list(subscriptions):
            if each.key not in frames:
                chosen = select(channel, each.arg, rows, self.exchange)
                event = {"eventType": "event_update"} if each.channel.paged else {}
                frames[each.key] = text_of({"arg": each.arg, **event, "data": chosen}) if chosen else ""
            if frames[each.key]:
                self._tell(each, frames[each.key])

    def _tell(self, subscription: Subscription, frame: str) -> None:
        """Send a push, as the rules that hold now want it."""
        faults, receiver = self.faults, subscription.receiver
        if not faults.rules and not self._kept:
            receiver.send(frame)
            return
        channel = subscription.channel
        name = self.exchange.members[subscription.uid].name if subscription.uid else ""
        where = {"account": name, "endpoint": channel.endpoint, "channel": channel.name}
        if faults.rule("silent", **where):
            return
        kept = self._kept.pop(subscription, None)
        if kept is None and faults.rule("reorder", **where):
            self._kept[subscription] = frame
            return
        for each in (frame, kept):
            if each is not None:
                receiver.send(each)
                if faults.rule("double", **where):
                    receiver.send(each)

    def send_snapshot(self, subscription: Subscription) -> None:
        """Send what a subscription begins with, if its channel begins with anything."""
        if subscription.channel.name in self.faults.silent:
            return
        channel = subscription.channel
        name = self.exchange.members[subscription.uid].name if subscription.uid else ""
        if self.faults.rule("silent", account=name, endpoint=channel.endpoint, channel=channel.name):
            return
        for frame in self._snapshot(subscription):
            subscription.receiver.send(frame)

    def send_due_snapshots(self) -> None:
        """Send the regular snapshots whose time has come."""
        now = trio.current_time()
        if self._kept and not self.faults.rules:  # nothing is held back for ever
            kept, self._kept = self._kept, {}
            for subscription, frame in kept.items():
                subscription.receiver.send(frame)
        for subscriptions in list(self._subscriptions.values()):
            for each in list(subscriptions):
                if each.interval_s and now >= each.due:
                    each.due = max(each.due + each.interval_s, now)
                    self.send_snapshot(each)

    def _snapshot(self, subscription: Subscription) -> Iterator[str]:
        exchange, uid, arg = self.exchange, subscription.uid, subscription.arg
        match subscription.channel.name:
            case "account":
                row = exchange.account_row(uid)
                found = select("account", arg, [row], exchange)
                details = found[0]["details"] if found else []
                size = self.terms.details_per_page
                pages = [row | {"details": details[i : i + size]} for i in range(0, max(len(details), 1), size)]
                for number, page in enumerate(pages, 1):
                    yield _page(arg, [page], number, last=number == len(pages))
            case "positions":
                p_time = {"pTime": str(self.now_ms())}
                rows = [row | p_time for row in exchange.position_rows(uid)]
                yield _page(arg, select("positions", arg, rows, exchange), 1, last=True)
            case "balance_and_position":
                yield text_of({"arg": arg, "data": [exchange.balance_and_position_row(uid)]})
            case "tickers" | "mark-price" | "index-tickers" | "funding-rate" | "open-interest":
                yield text_of({"arg": arg, "data": [self._public_row(subscription.channel.name, arg["instId"])]})
            case "status":
                if self.faults.status:
                    yield text_of({"arg": arg, "data": self.faults.status[-1:]})

    def _public_row(self, channel: str, inst_id: str) -> Row:
        exchange = self.exchange
        inst_type = exchange.instruments[inst_id].inst_type
        if channel == "funding-rate":
            return exchange.funding_rate_row(inst_id)
        if channel == "open-interest":
            nothing = {"oi": "0", "oiCcy": "0", "oiUsd": "0"}
            return {"instType": inst_type, "instId": inst_id, **nothing, "ts": str(self.now_ms())}
        rows = exchange.mark_price_rows(inst_type) if channel == "mark-price" else exchange.ticker_rows(inst_type)
        row = next(row for row in rows if row["instId"] == inst_id)
        return index_row(row) if channel == "index-tickers" else row


def _joined(pushes: list[Push]) -> Iterator[Push]:
    """Join the messages about orders that follow each other."""
    for (uid, channel), group in groupby(pushes, key=lambda push: (push.uid, push.channel)):
        if channel == "orders":
            yield Push(uid, channel, [row for push in group for row in push.rows])
        else:
            yield from group


def _page(arg: Arg, rows: list[Row], number: int, *, last: bool) -> str:
    return text_of({"arg": arg, "eventType": "snapshot", "curPage": number, "lastPage": last, "data": rows})


def _fill(order: Row) -> Row:
    """A row of channel ``fills``, of the order's row that tells of it."""
    names = ("instId", "fillSz", "fillPx", "side", "ordId", "tradeId", "execType")
    own = order["clOrdId"]
    told = own if own.isdecimal() and int(own) > 0 else "0"
    return {name: order[name] for name in names} | {"ts": order["fillTime"], "clOrdId": told, "count": "1"}
