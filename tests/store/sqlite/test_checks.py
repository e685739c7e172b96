"""What ``okxsync check`` says of SQLite and of the disk."""

from pathlib import Path

import pytest

from okxsync.store.sqlite.checks import disk, sqlite_version


@pytest.mark.parametrize(("version", "level"), [((3, 40, 1), "fail"), ((3, 53, 0), "ok")])
def test_an_unsafe_sqlite_fails_and_says_what_to_do(version: tuple[int, ...], level: str) -> None:
    found = sqlite_version(version)
    assert found.level == level
    assert bool(found.todo) is (level == "fail")


def test_the_disk_is_judged_by_numbers(tmp_path: Path) -> None:
    assert disk(tmp_path / "none" / "okxsync.db", None).level == "fail"
    assert disk(tmp_path / "okxsync.db", 10**18).level == "warn"
