from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "okxsync.db")
    yield desk
    desk.database.close()


@pytest.fixture
def make_desk(tmp_path: Path) -> Callable[[], Desk]:
    """Desks on the same database file, one after the other."""
    return lambda: Desk(tmp_path / "okxsync.db")
