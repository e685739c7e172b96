"""The status as a table, for a terminal or a pipe."""

from collections.abc import Collection

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from okxsync.store.accounts import Details
from okxsync.store.status import ConnectionState, Status
from okxsync.terminal.accounts import WIDE, render_accounts
from okxsync.terminal.words import age, size

_COLOUR = {"live": "green", "stopped": "red", "backing_off": "yellow"}
_SHORT = {"channels": "ch", "reconnects": "again"}
_MOST = 40
"""Connections that a table shows, those that are not live first."""


def console() -> Console:
    """Return a console for results: as wide as the terminal, and wide enough for a table in a pipe."""
    out = Console()
    return out if out.is_terminal else Console(width=160)


def render(
    status: Status,
    *,
    counts: dict[str, int] | None = None,
    details: Details | None = None,
    width: int = 160,
    only: Collection[str] = (),
    problems: bool = False,
) -> RenderableType:
    """Return the connection table with what else an operator asks first.

    Args:
        status: As read from the database.
        counts: Rows per table to show below, if given.
        details: The accounts and the disk, if they are to be shown.
        width: Of the terminal, in columns; a narrow one gets fewer of the table's.
        only: Names of accounts; none means all.
        problems: Show what is not well, and all of it.
    """
    connections = [one for one in status.connections if not only or one.listener in only]
    if problems:
        connections = [one for one in connections if one.phase != "live"]
    parts: list[RenderableType] = [_daemon(status)]
    if connections or not problems:
        parts.append(_connections(connections, wide=width >= WIDE, all_of_them=problems))
    if details:
        accounts = [one for one in details.accounts if not only or one.name in only]
        if problems:
            accounts = [one for one in accounts if not one.is_well]
        if accounts:
            parts.append(render_accounts(accounts, width=width, all_of_them=problems or bool(only)))
        elif problems:
            parts.append(Text("every account is live and whole", "green"))
    parts.append(_facts(status, details))
    if counts:
        parts.append(Text("rows      " + ", ".join(f"{count} {table}" for table, count in counts.items())))
    return Group(*parts)


def _daemon(status: Status) -> Text:
    daemon = status.daemon
    if daemon.pid is None:
        return Text("no daemon has ever run on this database", "yellow")
    if not daemon.alive:
        return Text(f"no daemon alive (pid {daemon.pid}, last heartbeat {age(daemon.heartbeat_age_s)} ago)", "red")
    live = sum(connection.phase == "live" for connection in status.connections)
    text = (
        f"daemon    pid {daemon.pid}, {live} of {len(status.connections)} connections live, since {daemon.started_at}"
    )
    return Text(text, "green" if live == len(status.connections) else "yellow")


def _connections(connections: list[ConnectionState], *, wide: bool, all_of_them: bool) -> Table:
    failing = any(one.last_error and one.phase != "live" for one in connections)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("listener", overflow="ellipsis", no_wrap=True)
    for name in ("endpoint", *(["site"] if wide else []), "phase"):
        table.add_column(name, no_wrap=True)
    for name in ("channels", "heard", *(["rtt", "messages"] if wide else []), "reconnects"):
        table.add_column(name if wide else _SHORT.get(name, name), justify="right", no_wrap=True)
    if failing:
        table.add_column("last error", overflow="fold")
    down = [connection for connection in connections if connection.phase != "live"]
    shown = connections
    if len(connections) > _MOST:
        shown = down + [one for one in connections if one.phase == "live"]
        shown = shown[: len(down) if all_of_them else _MOST]
    for one in shown:
        heard = f"{age(one.last_message_age_s)} ago" if one.last_message_age_s is not None else ""
        rtt = f"{one.rtt_ms:.1f} ms" if one.rtt_ms is not None else ""
        cells: list[str | Text] = [Text(one.listener), one.endpoint]
        cells += [f"{one.site} demo" if one.demo else one.site] if wide else []
        cells += [Text(one.phase, _COLOUR.get(one.phase, "")), str(len(one.channels)), heard]
        cells += [rtt, str(one.messages)] if wide else []
        cells.append(str(one.reconnects))
        table.add_row(*cells, *([Text(one.last_error or "" if one.phase != "live" else "")] if failing else []))
    if hidden := len(connections) - len(shown):
        still_down = max(0, len(down) - len(shown))
        words = f"{still_down} that are not (--problems shows all)" if still_down else ""
        live = f"{hidden - still_down} more that are live" if hidden > still_down else ""
        table.caption = "and " + " and ".join(filter(None, (live, words)))
    return table


def _facts(status: Status, details: Details | None) -> Text:
    gaps, writer, log = status.gaps, status.writer, status.log
    stored = f", {log.bytes / log.bytes_received:.0%} of {size(log.bytes_received)}" if log.bytes_received else ""
    filling = f", {details.gaps_being_filled} of them being filled" if details and details.gaps_being_filled else ""
    lines = [
        f"gaps      {gaps.open} open ({age(gaps.seconds_open)}){filling}, {gaps.filled} filled, {gaps.partial} partial",
        f"writer    {writer.rows} rows, {writer.queue} queued, {writer.lag_ms:.1f} ms behind, {writer.errors} errors",
        f"log       {log.messages} frames, {size(log.bytes)}{stored}" + (f", since {log.oldest}" if log.oldest else ""),
    ]
    if details:
        lines.append(f"disk      {size(details.file_bytes)} used, {size(details.free_bytes)} free")
    return Text("\n".join(lines))
