"""The status table shows what is wrong with a connection, live or not."""

from io import StringIO

import pytest
from rich.console import Console

from okxsync.console.status import render
from okxsync.mirror.status import ConnectionState, DaemonState, GapCounts, LogState, Status, WriterState


def connection(listener: str, phase: str, last_error: str | None) -> ConnectionState:
    since = "2026-11-20T08:00:00.000Z"
    return ConnectionState(listener, "private", "sandbox", True, phase, since, 0.1, 1.2, 5, 0, ["account"], last_error)


def shown(*connections: ConnectionState, problems: bool = False, width: int = 160, height: int | None = None) -> str:
    status = Status(
        DaemonState(True, 1, "2026-11-20T08:00:00.000Z", 0.4, "0.1"),
        list(connections),
        GapCounts(0, 0, 0, 0.0),
        WriterState(0, 1.0, 1, 0, None),
        LogState(1, 1, 1, None),
    )
    out = Console(file=StringIO(), width=width)
    out.print(render(status, problems=problems, width=width, height=height))
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize(
    ("phase", "last_error", "is_shown"),
    [
        ("backing_off", "closed with 1001", True),
        ("live", "closed with 1001", False),
        ("live", "dropped: orders: over the connection limit", True),
        ("live", "rejected: subscribe fills: 64003", True),
        ("live", None, False),
    ],
)
def test_the_error_of_a_live_connection_is_shown_only_while_a_channel_is_refused(
    phase: str, last_error: str | None, is_shown: bool
) -> None:
    table = shown(connection("alpha", phase, last_error))
    assert ("last error" in table) is is_shown
    assert (str(last_error) in table) is is_shown


def test_a_live_connection_with_a_dropped_channel_is_a_problem_and_stands_first() -> None:
    dropped = connection("beta", "live", "dropped: orders: over the connection limit")
    assert "alpha" not in shown(connection("alpha", "live", None), dropped, problems=True)
    table = shown(connection("alpha", "live", None), dropped)
    assert table.index("beta") < table.index("alpha")


@pytest.mark.parametrize("width", [160, 80, 60])
def test_a_page_of_a_given_height_fits_whatever_the_errors_say(width: int) -> None:
    """A line that is wrapped would push the last ones, which count what is not shown, off the screen."""
    failing = [connection(f"account{number}", "backing_off", "Connection refused, " * 20) for number in range(40)]
    page = shown(*failing, width=width, height=30)
    assert page.count("\n") <= 30
    assert "more with problems" in page
    assert shown(failing[0]).count("refused") == 20
