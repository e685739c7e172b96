"""The lock file beside the database."""

from pathlib import Path

import pytest

from okxsync.store.database import StoreError
from okxsync.store.lock import hold, trouble


def test_what_is_said_stands_beside_the_database(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    with hold(database) as lock:
        lock.say("no space left")
        assert trouble(database) == "no space left"
        lock.say("")
        assert trouble(database) == ""


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    other = tmp_path / "precious.txt"
    other.write_text("mine")
    (tmp_path / "okxsync.db-lock").symlink_to(other)
    with pytest.raises(StoreError, match="-lock"), hold(tmp_path / "okxsync.db"):
        pass
    assert other.read_text() == "mine"
