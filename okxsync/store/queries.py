"""What others ask the database, each as one function; readers never write."""

from pathlib import Path

from okxsync.store.database import open_reader


def connection_ids(path: Path) -> dict[tuple[str, str], int]:
    """Return the register's ids by listener and endpoint, so that a connection keeps its number over restarts."""
    database = open_reader(path)
    try:
        rows = database.execute("SELECT listener, endpoint, id FROM connections").fetchall()
    finally:
        database.close()
    return {(listener, endpoint): number for listener, endpoint, number in rows}


def account_names(path: Path) -> set[str]:
    """Return the accounts that are in the database and not removed."""
    database = open_reader(path)
    try:
        return {name for (name,) in database.execute("SELECT name FROM accounts WHERE removed_at IS NULL")}
    finally:
        database.close()


def row_counts(path: Path) -> dict[str, int]:
    """Return how many rows the tables hold that people ask for first."""
    database = open_reader(path)
    try:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("orders", "algo_orders", "fills", "positions", "balances")
        }
    finally:
        database.close()
