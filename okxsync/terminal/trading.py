"""Trading from the page: its requests to the daemon, and the kill switch. Without ``--trade`` no route leads here.

The terminal has no key, and sends nothing to the exchange. It inserts rows into ``requests``, as the command line does
and through the same functions; the engine refuses any other change of that connection.
"""

import logging
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final, NamedTuple

import trio

from okxsync.config.location import Location
from okxsync.plans.client import count_pending, is_alive, notify, read_plan, submit, user_name
from okxsync.plans.halt import HaltRow, Switch
from okxsync.store.database import StoreError
from okxsync.store.engines import Reader
from okxsync.terminal.access import Refused, Session, Sessions
from okxsync.terminal.ticket import BadMessage, Halt, Message, Resume, Row, read_message, row_of

log = logging.getLogger("okxsync.terminal")

PENDING: Final = 50
"""Requests that may wait for the daemon, of all clients; and as many may wait here."""
MAX_REQUEST: Final = 256 * 1024
"""Bytes: a plan file with a size for each of some thousand accounts."""
TOKEN_AGAIN: Final = "the token must be given again"
NO_DAEMON: Final = "no daemon is running; start `okxsync run`"


class Inserted(NamedTuple):
    """``request``: the number of the row; None: no daemon takes it. ``plan``: the id of the plan that it is about."""

    request: int | None
    plan: str | None
    note: str = ""


class Trading:
    """Takes the requests of pages.

    Args:
        location: Of the database, resolved.
        halted: Is called when trading was halted or resumed.
    """

    def __init__(self, location: Location, halt: Switch, sessions: Sessions, halted: Callable[[], None]) -> None:
        self._location = location
        self._halt = halt
        self._sessions = sessions
        self._halted = halted
        self._by = f"{user_name()}, terminal"
        self._inserting = trio.CapacityLimiter(1)

    async def ask(self, session: Session, content: bytes) -> Inserted | Refused:
        """Insert a request, or return why not. To halt needs no more than a session; anything else is trading."""
        try:
            message = read_message(content)
        except BadMessage as error:
            return Refused(400, str(error))
        only_halts = isinstance(message, Halt) and not message.cancel_orders
        if not only_halts and not self._sessions.may_trade(session):
            return Refused(403, TOKEN_AGAIN)
        if isinstance(message, Halt | Resume):
            return await trio.to_thread.run_sync(self._switch, message)
        if self._inserting.statistics().tasks_waiting >= PENDING:
            return Refused(503, "too many requests at once")
        return await trio.to_thread.run_sync(self._insert, message, limiter=self._inserting)

    def _insert(self, message: Message) -> Inserted | Refused:
        try:
            with closing(Reader(self._location)) as reader:
                row = row_of(message, partial(read_plan, reader))
                if not is_alive(reader):
                    return Refused(409, NO_DAEMON)
                if count_pending(reader) >= PENDING:
                    return Refused(429, f"{PENDING} requests wait for the daemon already")
            return Inserted(submit(self._location, *row, by=self._by), row.plan_id)
        except BadMessage as error:
            return Refused(400, str(error))
        except StoreError as error:
            return Refused(503, str(error))

    def _switch(self, message: Halt | Resume) -> Inserted | Refused:
        """Make or remove the file; the daemon is told afterwards, if there is one. On a server, the request is all."""
        row = row_of(message, lambda _: None)
        if isinstance(self._halt, HaltRow):
            return self._switch_row(self._halt, row)
        try:
            if isinstance(message, Halt):
                self._halt.make()
            else:
                self._halt.remove()
        except OSError as error:
            return Refused(500, f"{self._halt.place}: {error.strerror}")
        trio.from_thread.run_sync(self._halted)
        try:
            with closing(Reader(self._location)) as reader:
                many = count_pending(reader) >= PENDING
            number = None if many else notify(self._location, row.kind, row.body, by=self._by)
        except StoreError as error:
            return Inserted(None, None, f"not recorded in the database, the file is enough: {error}")
        why = "too many requests wait" if many else "no daemon is running"
        return Inserted(number, None, "" if number else f"{why}; the file is enough")

    def _switch_row(self, halt: HaltRow, row: Row) -> Inserted | Refused:
        try:
            number = submit(self._location, *row, by=self._by)
        except StoreError as error:
            return Refused(503, str(error))
        halt.look()
        trio.from_thread.run_sync(self._halted)
        return Inserted(number, None)
