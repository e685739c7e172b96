"""The rows that the terminal shows now, and what changed in them since they were last taken. Pure."""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final, NamedTuple, TypeAlias

from okxsync.messages import MARKET
from okxsync.mirror.screen import Account
from okxsync.terminal import topics
from okxsync.terminal.exact import product
from okxsync.terminal.health import ENTRIES
from okxsync.terminal.money import money_of
from okxsync.terminal.proof import NO_GAPS, Proofs
from okxsync.terminal.topics import Topic

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = tuple[Any, ...]
Found: TypeAlias = Mapping[str, Sequence[Row]]
"""Rows of the database by table; the last value of each says whether it is shown."""

FILLS_SHOWN: Final = 2_000
_POS, _COIN, _INST_TYPE, _INST_ID = map(topics.POSITIONS.columns.index, ("pos", "coin", "inst_type", "inst_id"))
_CT_VAL, _CT_MULT, _CT_VAL_CCY = map(topics.INSTRUMENTS.columns.index, ("ct_val", "ct_mult", "ct_val_ccy"))
STORED: Final = (topics.INSTRUMENTS, topics.MARKS, topics.ORDERS, topics.POSITIONS)
"""The topics whose rows are those of a table."""


class Diff(NamedTuple):
    """The rows that are new or changed, and the keys of those that are gone."""

    topic: Topic
    put: Mapping[Key, Row]
    gone: Sequence[Key]


