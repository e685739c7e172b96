"""Tests of the store run on both engines, except those that are about SQLite itself (marked, or in ``sqlite/``)."""

from pathlib import Path

import pytest

from okxsync.config.location import Location
from tests.support.postgres import empty_database


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "location" in metafunc.fixturenames:
        own = next((part for part in ("sqlite", "postgres") if part in metafunc.definition.path.parts), None)
        if own is None and metafunc.definition.get_closest_marker("sqlite"):
            own = "sqlite"
        metafunc.parametrize("engine", [own] if own else ["sqlite", "postgres"])


@pytest.fixture
def location(engine: str, tmp_path: Path) -> Location:
    return empty_database() if engine == "postgres" else tmp_path / "okxsync.db"
