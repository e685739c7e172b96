"""Fixtures and time limits of all tests."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pysqlite3
import pytest
from hypothesis import HealthCheck, settings
from psycopg.adapt import Dumper

from okxsync.config.location import Location
from okxsync.runtime import clock
from okxsync.store.engines import Reader
from tests.support.desk import Desk
from tests.support.postgres import empty_database

# The duration of an example depends on the machine more than on the code. Examples are the same in each run, so that
# the result of a change depends on the change alone; `--hypothesis-profile=explore` tries new ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("okxsync", settings.get_profile("explore"), derandomize=True)
settings.load_profile("okxsync")


def _refuse(value: bool) -> None:
    raise TypeError(f"{value} would be an integer in SQLite and is none in PostgreSQL: bind int(...)")


class _RefusingDumper(Dumper):
    def dump(self, obj: bool) -> bytes:
        _refuse(obj)
        raise AssertionError


# Of all values that tests bind, here and in the product.
pysqlite3.register_adapter(bool, _refuse)
psycopg.adapters.register_dumper(bool, _RefusingDumper)

SLOW_TIMEOUT_S = 600
"""Whole daemons share the processors with other tests, and a busy machine is several times slower."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.timeout(0))  # it sets its own duration
        elif item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))


@pytest.fixture(autouse=True)
def fresh_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin with a clock that was not measured yet, as a process does."""
    monkeypatch.setattr(clock, "current", clock.Clock())


@pytest.fixture
def location(tmp_path: Path) -> Location:
    """Where the test's database is; with OKXSYNC_TEST_ENGINE=postgres on a server. ``tests/store`` tries both."""
    return empty_database() if os.environ.get("OKXSYNC_TEST_ENGINE") == "postgres" else tmp_path / "okxsync.db"


@pytest.fixture
def desk(location: Location) -> Iterator[Desk]:
    desk = Desk(location)
    yield desk
    desk.database.close()


@pytest.fixture
def reader(desk: Desk) -> Iterator[Reader]:
    reader = Reader(desk.path)
    yield reader
    reader.close()


@pytest.fixture
def make_desk(location: Location) -> Callable[[], Desk]:
    """Return a function that opens desks on the same database, one at a time."""
    return lambda: Desk(location)
