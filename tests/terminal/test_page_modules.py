"""The modules of the page by themselves, in the browser."""

import random
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.terminal_page import ORIGIN, ScriptedServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """The page at its login, one for all tests: its modules can be imported and keep nothing."""
    context = browser.new_context()
    server = ScriptedServer(context)
    server.page.goto(ORIGIN)
    yield server.page
    server.close()
    context.close()


def run(page: Page, module: str, body: str, argument: Any = None) -> Any:
    """Run the body of a function in the page; ``m`` is the module, ``a`` the argument."""
    return page.evaluate(f"async (a) => {{ const m = await import('/page/{module}.js'); {body} }}", argument)


SHOWN = [
    ("0.000000001", {}, "0.000000001"),
    (
        "123456789012345678901234567890",
        {},
        "123\u2009456\u2009789\u2009012\u2009345\u2009678\u2009901\u2009234\u2009567\u2009890",
    ),
    ("1e-9", {}, "1e\u22129"),
    ("1E5", {"cut": 2}, "1E5"),
    ("-0", {}, "\u22120"),
    ("0", {"fill": 2}, "0"),
    ("", {}, "-"),
    (None, {"cut": 2}, "-"),
    ("n/a", {}, "n/a"),
    ("-13219.439", {"cut": 2, "gain": True}, "\u221213\u2009219.43"),
    ("12.5", {"gain": True, "fill": 2}, "+12.50"),
    ("0.999", {"cut": 2}, "0.99"),
    ("0.00042", {"cut": 2}, "0.0004"),
    ("-0.004", {"cut": 2}, "\u22120.004"),
    ("68012.4", {"fill": 2}, "68\u2009012.40"),
]


def test_numbers_are_shown_as_the_exchange_writes_them(page: Page) -> None:
    """Cut and not rounded; what is not zero never looks like zero; exponents and 30 digits stay."""
    got = run(page, "decimals", "return a.map(([text, how]) => m.show(text, how))", [case[:2] for case in SHOWN])
    assert got == [case[2] for case in SHOWN]


def test_sums_equal_those_of_decimal(page: Page) -> None:
    chance = random.Random(1)
    texts = [f"{chance.randint(-(10**20), 10**20)}.{chance.randint(0, 10**9):010d}" for _ in range(500)] + [
        "1e-12",
        "-0",
    ]
    got = run(page, "decimals", "return m.exact(a.map(m.parse).reduce(m.add, null))", texts)
    with localcontext(prec=60):
        assert Decimal(got) == sum(map(Decimal, texts), Decimal(0))


def test_products_and_quotients_are_exact_and_cut(page: Page) -> None:
    body = """
        return a.map((pair) => pair.map(m.parse))
            .map(([x, y]) => [m.exact(m.multiply(x, y)), m.exact(m.quotient(x, y, 3))]);"""
    assert run(page, "decimals", body, [["0.1", "0.3"], ["-2", "3"]]) == [["0.03", "0.333"], ["-6", "-0.666"]]
    assert run(page, "decimals", "return m.quotient(m.parse('1'), m.parse('0'), 2)") is None


