"""One transaction of the writer: collects what the messages of a batch say, and writes it at its end.

Messages that change the state of channels are written where they stand in the batch. Before each of them, the evidence
that has arrived until then is written (see ``deferred``).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import msgspec

from okxsync import events
from okxsync.events import Event
from okxsync.messages import (
    MARKET,
    AccountRemoved,
    ClockOffset,
    ConfiguredAccount,
    ConnectionRemoved,
    Fetched,
    Frames,
    GapResult,
    Halted,
    Heartbeat,
    Lost,
    Message,
    Note,
    OrdersNotFound,
    Phase,
    PlanAnswer,
    PlanPreviewed,
    PlanProgress,
    Pong,
    Resumed,
    Retention,
    Rows,
    Run,
    Subscribed,
    SubscriptionRefused,
    Unverified,
    Verified,
    WantedChannels,
)
from okxsync.okx.account_config import unexpected_fields
from okxsync.okx.control import EVENTS, is_reply, read_event
from okxsync.runtime import clock
from okxsync.runtime.text import redact
from okxsync.store import coverage_table, journal, plans, register
from okxsync.store.database import Connection
from okxsync.store.decode import Value, replace_lone_surrogates, strip_lone_surrogates
from okxsync.store.deferred import Deferred
from okxsync.store.envelope import (
    UNREADABLE,
    Arg,
    Envelope,
    decode_arg,
    decode_envelope,
    decode_lenient_envelope,
    decode_leniently,
    decode_object,
    decode_rows,
    fits,
)
from okxsync.store.raw_log import Codec, learns, open_codec
from okxsync.store.snapshots import Pages
from okxsync.store.staging import IncomingRows, Staging


class Written(msgspec.Struct, array_like=True):
    """What one transaction has stored; with ``error`` it was rolled back.

    The writer then retries the same batch, or ends if the error is ``permanent``. ``receipts`` are those of the
    messages that are on disk now, ``batches`` is how many batches are acknowledged.
    """

    rows: int = 0
    frames: int = 0
    error: str | None = None
    permanent: bool = False
    receipts: list[int] = []
    batches: int = 0


_ADD: Final = (
    "INSERT INTO counters (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value"
)
_ERRORS: Final = frozenset(
    {events.INVALID_FRAME, events.INVALID_MESSAGE, events.INVALID_ROW, events.INVALID_TIME, events.UNKNOWN_CHANNEL}
)
"""Anomalies that keep a value out of its column; unknown fields, types and values do not."""
_ARGS_KEPT: Final = 10_000


class State:
    """What the writer keeps between transactions.

    Attributes:
        run: The run whose messages are written.
        retention: Of the raw log; the writer process prunes between batches.
        samples: Frames to learn a better codec from; None once it was learned.
        deferred: What committed transactions, and the current one, have left to be written later.
        args: Of frames: by listener and raw arg, the arg and its key in coverage.
    """

    def __init__(self, db: Connection, now_us: Callable[[], int]) -> None:
        self.db = db
        self.now_us = now_us
        self.codec: Codec = open_codec(db)
        self.samples: list[bytes] | None = [] if learns(db) else None
        self.run: Run | None = None
        self.retention = Retention(None, None)
        self.pages = Pages()
        self.deferred = Deferred()
        self.args: dict[tuple[str, bytes], tuple[Arg, str]] = {}

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Write all of the block or nothing; then what it has changed here is undone too.

        Args:
            durable: A power cut after the block does not undo it.

        Raises:
            DatabaseError: nothing was written.
        """
        run, pages, sampled = self.run, self.pages.copy(), len(self.samples or ())
        deferred = self.deferred.copy()
        try:
            with self.db.transaction(durable=durable):
                yield
        except BaseException:
            self.run, self.pages, self.deferred = run, pages, deferred
            self.args.clear()
            if self.samples is not None:
                del self.samples[sampled:]
            raise

    def account_of(self, uid: str, receiver: str) -> str | None:
        """Return the account that a row of ``uid`` belongs to; None if that account is not mirrored.

        Args:
            receiver: The account that has received it.
        """
        if not uid:
            return receiver
        found = self.db.execute("SELECT name FROM accounts WHERE uid = ? AND removed_at IS NULL", [uid]).fetchone()
        if found:
            return str(found[0])
        known = self.db.execute("SELECT uid FROM accounts WHERE name = ? AND uid IS NOT NULL", [receiver]).fetchone()
        return None if known and known[0] != uid else receiver


class _Anomalies:
    """Counts anomalies by kind, account and channel."""

    def __init__(self) -> None:
        self.where: tuple[str | None, str] = (None, "")  # account and channel of the current frame
        self.counted: Counter[tuple[Event, str, str | None]] = Counter()

    def __call__(self, kind: Event, what: str) -> None:
        account, channel = self.where
        self.counted[kind, f"{channel}: {what}" if channel else what, account] += 1


