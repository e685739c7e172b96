"""Snapshots that come in pages: what one names is the whole truth only when its last page is there."""

from collections.abc import Hashable, Iterable

import msgspec


class Snapshot(msgspec.Struct, frozen=True):
    """A complete snapshot, or as much of it as has come."""

    pages: int
    names: frozenset[str]
    time: str  # the greatest of the exchange's times in it, or ""


class Pages:
    """Assembles the snapshots of each source; a run that is interrupted proves nothing and is dropped."""

    def __init__(self) -> None:
        self._begun: dict[Hashable, Snapshot] = {}

    def copy(self) -> "Pages":
        other = Pages()
        other._begun = dict(self._begun)
        return other

    def add(
        self, source: Hashable, page: int | None, last: bool | None, names: Iterable[str], time: str
    ) -> Snapshot | None:
        """Add a page; return the snapshot if it is complete now."""
        begun = Snapshot(0, frozenset(), "") if page == 1 else self._begun.get(source)
        if page is None or begun is None or page != begun.pages + 1:
            self._begun.pop(source, None)
            return None
        grown = Snapshot(page, begun.names.union(names), max(begun.time, time))
        if not last:
            self._begun[source] = grown
            return None
        self._begun.pop(source, None)
        return grown
