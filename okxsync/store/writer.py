"""The only writer: each batch of messages becomes one transaction.

Frames are logged as received, decoded once, and become rows of their channel's table; coverage moves in the same
transaction. A batch that fails changes nothing and can be applied again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import msgspec
import zstandard

from okxsync import events
from okxsync.events import Event
from okxsync.messages import (
    MARKET,
    AccountRemoved,
    ClockOffset,
    ConfiguredAccount,
    ConnectionRemoved,
    Frames,
    GapResult,
    Heartbeat,
    Lost,
    Message,
    Note,
    OrdersNotFound,
    Phase,
    Pong,
    Retention,
    Rows,
    Run,
    Subscribed,
    SubscriptionRefused,
    Unverified,
    Verified,
    WantedChannels,
)
from okxsync.okx.control import EVENTS, read_event
from okxsync.runtime import clock
from okxsync.runtime.clock import now_us
from okxsync.runtime.text import redact
from okxsync.store import coverage_table, journal, register
from okxsync.store.database import DATA_ERRORS, Connection, ignoring_transient
from okxsync.store.decode import Value, replace_lone_surrogates, strip_lone_surrogates
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
    row_texts,
)
from okxsync.store.raw_log import SAMPLES, Codec, learn, learns, open_codec
from okxsync.store.snapshots import Pages
from okxsync.store.staging import IncomingRows, Staging


class Written(msgspec.Struct, array_like=True):
    """What one transaction has stored; with ``error`` it was rolled back.

    The writer then retries the same batch, or ends if the error is ``permanent``.
    """

    rows: int = 0
    frames: int = 0
    error: str | None = None
    permanent: bool = False


_LOG: Final = (
    "INSERT INTO messages (received_at, connection_id, account, channel, kind, size, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_ADD: Final = (
    "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)
_SET: Final = "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_RECEIVED: Final = "UPDATE connections SET last_message_at = ?, messages = messages + ? WHERE id = ?"
_ERRORS: Final = frozenset(
    {events.INVALID_FRAME, events.INVALID_MESSAGE, events.INVALID_ROW, events.INVALID_TIME, events.UNKNOWN_CHANNEL}
)
"""Anomalies that keep a value out of its column; unknown fields, types and values do not."""
_ARGS_KEPT: Final = 10_000


class Writer:
    """Writes batches to a database opened for writing, through one connection."""

    def __init__(self, db: Connection, now_us: Callable[[], int] = now_us) -> None:
        self.db = db
        self.now_us = now_us
        self.codec: Codec = open_codec(db)
        self.samples: list[bytes] | None = [] if learns(db) else None  # frames to learn a better codec from
        self.run: Run | None = None  # the run whose messages are written
        self.retention = Retention(None, None)  # of the raw log; the writer process prunes between batches
        self.pages = Pages()
        self.args: dict[tuple[str, bytes], tuple[Arg, str]] = {}  # by listener and raw arg: arg, key in coverage

    def apply(self, messages: Sequence[Message]) -> Written:
        """Write all of ``messages`` in one transaction.

        A message or frame with content that no row can hold does not stop the others: it is kept raw and journalled.

        Raises:
            DatabaseError: nothing was written; ``database.is_transient`` says whether a retry can succeed.
            MemoryError: likewise.
        """
        try:
            written = self._in_transaction(self._write, messages)
        except DATA_ERRORS:
            written = self._in_transaction(self._write_one_by_one, messages)
        self._learn()
        return written

    def account_of(self, uid: str) -> str | None:
        if not uid:
            return None
        found = self.db.execute("SELECT name FROM accounts WHERE uid = ? AND removed_at IS NULL", [uid]).fetchone()
        return found[0] if found else None

    def _in_transaction(
        self, write: Callable[[Sequence[Message]], Written], messages: Sequence[Message], name: str = ""
    ) -> Written:
        """Write all or nothing; with a ``name`` as a savepoint of the open transaction."""
        run, pages, sampled = self.run, self.pages.copy(), len(self.samples or ())
        self.db.execute(f"SAVEPOINT {name}" if name else "BEGIN IMMEDIATE")
        try:
            written = write(messages)
            self.db.execute(f"RELEASE {name}" if name else "COMMIT")
        except BaseException:
            self.run, self.pages = run, pages
            self.args.clear()
            if self.samples is not None:
                del self.samples[sampled:]
            if self.db.in_transaction:
                self.db.execute(f"ROLLBACK TO {name}" if name else "ROLLBACK")
            raise
        return written

    def _write(self, messages: Sequence[Message], rejected: Exception | None = None) -> Written:
        transaction = _Transaction(self)
        for message in messages:
            if rejected:
                transaction.keep_raw(message, rejected)
            else:
                transaction.take(message)
        return transaction.finish()

    def _write_one_by_one(self, messages: Sequence[Message]) -> Written:
        """Write each message alone in one transaction: a retry after a disk error must not find half the batch."""
        rows = frames = 0
        for message in _each(messages):
            try:
                written = self._in_transaction(self._write, [message], "one")
            except DATA_ERRORS as error:
                written = self._write([message], rejected=error)
            rows += written.rows
            frames += written.frames
        return Written(rows, frames)

    def _learn(self) -> None:
        if self.samples is not None and len(self.samples) >= SAMPLES:
            samples, self.samples = self.samples, None
            with ignoring_transient(), suppress(zstandard.ZstdError):  # the batch is committed: keep the old codec
                self.codec = learn(self.db, samples)


class _Anomalies:
    """Counts anomalies by kind, account and channel."""

    def __init__(self) -> None:
        self.where: tuple[str | None, str] = (None, "")  # account and channel of the current frame
        self.counted: Counter[tuple[Event, str, str | None]] = Counter()

    def __call__(self, kind: Event, what: str) -> None:
        account, channel = self.where
        self.counted[kind, f"{channel}: {what}" if channel else what, account] += 1


def _each(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield the messages, with each frame and each row as a message of its own."""
    for message in messages:
        if isinstance(message, Frames):
            yield from (msgspec.structs.replace(message, frames=[frame]) for frame in message.frames)
        elif isinstance(message, Rows):
            one = msgspec.structs.replace(message, complete=False)
            yield from (msgspec.structs.replace(one, rows=f"[{row}]") for row in row_texts(message.rows))
            if message.complete:  # closes rows that it does not name; its own rows change nothing now
                yield message
        else:
            yield message