class Transaction:
    """Collects the rows of one batch, and writes them at its end."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.db
        self._anomaly = _Anomalies()
        # Not bound methods of this object: a reference cycle would keep the batch until the next garbage collection.
        self._staging = Staging(state.pages, state.account_of, self._anomaly)
        self._log: list[tuple[Value | bytes, ...]] = []
        self._receipts: list[int] = []

    def take(self, message: Message) -> None:
        if collect := _COLLECTED.get(type(message)):
            collect(self, message)
        else:
            self._state.deferred.write(self._db, self._state.now_us())
            _REGISTERED[type(message)](self, message)

    def _pong(self, message: Pong) -> None:
        self._state.deferred.add_answered(message)

    def _not_found(self, message: OrdersNotFound) -> None:
        self._staging.not_found(message, self._db)

    def _phase(self, message: Phase) -> None:
        register.phase(self._db, message, self._state.run)

    def _subscribed(self, message: Subscribed) -> None:
        self._state.args.clear()
        coverage_table.subscribed(self._db, message)

    def _lost(self, message: Lost) -> None:
        self._state.args.clear()
        coverage_table.lost(self._db, message)

    def _connection_removed(self, message: ConnectionRemoved) -> None:
        coverage_table.connection_removed(self._db, message)
        register.connection_removed(self._db, message)

    def _clock_offset(self, message: ClockOffset) -> None:
        clock.current.follow(message.to_steady_ns)
        register.count(self._db, "clock_ahead_us", message.to_wall_us)

    def _account_configured(self, message: ConfiguredAccount) -> None:
        register.account_configured(self._db, message)
        self._anomaly.where = (message.name, "account/config")
        for name in unexpected_fields(message.config) if message.config else ():
            self._anomaly(events.UNEXPECTED_TYPE, name)

    def _retention(self, message: Retention) -> None:
        self._state.retention = message

    def _plan_progress(self, message: PlanProgress) -> None:
        plans.progress(self._db, message)
        if message.receipt:
            self._receipts.append(message.receipt)

    def _heartbeat(self, message: Heartbeat) -> None:
        register.heartbeat(self._db, message, self._state.run)
        register.count(self._db, "queue", message.queue)
        self._state.run = message.run

    def keep_raw(self, message: Message, why: Exception) -> None:
        """Store only the raw text of a message, which cannot fail."""
        self._anomaly.where = (getattr(message, "listener", None), "")
        self._anomaly(events.INVALID_MESSAGE, f"{type(message).__name__}: {type(why.__cause__ or why).__name__}")
        if isinstance(message, Frames):
            for at, text in message.frames:
                self._log_frame(message, at, redact(replace_lone_surrogates(text)), None, "unknown")
            self._count_received(message)

    def finish(self) -> Written:
        db, deferred = self._db, self._state.deferred
        self._staging.write(db)
        db.log(self._log)
        now = self._state.now_us()
        errors = 0
        for (kind, what, account), count in self._anomaly.counted.items():
            errors += count if kind in _ERRORS else 0
            if journal.count_anomaly(db, now, kind.name, what, count):
                journal.note(db, kind.note(now, account, what))
        received = sum(int(row[5] or 0) for row in self._log)
        stored = sum(len(row[6]) for row in self._log if isinstance(row[6], bytes))
        added = {"messages": len(self._log), "bytes_received": received, "bytes": stored, "rows": self._staging.rows,
                 "errors": errors}  # fmt: skip
        db.executemany(_ADD, [(name, value) for name, value in added.items() if value])
        if self._log:
            deferred.lag_us = now - min(int(row[0] or now) for row in self._log)
        if not deferred.wait_us(now):
            deferred.write(db, now)
        return Written(self._staging.rows, len(self._log), receipts=self._receipts)

    def _frames(self, message: Frames) -> None:
        account = None if message.listener == MARKET else message.listener
        for at, text in message.frames:
            self._anomaly.where = (account, "")
            if event := read_event(text):
                self._log_frame(message, at, redact(text), event.named_channel, event.event)
                if event.event not in EVENTS:
                    self._anomaly(events.UNKNOWN_EVENT, replace_lone_surrogates(redact(event.event))[:60])
                continue
            try:
                frame = self._read_frame(text)
                arg, key = self._arg_of(message, frame.arg)
            except UNREADABLE:
                if is_reply(text):
                    self._log_frame(message, at, redact(text), None, "reply")
                    continue
                self._keep_anomalous_frame(message, at, text)
                continue
            self._anomaly.where = (account, arg.channel)
            self._log_frame(message, at, text, arg.channel, "push")
            pages = frame.cur_page, frame.last_page, message.socket, message.sent_after
            push = IncomingRows(message.listener, arg, at, frame.data, "ws", frame.event_type, *pages)
            if not self._staging.stage(push):
                self._anomaly(events.UNKNOWN_CHANNEL, "no table")
            if key:
                staging = self._staging
                self._state.deferred.add_pushed(
                    (message.listener, key), at, staging.latest_ms, staging.snapshot_sent_after
                )
        self._count_received(message)

    def _read_frame(self, text: str) -> Envelope:
        try:
            return decode_leniently(decode_envelope, text)
        except msgspec.ValidationError:
            frame = decode_lenient_envelope(strip_lone_surrogates(text))
            self._anomaly(events.UNEXPECTED_TYPE, "envelope")
            return frame

    def _count_received(self, message: Frames) -> None:
        self._state.deferred.add_received(message.connection_id, message.frames[-1][0], len(message.frames))

    def _log_frame(self, message: Frames, at: int, text: str, channel: str | None, kind: str) -> None:
        body = text.encode()
        account = None if message.listener == MARKET else message.listener
        compressed = self._state.codec.compress(body)
        if self._state.samples is not None:
            self._state.samples.append(body)
        self._log.append((at, message.connection_id, account, channel, kind, len(body), compressed))

    def _keep_anomalous_frame(self, message: Frames, at: int, text: str) -> None:
        """Keep the raw text of a frame that is not a documented push."""
        channel: object = None
        try:
            found = decode_object(strip_lone_surrogates(text))
            arg = found.get("arg")
            channel = arg.get("channel") if isinstance(arg, dict) else None
            what = "not as documented"
        except UNREADABLE:
            what = "not JSON"
        name = replace_lone_surrogates(channel) if isinstance(channel, str) else None
        self._anomaly.where = (self._anomaly.where[0], name or "")
        self._anomaly(events.INVALID_FRAME, what)
        self._log_frame(message, at, redact(replace_lone_surrogates(text)), name, "unknown")

    def _rows(self, message: Rows) -> None:
        account = None if message.listener == MARKET else message.listener
        self._anomaly.where = (account, message.channel)
        try:
            rows = decode_leniently(decode_rows, message.rows)
        except UNREADABLE:
            self._anomaly(events.INVALID_FRAME, "REST rows are not a list")
            return
        push = IncomingRows(message.listener, Arg(message.channel), message.at, rows, "rest",
                    as_of_ms=message.as_of_ms, complete=message.complete)  # fmt: skip
        self._staging.stage(push)

    def _arg_of(self, message: Frames, raw: msgspec.Raw) -> tuple[Arg, str]:
        """Return the arguments of a frame, and the key of its coverage, or ""."""
        known = self._state.args
        known_as = message.listener, bytes(raw)
        if (found := known.get(known_as)) is None:
            if len(known) > _ARGS_KEPT:
                known.clear()
            fields = decode_object(raw)
            try:
                arg = decode_arg(raw)
            except msgspec.ValidationError:
                self._anomaly(events.UNEXPECTED_TYPE, "envelope")
                texts = {name: str(value) for name, value in fields.items() if value is not None}
                arg = msgspec.convert(texts, Arg)
            live = self._db.execute("SELECT channel FROM coverage WHERE connection_id = ? AND live = 1",
                                    [message.connection_id]).fetchall()  # fmt: skip
            fitting = [key for (key,) in live if fits(key, fields)]
            found = known[known_as] = arg, max(fitting, key=len, default="")
        return found


_Take: TypeAlias = Callable[[Transaction, Any], None]


def _by(write: Callable[[Connection, Any], None]) -> _Take:
    return lambda transaction, message: write(transaction._db, message)


_COLLECTED: Final[dict[type[Message], _Take]] = {
    Frames: Transaction._frames,
    Rows: Transaction._rows,
    Pong: Transaction._pong,
    OrdersNotFound: Transaction._not_found,
    PlanPreviewed: lambda transaction, message: plans.previewed(transaction._db, message),
    PlanProgress: Transaction._plan_progress,
    PlanAnswer: lambda transaction, message: plans.answer(transaction._db, message),
    Halted: lambda transaction, message: plans.halted(transaction._db, message),
    Resumed: lambda transaction, message: plans.resumed(transaction._db, message),
}
"""Messages that leave the state of channels as it is."""
_REGISTERED: Final[dict[type[Message], _Take]] = {
    Phase: Transaction._phase,
    Subscribed: Transaction._subscribed,
    Lost: Transaction._lost,
    Retention: Transaction._retention,
    Heartbeat: Transaction._heartbeat,
    ConnectionRemoved: Transaction._connection_removed,
    SubscriptionRefused: _by(coverage_table.subscription_rejected),
    WantedChannels: _by(coverage_table.wanted_channels),
    Verified: _by(coverage_table.verified),
    Unverified: _by(coverage_table.unverified),
    GapResult: _by(coverage_table.gap_result),
    Fetched: _by(coverage_table.fetched),
    ClockOffset: Transaction._clock_offset,
    ConfiguredAccount: Transaction._account_configured,
    AccountRemoved: _by(register.account_removed),
    Note: _by(journal.note),
}
"""Messages before which all evidence that has arrived is written."""
