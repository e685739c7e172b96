"""The boundary of trust is the database file: whoever can write to it can approve orders."""

import os
import stat
from pathlib import Path

from okxsync.config.location import Location


def why_open_to_others(database: Location) -> str:
    """Return why others than the daemon's user could approve orders in the database file; ``""``: they cannot."""
    if not isinstance(database, Path):
        return ""
    try:
        found = database.stat()
    except OSError as error:
        return str(error)
    if found.st_uid != os.getuid():
        return f"{database} belongs to another user"
    if mode := stat.S_IMODE(found.st_mode) & 0o077:
        return f"{database} is open to other users ({mode:o}); chmod 600 it"
    return ""
