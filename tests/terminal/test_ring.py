"""A page that applies what it is sent has exactly the server's rows, however it lags, reconnects or changes topics."""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from okxsync.terminal import topics
from okxsync.terminal.book import Row, Table
from okxsync.terminal.pointer import LARGE, WINDOW, Pointer
from okxsync.terminal.ring import KEPT, Ring, encode

FRESHNESS = topics.FRESHNESS


class Page:
    """Applies messages as the page does."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
        self.numbers: dict[str, int] = {}
        self.parts: list[dict[str, Any]] = []

    def take(self, text: str) -> None:
        for part in json.loads(text):
            self.parts.append(part)
            topic, number = part["t"], part["n"]
            if "rows" in part:
                self.rows[topic] = {tuple(row[: part["key"]]): tuple(row) for row in part["rows"]}
            elif "put" in part:
                last = self.numbers[topic]
                assert number in (last, last + 1), "a diff is missing"
                for key in part["del"]:
                    del self.rows[topic][tuple(key)]
                key_length = topics.TOPICS[topic].key
                self.rows[topic].update({tuple(row[:key_length]): tuple(row) for row in part["put"]})
            self.numbers[topic] = number


class Source:
    """A table, its ring, and a pointer for each page."""

    def __init__(self) -> None:
        self.table = Table(FRESHNESS)
        self.rings = {FRESHNESS.name: Ring(FRESHNESS)}

    def show(self, rows: Iterable[Row]) -> None:
        self.table.replace(rows)
        if diff := self.table.take():
            self.rings[FRESHNESS.name].add(encode(diff, 7))


def row(account: str, state: str = "live") -> Row:
    return (account, "orders", state, 1, None)


STATES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(topics.STATES)).map(
    lambda states: [row(*one) for one in states.items()]
)


@given(st.lists(st.tuples(STATES, st.booleans(), st.booleans(), st.booleans()), max_size=40))
def test_a_page_has_the_rows_of_the_server(steps: list[tuple[list[Row], bool, bool, bool]]) -> None:
    source, page = Source(), Page()
    pointer = Pointer(source.rings)
    pointer.subscribe({"freshness": None}, same_epoch=False)
    for rows, reads, paints, reconnects in steps:
        source.show(rows)
        if reconnects:
            pointer = Pointer(source.rings)
            pointer.subscribe({"freshness": page.numbers.get("freshness")}, same_epoch=True)
        if reads and (text := pointer.next(None, 0.0)):
            page.take(text)
        if paints:
            pointer.acknowledge(page.numbers)
    pointer.acknowledge(page.numbers)
    while text := pointer.next(None, 0.0):
        page.take(text)
        pointer.acknowledge(page.numbers)
    if steps:
        assert page.rows["freshness"] == source.table.rows


def test_a_topic_that_was_never_read_is_not_answered_and_an_empty_one_is() -> None:
    source, page = Source(), Page()
    pointer = Pointer(source.rings)
    pointer.subscribe({"freshness": None}, same_epoch=False)
    assert pointer.next(None, 0.0) is None
    source.show([])
    page.take(pointer.next(None, 0.0) or "")
    assert page.rows == {"freshness": {}}
    assert pointer.next(None, 0.0) is None


def test_a_page_that_has_everything_is_answered_by_an_empty_diff() -> None:
    source = Source()
    source.show([row("a")])
    pointer = Pointer(source.rings)
    pointer.subscribe({"freshness": 1, "unknown": 3, "now": 9}, same_epoch=True)
    (part,) = json.loads(pointer.next(None, 0.0) or "")
    assert part == {"t": "freshness", "n": 1, "put": [], "del": [], "at": 7}


def test_numbers_of_another_epoch_are_answered_by_a_snapshot() -> None:
    source = Source()
    source.show([row("a")])
    for number, same_epoch in ((1, False), (None, True), (99, True), (-1, True)):
        pointer = Pointer(source.rings)
        pointer.subscribe({"freshness": number}, same_epoch=same_epoch)
        (part,) = json.loads(pointer.next(None, 0.0) or "")
        assert part["rows"] == [list(row("a"))]
        assert part["cols"] == list(FRESHNESS.columns)


def test_who_lags_by_more_than_a_snapshot_gets_the_snapshot() -> None:
    ring, table = Ring(FRESHNESS), Table(FRESHNESS)
    table.replace(row(f"a{number}") for number in range(1000))

    def show(*rows: Row) -> None:
        table.put(rows)
        diff = table.take()
        assert diff
        ring.add(encode(diff, 0))

    show()
    for number in range(KEPT):
        show(row("a1", f"state {number}"))
    assert len(ring.since(1)) == KEPT
    assert ring.since(ring.number) == ()
    show(row("a1", "last"))
    assert [json.loads(part)["n"] for part in ring.since(1)] == [ring.number]  # the diff is not kept any more
    for state in ("stale", "never"):
        show(*(row(f"a{number}", state) for number in range(1000)))
    assert len(json.loads(ring.since(ring.number - 2)[0])["rows"]) == 1000  # two diffs of everything are longer


def test_at_most_four_messages_are_not_acknowledged() -> None:
    source = Source()
    pointer = Pointer(source.rings)
    pointer.subscribe({"freshness": None}, same_epoch=False)
    for number in range(WINDOW + 3):
        source.show([row("a", f"state {number}")])
        assert (pointer.next((number + 1, '{"t":"now"}'), float(number)) is not None) == (number < WINDOW)
    assert pointer.lag_s(10.0) == 10.0
    pointer.acknowledge({"freshness": 1})
    assert pointer.next(None, 10.0) is None  # its heartbeat is not acknowledged
    pointer.acknowledge({"freshness": 2, "now": 2})
    assert pointer.lag_s(10.0) == 8.0
    behind = json.loads(pointer.next(None, 10.0) or "")
    assert [part["n"] for part in behind] == [5, 6, 7]  # all that it lacks, in one message


def test_what_was_not_sent_cannot_be_acknowledged() -> None:
    source = Source()
    pointer = Pointer(source.rings)
    pointer.subscribe({"freshness": None}, same_epoch=False)
    pointer.acknowledge({"freshness": 10**9, "now": 10**9, "other": 1})
    source.show([row("a")])
    assert pointer.next((1, "{}"), 0.0)
    assert pointer.lag_s(5.0) == 5.0


def test_a_topic_that_is_dropped_needs_no_acknowledgement() -> None:
    source = Source()
    pointer = Pointer(source.rings)
    pointer.subscribe({"freshness": None}, same_epoch=False)
    source.show([row("a")])
    assert pointer.next(None, 0.0)
    pointer.subscribe({}, same_epoch=True)
    pointer.acknowledge({})
    assert pointer.lag_s(5.0) == 0.0


def test_rows_come_before_the_freshness_that_vouches_for_them() -> None:
    rings = {name: Ring(topic) for name, topic in topics.TOPICS.items()}
    tables = {name: Table(topic) for name, topic in topics.TOPICS.items()}

    def show(name: str, *rows: Row) -> None:
        tables[name].replace(rows)
        diff = tables[name].take()
        assert diff
        rings[name].add(encode(diff, 0))

    def blank(name: str, key: str) -> Row:
        return (key,) * len(topics.TOPICS[name].columns)

    pointer = Pointer(rings)
    pointer.subscribe({"freshness": None, "orders": None, "positions": None}, same_epoch=False)
    show("freshness", row("a"))
    show("positions", blank("positions", "p"))
    show("orders", blank("orders", "x" * LARGE))
    zeroth, first = (json.loads(pointer.next((1, '{"t":"now"}'), 0.0) or "") for _ in range(2))
    second = json.loads(pointer.next((2, '{"t":"now"}'), 0.0) or "")
    assert [part["t"] for part in zeroth] == ["now"]  # before anything else: it says how much there is to read
    assert [part["t"] for part in first] == ["orders"]  # it is large, and painted before the next message
    assert [part["t"] for part in second] == ["positions", "freshness", "now"]