class Table:
    """The rows of one topic by their key; it shows nothing before the first ``replace``.

    Attributes:
        groups: The same rows by the first column of the key, which is the account in most tables.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic: Final = topic
        self.rows: dict[Key, Row] = {}
        self.groups: Final[defaultdict[str, dict[Key, Row]]] = defaultdict(dict)
        self._changed: dict[Key, None] = {}
        self._is_loaded = self._was_taken = False

    def put(self, rows: Iterable[Row]) -> None:
        """Add rows, or replace those of the same key."""
        for row in rows:
            key = row[: self.topic.key]
            if self.rows.get(key) != row:
                self.rows[key] = self.groups[key[0]][key] = row
                self._changed[key] = None

    def remove(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if self.rows.pop(key, None) is not None:
                del self.groups[key[0]][key]
                self._changed[key] = None

    def replace(self, rows: Iterable[Row]) -> None:
        """Have these rows, and no others."""
        new = {row[: self.topic.key]: row for row in rows}
        self.remove(self.rows.keys() - new.keys())
        self.put(new.values())
        self._is_loaded = True

    def take(self) -> Diff | None:
        """Return what changed since the last time; None if nothing did. The first one may be empty."""
        if not self._is_loaded or (self._was_taken and not self._changed):
            return None
        changed, self._changed, self._was_taken = self._changed, {}, True
        put = {key: self.rows[key] for key in changed if key in self.rows}
        return Diff(self.topic, put, [key for key in changed if key not in self.rows])


class Book:
    """All topics. ``load`` or ``change`` what was read, ``prove`` it, and ``take`` the diffs.

    Attributes:
        accounts: The accounts that are mirrored now; rows of others are not shown.
        proofs: Those of the last time; None: none yet.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._equity: dict[str, Row] = {}
        self._balances: dict[str, dict[str, Row]] = {}  # by account and currency
        self.proofs: Proofs | None = None
        self._proved: Set[str] = frozenset()  # the listeners whose proofs are shown
        self._tables: Final = {name: Table(topic) for name, topic in topics.TOPICS.items()}
        self._touched: set[str] = set()  # the accounts whose row is to be made anew
        self._tape: Final = _Tape()

    def __getitem__(self, topic: Topic) -> Table:
        return self._tables[topic.name]

    def load(self, accounts: Mapping[str, Account], found: Found) -> None:
        """Show all that is found, and nothing else. Fills are loaded by ``load_fills``."""
        self.accounts = dict(accounts)
        self._equity.clear()
        self._balances.clear()
        self._read_equity(found)
        self[topics.JOURNAL].replace(())
        for topic in STORED:
            self[topic].replace(self._shown(topic, found))
        self._touched.update(self.accounts)

    def change(self, found: Found) -> None:
        """Show what changed."""
        self._read_equity(found)
        for topic in STORED:
            self[topic].remove(row[: topic.key] for row in found[topic.name] if not row[-1])
            self[topic].put(self._shown(topic, found))
        for topic in (topics.ORDERS, topics.POSITIONS):
            self._touched.update(row[0] for row in found[topic.name])
        if found[topics.INSTRUMENTS.name]:
            positions = self[topics.POSITIONS]
            positions.put([self._with_coin(row) for row in positions.rows.values()])

    def load_fills(self, rows: Iterable[Row]) -> None:
        """Show these fills, and no others."""
        shown = self._tape.add(row for row in rows if row[1] in self.accounts)
        self._tape.keep(map(_name_of_fill, shown))
        self[topics.FILLS].replace(shown)

    def add_fills(self, rows: Iterable[Row], replaced: Iterable[Key]) -> None:
        """Show fills; ``replaced`` ones (account, ``inst_id``, ``ord_id``, ``trade_id``) are not shown any more."""
        fills = self[topics.FILLS]
        fills.remove(self._tape.remove(replaced))
        fills.put(self._tape.add(row for row in rows if row[1] in self.accounts))
        fills.remove(self._tape.remove_oldest())

    @property
    def oldest_fill(self) -> int:
        """The time before which a fill is not among the newest; 0 while there is room."""
        return self._tape.oldest

    def prove(self, proofs: Proofs) -> None:
        """Show how far each channel is proved."""
        known = self.accounts.keys() | {MARKET}
        before, self.proofs = self.proofs, proofs
        freshness = self[topics.FRESHNESS]
        if before is None or known != self._proved:
            freshness.replace(_proof_rows(proofs, known))
        else:
            rows = _proof_rows(proofs, proofs.changed & known)
            listed = {row[: topics.FRESHNESS.key] for row in rows}
            changed = (proofs.changed | proofs.gone) & known
            freshness.remove([key for name in changed for key in freshness.groups[name] if key not in listed])
            freshness.put(rows)
        self._proved = known
        marks = self[topics.MARKS]
        if before is None or MARKET in proofs.changed:
            marks.put([self._with_proof(row) for row in marks.rows.values()])
        self._touched.update(name for name in self.accounts if before is None or proofs.differ(before, name))

    def show_health(self, connections: Iterable[Row], entries: Sequence[Row]) -> None:
        """Show these connections and no others, and more entries of the journal."""
        self[topics.CONNECTIONS].replace(connections)
        if entries:
            journal = self[topics.JOURNAL]
            journal.replace(sorted([*journal.rows.values(), *entries], reverse=True)[:ENTRIES])

    @property
    def last_entry(self) -> int:
        """The id of the newest entry of the journal; 0 if there is none."""
        return max((number for (number,) in self[topics.JOURNAL].rows), default=0)

    def take(self) -> list[Diff]:
        """Return what changed since the last time, in the order of ``TOPICS``."""
        if self.proofs is not None and (self._touched or not self.accounts):
            self._make_accounts(self.proofs)
        return [diff for table in self._tables.values() if (diff := table.take())]

    def _read_equity(self, found: Found) -> None:
        for *values, _ in found["equity"]:
            self._equity[values[0]] = tuple(values)
            self._touched.add(values[0])
        for account, ccy, *values, _ in found["balances"]:
            self._balances.setdefault(account, {})[ccy] = tuple(values)
            self._touched.add(account)

    def _shown(self, topic: Topic, found: Found) -> list[Row]:
        rows = [row[:-1] for row in found[topic.name] if row[-1]]
        if topic is topics.POSITIONS:
            return [self._with_coin(row) for row in rows if row[0] in self.accounts]
        if topic is topics.ORDERS:
            return [row for row in rows if row[0] in self.accounts]
        return [self._with_proof(row) for row in rows] if topic is topics.MARKS else rows

    def _with_coin(self, row: Row) -> Row:
        found = self[topics.INSTRUMENTS].rows.get((row[_INST_TYPE], row[_INST_ID]))
        coin = found and product(row[_POS], found[_CT_VAL], found[_CT_MULT])
        return (*row[:_COIN], coin, found[_CT_VAL_CCY] if found and coin else None, *row[_COIN + 2 :])

    def _with_proof(self, row: Row) -> Row:
        one = topics.MARKS.record(row)
        proof = self.proofs.mark(one["inst_id"]) if self.proofs else None
        return topics.MARKS.row(one | {"state": proof and proof.state, "covered_until": proof and proof.covered_until})

    def _make_accounts(self, proofs: Proofs) -> None:
        rows = []
        for name in self._touched & self.accounts.keys():
            account = self.accounts[name]
            proof = proofs.accounts[name]
            gaps = proofs.gaps.get(name, NO_GAPS)
            orders = Counter(kind for _, kind, _ in self[topics.ORDERS].groups[name])
            positions = [*self[topics.POSITIONS].groups[name].values()]
            money = money_of(self._equity.get(name), self._balances.get(name, {}), positions)
            counts = [
                count or (0 if proofs.of(name, channel).state != "never" else None)
                for count, channel in (
                    (orders["order"], "orders"),
                    (orders["algo"], "orders-algo"),
                    (len(positions), "positions"),
                )
            ]
            record = {
                **{"account": name, "state": proof.state, "covered_until": proof.covered_until, "reason": proof.reason},
                **{"next_attempt_at": proofs.next_attempt_at.get(name), "gaps": gaps.opened, "gap_since": gaps.since},
                **money,
                **dict(zip(("open_orders", "open_algos", "positions"), counts, strict=True)),
                **{"site": account.site, "demo": account.demo},
                **{"acct_lv": account.acct_lv, "pos_mode": account.pos_mode},
            }
            rows.append(topics.ACCOUNTS.row(record))
        self._touched.clear()
        if len(rows) == len(self.accounts):
            self[topics.ACCOUNTS].replace(rows)
        else:
            self[topics.ACCOUNTS].put(rows)


