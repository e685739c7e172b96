"""A table as data: its columns, and how a row replaces another one. Engines make statements of it."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from operator import ge, gt, itemgetter
from typing import Any, Final, TypeAlias

from okxsync.store.decode import Value

_OFTEN_CHANGED: Final = ("u_time", "mark_px", "upl", "total_eq")
"""Compared first to find out whether the content of a row changes."""
_NEVER_ABSENT: Final = frozenset({"account", "source", "received_at", "rank", "full_time", "as_of"})

_REPORT: Final = frozenset({"received_at", "raw", "source", "rank", "full_time", "absent_time", "as_of", "p_time"})
"""Columns that describe a report, not what it reports: a row that changes in nothing else keeps its revision."""

Clocks: TypeAlias = Callable[[Sequence[Value]], tuple[Any, ...]]
"""Returns the clocks of a row's values; a row replaces another one if none of its clocks is behind."""


def _always(values: Sequence[Value]) -> tuple[Any, ...]:
    return ()


class Table:
    """A table's columns, and how a row replaces another one: data, of which an engine makes its statement.

    Args:
        columns: In the order of the values of a row; an absent value is ``""``, and NULL in the database.
        key: Columns of the primary key.
        sets: SQL of what an update sets a column to, by column; others become what is new. ``{t}`` is the table.
        keep: Columns that an update leaves as they are.
        guard: SQL: when an existing row is updated at all.
        clocks: The same for two rows of one batch: only the newer one is written. None: all are written.
        report: More columns that describe the report, beside ``_REPORT``.
        optional: Columns of the key that a row may lack: there it has ``""``, for a key has no NULL.

    Attributes:
        required: Columns that are never absent.
        key_of: Returns the key of a row's values.
        guard: SQL: when an existing row is updated at all.
        on_conflict: SQL: what an ``INSERT`` of ``columns`` and ``revision`` does if there is a row of this key.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        key: Sequence[str],
        *,
        guard: str,
        sets: Mapping[str, str] | None = None,
        keep: Collection[str] = (),
        clocks: Callable[[Sequence[str]], Clocks] | None = None,
        report: Collection[str] = (),
        optional: Collection[str] = (),
    ) -> None:
        self.name = name
        self.optional: Final = frozenset(optional)
        self.columns: Final = tuple(columns)
        self.key: Final = tuple(key)
        self.key_of: Callable[[Sequence[Any]], Hashable] = itemgetter(*(self.columns.index(column) for column in key))
        self.clocks: Clocks = clocks(self.columns) if clocks else _always
        new = {column: f'excluded."{column}"' for column in columns if column not in {*key, *keep}} | dict(sets or {})
        self.required: Final = _NEVER_ABSENT.union(key)
        not_content = {*_REPORT, *report}
        # What changes most often comes first: the comparison ends with the first difference.
        content = [one for one in dict.fromkeys((*_OFTEN_CHANGED, *columns)) if one in new and one not in not_content]
        if content:
            before = ", ".join(f"{{t}}.{one}" for one in quoted(content))
            after = ", ".join(new[one] for one in content)
            new["revision"] = case(f"({before}) IS DISTINCT FROM ({after})", "excluded.revision", "{t}.revision")
        self.guard: Final = guard.replace("{t}", name)
        self.on_conflict: Final = (
            f"ON CONFLICT ({', '.join(quoted(key))}) DO UPDATE SET "
            + ", ".join(f'"{column}" = {value}' for column, value in new.items()).replace("{t}", name)
            + f" WHERE {self.guard}"
        )

    def put(self, staged: dict[Hashable, list[Value]], values: list[Value]) -> None:
        """Stage a row, unless a newer one of its key is staged already."""
        if self.clocks is _always:  # each of them may add something
            staged[len(staged)] = values
            return
        key = self.key_of(values)
        if (old := staged.get(key)) is not None:
            before, now = self.clocks(old), self.clocks(values)
            if not all(map(ge, now, before)):
                if any(map(gt, now, before)):  # one clock is ahead and one behind: the database takes both
                    staged[key, len(staged)] = values
                return
        staged[key] = values


def quoted(columns: Iterable[str]) -> list[str]:
    return [f'"{column}"' for column in columns]  # "from", "to" are OKX's names and SQL's words


def case(condition: str, then: str, otherwise: str) -> str:
    """Return SQL: one of two values."""
    return f"CASE WHEN {condition} THEN {then} ELSE {otherwise} END"
