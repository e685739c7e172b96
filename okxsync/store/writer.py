"""The only writer: each batch of messages becomes one transaction.

Frames are logged as received, decoded once, and become rows of their channel's table; coverage moves in the same
transaction (see ``transaction``). A batch that fails changes nothing and can be applied again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, cast

import msgspec
import zstandard

from okxsync.messages import Frames, Message, PlanProgress, Pong, Rows
from okxsync.runtime.clock import now_us
from okxsync.store.database import Connection, RejectedValueError, TransientError
from okxsync.store.envelope import row_texts
from okxsync.store.raw_log import SAMPLES, learn
from okxsync.store.transaction import State, Transaction, Written

_UNSTORABLE: Final = (RejectedValueError, ValueError, ArithmeticError, RecursionError)
"""What the database, or a decoder, raises for a value that it cannot hold."""


class Writer:
    """Writes batches to a database opened for writing, through one connection."""

    def __init__(self, db: Connection, now_us: Callable[[], int] = now_us) -> None:
        self.state = State(db, now_us)

    def apply(self, messages: Sequence[Message]) -> Written:
        """Write all of ``messages`` in one transaction; pongs alone need none, since they are only evidence.

        A message or frame with content that no row can hold does not stop the others: it is kept raw and journalled.

        Raises:
            DatabaseError: nothing was written; a retry can succeed after ``TransientError``.
        """
        if all(isinstance(message, Pong) for message in messages):
            for pong in messages:
                self.state.deferred.add_answered(cast("Pong", pong))
            return Written()
        durable = any(isinstance(message, PlanProgress) and message.receipt for message in messages)
        try:
            with self.state.transaction(durable=durable):
                written = self._write(messages)
        except _UNSTORABLE:
            with self.state.transaction(durable=durable):
                written = self._write_one_by_one(messages)
        self._learn()
        return written

    def flush(self) -> None:
        """Write what is deferred, see ``deferred``.

        Raises:
            DatabaseError: nothing was written, and it is due again after the usual time.
        """
        state = self.state
        try:
            with state.transaction():
                state.deferred.write(state.db, state.now_us())
        except TransientError:
            state.deferred.written_at = state.now_us()
            raise

    def wait_s(self) -> float:
        """Return in how many seconds ``flush`` is due; infinite if there is nothing to write."""
        return self.state.deferred.wait_us(self.state.now_us()) / 1e6

    def _write(self, messages: Sequence[Message], rejected: Exception | None = None) -> Written:
        transaction = Transaction(self.state)
        for message in messages:
            if rejected:
                transaction.keep_raw(message, rejected)
            else:
                transaction.take(message)
        return transaction.finish()

    def _write_one_by_one(self, messages: Sequence[Message]) -> Written:
        """Write each message alone in one transaction: a retry after a disk error must not find half the batch."""
        rows = frames = 0
        receipts: list[int] = []
        for message in _each(messages):
            try:
                with self.state.transaction():
                    written = self._write([message])
            except _UNSTORABLE as error:
                written = self._write([message], rejected=error)
            rows += written.rows
            frames += written.frames
            receipts += written.receipts
        return Written(rows, frames, receipts=receipts)

    def _learn(self) -> None:
        """Make a dictionary once there are enough frames; if that fails, again with as many later ones."""
        state = self.state
        if state.samples is not None and len(state.samples) >= SAMPLES:
            samples, state.samples = state.samples, []
            with suppress(TransientError, zstandard.ZstdError):  # the batch is committed: the old codec stays
                with state.db.transaction():
                    learned = learn(state.db, samples)
                state.codec, state.samples = learned, None


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
