"""The status as a table, for a terminal or a pipe."""

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from okxsync.store.status import ConnectionState, Status

_COLOUR = {"live": "green", "stopped": "red", "backing_off": "yellow"}
_MOST = 40
"""Connections that a table shows while all is well; those that are not live are always shown."""


def console() -> Console:
    """Return a console for results: as wide as the terminal, and wide enough for a table in a pipe."""
    out = Console()
    return out if out.is_terminal else Console(width=160)


def render(status: Status, *, counts: dict[str, int] | None = None) -> RenderableType:
    """Return the connection table with what else an operator asks first.

    Args:
        status: As read from the database.
        counts: Rows per table to show below, if given.
    """
    parts: list[RenderableType] = [_daemon(status), _connections(status.connections), _facts(status)]
    if counts:
        parts.append(Text("rows      " + ", ".join(f"{count} {table}" for table, count in counts.items())))
    return Group(*parts)


def _daemon(status: Status) -> Text:
    daemon = status.daemon
    if daemon.pid is None:
        return Text("no daemon has ever run on this database", "yellow")
    if not daemon.alive:
        return Text(f"no daemon alive (pid {daemon.pid}, last heartbeat {_age(daemon.heartbeat_age_s)} ago)", "red")
    live = sum(connection.phase == "live" for connection in status.connections)
    text = (
        f"daemon    pid {daemon.pid}, {live} of {len(status.connections)} connections live, since {daemon.started_at}"
    )
    return Text(text, "green" if live == len(status.connections) else "yellow")


def _connections(connections: list[ConnectionState]) -> Table:
    failing = any(one.last_error and one.phase != "live" for one in connections)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("listener", "endpoint", "site", "phase"):
        table.add_column(name, no_wrap=True)
    for name in ("channels", "heard", "rtt", "messages", "reconnects"):
        table.add_column(name, justify="right", no_wrap=True)
    if failing:
        table.add_column("last error")
    shown = connections
    if len(connections) > _MOST:
        down = [connection for connection in connections if connection.phase != "live"]
        shown = (down + [one for one in connections if one.phase == "live"])[: max(_MOST, len(down))]
    for one in shown:
        cells: list[str | Text] = [
            one.listener,
            one.endpoint,
            f"{one.site} demo" if one.demo else one.site,
            Text(one.phase, _COLOUR.get(one.phase, "")),
            str(len(one.channels)),
            f"{_age(one.last_message_age_s)} ago" if one.last_message_age_s is not None else "",
            f"{one.rtt_ms:.1f} ms" if one.rtt_ms is not None else "",
            str(one.messages),
            str(one.reconnects),
        ]
        table.add_row(*cells, *([one.last_error or "" if one.phase != "live" else ""] if failing else []))
    if hidden := len(connections) - len(shown):
        table.caption = f"and {hidden} more that are live"
    return table


def _facts(status: Status) -> Text:
    gaps, writer, log = status.gaps, status.writer, status.log
    stored = f", {log.bytes / log.bytes_received:.0%} of {size(log.bytes_received)}" if log.bytes_received else ""
    lines = [
        f"gaps      {gaps.open} open ({_age(gaps.seconds_open)}), {gaps.filled} filled, {gaps.partial} partial",
        f"writer    {writer.rows} rows, {writer.queue} queued, {writer.lag_ms:.1f} ms behind, {writer.errors} errors",
        f"log       {log.messages} frames, {size(log.bytes)}{stored}",
    ]
    return Text("\n".join(lines))


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.1f} s"


def size(count: int) -> str:
    """Return bytes for people, in powers of 1000."""
    rest = float(count)
    for unit in ("B", "KB", "MB"):
        if rest < 1000:
            return f"{rest:.0f} {unit}"
        rest /= 1000
    return f"{rest:.1f} GB"