def test_ages_have_one_unit_and_are_never_too_short_or_rounded_up(page: Page) -> None:
    seconds = [0.39, 9.99, 59, 119, 120, 7199, 7200, 172799, 172800]
    got = run(page, "time", "return a.map((s) => m.age(s * 1e6))", seconds)
    assert got == ["0.3 s", "9.9 s", "59 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]


def test_times_of_a_zone_over_a_change_of_summer_time(browser: Browser) -> None:
    context = browser.new_context(timezone_id="Europe/Berlin")
    other = ScriptedServer(context)
    other.page.goto(ORIGIN)
    before, after = 1_792_889_999_000_000, 1_792_890_001_000_000  # 2026-10-25 00:59:59 and 01:00:01 UTC
    body = "m.setZone(a[0]); return [m.full(a[1]), m.full(a[2])]"
    assert run(other.page, "time", body, ["local", before, after]) == [
        "2026-10-25 02:59:59.000 UTC+2",
        "2026-10-25 02:00:01.000 UTC+1",
    ]
    assert run(other.page, "time", body, ["UTC+8", before, after])[0] == "2026-10-25 08:59:59.000 UTC+8"
    assert run(other.page, "time", body, ["UTC", before, after])[0] == "2026-10-25 00:59:59.000 UTC"
    other.close()
    context.close()


FILTERED = [
    ("", 3),
    ("desk", 3),
    ("DESK01", 1),
    ("account:desk0*", 2),
    ("acct:desk01,desk10", 2),
    ("-acct:desk0*", 1),
    ("upl<0", 1),
    ("upl>=12.50", 1),
    ("upl>-1e9", 2),
    ("age>1h", 1),
    ("age<90s", 2),
    ("acct:desk0* age<90s", 1),
    ('"desk 1"', 0),
]


def test_filters_take_words_patterns_numbers_and_ages(page: Page) -> None:
    body = """
        const rows = [{acct: "desk01", upl: "12.5", age: 1e6}, {acct: "desk02", upl: "-3", age: 9e9},
            {acct: "desk10", upl: null, age: 2e6}];
        const columns = [{id: "account", search: true, value: (r) => r.acct}, {id: "upl", value: (r) => r.upl},
            {id: "age", value: (r) => r.age, age: (r) => r.age}];
        const count = ({error, test}) => error ?? rows.filter(test).length;
        return a.map((text) => count(m.compile(text, columns)));"""
    assert run(page, "filter", body, [text for text, _ in FILTERED]) == [count for _, count in FILTERED]
    for wrong in ("colour:red", "upl>much", "age>5"):
        assert isinstance(run(page, "filter", body, [wrong])[0], str)


def test_order_is_exact_and_unknown_is_last_both_ways(page: Page) -> None:
    body = """
        const items = new Map(Object.entries(a));
        return [false, true].map((down) => m.sorted(items, [{value: (v) => v, down}]));"""
    big = "10000000000000000000000000"
    values = {"a": f"{big}1", "b": f"{big}2", "c": None, "d": "-5", "e": "1e3", "f": "", "g": "1000"}
    assert run(page, "order", body, values) == [list("degabcf"), list("baegdcf")]


def test_order_waits_for_the_pointer_and_for_two_seconds_after_a_key(page: Page) -> None:
    body = """
        let now = 0;
        const hold = new m.Hold(1000, () => now);
        const taken = [];
        const at = (ms) => { now = ms; taken.push(hold.take()); };
        at(0); at(500); at(1000); hold.over = true; at(3000); hold.over = false; at(3001); hold.key();
        at(4500); at(5002);
        hold.key(); hold.force(); at(5003);
        return taken;"""
    assert run(page, "order", body) == [True, False, True, False, True, False, True, True]


def test_a_topic_takes_diffs_in_sequence_only(page: Page) -> None:
    body = """
        const topic = new m.Topic("orders", 2);
        const cols = ["account", "id", "px", "new column"];
        const seen = [];
        for (const part of a) seen.push([topic.take(part), topic.current, topic.get("a", "1")?.[2] ?? null]);
        return seen;"""
    cols = ["account", "id", "px"]
    parts = [
        {"n": 4, "put": [["a", "1", "9"]], "del": []},
        {"n": 5, "cols": cols, "rows": [["a", "1", "10"], ["b", "1", "1"]]},
        {"n": 6, "put": [["a", "1", "11"]], "del": [["b", "1"]]},
        {"n": 6, "put": [["a", "1", "old"]], "del": []},
        {"n": 8, "put": [["a", "1", "13"]], "del": []},
        {"n": 1, "cols": cols, "rows": []},
    ]
    assert run(page, "topics", body, parts) == [
        [False, False, None],
        [True, True, "10"],
        [True, True, "11"],
        [True, True, "11"],
        [False, True, "11"],
        [True, True, None],
    ]


HEARTBEATS = {
    "in time": ("beat(1e6); go(1000, 1000); beat(2e6); go(900, 900)", None),
    "two are missing": ("beat(1e6); go(2600, 2600)", "no heartbeat of the terminal"),
    "the machine slept, and its monotonic clock stood still": (
        "beat(1e6); go(100, 3600100)",
        "the clock of this machine jumped",
    ),
    "the wall clock was set back": ("beat(1e6); go(100, -3600000)", "the clock of this machine jumped"),
    "a heartbeat cures": ("beat(1e6); go(9000, 9000); h.check(); beat(10e6)", None),
    "heartbeats come out of a queue": (
        "beat(1e6); go(4000, 4000); beat(2e6)",
        "this page is 3.0 s behind the terminal",
    ),
    "the server's clock stands still": (
        "for (let i = 0; i < 4; i++) { beat(1e6); go(1000, 1000); }",
        "no heartbeat of the terminal",
    ),
    "a new connection has no queue": ("beat(1e6); go(4000, 4000); h.connected(); beat(2e6)", None),
    "the connection is closed": ("beat(1e6); h.lose('closed')", "closed"),
}


def test_the_heartbeat_believes_no_clock(page: Page) -> None:
    body = """
        const found = {};
        for (const [name, script] of Object.entries(SCRIPTS)) {
            let [mono, wall] = [0, 1e12];
            const h = new m.Heartbeat(() => mono, () => wall);
            const beat = (at) => h.beat(at), go = (x, y) => { mono += x; wall += y; };
            found[name] = script(h, beat, go);
        }
        return found;"""
    # The CSP refuses code made of text, so the scripts are part of the function itself.
    scripts = ",".join(
        f"{name!r}: (h, beat, go) => {{ {script}; return h.check()?.why ?? null; }}"
        for name, (script, _) in HEARTBEATS.items()
    )
    found = run(page, "truth", f"const SCRIPTS = {{{scripts}}}; {body}")
    expected = {name: why for name, (_, why) in HEARTBEATS.items()}
    standing = "the server's clock stands still"
    assert found.pop(standing) is not None
    del expected[standing]
    assert found == expected


def test_an_age_is_never_too_short(page: Page) -> None:
    body = """
        let [mono, wall] = [0, 1e12];
        const h = new m.Heartbeat(() => mono, () => wall);
        h.beat(5e6); mono += 1000; wall += 7000;
        return h.now();"""
    assert run(page, "truth", body) == 12_000_000


def test_the_layout_stands_in_the_address(page: Page) -> None:
    address = "#positions?inst=BTC-USDT-SWAP&acct=desk0*&q=age>1h+word&sort=-upl&open=BTC-USDT-SWAP&sel=a/1,b/2"
    address += "&range=7d&end=1790000000000000&detail=1"
    body = "const state = m.parseAddress(a); return [state, m.formatAddress(state)]"
    state, again = run(page, "address", body, address)
    assert state == {
        "view": "positions",
        "filter": "inst:BTC-USDT-SWAP acct:desk0* age>1h word",
        "by": None,
        "row": None,
        "sort": {"column": "upl", "down": True},
        "open": ["BTC-USDT-SWAP"],
        "chosen": ["a/1", "b/2"],
        "range": "7d",
        "end": "1790000000000000",
        "detail": True,
    }
    assert run(page, "address", body, again) == [state, again]


def test_an_alarm_is_raised_when_more_is_in_trouble_than_before(page: Page) -> None:
    """Not before the page was connected, and at most once in five seconds; a trouble that lasts is not forgotten."""
    body = """
        let now = 0;
        const raised = [];
        const alarm = new m.Alarm({get: (id) => id === "notice" ? "notification on" : "sound off"}, () => now);
        alarm.notify = (words) => raised.push([now, words]);
        for (const [at, level] of a) { now = at * 1000; alarm.look(level ?? Infinity, String(level)); }
        return raised;"""
    looks = [(0, None), (1, 2), (2, 2), (3, 3), (4, 5), (7, 5), (9, 5), (10, 1), (20, 2), (30, None), (31, None)]
    assert run(page, "alarm", body, looks) == [[3000, "3"], [9000, "5"], [20000, "2"], [30000, "null"]]


def test_what_is_invisible_or_turns_text_is_shown_by_its_number(page: Page) -> None:
    assert run(page, "text", "return m.visible(a)", "a\u202eb\u0000c\u200d<b>") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+200D⟩<b>"


def test_keys_are_known_by_their_place(page: Page) -> None:
    codes = ["KeyJ", "Slash", "ArrowDown", "PageUp", "Space", "Enter", "Escape"]
    got = run(page, "keys", "return a.map((code) => m.nameOf({code, shiftKey: false}))", codes)
    assert got == ["j", "/", "down", "pageup", "space", "enter", "escape"]
    shifted = run(
        page, "keys", "return a.map((code) => m.nameOf({code, shiftKey: true}))", ["KeyY", "Slash", "Semicolon"]
    )
    assert shifted == ["Y", "?", ":"]


TABLE = """
    const rows = new Map(["a", "b"].map((key) => [key, {key, value: "1"}]));
    const said = {stamp: "1", kind: "of-live", now: 1000};
    const made = [];
    const column = {id: "value", head: "value", width: 90, text: (item) => (made.push(item.key), item.value)};
    const source = {
        count: () => rows.size, keyAt: (index) => [...rows.keys()][index], itemAt: (index) => [...rows.values()][index],
        kindOf: () => said.kind, isChosen: () => false, isOpen: () => null,
        partsOf: (item) => [item], stamp: () => said.stamp,
    };
    const table = new m.Table("Test", [column], source, {});
    Object.assign(table.root.style, {position: "absolute", inset: "0px"});
    document.body.append(table.root);
    const clock = performance.now;
    performance.now = () => said.now;
    const painted = (change = () => {}) => {
        change();
        made.length = 0;
        table.paint();
        return made.join("");
    };
    try {
        painted();
        return [
            painted(),
            painted(() => rows.set("a", {key: "a", value: "1"})),
            painted(() => (said.stamp = "2")),
            painted(() => (said.kind = "of-stale")),
            painted(() => (said.now += 899)),
            painted(() => (said.now += 2)),
            painted(() => (table.cursor = "b")),
            painted(() => (table.cursorColumn = 1)),
            painted(() => rows.delete("a")),
        ];
    } finally {
        performance.now = clock;
        table.root.remove();
    }
"""


def test_a_row_is_written_anew_if_anything_that_it_is_made_of_has_changed_or_it_has_aged(page: Page) -> None:
    """And only then: a desk's table has fifty rows on the screen, and some of them change thirty times a second."""
    nothing, row, other_topic, staleness, young, aged, cursor, column, moved = run(page, "table", TABLE)
    assert nothing == young == moved == ""
    assert row == "a"
    assert other_topic == staleness == aged == "ab"
    assert cursor == column == "b"
