"""The kill switch where a file would stop one machine only: the newest of the requests to halt and to resume."""

from contextlib import closing
from pathlib import Path

import pytest
import trio

from okxsync.config.location import Location, Url
from okxsync.plans import halt as module
from okxsync.plans.client import submit
from okxsync.plans.halt import HaltFile, HaltRow, halt_of
from okxsync.store.engines import open_database
from tests.support.desk import make_database
from tests.support.replay import until


@pytest.fixture
def database(tmp_path: Path) -> Location:
    make_database(tmp_path / "okxsync.db")
    return tmp_path / "okxsync.db"


def test_a_file_beside_a_file_and_a_row_on_a_server() -> None:
    assert isinstance(halt_of(Path("okxsync.db")), HaltFile)
    assert isinstance(halt_of(Url("postgresql://db.example/desk")), HaltRow)


def test_the_newest_request_decides(database: Location) -> None:
    switch = HaltRow(database)
    assert not switch.exists()
    for kind, halted in (("halt", True), ("preview", True), ("resume", False), ("execute", False), ("halt", True)):
        submit(database, kind, None, {})
        assert switch.exists() is halted, kind


def test_what_cannot_be_read_is_halted(tmp_path: Path) -> None:
    assert HaltRow(tmp_path / "none.db").exists()


async def test_one_that_is_followed_never_waits(database: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLD_S", 60.0)
    switch = HaltRow(database, followed=True)
    assert switch.exists()  # not known yet
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.follow)
        assert not switch.exists()
        await trio.to_thread.run_sync(submit, database, "halt", None, {})
        await until(switch.exists)
        await trio.to_thread.run_sync(submit, database, "resume", None, {})
        switch.remove()  # as the daemon does when it answers the request: at once
        assert not switch.exists()
        with closing(open_database(database)) as db:
            db.execute("ALTER TABLE requests RENAME TO lost")
        monkeypatch.setattr(module, "OLD_S", 0.2)
        await until(switch.exists)  # what was read last is too old
        nursery.cancel_scope.cancel()