class _Transaction:
    """Collects the rows of one batch, and writes them at its end."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._db = writer.db
        self._anomaly = _Anomalies()
        # Not bound methods of this object: a reference cycle would keep the batch until the next garbage collection.
        self._staging = Staging(writer.pages, writer.account_of, self._anomaly)
        self._log: list[tuple[Value | bytes, ...]] = []
        self._received: dict[int, tuple[int, int]] = {}  # connection -> last frame at, number of frames
        self._answered: dict[int, int] = {}  # connection -> when the last answered ping was sent
        self._snapshots: dict[tuple[str, str], int] = {}  # listener, key of coverage -> sent after
        self._pushed: dict[tuple[str, str], tuple[int, int]] = {}  # listener, key of coverage -> at, latest time named
        self._queue: int | None = None

    def take(self, message: Message) -> None:
        if collect := _COLLECTED.get(type(message)):
            collect(self, message)
        else:
            self._coverage_up_to_here()
            _REGISTERED[type(message)](self, message)

    def _pong(self, message: Pong) -> None:
        number, at = message.connection_id, message.at
        self._answered[number] = max(at, self._answered.get(number, 0))
        self._db.execute(
            "UPDATE connections SET last_rtt_us = ?, answered_at = ? WHERE id = ?", [message.rtt_us, at, number]
        )

    def _not_found(self, message: OrdersNotFound) -> None:
        self._staging.not_found(message, self._db)

    def _phase(self, message: Phase) -> None:
        register.phase(self._db, message, self._writer.run)

    def _subscribed(self, message: Subscribed) -> None:
        self._writer.args.clear()
        coverage_table.subscribed(self._db, message)

    def _lost(self, message: Lost) -> None:
        self._writer.args.clear()
        coverage_table.lost(self._db, message)

    def _connection_removed(self, message: ConnectionRemoved) -> None:
        coverage_table.connection_removed(self._db, message)
        register.connection_removed(self._db, message)

    def _clock_offset(self, message: ClockOffset) -> None:
        clock.current.follow(message.to_steady_ns)
        self._db.execute(_SET, ("clock_ahead_us", message.to_wall_us))

    def _retention(self, message: Retention) -> None:
        self._writer.retention = message

    def _heartbeat(self, message: Heartbeat) -> None:
        register.heartbeat(self._db, message, self._writer.run)
        self._writer.run, self._queue = message.run, message.queue

    def keep_raw(self, message: Message, why: Exception) -> None:
        """Store only the raw text of a message, which cannot fail."""
        self._anomaly.where = (getattr(message, "listener", None), "")
        self._anomaly(events.INVALID_MESSAGE, f"{type(message).__name__}: {type(why).__name__}")
        if isinstance(message, Frames):
            for at, text in message.frames:
                self._log_frame(message, at, redact(replace_lone_surrogates(text)), None, "unknown")
            self._count_received(message)

    def finish(self) -> Written:
        db = self._db
        self._staging.write(db)
        db.executemany(_LOG, self._log)
        self._coverage_up_to_here()
        db.executemany(_RECEIVED, [(at, count, number) for number, (at, count) in self._received.items()])
        now = self._writer.now_us()
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
            db.execute(_SET, ("lag_us", now - min(int(row[0] or now) for row in self._log)))
        if self._queue is not None:
            db.execute(_SET, ("queue", self._queue))
        return Written(self._staging.rows, len(self._log))

    def _coverage_up_to_here(self) -> None:
        """Mark what has arrived so far as covered, before the state of a channel changes."""
        if self._pushed:
            coverage_table.pushed(self._db, self._pushed.items())
            self._pushed.clear()
        if self._snapshots:
            coverage_table.snapshots(self._db, self._snapshots.items())
            self._snapshots.clear()
        if self._answered:
            coverage_table.answered(self._db, self._answered.items())
            self._answered.clear()

    def _frames(self, message: Frames) -> None:
        account = None if message.listener == MARKET else message.listener
        for at, text in message.frames:
            self._anomaly.where = (account, "")
            if event := read_event(text):
                channel = event.channel or (event.arg or {}).get("channel")
                self._log_frame(message, at, redact(text), channel if isinstance(channel, str) else None, event.event)
                if event.event not in EVENTS:
                    self._anomaly(events.UNKNOWN_EVENT, replace_lone_surrogates(redact(event.event))[:60])
                continue
            try:
                frame = self._read_frame(text)
                arg, key = self._arg_of(message, frame.arg)
            except UNREADABLE:
                self._keep_anomalous_frame(message, at, text)
                continue
            self._anomaly.where = (account, arg.channel)
            self._log_frame(message, at, text, arg.channel, "push")
            pages = frame.cur_page, frame.last_page, message.socket, message.sent_after
            push = IncomingRows(message.listener, arg, at, frame.data, "ws", frame.event_type, *pages)
            if not self._staging.stage(push):
                self._anomaly(events.UNKNOWN_CHANNEL, "no table")
            if key:
                of_channel = message.listener, key
                _, latest_ms = self._pushed.get(of_channel, (0, 0))
                self._pushed[of_channel] = at, max(latest_ms, self._staging.latest_ms)
                if sent_after := self._staging.snapshot_sent_after:
                    self._snapshots[of_channel] = sent_after
        self._count_received(message)

    def _read_frame(self, text: str) -> Envelope:
        try:
            return decode_leniently(decode_envelope, text)
        except msgspec.ValidationError:
            frame = decode_lenient_envelope(strip_lone_surrogates(text))
            self._anomaly(events.UNEXPECTED_TYPE, "envelope")
            return frame

    def _count_received(self, message: Frames) -> None:
        number, last_at = message.connection_id, message.frames[-1][0]
        self._received[number] = last_at, self._received.get(number, (0, 0))[1] + len(message.frames)

    def _log_frame(self, message: Frames, at: int, text: str, channel: str | None, kind: str) -> None:
        body = text.encode()
        account = None if message.listener == MARKET else message.listener
        compressed = self._writer.codec.compress(body)
        if self._writer.samples is not None:
            self._writer.samples.append(body)
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
        known = self._writer.args
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


_Take: TypeAlias = Callable[[_Transaction, Any], None]


def _by(write: Callable[[Connection, Any], None]) -> _Take:
    return lambda transaction, message: write(transaction._db, message)


_COLLECTED: Final[dict[type[Message], _Take]] = {
    Frames: _Transaction._frames,
    Rows: _Transaction._rows,
    Pong: _Transaction._pong,
    OrdersNotFound: _Transaction._not_found,
}
"""Messages that leave the state of channels as it is."""
_REGISTERED: Final[dict[type[Message], _Take]] = {
    Phase: _Transaction._phase,
    Subscribed: _Transaction._subscribed,
    Lost: _Transaction._lost,
    Retention: _Transaction._retention,
    Heartbeat: _Transaction._heartbeat,
    ConnectionRemoved: _Transaction._connection_removed,
    SubscriptionRefused: _by(coverage_table.subscription_rejected),
    WantedChannels: _by(coverage_table.wanted_channels),
    Verified: _by(coverage_table.verified),
    Unverified: _by(coverage_table.unverified),
    GapResult: _by(coverage_table.gap_result),
    ClockOffset: _Transaction._clock_offset,
    ConfiguredAccount: _by(register.account_configured),
    AccountRemoved: _by(register.account_removed),
    Note: _by(journal.note),
}
"""Messages before which all that has arrived is covered."""
