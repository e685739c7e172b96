"""Reading a database as of a given time."""

from okxsync.config.location import Location
from okxsync.mirror import accounts
from okxsync.mirror.accounts import Details
from okxsync.mirror.reader import Mirror
from okxsync.mirror.status import Status, clock_ahead_us
from okxsync.store.engines import reading


def read_status(location: Location, now_us: int) -> Status:
    """Return the status at a time of the wall clock."""
    with Mirror(location, now_us=lambda: now_us) as mirror:
        return mirror.status()


def read_details(location: Location, now_us: int, *, storing: bool) -> Details:
    """Return the accounts' states at a time of the wall clock, as if a daemon were storing or not."""
    with reading(location) as db:
        now_us += clock_ahead_us(db)
        return accounts.read_details(db, location, now_us, storing=storing)
