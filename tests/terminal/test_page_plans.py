"""Plans on the page: nothing is sent that was not typed, nothing old can be confirmed, and read-only has no ticket."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from okxsync.messages import PlanAttempt, PlanProgress
from okxsync.plans.plan_file import read
from tests.store.test_plans import ARMED, PREVIEWED
from tests.support.desk import Desk
from tests.support.terminal_page import NOW, ScriptedServer, eventually, serve_past

pytestmark = pytest.mark.slow
PLAN_ID = "0123456789A"
TYPED = "2 accounts 7,994 USD"
SECOND = 1_000_000


def plan(server: ScriptedServer, **changes: Any) -> None:
    """A preview on three accounts, one of which is skipped."""
    server.put(
        "plans",
        {
            "plan_id": PLAN_ID, "title": "buy 2% BTC", "kind": "trade", "site_modes": "sandbox demo",
            "state": "previewed", "preview_at": server.now - SECOND, "expires_at": server.now + 60 * SECOND,
            "preview_hash": "hash",
            "accounts": 3, "ready": 2, "skipped": 1, "accepted": 0, "rejected": 0, "unknown": 0,
            "planned_usd": "7994.129", "typed": TYPED, "confirm": "2/7994", **changes,
        },
    )  # fmt: skip


def order(server: ScriptedServer, child: int, account: str, **changes: Any) -> None:
    server.put(
        "plan_orders",
        {
            "plan_id": PLAN_ID, "child": child, "account": account, "leg": 1, "phase": 2, "slice": 1, "kind": "order",
            "inst_id": "BTC-USDT-SWAP", "side": "buy", "ord_type": "ioc", "cl_ord_id": f"P{PLAN_ID}000{child}",
            "px": "60160.9", "sz": "3.33", "planned_usd": "3997.0645", "remainder": "0", "state": "ready",
            "attempts": 0, "doubled": 0, "unprotected": 0, "equity": "100000", "position": "0",
            "position_after": "3.33",
            "notional": "3997.06", "margin": "400.1", "lever": "10", "reference": "59980", "usd_assumed": 0, **changes,
        },
    )  # fmt: skip


def desk(server: ScriptedServer) -> None:
    server.trade = {"groups": ["desk"]}
    for name in ("alpha", "beta", "gamma"):
        server.put("accounts", {"account": name, "state": "live", "site": "sandbox", "demo": True})
        server.cover(name)
    plan(server)
    order(server, 1, "alpha")
    order(server, 2, "beta")
    nothing = dict.fromkeys(
        (
            "px",
            "sz",
            "planned_usd",
            "remainder",
            "position",
            "position_after",
            "notional",
            "margin",
            "lever",
            "reference",
        )
    )
    order(server, 3, "gamma", state="skipped", reason="stale", detail="nothing for 41 s", **nothing)


@contextmanager
def opened(server: ScriptedServer, address: str = f"#plan?plan={PLAN_ID}") -> Iterator[Page]:
    page = server.open(address)
    expect(page.locator("#fact-daemon b")).to_have_text("live")
    yield page


def cells(page: Page, account: str) -> Locator:
    return page.locator(".view:not([hidden]) .tbody .row:visible").filter(has_text=account).locator(".cell")


def says(page: Page) -> Locator:
    """What the ticket says of the last request."""
    return page.locator(".view:not([hidden]) .ticket .says")


def column(page: Page, heading: str) -> int:
    names = page.locator(".view:not([hidden]) .thead .cell").all_text_contents()
    return names.index(heading)


def test_a_preview_shows_each_account_and_what_it_would_do(server: ScriptedServer, screenshots: Path | None) -> None:
    desk(server)
    with opened(server) as page:
        ticket = page.locator(".ticket:visible")
        expect(page.get_by_role("link", name="Plans")).to_have_attribute("aria-current", "page")
        expect(ticket).to_contain_text("2 of 3 accounts send 2 orders")
        expect(ticket).to_contain_text("1 skipped: 1 stale")
        expect(ticket).to_contain_text("planned 7\u2009994.12 USD")
        expect(ticket.locator(".expected")).to_have_text(TYPED)
        expect(page.locator("#totals")).to_contain_text("3 orders")
        expect(page.locator("#totals [data-name=planned]")).to_have_attribute("title", "7994.1290")
        shown = {
            heading: cells(page, "alpha").nth(column(page, heading)).text_content()
            for heading in ("position", "after", "size", "rest", "planned USD", "price", "margin", "lever", "filled")
        }
        assert shown == {
            "position": "0", "after": "+3.33", "size": "3.33", "rest": "0", "planned USD": "3\u2009997.06",
            "price": "60\u2009160.9", "margin": "400.10", "lever": "10×", "filled": "-",
        }  # fmt: skip
        for heading in (
            "position",
            "after",
            "size",
            "rest",
            "notional",
            "planned USD",
            "price",
            "margin",
            "lever",
            "fee",
        ):
            expect(cells(page, "gamma").nth(column(page, heading))).to_have_text("-")
        expect(cells(page, "gamma").nth(column(page, "reason"))).to_have_text("stale: nothing for 41 s")
        server.cover("beta", "stale", NOW - 41 * 60 * SECOND)
        expect(cells(page, "beta").nth(column(page, "state"))).to_have_text("STALE")
        if screenshots:
            page.screenshot(path=screenshots / "plan-preview.png")


def test_nothing_is_sent_that_was_not_typed(server: ScriptedServer) -> None:
    desk(server)
    with opened(server) as page:
        field = page.get_by_label("Confirmation")
        expect(page.locator(".expected")).to_have_text(TYPED)
        page.keyboard.press("p")
        page.keyboard.press("c")
        expect(field).to_be_focused()
        for wrong in ("", "3 accounts 7,994 USD", "2 accounts 7994 USD", "2/7995", "yes"):
            field.fill(wrong)
            expect(page.get_by_role("button", name="Send")).to_be_disabled()
            page.keyboard.press("Enter")
        assert server.asked == []
        field.fill(f"  {TYPED.replace(' ', '  ')} ")
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        page.keyboard.press("Enter")
        expected = [{"kind": "execute", "plan": PLAN_ID, "preview_hash": "hash", "confirm": TYPED}]
        eventually(page, lambda: server.asked, expected)
        expect(says(page)).to_contain_text("the approval waits for the daemon")
        expect(field).to_be_disabled()  # it is not sent twice
        plan(
            server, state="executing", approved_at=NOW, approved_by="me, terminal", valid_until=server.now + 60 * SECOND
        )
        order(server, 1, "alpha", state="sent", attempts=1)
        order(server, 2, "beta", state="filled", attempts=1, acc_fill_sz="3.33", avg_px="59938", fee="-0.99796770",
              filled_usd="1995.93")  # fmt: skip
        server.put("requests", {"id": 1, "kind": "execute", "plan_id": PLAN_ID, "outcome": "executing", "detail": "ok"})
        expect(field).to_be_hidden()
        expect(says(page)).to_have_text("")
        expect(page.locator(".ticket:visible")).to_contain_text("1 sent, 1 filled, 1 skipped")
        expect(page.locator(".ticket:visible")).to_contain_text("filled 1\u2009995.93 USD")
        expect(cells(page, "beta").nth(column(page, "to plan"))).to_have_text("\u22120.070 %")
        expect(cells(page, "alpha").nth(column(page, "average"))).to_have_text("-")
        page.keyboard.press("p")
        page.keyboard.press("x")
        eventually(page, lambda: server.asked[1:], [{"kind": "cancel", "plan": PLAN_ID, "protection": False}])
        server.put(
            "requests", {"id": 2, "kind": "cancel", "plan_id": PLAN_ID, "outcome": "refusing", "detail": "<b>\u202e"}
        )
        expect(says(page)).to_have_text("refused: refusing: <b>⟨U+202E⟩")
        assert len(server.asked) == 2


@pytest.mark.parametrize("obstacle", ["old", "grows old", "unreadable", "daemon", "halted", "lost"])
def test_what_cannot_be_confirmed_looks_it(server: ScriptedServer, obstacle: str) -> None:
    desk(server)
    with opened(server) as page:
        field = page.get_by_label("Confirmation")
        expect(field).to_be_enabled()
        field.fill(TYPED)
        ticket = page.locator(".ticket:visible")
        if obstacle == "old":
            plan(server, preview_at=server.now - 61 * SECOND, expires_at=server.now - SECOND)
            expect(ticket).to_contain_text("TOO OLD")
            expect(ticket).to_contain_text("cannot be approved")
        elif obstacle == "grows old":
            plan(server, expires_at=server.now + 2 * SECOND)
            expect(ticket).to_contain_text("TOO OLD")
        elif obstacle == "unreadable":
            plan(server, expires_at=None)
            expect(ticket).to_contain_text("TOO OLD")
        elif obstacle == "daemon":
            server.daemon |= {"state": "stopped", "heartbeat_at": server.now}
            expect(ticket).to_contain_text("previewed STALE")
        elif obstacle == "lost":
            server.answers = False
            server.close_socket()
            expect(ticket).to_contain_text("previewed STALE")
        else:
            server.halted = True
            expect(page.get_by_role("button", name="HALTED")).to_be_visible()
        expect(field).to_be_disabled()
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
        if obstacle != "halted":
            expect(page.locator(".tbody .row.of-live")).to_have_count(0)
            expect(page.locator("#totals [data-name=planned]")).to_have_class(re.compile("of-stale"))
            expect(cells(page, "alpha").nth(1)).to_have_text("STALE")
        assert server.asked == []


def test_a_running_plan_of_a_dead_daemon_is_stale(server: ScriptedServer) -> None:
    desk(server)
    plan(server, state="executing", approved_at=NOW, valid_until=NOW + 60 * SECOND)
    order(server, 1, "alpha", state="filled", acc_fill_sz="3.33", ended_at=NOW)
    with opened(server, "#plans") as page:
        expect(cells(page, PLAN_ID).nth(3)).to_have_text("live")
        server.daemon |= {"state": "stopped", "stopped_at": None}
        expect(cells(page, PLAN_ID).nth(3)).to_have_text("STALE")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.locator(".ticket:visible")).to_contain_text("executing STALE")
        expect(page.locator(".tbody .row.of-live:visible")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile("#plans"))


def test_what_follows_a_plan_that_has_ended_is_asked_for_by_keys(server: ScriptedServer) -> None:
    desk(server)
    plan(server, state="done", outcome="partial", approved_at=NOW, ended_at=NOW, typed=None, confirm=None)
    order(server, 1, "alpha", state="canceled", acc_fill_sz="1.13", avg_px="59938", filled_usd="677.3")
    with opened(server) as page:
        expect(cells(page, "alpha").nth(column(page, "left"))).to_have_text("2.20")
        expect(cells(page, "beta").nth(column(page, "left"))).to_have_text("-")
        for number, (key, kind) in enumerate({"r": "retry", "u": "undo", "p": "again"}.items(), 1):
            page.keyboard.press("p")
            page.keyboard.press(key)
            eventually(page, lambda: server.asked[-1:], [{"kind": kind, "plan": PLAN_ID}])
            said = {"id": number, "kind": kind, "plan_id": PLAN_ID, "outcome": "nothing", "detail": f"answer {number}"}
            server.put("requests", said)
            expect(says(page)).to_have_text(f"nothing: answer {number}")
        page.get_by_label("take-profit and stop-loss too").check()
        page.get_by_role("button", name="Cancel what rests").click()
        eventually(page, lambda: server.asked[3:], [{"kind": "cancel", "plan": PLAN_ID, "protection": True}])
        page.evaluate("() => { location.hash = 'plan'; }")
        expect(page.locator(".ticket:visible")).to_have_count(0)


def test_a_plan_is_composed_by_keys_alone(server: ScriptedServer, screenshots: Path | None) -> None:
    desk(server)
    with opened(server, "#accounts") as page:
        for key in ("g", "t", "p", "n"):
            page.keyboard.press(key)
        expect(page.locator("[name=instrument]")).to_be_focused()
        page.keyboard.type("BTC-USDT-SWAP")
        page.keyboard.press("Tab")
        page.keyboard.type("sell")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("2%")
        page.keyboard.press("Tab")
        expect(page.locator("[name=accounts]")).to_have_value("group:desk")
        page.keyboard.type('alpha, "bet\\a')
        if screenshots:
            page.screenshot(path=screenshots / "plan-compose.png")
        page.keyboard.press("Enter")
        eventually(page, lambda: [one["kind"] for one in server.asked], ["preview"])
        found = read(server.asked[0]["document"])
        assert found.title == "sell 2% BTC-USDT-SWAP"
        assert found.accounts.include == ("alpha", '"bet\\a')
        assert (found.legs[0].side, str(found.legs[0].size.value)) == ("sell", "0.02")
        server.put(
            "requests", {"id": 1, "kind": "preview", "plan_id": PLAN_ID, "outcome": "previewed", "detail": "2/7994"}
        )
        expect(page).to_have_url(re.compile(f"#plan.plan={PLAN_ID}"))
        expect(page.locator(".expected")).to_have_text(TYPED)


FORMS: tuple[dict[str, str], ...] = (
    {"rule": "equity", "value": "2%", "side": "buy", "price": "mark +0.3%", "take_profit": "+4%", "stop_loss": "-2%"},
    {"rule": "target_equity", "value": "-10%", "side": "sell", "leverage": "3", "exclude": "beta, gamma"},
    {"rule": "close", "value": "5"},
    {"rule": "quote", "value": "100", "side": "buy", "type": "market", "price": "mark"},
    {"rule": "contracts", "value": "3", "side": "buy", "type": "limit", "price": "60000", "intent": "open"},
    {"rule": "change", "value": "-50%", "intent": "reduce", "valid_for": "5m", "canary": "2", "on_reject": "cancel"},
)


def test_the_shares_of_a_plan_that_rebalances_are_columns_to_choose(server: ScriptedServer) -> None:
    chosen = [{"id": name, "width": 74, "hidden": False} for name in ("share", "share_wanted", "share_after")]
    server.page.add_init_script(f"localStorage.setItem('okxsync.columns.plan', '{json.dumps(chosen)}')")
    desk(server)
    order(server, 1, "alpha", share="0.014", share_wanted="-0.02", share_after="-0.019987")
    with opened(server) as page:
        for name, expected in (("alpha", ("+1.40 %", "\u22122.00 %", "\u22121.99 %")), ("beta", ("-", "-", "-"))):
            for heading, text in zip(("now", "target", "reached"), expected, strict=True):
                expect(cells(page, name).nth(column(page, heading))).to_have_text(text)


def test_each_form_is_a_valid_plan(server: ScriptedServer) -> None:
    desk(server)
    page = server.open("#plans")
    common = {"instrument": "BTC-USDT-SWAP", "accounts": "group:desk, alpha", "type": "ioc"}
    for form in FORMS:
        text = page.evaluate("async (form) => (await import('/page/compose.js')).documentOf(form)", common | form)
        found = read(text)
        assert found.accounts.include == ("group:desk", "alpha")
        assert found.legs[0].size.rule == form["rule"]


def test_a_text_that_is_written_by_hand_is_kept(server: ScriptedServer) -> None:
    desk(server)
    server.request = lambda _: {"status": 400, "json": {"error": "legs[1].size: <i>rule</i> is missing"}}
    server.tolerated.append("400")
    with opened(server, "#plans") as page:
        page.get_by_role("button", name="New plan").click()
        text = page.get_by_label("The plan, TOML")
        text.fill('title = "by hand"')
        page.locator("[name=value]").fill("3%")
        expect(text).to_have_value('title = "by hand"')
        page.get_by_role("button", name="Preview", exact=True).click()
        expect(says(page)).to_have_text("legs[1].size: <i>rule</i> is missing")
        page.get_by_role("button", name="New plan").click()
        expect(text).to_be_hidden()
        page.get_by_role("button", name="New plan").click()
        expect(text).to_have_value('title = "by hand"')
        page.get_by_role("button", name="write it from the form again").click()
        expect(text).to_have_value(re.compile('value = "3%"'))


def test_read_only_has_no_ticket(server: ScriptedServer) -> None:
    desk(server)
    server.trade = None
    server.halted = True
    with opened(server) as page:
        expect(page.locator(".ticket:visible")).to_contain_text("2 of 3 accounts send 2 orders")
        expect(page.get_by_role("button", name="HALTED")).to_be_disabled()
        expect(page.locator("#head .tag")).to_have_text("READ ONLY")
        for key in ("p", "p", "p", "x", "p", "n", "Shift+h", "Shift+h"):
            page.keyboard.press(key)
        expect(page.locator(".ticket button:visible, .ticket input:visible")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile("#plans"))
        expect(cells(page, PLAN_ID).first).to_be_visible()
        expect(page.locator(".ticket:visible")).to_have_count(0)
        assert server.asked == []


def test_the_token_is_asked_for_again_and_what_was_asked_goes_on(server: ScriptedServer) -> None:
    desk(server)
    accept = server.request
    refuse = {"status": 403, "json": {"error": "the token must be given again", "token": True}}
    server.request = lambda message: refuse if len(server.asked) == 1 else accept(message)
    server.tolerated.append("403")
    with opened(server) as page:
        expect(page.get_by_label("Confirmation")).to_be_enabled()
        page.get_by_label("Confirmation").fill("2/7994")
        page.keyboard.press("Enter")
        token = page.get_by_role("dialog", name="Token").get_by_label("Token")
        token.fill("guess")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="Token")).to_contain_text("wrong token")
        token.fill("right")
        page.keyboard.press("Enter")
        eventually(page, lambda: [one["kind"] for one in server.asked], ["execute", "execute"])
        expect(says(page)).to_contain_text("the approval waits for the daemon")
    # Who closes the dialog has not approved anything.
    server.request = lambda _: refuse
    plan(server)
    server.put("requests", {"id": 2, "kind": "execute", "plan_id": PLAN_ID, "outcome": "hash", "detail": ""})
    expect(page.get_by_label("Confirmation")).to_be_enabled()
    page.get_by_label("Confirmation").fill("2/7994")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Token")).to_be_visible()
    page.keyboard.press("Escape")
    expect(says(page)).to_have_text("the token must be given again")
    assert len(server.asked) == 3


def test_trading_is_halted_by_two_keys_and_a_failure_is_said(server: ScriptedServer) -> None:
    desk(server)
    server.request = lambda _: {"status": 500, "json": {"error": "/x.halt: Read-only file system"}}
    server.tolerated.append("500")
    with opened(server, "#accounts") as page:
        page.keyboard.press("Shift+h")
        page.keyboard.press("Shift+h")
        expect(page.locator("#head .says")).to_have_text(
            "NOT HALTED, run `okxsync halt`: /x.halt: Read-only file system"
        )
        server.request = lambda _: {"json": {"request": None, "plan": None, "note": "no daemon is running"}}
        page.get_by_role("button", name="HALT").click()
        expect(page.locator("#head .says")).to_have_text("no daemon is running")
        server.halted = True
        server.head = {"halt": {"at": NOW, "by": "<i>me</i>", "reason": "\u202e"}}
        page.get_by_role("button", name="HALTED").click()
        dialog = page.get_by_role("dialog", name="Trading is halted")
        expect(dialog).to_contain_text("by <i>me</i>. ⟨U+202E⟩")
        dialog.get_by_role("button", name="Resume").click()
        kinds = ["halt", "halt", "resume"]
        eventually(page, lambda: [one["kind"] for one in server.asked], kinds)


def test_hostile_text_of_plans_is_text(server: ScriptedServer) -> None:
    nasty = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'\u202egnp\u0000"
    desk(server)
    texts = dict.fromkeys(
        ("title", "kind", "site_modes", "outcome", "approved_by", "note", "pause_reason", "parent_id"), nasty
    )
    plan(server, **texts, planned_usd=nasty, typed=nasty)
    names = ("inst_id", "side", "pos_side", "ord_type", "px", "sz", "reason", "detail", "equity", "lever", "warnings")
    order(server, 4, nasty, **dict.fromkeys(names, nasty), state=nasty)
    server.cover(nasty)
    with opened(server) as page:
        expect(cells(page, "gnp").first).to_contain_text("<img src=x onerror=alert(1)>")
        expect(page.locator(".ticket:visible")).to_contain_text("<script>alert(2)</script>")
        expect(page.locator(".ticket:visible .title")).to_contain_text("⟨U+202E⟩")
        page.keyboard.press("Escape")
        expect(cells(page, PLAN_ID).nth(6)).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img, main script").count() == 0
    assert json.dumps(server.asked) == "[]"


def test_an_order_opens_with_every_attempt_to_send_it(
    server: ScriptedServer, make_desk: Callable[[], Desk], screenshots: Path | None
) -> None:
    """What was asked and what the exchange replied is text, whoever wrote it."""
    stored = make_desk()
    ms = NOW // 1000
    told = "<img src=x onerror=alert(1)>\u202e"
    refused = PlanAttempt(
        1, 1, "rest", '{"sz":"1.10"}', ms + 3000, ms, ms + 1, ms + 41, 200, "1", "51008", "51008_1001", told, "1", "2",
        "refused",
    )  # fmt: skip
    waits = PlanAttempt(1, 2, "rest", '{"sz":"1.10"}', ms + 9000, ms + 6000, ms + 6001)
    stored.apply(PREVIEWED, ARMED, PlanProgress(PLAN_ID, [], [refused, waits], []))
    desk(server)
    serve_past(server, stored)
    with opened(server) as page:
        cells(page, "alpha").first.click()
        page.keyboard.press("Enter")
        pane = page.locator(".view:not([hidden]) .pane")
        rows = pane.locator("section", has_text="Attempts").locator("tbody tr")
        expect(rows).to_have_count(2)
        for text in ("40 ms", "1 / 51008 / 51008_1001", "not enough funds or margin: not enough margin", "refused"):
            expect(rows.nth(0)).to_contain_text(text)
        expect(rows.nth(0)).to_contain_text("<img src=x onerror=alert(1)>\u27e8U+202E\u27e9")
        expect(rows.nth(1)).to_contain_text("not known yet")
        pane.locator("summary").first.click()
        expect(pane.locator("pre").first).to_contain_text('"sz": "1.10"')
        if screenshots:
            page.screenshot(path=screenshots / "plan-order.png")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(pane).to_be_hidden()
    assert page.locator(".pane img").count() == 0
    assert server.complaints == []