def _proof_rows(proofs: Proofs, listeners: Iterable[str]) -> list[Row]:
    return [(name, channel, *proof) for name in listeners for channel, proof in proofs.channels(name).items()]


class _Tape:
    """The numbers of the fills that are shown, and their order by time."""

    def __init__(self) -> None:
        self._numbers: dict[Key, int] = {}
        self._shown: dict[int, tuple[int, Key]] = {}  # time and name by number
        self._by_time: list[tuple[int, int]] = []  # time and number, the oldest first
        self._last = 0

    @property
    def oldest(self) -> int:
        """The time before which a fill is not among the newest; 0 while there is room."""
        return self._by_time[0][0] if len(self._by_time) >= FILLS_SHOWN else 0

    def add(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows with their numbers; a fill keeps its own."""
        found = []
        for row in rows:
            name, at = _name_of_fill(row), _time_of_fill(row)
            number = self._numbers.get(name)
            if number is None:
                self._last += 1
                number = self._numbers[name] = self._last
            else:
                self._drop(number)
            self._shown[number] = at, name
            insort(self._by_time, (at, number))
            found.append((number, *row[1:]))
        return found

    def remove(self, names: Iterable[Key]) -> list[Key]:
        """Return the keys of those that were shown."""
        gone = []
        for name in names:
            if (number := self._numbers.pop(tuple(name), None)) is not None:
                self._drop(number)
                gone.append((number,))
        return gone

    def keep(self, names: Iterable[Key]) -> None:
        """Forget all others."""
        self.remove(self._numbers.keys() - set(names))

    def remove_oldest(self) -> list[Key]:
        """Return the keys of all but the newest ``FILLS_SHOWN``."""
        oldest = self._by_time[: max(0, len(self._by_time) - FILLS_SHOWN)]
        return self.remove([self._shown[number][1] for _, number in oldest])

    def _drop(self, number: int) -> None:
        at, _ = self._shown.pop(number)
        del self._by_time[bisect_left(self._by_time, (at, number))]


_FILL_NAME: Final = [topics.FILLS.columns.index(name) for name in ("account", "inst_id", "ord_id", "trade_id")]
_FILL_TIMES: Final = [topics.FILLS.columns.index(name) for name in ("fill_time", "ts")]


def _name_of_fill(row: Row) -> Key:
    return tuple(row[index] for index in _FILL_NAME)


def _time_of_fill(row: Row) -> int:
    return next((row[index] for index in _FILL_TIMES if row[index] is not None), 0)
