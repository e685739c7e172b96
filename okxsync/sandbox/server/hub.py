"""Connects the exchange with its clients: subscriptions, and the delivery of pushes.

A push is sent once to each subscription that covers its rows. It is encoded once for each distinct argument, not once
for each connection. A push without subscribers is discarded: it is never sent later.
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
from okxsync.sandbox.server.limits import RequestLimits
from okxsync.sandbox.server.public_endpoints import index_row
from okxsync.sandbox.server.request_log import RequestLog
from okxsync.sandbox.server.spellings import pushed_order

P = ParamSpec("P")
T = TypeVar("T")


class Receiver(Protocol):
    """Receives frames: a connection."""

    def send(self, frame: str) -> None: ...


class Subscription:
    """One subscribed argument of one connection; `due` is the time of its next regular snapshot, in seconds."""

    def __init__(self, receiver: Receiver, channel: Channel, arg: Arg, uid: str, usual_s: float) -> None:
        self.receiver = receiver
        self.channel = channel
        self.uid = "" if channel.endpoint == "public" else uid
        self.arg = pushed_arg(channel, arg, uid)
        self.key = text_of(self.arg)
        self.interval_s = interval_s(arg, usual_s) if channel.paged else 0.0
        self.due = trio.current_time() + self.interval_s


def text_of(content: Any) -> str:
    """Encode as JSON."""
    return msgspec.json.encode(content).decode()


class Hub:
    """An exchange and its clients. `terms` and `faults` may be changed at any time."""

    def __init__(self, exchange: Exchange, terms: Terms, seed: int) -> None:
        self.exchange = exchange
        self.terms = terms
        self.faults = Faults()
        self.violations: list[str] = []
        self.requests = RequestLog()
        self.limits = RequestLimits(trio.current_time, self.violations)
        self.keyring = Keyring(exchange, self.faults)
        self.random = Random(f"connections {seed}")
        self._subscriptions: dict[tuple[str, str], dict[Subscription, None]] = {}
        self._held_back: dict[Subscription, str] = {}  # pushes that are sent after the next one of their subscription

    def now_ms(self) -> int:
        """Return the time that clients see, in ms UTC."""
        return self.exchange._clock() + self.faults.clock_skew_ms

    def operate(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation of the exchange and push its changes at once."""
        try:
            return function(*args, **kwargs)
        finally:
            self.push_changes()

    def push_changes(self) -> None:
        """Push all changes of the exchange that were not pushed yet."""
        pushes = self.exchange.take_pushes()
        for push in _joined(pushes) if self.faults.join_orders or self.faults.rule("join") else pushes:
            self.push(push)

    # Subscriptions

    def subscribe(self, subscription: Subscription) -> None:
        """Add a subscription: it receives pushes from now on."""
        self._subscriptions.setdefault((subscription.uid, subscription.channel.name), {})[subscription] = None
        if subscription.channel.watched:
            self.exchange.watched.add(subscription.channel.name)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a subscription; no effect if it was removed before."""
        place = subscription.uid, subscription.channel.name
        found = self._subscriptions.get(place, {})
        found.pop(subscription, None)
        self._held_back.pop(subscription, None)
        if not found:
            self._subscriptions.pop(place, None)
            self.exchange.watched.discard(subscription.channel.name)

    def receivers(self, uid: str, channel: str) -> set[Receiver]:
        """Return the connections that are subscribed to a channel of an account."""
        return {each.receiver for each in self._subscriptions.get((uid, channel), ())}

    # Pushes

    def push(self, push: Push) -> None:
        """Send a push to all its subscribers."""
        self._push_to(push.uid, push.channel, push.rows)
        if push.channel in ("orders", "orders-algo") and (later := self.faults.repeat_orders_ms) is not None:
            again = [row | {"uTime": str(int(row["uTime"]) + later)} for row in push.rows]
            self._push_to(push.uid, push.channel, again)
        if push.channel in ("deposit-info", "withdrawal-info"):
            main = self.exchange.members[push.uid].main_uid
            if main != push.uid:
                self._push_to(main, push.channel, push.rows)
        elif push.channel == "orders" and (push.uid, "fills") in self._subscriptions:
            self._push_to(push.uid, "fills", [_fill(row) for row in push.rows if row["tradeId"]])
        elif push.channel == "tickers" and ("", "index-tickers") in self._subscriptions:
            self._push_to("", "index-tickers", [index_row(row) for row in push.rows if row["instType"] == "SPOT"])

    def _push_to(self, uid: str, channel: str, rows: list[Row]) -> None:
        subscriptions = self._subscriptions.get((uid, channel))
        if not subscriptions or channel in self.faults.silent:
            return
        if channel == "orders" and self.faults.spellings:
            rows = [pushed_order(row) for row in rows]
        frames: dict[str, str] = {}
        for each in list(subscriptions):
            if each.key not in frames:
                chosen = select(channel, each.arg, rows, self.exchange)
                event = {"eventType": "event_update"} if each.channel.paged else {}
                frames[each.key] = text_of({"arg": each.arg, **event, "data": chosen}) if chosen else ""
            if frames[each.key]:
                self._deliver(each, frames[each.key])

    def _deliver(self, subscription: Subscription, frame: str) -> None:
        """Send a push, changed by the active faults."""
        faults, receiver = self.faults, subscription.receiver
        if not faults.rules and not self._held_back:
            receiver.send(frame)
            return
        channel = subscription.channel
        name = self.exchange.members[subscription.uid].name if subscription.uid else ""
        where = {"account": name, "endpoint": channel.endpoint, "channel": channel.name}
        if faults.rule("silent", **where):
            return
        held_back = self._held_back.pop(subscription, None)
        if held_back is None and faults.rule("reorder", **where):
            self._held_back[subscription] = frame
            return
        for each in (frame, held_back):
            if each is not None:
                receiver.send(each)
                if faults.rule("double", **where):
                    receiver.send(each)

    def send_snapshot(self, subscription: Subscription) -> None:
        """Send the first snapshot of a subscription, if its channel has one."""
        if subscription.channel.name in self.faults.silent:
            return
        channel = subscription.channel
        name = self.exchange.members[subscription.uid].name if subscription.uid else ""
        if self.faults.rule("silent", account=name, endpoint=channel.endpoint, channel=channel.name):
            return
        for frame in self._snapshot(subscription):
            subscription.receiver.send(frame)

    def send_due_snapshots(self) -> None:
        """Send the regular snapshots that are due."""
        now = trio.current_time()
        if self._held_back and not self.faults.rules:  # the fault has ended
            held_back, self._held_back = self._held_back, {}
            for subscription, frame in held_back.items():
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
            case "books5" | "bbo-tbt":
                levels = 5 if subscription.channel.name == "books5" else 1
                yield text_of({"arg": arg, "data": [exchange.book_row(arg["instId"], levels)]})
            case "price-limit":
                yield text_of({"arg": arg, "data": [exchange.price_limit_row(arg["instId"])]})
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
    """Join consecutive order messages."""
    for (uid, channel), group in groupby(pushes, key=lambda push: (push.uid, push.channel)):
        if channel == "orders":
            yield Push(uid, channel, [row for push in group for row in push.rows])
        else:
            yield from group


def _page(arg: Arg, rows: list[Row], number: int, *, last: bool) -> str:
    return text_of({"arg": arg, "eventType": "snapshot", "curPage": number, "lastPage": last, "data": rows})


def _fill(order: Row) -> Row:
    """Return the row of channel ``fills`` for an order row with a fill."""
    names = ("instId", "fillSz", "fillPx", "side", "ordId", "tradeId", "execType")
    own = order["clOrdId"]
    shown = own if own.isdecimal() and int(own) > 0 else "0"
    return {name: order[name] for name in names} | {"ts": order["fillTime"], "clOrdId": shown, "count": "1"}
