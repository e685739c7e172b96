"""A request to read, its filters, and what an endpoint is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.faults.rules import Faults

INST_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})


@dataclass(frozen=True)
class ReadRequest:
    """A request to read: the account's uid ("" for public requests), its query, and its time in ms."""

    exchange: Exchange
    faults: Faults
    uid: str
    query: Mapping[str, str]
    now_ms: int
    demo: bool

    def need(self, *names: str) -> None:
        """Reject a request without these parameters (50014)."""
        for name in names:
            if not self.query.get(name):
                raise OrderRejected("50014", f"Parameter {name} can not be empty")

    def filtered(self, rows: Iterable[Row], *names: str) -> list[Row]:
        """Keep the rows that match the parameters of these names; a value may be a comma-separated list."""
        inst_type = self.query.get("instType", "")
        if inst_type and inst_type not in INST_TYPES:
            raise OrderRejected("51000", "Parameter instType error")
        for name in names:
            if wanted := set(filter(None, self.query.get(name, "").split(","))):
                rows = [row for row in rows if self._value(row, name) in wanted]
        return list(rows)

    def _value(self, row: Row, name: str) -> str:
        if name not in ("instFamily", "ctType"):
            return str(row.get(name, ""))
        found = self.exchange.instruments.get(row["instId"])
        return str(found.row(self.demo)[name]) if found else ""

    def spelled(self, rows: list[Row], spelling: Callable[[Row], Row]) -> list[Row]:
        """Spell rows as only REST does, if that fault is set."""
        return [spelling(row) for row in rows] if self.faults.spellings else rows

    def since(self, rows: Iterable[Row], name: str, ms: int) -> list[Row]:
        """Keep the rows whose time is at most so long ago."""
        return [row for row in self.readable(rows, name) if int(row[name]) >= self.now_ms - ms]

    def readable(self, rows: Iterable[Row], name: str) -> list[Row]:
        """Keep the rows that REST shows already (see `Faults.rest_lags_ms`)."""
        lag_ms = self.faults.rest_lags_ms
        return [row for row in rows if not lag_ms or int(row[name]) <= self.now_ms - lag_ms]


@dataclass(frozen=True)
class ReadEndpoint:
    """An endpoint: at most `limit` requests in `period_s` by an account, or by an IP for public ones.

    Attributes:
        takes: Its parameters; a request with another one is rejected, because that one would have no effect.
        per: A parameter whose values are counted separately.
    """

    path: str
    answer: Callable[[ReadRequest], list[Row]]
    limit: int
    period_s: float = 2.0
    takes: str = ""
    per: str = ""

    def check(self, query: Mapping[str, str]) -> None:
        """Reject a request with an unknown parameter. Raises OrderRejected (51000)."""
        if unknown := query.keys() - set(self.takes.split()):
            raise OrderRejected("51000", f"Parameter {min(unknown)} error")

    @property
    def private(self) -> bool:
        return self.path.startswith(("account/", "trade/", "asset/", "users/"))
