"""What ``okxsync check`` says of the server and the database."""

from contextlib import closing
from typing import Any, Final

import psycopg

from okxsync.config.location import Url
from okxsync.store.database import Check, StoreError
from okxsync.store.postgres import schema
from okxsync.store.postgres.connection import connect, one_line

POOLED: Final = "a connection pooler shares sessions between transactions"
UNPOOLED: Final = "connect to the server itself, or set pool_mode = session"


def check(url: Url) -> list[Check]:
    try:
        with closing(connect(url)) as db:
            return [
                Check("ok", "PostgreSQL", str(db.info.server_version // 10_000)),
                _session(db, url),
                _encoding(db),
                _rights(db),
                _durability(db),
            ]
    except StoreError as error:
        return [Check("fail", "database", str(error), "correct the URL, or start the server")]
    except psycopg.Error as error:
        return [Check("fail", "database", f"{url}: {one_line(error)}", "see the server's log")]


def is_pooled(db: psycopg.Connection[Any], url: Url) -> bool:
    """Whether two connections share a session of the server; temporary tables and locks get lost then."""
    ours = "SELECT pg_backend_pid()"
    before = db.execute(ours).fetchone()
    if before == (db.info.backend_pid,):
        return False  # nothing is in between
    with closing(connect(url)) as other, other.transaction():
        return other.execute(ours).fetchone() == before or db.execute(ours).fetchone() != before


def _session(db: psycopg.Connection[Any], url: Url) -> Check:
    if is_pooled(db, url):
        return Check("fail", "sessions", POOLED, UNPOOLED)
    return Check("ok", "sessions", "one for each connection")


def _encoding(db: psycopg.Connection[Any]) -> Check:
    found = db.info.parameter_status("server_encoding")
    if found != "UTF8":
        return Check("fail", "encoding", str(found), "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0")
    return Check("ok", "encoding", found)


def _rights(db: psycopg.Connection[Any]) -> Check:
    ours = schema.pending(db)
    if ours is None or ours:
        needed, sql = "CREATE on the schema", "SELECT has_schema_privilege(current_schema(), 'CREATE')"
    else:
        needed = "SELECT, INSERT, UPDATE, DELETE on all tables"
        sql = (
            "SELECT bool_and(has_table_privilege(format('%I.%I', schemaname, tablename), privilege)) FROM pg_tables,"
            " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege WHERE schemaname = current_schema()"
        )
    if db.execute(sql.encode()).fetchone() != (1,):
        return Check("fail", "rights", f"{db.info.user} lacks {needed}", f"GRANT {needed}; see docs/postgres.md")
    return Check("ok", "rights", needed)


def _durability(db: psycopg.Connection[Any]) -> Check:
    if db.execute("SHOW fsync").fetchone() == ("off",):
        return Check("warn", "fsync", "off: a power cut can destroy the database", "set fsync = on")
    return Check("ok", "fsync", "on")
