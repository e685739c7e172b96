"""For all tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from okxsync.store.database import Reader
from tests.support.desk import Desk

# How long an example takes says more about the machine than about the code.
settings.register_profile("okxsync", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("okxsync")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "okxsync.db")
    yield desk
    desk.database.close()


@pytest.fixture
def reader(desk: Desk) -> Iterator[Reader]:
    reader = Reader(desk.path)
    yield reader
    reader.close()


@pytest.fixture
def make_desk(tmp_path: Path) -> Callable[[], Desk]:
    """Desks on the same database file, one after the other."""
    return lambda: Desk(tmp_path / "okxsync.db")
