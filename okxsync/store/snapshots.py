"""Assemble snapshots that arrive in pages: a snapshot is complete only with its last page."""

from collections.abc import Hashable, Iterable

import msgspec


class Snapshot(msgspec.Struct, frozen=True):
    """A complete snapshot, or the pages received so far."""

    pages: int
    names: frozenset[str]
    time_ms: int  # the latest of the exchange's times in it, or 0
    sent_after: int = 0  # of its first page, see ``messages.Frames``


class Pages:
    """Assembles the snapshots of each source; an interrupted run of pages proves nothing and is dropped.

    While one socket takes over from another, both receive pages, and the pages of each are cut differently: so a run
    belongs to one socket. A later socket has a higher number.
    """

    def __init__(self) -> None:
        self._begun: dict[Hashable, dict[int, Snapshot]] = {}  # by source and socket

    def copy(self) -> "Pages":
        other = Pages()
        other._begun = {source: dict(runs) for source, runs in self._begun.items()}
        return other

    def add(
        self,
        source: Hashable,
        socket: int,
        page: int | None,
        last: bool | None,
        names: Iterable[str],
        time_ms: int,
        sent_after: int = 0,
    ) -> Snapshot | None:
        """Add a page; return the snapshot if it is complete now."""
        runs = self._begun.pop(source, {})
        begun = Snapshot(0, frozenset(), 0, sent_after) if page == 1 else runs.get(socket)
        runs.pop(socket, None)
        complete: Snapshot | None = None
        if page is not None and begun is not None and page == begun.pages + 1:
            grown = Snapshot(page, begun.names.union(names), max(begun.time_ms, time_ms), begun.sent_after)
            if last:
                complete = grown
                runs = {other: run for other, run in runs.items() if other > socket}  # the older ones will not go on
            else:
                runs[socket] = grown
        if runs:
            self._begun[source] = runs
        return complete
