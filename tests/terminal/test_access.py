"""Who may use the terminal."""

import pytest

from okxsync.terminal.access import (
    IDLE_S,
    SESSIONS,
    TRADE_IDLE_S,
    TRIES,
    TRIES_S,
    Origins,
    Refused,
    Session,
    Sessions,
    new_token,
)
from tests.support.terminal import Clock

OURS = Origins(("127.0.0.1", "localhost"), 8790)
HOST = "127.0.0.1:8790"
ORIGIN = f"http://{HOST}"


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8790", "127.0.0.1", "127.0.0.1:8791", "127.0.0.1:8790.evil.example",
     "localhost:8790@evil.example", "[::1]:8790", "0.0.0.0:8790"],
)  # fmt: skip
def test_a_host_that_is_not_ours_is_refused(host: str) -> None:
    for acts in (False, True):
        refused = OURS.refuse({"host": host, "origin": f"http://{host}"}, acts=acts)
        assert refused is not None
        assert refused.status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:8791"},
        {"origin": "http://127.0.0.1"},
        {"origin": "https://127.0.0.1:8790"},
        {"origin": "http://localhost:8790"},
        {"origin": f"{ORIGIN}.evil.example"},
        {"origin": ORIGIN, "sec-fetch-site": "same-site"},
        {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
        {"origin": ORIGIN, "sec-fetch-site": "none"},
    ],
)
def test_another_page_cannot_act(headers: dict[str, str]) -> None:
    refused = OURS.refuse({"host": HOST, **headers}, acts=True)
    assert refused is not None
    assert refused.status == 403


def test_our_page_can_act_and_a_link_may_lead_to_it() -> None:
    for host in (HOST, "localhost:8790", "LOCALHOST:8790"):
        assert OURS.refuse({"host": host, "origin": f"http://{host}"}, acts=True) is None
    assert OURS.refuse({"host": HOST, "origin": ORIGIN, "sec-fetch-site": "same-origin"}, acts=True) is None
    assert OURS.refuse({"host": HOST, "sec-fetch-site": "cross-site"}, acts=False) is None


def test_the_usual_port_may_be_left_out() -> None:
    secure = Origins(("desk.example",), 443, "https")
    for host in ("desk.example", "desk.example:443"):
        assert secure.refuse({"host": host, "origin": f"https://{host}"}, acts=True) is None
    assert secure.refuse({"host": "desk.example", "origin": "http://desk.example"}, acts=True) is not None


def test_scripts_connect_to_our_own_socket_alone() -> None:
    assert "connect-src 'self' ws://127.0.0.1:8790;" in OURS.headers(HOST)["Content-Security-Policy"]
    assert "evil" not in str(OURS.headers("evil.example; script-src *"))
    secure = Origins(("desk.example",), 8790, "https").headers("desk.example:8790")
    assert "connect-src 'self' wss://desk.example:8790;" in secure["Content-Security-Policy"]


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions("the right token", clock)


def login(sessions: Sessions) -> Session:
    found = sessions.login("the right token")
    assert isinstance(found, Session)
    return found


def test_a_session_needs_both_halves(sessions: Sessions) -> None:
    one, other = login(sessions), login(sessions)
    assert sessions.find(one.cookie, one.key) == one
    for cookie, key in ((one.cookie, ""), ("", one.key), (one.cookie, other.key), (one.key, one.cookie), ("", ""),
                        (one.cookie, "\ud800"), (one.cookie, one.key + "x")):  # fmt: skip
        assert sessions.find(cookie, key) is None


def test_a_session_ends_after_twelve_idle_hours(sessions: Sessions, clock: Clock) -> None:
    used, idle = login(sessions), login(sessions)
    clock.now_s += IDLE_S / 2
    assert sessions.use(used)
    clock.now_s += IDLE_S / 2
    assert sessions.find(idle.cookie, idle.key) is None
    assert not sessions.use(idle)
    assert sessions.use(used)


def test_five_wrong_tokens_a_minute(sessions: Sessions, clock: Clock) -> None:
    for _ in range(TRIES):
        assert sessions.login("wrong") == Refused(403, "wrong token")
    refused = sessions.login("the right token")  # else the answer would tell which one is right
    assert isinstance(refused, Refused)
    assert refused.status == 429
    clock.now_s += TRIES_S
    login(sessions)


def test_right_tokens_are_not_limited_and_old_sessions_make_room(sessions: Sessions) -> None:
    first = login(sessions)
    last = [login(sessions) for _ in range(SESSIONS)][-1]
    assert not sessions.use(first)
    assert sessions.use(last)


def test_tokens_have_128_bits() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 22


def test_a_browser_reads_our_data_only_for_our_page() -> None:
    for headers in ({}, {"origin": ORIGIN}, {"sec-fetch-site": "same-origin"}):
        assert OURS.refuse({"host": HOST, **headers}, acts=False, reads=True) is None
    for headers in ({"origin": "null"}, {"origin": "http://127.0.0.1:8791"}, {"sec-fetch-site": "same-site"}):
        refused = OURS.refuse({"host": HOST, **headers}, acts=False, reads=True)
        assert refused is not None
        assert refused.status == 403


def test_a_session_trades_until_it_has_traded_nothing_for_a_quarter_of_an_hour(
    sessions: Sessions, clock: Clock
) -> None:
    session = login(sessions)
    for _ in range(3):
        clock.now_s += TRADE_IDLE_S - 1
        assert sessions.use(session)
        assert sessions.may_trade(session)
    for _ in range(15):  # a page that is open is not in use
        clock.now_s += TRADE_IDLE_S / 15
        assert sessions.use(session)
    assert not sessions.may_trade(session)
    assert sessions.use(session), "it may still look"
    assert sessions.let_trade(session, "wrong") == Refused(403, "wrong token")
    assert not sessions.may_trade(session)
    assert sessions.let_trade(session, "the right token") is None
    assert sessions.may_trade(session)


def test_wrong_tokens_for_trading_count_as_tries(sessions: Sessions) -> None:
    session = login(sessions)
    assert {sessions.let_trade(session, "wrong") for _ in range(TRIES)} == {Refused(403, "wrong token")}
    refused = sessions.let_trade(session, "the right token")
    assert refused is not None
    assert refused.status == 429


def test_a_session_that_has_ended_does_not_trade(sessions: Sessions, clock: Clock) -> None:
    session = login(sessions)
    clock.now_s += IDLE_S
    assert not sessions.use(session)
    assert sessions.let_trade(session, "the right token") is None
    assert not sessions.may_trade(session)
    assert not sessions.may_trade(Session("other", "halves"))
