"""What commands do with plans: insert a request, wait for its answer, read rows. They write nothing else."""

import getpass
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

import msgspec

from okxsync.config.location import Location
from okxsync.mirror.status import clock_ahead_us, daemon_state
from okxsync.plans.children import PLAN_ID_BITS, plan_id_of
from okxsync.plans.requests import Answered
from okxsync.store.database import DatabaseError, StoreError
from okxsync.store.decode import replace_lone_surrogates
from okxsync.store.engines import Reader, open_requester

EXPIRES_S: Final = 30.0
POLL_S: Final = 0.05
ANSWER_S: Final = 60.0
"""How long an answer is waited for: a preview of a thousand accounts takes seconds, and one account may hang."""


def new_plan_id() -> str:
    return plan_id_of(secrets.randbits(PLAN_ID_BITS))


def user_name() -> str:
    """Return who makes a request."""
    try:
        return replace_lone_surrogates(getpass.getuser())
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def is_alive(reader: Reader) -> bool:
    """Return whether a daemon runs that can answer.

    Raises:
        StoreError: the database cannot be read.
    """
    from okxsync.store.engines import reading

    with reading(reader.location) as db:
        return daemon_state(db, reader.location, time.time_ns() // 1000 + clock_ahead_us(db)).alive


def submit(
    location: Location, kind: str, plan_id: str | None, body: Mapping[str, object], *, by: str | None = None
) -> int:
    """Insert a request, and return its id.

    Args:
        by: Who makes it; None: the user of this process.

    Raises:
        StoreError: it cannot be inserted.
    """
    body = {key: replace_lone_surrogates(value) if isinstance(value, str) else value for key, value in body.items()}
    made = [kind, replace_lone_surrogates(plan_id or ""), msgspec.json.encode(body).decode(), by or user_name()]
    db = open_requester(location)
    try:
        with db.transaction():
            now_us = time.time_ns() // 1000  # opening the database, and waiting for the writer, take time
            sql = (
                "INSERT INTO requests (at, kind, plan_id, body, by, expires_at) VALUES (?, ?, ?, ?, ?, ?) RETURNING id"
            )
            return int(db.execute(sql, [now_us, *made, now_us + int(EXPIRES_S * 1e6)]).fetchone()[0])
    except DatabaseError as error:
        raise StoreError(f"{location}: the request cannot be stored ({error})") from None
    finally:
        db.close()


def notify(location: Location, kind: str, body: Mapping[str, object], *, by: str | None = None) -> int | None:
    """Insert a request about the kill switch, and return its id; None: no daemon runs, and the file alone counts.

    Raises:
        StoreError: the database cannot be read, or the request cannot be inserted; the file alone counts.
    """
    with closing(Reader(location)) as reader:
        alive = is_alive(reader)
    return submit(location, kind, None, body, by=by) if alive else None


def wait_for_answer(reader: Reader, request_id: int, within_s: float = ANSWER_S) -> Answered | None:
    """Return the answer to a request; None: none came in time.

    Raises:
        StoreError: the database cannot be read.
    """
    ends_at = time.monotonic() + within_s
    while True:
        rows = reader.rows("SELECT outcome, detail FROM answers WHERE request_id = ?", [request_id])
        if rows:
            return Answered(*rows[0])
        if time.monotonic() >= ends_at:
            return None
        time.sleep(POLL_S)


def read_plan(reader: Reader, plan_id: str) -> dict[str, Any] | None:
    return next(iter(reader.query("SELECT * FROM plans WHERE plan_id = ?", [replace_lone_surrogates(plan_id)])), None)


def read_orders(reader: Reader, plan_id: str) -> list[dict[str, Any]]:
    return reader.query("SELECT * FROM plan_orders WHERE plan_id = ? ORDER BY child", [plan_id])


def read_attempt_rows(reader: Reader, plan_id: str) -> list[dict[str, Any]]:
    return reader.query("SELECT * FROM plan_attempts WHERE plan_id = ? ORDER BY child, attempt", [plan_id])


def read_cancel_rows(reader: Reader, plan_id: str) -> list[dict[str, Any]]:
    return reader.query("SELECT * FROM plan_cancels WHERE plan_id = ? ORDER BY child, action, attempt", [plan_id])


def read_plans(reader: Reader, limit: int) -> list[dict[str, Any]]:
    return reader.query("SELECT * FROM plans ORDER BY preview_at DESC, plan_id LIMIT ?", [limit])


def count_pending(reader: Reader) -> int:
    """Return how many requests wait for a daemon, and have not expired."""
    sql = "SELECT count(*) FROM requests LEFT JOIN answers ON request_id = id WHERE request_id IS NULL"
    return int(reader.rows(f"{sql} AND expires_at > ?", [time.time_ns() // 1000])[0][0])


def read_misfires(
    reader: Reader,
    *,
    plan_id: str | None = None,
    since_us: int | None = None,
    account: str | None = None,
    reason: str | None = None,
) -> list[dict[str, Any]]:
    """Return what was not sent, the oldest first."""
    given = {"plan_id = ?": plan_id, "at >= ?": since_us, "account = ?": account, "reason = ?": reason}
    wanted = {where: value for where, value in given.items() if value is not None}
    where = " AND ".join(["true", *wanted])
    values = [replace_lone_surrogates(value) if isinstance(value, str) else value for value in wanted.values()]
    return reader.query(f"SELECT * FROM misfires WHERE {where} ORDER BY at, id", values)
