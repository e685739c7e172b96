"""The status as a table, for a terminal or a pipe."""

from collections.abc import Collection

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from okxsync.console.accounts import WIDE, render_accounts
from okxsync.console.format import age, and_more, size
from okxsync.mirror.accounts import Details, by_number
from okxsync.mirror.status import ConnectionState, Status
from okxsync.runtime.text import CONTROL_ESCAPES
from okxsync.store.database import WAL_TOO_LARGE

_COLOUR = {"live": "green", "stopped": "red", "backing_off": "yellow"}
_SHORT = {"channels": "ch", "last message": "message", "reconnects": "reconn"}
_MAX_ROWS = 40
"""Rows of a table if the height of the terminal is unknown."""
_OTHER_LINES = 16
"""Lines of the page that are not table rows: the summary, the headers of both tables and their last lines."""


def console() -> Console:
    """Return a console for results: as wide as the terminal; in a pipe, wide enough for all columns.

    It shows all text as it is: text of the exchange and of plan files may look like rich's markup.
    """
    out = Console(markup=False, emoji=False)
    return out if out.is_terminal else Console(markup=False, emoji=False, width=200)


def render(
    status: Status,
    *,
    counts: dict[str, int] | None = None,
    details: Details | None = None,
    width: int = 160,
    height: int | None = None,
    only: Collection[str] = (),
    problems: bool = False,
) -> RenderableType:
    """Return a summary, and below it the connections and the accounts, the worst of each first.

    Args:
        status: As read from the database.
        counts: Rows per database table, to be shown if given.
        details: The accounts and the disk, to be shown if given.
        width: Width of the terminal in columns; a narrow one gets fewer columns of the tables.
        height: Height of the terminal in lines, if the page must fit into it: then no line is wrapped, but cut.
        only: Names of accounts to show; empty means all.
        problems: Show only connections and accounts with problems, and all of those.
    """
    connections = [one for one in status.connections if not only or one.listener in only]
    accounts = [one for one in details.accounts if not only or one.name in only] if details else []
    if problems:
        connections = [one for one in connections if not one.is_well]
        accounts = [one for one in accounts if not one.is_well]
    most = len(accounts) + len(connections) if problems or only else _MAX_ROWS
    shares = (most, most) if height is None else _share(height - _OTHER_LINES, len(connections), len(accounts))
    cut = height is not None
    summary = Text("\n").join([_daemon(status, details), _facts(status, details)])
    summary.no_wrap, summary.overflow = cut, "ellipsis" if cut else "fold"
    parts: list[RenderableType] = [summary]
    if counts:
        parts.append(Text("rows      " + ", ".join(f"{count} {table}" for table, count in counts.items())))
    if connections or not problems:
        parts.append(_connections(connections, wide=width >= WIDE, most=shares[0], cut=cut))
    if accounts:
        parts.append(render_accounts(accounts, wide=width >= WIDE, most=shares[1], cut=cut))
    elif details and problems:
        parts.append(Text("every account is live and complete", "green"))
    return Group(*parts)


def _share(lines: int, connections: int, accounts: int) -> tuple[int, int]:
    """Return how many connections and accounts fit: half of the lines each, and lines left over go to the other."""
    for_accounts = min(accounts, max(lines // 2, lines - connections, 1))
    return max(lines - for_accounts, 1), for_accounts


def _daemon(status: Status, details: Details | None) -> Text:
    daemon = status.daemon
    if daemon.pid is None:
        return Text("no daemon has ever run on this database", "yellow")
    why = status.writer.trouble
    if not daemon.alive and details and details.trouble is not None:
        why = details.trouble or "the process is suspended, or the disk does not respond"
    if why is not None:
        return Text(f"daemon    pid {daemon.pid} has stored nothing for {age(daemon.heartbeat_age_s)}: {why}", "red")
    if not daemon.alive:
        return Text(f"no daemon alive (pid {daemon.pid}, last heartbeat {age(daemon.heartbeat_age_s)} ago)", "red")
    live = sum(connection.phase == "live" for connection in status.connections)
    text = (
        f"daemon    pid {daemon.pid}, {live} of {len(status.connections)} connections live, since {daemon.started_at}"
    )
    return Text(text, "green" if live == len(status.connections) else "yellow")


def _connections(connections: list[ConnectionState], *, wide: bool, most: int, cut: bool) -> RenderableType:
    failing = any(one.current_error for one in connections)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("listener", overflow="ellipsis", no_wrap=True)
    for name in ("endpoint", *(["site"] if wide else []), "phase"):
        table.add_column(name, no_wrap=True)
    for name in ("channels", "last message", *(["rtt", "messages"] if wide else []), "reconnects"):
        table.add_column(name if wide else _SHORT.get(name, name), justify="right", no_wrap=True)
    if failing:
        table.add_column("last error", overflow="ellipsis" if cut else "fold", no_wrap=cut)
    ordered = sorted(connections, key=lambda one: (one.is_well, by_number(one.listener), one.endpoint))
    shown, rest = ordered[:most], ordered[most:]
    for one in shown:
        last_message = f"{age(one.last_message_age_s)} ago" if one.last_message_age_s is not None else ""
        rtt = f"{one.rtt_ms:.1f} ms" if one.rtt_ms is not None else ""
        cells: list[str | Text] = [Text(one.listener), one.endpoint]
        cells += [f"{one.site} demo" if one.demo else one.site] if wide else []
        cells += [Text(one.phase, _COLOUR.get(one.phase, "")), str(len(one.channels)), last_message]
        cells += [rtt, str(one.messages)] if wide else []
        cells.append(str(one.reconnects))
        error = one.current_error or ""
        table.add_row(*cells, *([Text(error.translate(CONTROL_ESCAPES))] if failing else []))
    return Group(table, *and_more([one.phase == "live" for one in rest], "live"))


def _facts(status: Status, details: Details | None) -> Text:
    gaps, writer, log = status.gaps, status.writer, status.log
    stored = f", {log.bytes / log.bytes_received:.0%} of {size(log.bytes_received)}" if log.bytes_received else ""
    filling = f", {details.gaps_being_filled} of them being backfilled" if details and details.gaps_being_filled else ""
    lines = [
        f"gaps      {gaps.open} open ({age(gaps.seconds_open)}){filling}, {gaps.filled} filled, {gaps.partial} partial",
        f"writer    {writer.rows} rows, {writer.queue} queued, {writer.lag_ms:.1f} ms behind, {writer.errors} errors",
        f"log       {log.messages} frames, {size(log.bytes)}{stored}" + (f", since {log.oldest}" if log.oldest else ""),
    ]
    if details:
        free = "" if details.free_bytes is None else f", {size(details.free_bytes)} free"
        lines.append(f"disk      {size(details.file_bytes)} used{free}")
        if details.wal_bytes > WAL_TOO_LARGE:
            lines[-1] += f"; {size(details.wal_bytes)} in the write-ahead log: a long-running reader blocks checkpoints"
    return Text("\n".join(lines))
