"""The kill switch: while the file ``<database>.halt`` exists, no order leaves.

A file needs neither a living daemon nor an unlocked database nor free space: an empty file is made.
"""

import os
from pathlib import Path

from okxsync.config.location import Location


class HaltFile:
    """The file beside a database, or in the current folder if the database is not a file."""

    def __init__(self, database: Location) -> None:
        self.path = Path(f"{database}.halt") if isinstance(database, Path) else Path("okxsync.halt")

    def exists(self) -> bool:
        """Return whether trading is halted; if that cannot be found out, it is."""
        try:
            os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def make(self) -> None:
        """Halt trading.

        Raises:
            OSError: the file cannot be made.
        """
        self.path.touch(mode=0o600)

    def remove(self) -> None:
        """Lift the halt; without one nothing happens.

        Raises:
            OSError: the file cannot be removed.
        """
        self.path.unlink(missing_ok=True)
