"""Subscriptions alone: control frames in, requests and reports out."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.feed.notes import MAX_NOTES, SessionNotes
from okxsync.feed.spec import Disconnected
from okxsync.feed.subscriptions import SUBSCRIBE_S, Outcome, Subscriptions
from okxsync.messages import Lost, Message, Note, Subscribed, SubscriptionRefused
from okxsync.okx.channels import subscription
from okxsync.okx.codes import Action
from okxsync.okx.control import Event
from tests.support.scripted_peer import spec_of

AT = 1_700_000_000_000_000


def subscriptions(*channels: str | Mapping[str, str], succeeds: bool = False) -> Subscriptions:
    spec = spec_of(*channels)
    return Subscriptions(7, spec, SessionNotes(spec), initial_us=5, succeeds=succeeds)


def live(*channels: str | Mapping[str, str], succeeds: bool = False) -> Subscriptions:
    """Return subscriptions that are all acknowledged."""
    found = subscriptions(*channels, succeeds=succeeds)
    for request in found.requests():
        found.expect(request)
        for one in request.subscriptions:
            found.on_ack(ack(one.arg), AT)
        assert not found.incomplete
        assert found.settle(AT) == Outcome([])
    assert found.finish() == Outcome()
    return found


def ack(arg: str | Mapping[str, str]) -> Event:
    return Event("subscribe", arg=dict(subscription(arg).arg))


def error(code: str, id: str | None = None, msg: str = "as written") -> Event:
    return Event("error", id=id, code=code, msg=msg)


def over_limit(channel: str) -> Event:
    return Event("channel-conn-count-error", channel=channel, conn_count="30")


def end_of(outcome: Outcome) -> Disconnected:
    assert outcome.end
    return outcome.end


def kinds(outcome: Outcome) -> list[type[Message]]:
    return [type(report) for report in outcome.reports]


# The first requests


def test_a_channel_is_live_from_its_acknowledgement_on_and_not_before() -> None:
    found = subscriptions("orders", "account")
    (request,) = found.requests()
    assert [one.key for one in request.subscriptions] == ["orders", "account"]
    assert found.on_ack(ack("orders"), AT) == Outcome()  # before it was requested
    found.expect(request)
    assert (found.live, found.incomplete) == ([], True)
    assert found.on_ack(ack("account"), AT) == Outcome([Subscribed(7, "alpha", ["account"], AT, 5)])
    assert (found.live, found.incomplete) == (["account"], True)
    assert found.on_ack(ack("account"), AT) == Outcome()  # a second time
    found.on_ack(ack("orders"), AT)
    assert (found.live, found.incomplete) == (["account", "orders"], False)


def test_an_acknowledgement_belongs_to_the_most_specific_argument_that_it_repeats() -> None:
    by_currency = {"channel": "account", "ccy": "BTC"}
    found = subscriptions("account", by_currency)
    found.expect(found.requests()[0])
    found.on_ack(ack(by_currency), AT)
    assert found.live == ["account:ccy=BTC"]
    found.on_ack(ack("account"), AT)
    assert found.live == ["account:ccy=BTC", "account"]


@pytest.mark.parametrize(("id", "belongs"), [("s1", True), (None, True), ("", True), ("s9", False)])
def test_an_error_of_the_pending_request_names_it_or_nothing(id: str | None, belongs: bool) -> None:
    found = subscriptions("orders", "account")
    found.expect(found.requests()[0])
    outcome = found.on_error(error("60018", id), now=0)
    assert (outcome.end is None) is belongs


def test_channels_outnumbered_by_errors_are_rejected_and_reported() -> None:
    found = subscriptions("orders", "account", "positions")
    found.expect(found.requests()[0])
    found.on_ack(ack("account"), AT)
    found.on_error(error("64003"), now=0)
    assert found.incomplete
    found.on_error(error("60018", msg="channel:orders,instType:ANY doesn't exist"), now=0)
    assert not found.incomplete
    outcome = found.settle(AT)
    assert outcome.end is None
    rejected = {report.channels[0]: report for report in outcome.reports if isinstance(report, SubscriptionRefused)}
    assert rejected.keys() == {"orders", "positions"}
    assert "subscribe orders: 60018" in rejected["orders"].reason
    assert "subscribe positions: 64003" in rejected["positions"].reason
    assert (rejected["orders"].at, rejected["orders"].initial_us) == (AT, 5)
    assert [note.event for note in outcome.reports if isinstance(note, Note)] == ["channel-rejected"] * 2
    assert found.finish() == Outcome()
    assert found.rejected == [report.reason for report in rejected.values()]
    found.on_ack(ack("orders"), AT)
    assert found.rejected == [rejected["positions"].reason]


def test_an_error_that_is_not_listed_rejects_one_channel_and_the_others_are_live() -> None:
    found = subscriptions("orders", "account")
    found.expect(found.requests()[0])
    assert found.on_error(error("60999"), now=0) == Outcome()
    found.on_ack(ack("account"), AT)
    outcome = found.settle(AT)
    assert kinds(outcome) == [SubscriptionRefused, Note]
    assert (found.finish(), found.live) == (Outcome(), ["account"])
    assert "subscribe orders: 60999" in found.rejected[0]
    (request,) = found.retry(now=100)
    assert found.on_error(error("60999", request.id), now=100) == Outcome()
    assert end_of(found.on_error(error("60999"), now=200)).action is Action.RETRY


def test_a_session_whose_channels_are_rejected_by_a_code_that_is_not_listed_is_retried() -> None:
    """It may be an outage: the account must not be stopped for half an hour."""
    found = subscriptions("orders")
    found.expect(found.requests()[0])
    found.on_error(error("60999"), now=0)
    found.settle(AT)
    assert end_of(found.finish()).action is Action.RETRY


def test_a_missing_acknowledgement_ends_the_session_and_the_errors_are_named() -> None:
    found = subscriptions("orders", "account")
    found.expect(found.requests()[0])
    found.on_error(error("60012"), now=0)
    end = end_of(found.settle(AT))
    assert str(end).startswith("subscribe: no acknowledgement within 10 s for orders, account; but: 60012")
    assert end.action is Action.RETRY


def test_an_error_that_is_not_about_a_channel_ends_the_session_as_its_code_says() -> None:
    found = subscriptions("orders")
    found.expect(found.requests()[0])
    end = end_of(found.on_error(error("60014", "s1"), now=0))
    assert (end.action, str(end).startswith("subscribe: 60014")) == (Action.SLOW, True)
    assert found.on_error(error("60031", "s1"), now=0) == Outcome()  # information only
    assert found.incomplete


@pytest.mark.parametrize(("dropped", "action"), [(True, Action.SLOW), (False, Action.PERSIST)])
def test_a_session_without_a_live_channel_ends(dropped: bool, action: Action) -> None:
    found = subscriptions("orders", "account")
    found.expect(found.requests()[0])
    if dropped:
        found.on_ack(ack("orders"), AT)
        assert found.on_conn_count_error(over_limit("orders"), AT).end is None  # account may still be acknowledged
    else:
        found.on_error(error("60018"), now=0)
    found.on_error(error("60018"), now=0)
    found.settle(AT)
    end = end_of(found.finish())
    assert (str(end), end.action) == ("no channel is left", action)


# Live


def test_an_error_while_live_ends_the_session_but_does_not_blame_our_requests() -> None:
    end = end_of(live("orders").on_error(error("60012"), now=0))
    assert (end.action, str(end).startswith("error frame: 60012")) == (Action.RETRY, True)


def test_a_dropped_channel_is_lost_alone_until_a_retry_is_acknowledged() -> None:
    found = live("orders", "account")
    outcome = found.on_conn_count_error(over_limit("orders"), AT)
    reason = "orders: over the connection limit (30 connections of this account)"
    assert outcome.reports[0] == Lost(7, "alpha", ["orders"], AT, reason)
    assert [note.event for note in outcome.reports if isinstance(note, Note)] == ["channel-conn-count-error"]
    assert (found.live, found.dropped, outcome.end) == (["account"], [reason], None)
    (request,) = found.retry(now=100)
    assert [one.key for one in request.subscriptions] == ["orders"]
    assert found.on_ack(ack("orders"), AT + 1) == Outcome([Subscribed(7, "alpha", ["orders"], AT + 1, 5)])
    assert (found.live, found.dropped, found.retry(now=200)) == (["account", "orders"], [], [])


def test_all_arguments_of_a_dropped_channel_are_dropped() -> None:
    found = live("account", {"channel": "account", "ccy": "BTC"}, "orders")
    found.on_conn_count_error(over_limit("account"), AT)
    assert found.live == ["orders"]
    assert found.dropped == ["account: over the connection limit (30 connections of this account)"]


def test_a_drop_of_what_is_not_live_is_journalled_once_and_changes_nothing() -> None:
    found = live("orders", "account")
    assert kinds(found.on_conn_count_error(over_limit("positions"), AT)) == [Note]
    assert found.on_conn_count_error(over_limit("positions"), AT) == Outcome([])
    assert (found.live, found.dropped) == (["orders", "account"], [])


def test_the_drop_of_the_last_channel_ends_the_session_slowly() -> None:
    outcome = live("orders").on_conn_count_error(over_limit("orders"), AT)
    assert kinds(outcome) == [Lost]
    assert end_of(outcome).action is Action.SLOW


def test_a_count_error_may_name_its_channel_in_its_argument() -> None:
    found = live("orders", "account")
    event = Event("channel-conn-count-error", arg={"channel": "orders", "instType": "ANY"}, conn_count="30")
    outcome = found.on_conn_count_error(event, AT)
    assert kinds(outcome) == [Lost, Note]
    assert found.live == ["account"]


@pytest.mark.parametrize("arg", [None, {}, {"channel": None}])
def test_a_count_error_that_names_no_channel_ends_the_session(arg: dict[str, object] | None) -> None:
    outcome = live("orders", "account").on_conn_count_error(Event("channel-conn-count-error", arg=arg), AT)
    assert end_of(outcome).action is Action.SLOW


@pytest.mark.parametrize("id", [None, "", "named"])
def test_an_error_that_answers_a_retry_in_time_changes_nothing(id: str | None) -> None:
    found = live("orders", "account")
    found.on_conn_count_error(over_limit("orders"), AT)
    (request,) = found.retry(now=100)
    answer = error("60018", request.id if id == "named" else id)
    assert found.on_error(answer, now=100 + SUBSCRIBE_S - 0.1) == Outcome()
    assert [one.key for one in found.retry(now=200)[0].subscriptions] == ["orders"]


def test_an_error_long_after_a_retry_or_about_something_else_ends_the_session() -> None:
    found = live("orders", "account")
    found.on_conn_count_error(over_limit("orders"), AT)
    (request,) = found.retry(now=100)
    assert found.on_error(error("60018"), now=100 + SUBSCRIBE_S).end
    assert found.on_error(error("60018", "s99"), now=100).end
    assert found.on_error(error("60014", request.id), now=100).end


def test_every_request_has_an_id_of_its_own() -> None:
    found = live("orders", "account")
    found.on_conn_count_error(over_limit("orders"), AT)
    ids = [request.id for now in range(5) for request in found.retry(float(now))]
    assert len({"s1", *ids}) == 6


@pytest.mark.parametrize(("succeeds", "ours"), [(False, ["1"]), (True, ["1", "2"])])
def test_connections_beyond_our_own_are_journalled_once(succeeds: bool, ours: list[str]) -> None:
    found = live("orders", succeeds=succeeds)
    journalled = [
        count
        for count in ("1", "2", "3", "3")
        if found.on_conn_count(Event("channel-conn-count", channel="orders", conn_count=count), AT).reports
    ]
    assert journalled == [["1", "2", "3"][len(ours)]]


def test_the_journal_of_a_session_is_limited() -> None:
    found = live("orders", "account")
    notes = [found.on_conn_count_error(over_limit(f"c{number}"), AT).reports for number in range(2 * MAX_NOTES)]
    assert sum(map(len, notes)) == MAX_NOTES


# Succession


def test_a_successor_reports_nothing_before_it_takes_over_and_then_only_what_was_not_covered() -> None:
    found = live("orders", "account", "positions", succeeds=True)
    assert not found.counting
    dropped = found.on_conn_count_error(over_limit("positions"), AT)
    assert kinds(dropped) == [Note]  # it was not covered by this session, so it is not lost with it
    assert found.start_counting({"orders"}) == Outcome([Subscribed(7, "alpha", ["account"], AT, 5)])
    assert found.counting
    assert kinds(found.on_conn_count_error(over_limit("orders"), AT)) == [Lost, Note]


def test_a_channel_that_is_given_up_is_neither_live_nor_requested_again() -> None:
    found = live("orders", "account")
    found.on_conn_count_error(over_limit("orders"), AT)
    found.give_up(["orders", "account"])
    assert (found.live, found.dropped, found.retry(now=0)) == ([], [], [])


# Any order of events

CHANNELS = ("orders", "account", "positions")
EVENTS = st.one_of(
    st.sampled_from(CHANNELS).map(ack),
    st.sampled_from(CHANNELS).map(over_limit),
    st.sampled_from(["60018", "60031"]).map(error),
    st.just("retry"),
)


@given(st.lists(EVENTS, max_size=30), st.integers(0, 12))
def test_the_writer_knows_at_any_time_which_channels_are_live(events: list[Event | str], settled_at: int) -> None:
    found = subscriptions(*CHANNELS)
    (request,) = found.requests()
    found.expect(request)
    known: list[str] = []
    pending = True
    for number, event in enumerate(events):
        if pending and (number >= settled_at or not found.incomplete):
            pending = False
            outcomes = [found.settle(AT), found.finish()]
        elif isinstance(event, str):
            found.retry(now=number)
            outcomes = []
        else:
            handle = {
                "subscribe": lambda event, number: found.on_ack(event, AT),
                "channel-conn-count-error": lambda event, number: found.on_conn_count_error(event, AT),
                "error": found.on_error,
            }[event.event]
            outcomes = [handle(event, number)]
        for outcome in outcomes:
            for report in outcome.reports:
                match report:
                    case Subscribed(channels=channels):
                        assert not set(channels) & set(known)
                        known += channels
                    case Lost(channels=channels):
                        assert set(channels) <= set(known)
                        known = [key for key in known if key not in channels]
                    case SubscriptionRefused(channels=channels):
                        assert not set(channels) & set(known)
            if outcome.end:
                return
        assert known == found.live
        assert found.live or pending  # else the session has ended
