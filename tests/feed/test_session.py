"""One socket's run, step by step: what is sent when, and what follows from each answer.

All on virtual time and memory streams. The times in these tests are the contract: 10 s for a login, 10 s for the
acknowledgements of a request, a ping every 5 s, some frame within 10 s after it.
"""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from okxsync.feed.notes import MAX_NOTES
from okxsync.feed.reader import PAUSES_S
from okxsync.feed.socket import SocketError
from okxsync.messages import Frames, Lost, Note, Pong, Subscribed, SubscriptionRefused
from okxsync.okx.codes import Action
from okxsync.runtime import clock
from tests.support.scripted_peer import CONN_ID, START_NS, Exchange, Peer, SessionRun, run_session, spec_of


def acknowledged(run: SessionRun) -> list[str]:
    return [key for message in run.received.of(Subscribed) for key in message.channels]


def at(local_us: int) -> float:
    """Return a local time as seconds since the test began."""
    return (local_us - START_NS // 1000) / 1e6


def frames(run: SessionRun) -> list[str]:
    return [frame for message in run.received.of(Frames) for _, frame in message.frames]


# Login


async def test_nothing_is_subscribed_before_the_login_is_acknowledged(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        login = await peer.receive()
        assert login["op"] == "login"
        with trio.move_on_after(9):
            pytest.fail(f"sent before the acknowledgement: {await peer.receive()}")
        await peer.send({"event": "login", "code": "0", "msg": "", "connId": CONN_ID})
        await peer.subscribe()
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(8.9)
        assert run.phases == ["logging_in"]
        await trio.sleep(1)
        assert run.phases == ["logging_in", "subscribing", "live"]
        assert run.session
        assert run.session.conn_id == CONN_ID


async def test_the_login_is_signed_by_the_clock_of_the_exchange(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        arg = await peer.log_in()
        assert (arg["apiKey"], arg["passphrase"], arg["timestamp"]) == ("key", "passphrase", "1538054050")
        done.set()
        await peer.answer_pings()

    done = trio.Event()
    exchange.script = script
    async with run_session(spec_of()):
        await done.wait()


async def test_without_keys_there_is_no_login(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribe()
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("status", keys=None)) as run:
        await trio.sleep(1)
        assert run.phases == ["subscribing", "live"]


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("60009", Action.RETRY),
        ("63999", Action.RETRY),
        ("60014", Action.SLOW),
        ("60004", Action.RESYNC),
        ("60006", Action.RESYNC),
        ("60007", Action.RESIGN),
        ("60005", Action.GIVE_UP),
        ("60024", Action.GIVE_UP),
        ("60032", Action.GIVE_UP),
        ("50101", Action.GIVE_UP),
        ("60012", Action.FIX),
        ("99999", Action.RETRY),
    ],
)
async def test_a_rejected_login_ends_the_session_as_its_code_says_and_subscribes_nothing(
    exchange: Exchange, autojump_clock: MockClock, code: str, action: Action
) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.reject(code)
        pytest.fail(f"sent after the rejection: {await peer.receive()}")

    exchange.script = script
    async with run_session(spec_of()) as run:
        ended = await run.ended()
        assert (ended.action, code in str(ended)) == (action, True)
        assert run.phases == ["logging_in"]
        await wait_all_tasks_blocked()
        assert exchange.open == 0


async def test_a_rejection_of_a_channel_does_not_answer_the_login(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.reject("60018")
        await peer.receive()

    exchange.script = script
    async with run_session(spec_of()) as run:
        assert (await run.ended()).action is Action.RETRY


async def test_a_login_event_with_a_code_is_a_rejection_too(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send({"event": "login", "code": "60024", "msg": "Wrong passphrase"})
        await peer.receive()

    exchange.script = script
    async with run_session(spec_of()) as run:
        assert (await run.ended()).action is Action.GIVE_UP


async def test_an_unanswered_login_ends_after_its_deadline_whatever_else_arrives(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.send({"event": "notice", "code": "64008", "msg": "upgrade"})
            await trio.sleep(1)

    exchange.script = script
    async with run_session(spec_of()) as run:
        assert str(await run.ended()) == "login: no answer within 10 s"
        assert trio.current_time() == pytest.approx(10)
        assert {note.event for note in run.received.of(Note)} == {"notice"}


# Subscribe


async def test_a_channel_is_live_from_its_own_acknowledgement_on(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        for arg in reversed(request["args"]):
            await trio.sleep(4)
            await peer.send({"id": request["id"], "event": "subscribe", "arg": arg})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        await trio.sleep(4.1)
        assert (acknowledged(run), run.phases[-1]) == (["account"], "subscribing")
        await trio.sleep(4)
        assert (acknowledged(run), run.phases[-1]) == (["account", "orders"], "live")


async def test_acknowledgements_without_an_id_and_with_additional_keys_count(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        for arg in (await peer.receive())["args"]:
            await peer.send({"event": "subscribe", "arg": {**arg, "uid": "446"}})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        await trio.sleep(1)
        assert acknowledged(run) == ["orders", "account"]


async def test_an_acknowledgement_is_that_of_one_argument_even_if_it_contains_another(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        assert request["args"] == [{"channel": "account"}, {"channel": "account", "ccy": "BTC"}]
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][1]})
        await trio.sleep(5)
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][0]})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("account", {"channel": "account", "ccy": "BTC"})) as run:
        await trio.sleep(4)
        assert acknowledged(run) == ["account:ccy=BTC"]
        await trio.sleep(2)
        assert acknowledged(run) == ["account:ccy=BTC", "account"]


async def test_an_acknowledgement_of_another_channel_has_no_effect(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.send({"id": request["id"], "event": "subscribe", "arg": {"channel": "fills"}})
        await peer.send({"id": request["id"], "event": "subscribe"})
        await peer.receive()

    exchange.script = script
    async with run_session(spec_of("orders")) as run:
        assert str(await run.ended()) == "subscribe: no acknowledgement within 10 s for orders"
        assert acknowledged(run) == []


@pytest.mark.parametrize("named", ["by arg", "by text", "not at all"])
async def test_one_rejected_argument_leaves_the_others_live_and_is_reported(
    exchange: Exchange, autojump_clock: MockClock, named: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        orders, fills, account = request["args"]
        await peer.send({"id": request["id"], "event": "subscribe", "arg": orders})
        refusal = {"id": request["id"], "event": "error", "code": "64003", "msg": "Your fee tier is too low"}
        match named:
            case "by arg":
                refusal["arg"] = fills
            case "by text":
                refusal["msg"] = "Wrong URL or channel:fills doesn't exist"
        await peer.send(refusal)
        await peer.send({"id": request["id"], "event": "subscribe", "arg": account})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "fills", "account")) as run:
        await trio.sleep(1)
        assert run.phases[-1] == "live"
        assert acknowledged(run) == ["orders", "account"]
        (note,) = run.received.of(Note)
        assert (note.level, note.event, note.account) == ("error", "channel-rejected", "alpha")
        assert "subscribe fills: 64003" in note.detail
        (rejected,) = run.received.of(SubscriptionRefused)
        assert (rejected.channels, "subscribe fills: 64003" in rejected.reason) == (["fills"], True)
        assert run.session
        assert run.session.live == ["orders", "account"]


@pytest.mark.parametrize("named", ["by id", "not at all"])
@pytest.mark.parametrize("code", ["60018", "60012"])
async def test_a_rejected_channel_is_requested_again_slowly_and_a_second_rejection_changes_nothing(
    exchange: Exchange, autojump_clock: MockClock, named: str, code: str
) -> None:
    requested: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        orders, account = request["args"]
        await peer.send({"id": request["id"], "event": "subscribe", "arg": account})
        await peer.reject(code, id=request["id"])
        while True:
            match await peer.receive():
                case "ping":
                    await peer.send("pong")
                case {"op": "subscribe", "id": id, "args": args}:
                    assert args == [orders]
                    requested.append(trio.current_time())
                    if len(requested) < 3:
                        await peer.reject(code, **({"id": id} if named == "by id" else {}))
                    else:
                        await peer.send({"id": id, "event": "subscribe", "arg": orders})
                case other:
                    pytest.fail(str(other))

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        await trio.sleep(140)
        assert (run.phases[-1], acknowledged(run), requested) == ("live", ["account"], [])
        await trio.sleep(1000)
        assert len(requested) == 3
        assert all(later - earlier >= 149 for earlier, later in zip([0.0, *requested], requested, strict=False))
        assert (run.phases[-1], acknowledged(run)) == ("live", ["account", "orders"])
        assert [(one.channels, one.connection_id) for one in run.received.of(SubscriptionRefused)] == [(["orders"], 7)]
        assert [note.event for note in run.received.of(Note)] == ["channel-rejected"]


async def test_an_error_long_after_a_retry_ends_the_session(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][1]})
        await peer.reject("60018", id=request["id"])
        while await peer.receive() == "ping":
            await peer.send("pong")
        await peer.reject("60018")
        for _ in range(4):
            assert await peer.receive() == "ping"
            await peer.send("pong")
        await peer.reject("60018")
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        ended = await run.ended()
        assert (ended.action, str(ended).startswith("error frame: 60018")) == (Action.RETRY, True)


async def test_an_acknowledgement_need_not_repeat_extra_params(exchange: Exchange, autojump_clock: MockClock) -> None:
    wanted = {"channel": "account", "extraParams": '{"updateInterval":"0"}'}

    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        assert request["args"] == [wanted]
        await peer.send({"id": request["id"], "event": "subscribe", "arg": {"channel": "account"}})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of(wanted)) as run:
        await trio.sleep(1)
        assert acknowledged(run) == ['account:extraParams={"updateInterval":"0"}']


async def test_rejections_are_assigned_to_the_arguments_that_they_name(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    one, other = ({"channel": "tickers", "instId": name} for name in ("NO-SUCH", "NOR-THIS"))

    async def script(peer: Peer) -> None:
        request = await peer.receive()
        for code, inst_id in (("60018", "NOR-THIS"), ("60013", "NO-SUCH")):
            text = f"channel:tickers,instId:{inst_id} doesn't exist"
            await peer.send({"id": request["id"], "event": "error", "code": code, "msg": text})
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][2]})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of(one, other, "status", keys=None)) as run:
        await trio.sleep(1)
        assert acknowledged(run) == ["status"]
        first, second = sorted(note.detail for note in run.received.of(Note))
        assert "tickers:instId=NO-SUCH: 60013" in first
        assert "tickers:instId=NOR-THIS: 60018" in second


async def test_a_session_whose_every_argument_is_rejected_ends(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        for _ in request["args"]:
            await peer.reject("64003", id=request["id"])
        await peer.receive()

    exchange.script = script
    async with run_session(spec_of("orders", "fills")) as run:
        assert (await run.ended()).action is Action.PERSIST
        assert len(run.received.of(Note)) == 2


async def test_a_channel_that_is_acknowledged_after_a_rejection_of_another_is_live(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.reject("60018")
        for arg in request["args"]:
            await peer.send({"id": request["id"], "event": "subscribe", "arg": arg})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        await trio.sleep(1)
        assert acknowledged(run) == ["orders", "account"]
        assert run.session
        assert run.session.live == ["orders", "account"]


@pytest.mark.parametrize(
    ("code", "action"),
    [("60011", Action.RETRY), ("64007", Action.RETRY), ("60014", Action.SLOW), ("50030", Action.GIVE_UP)],
)
async def test_a_rejection_that_is_not_about_the_argument_ends_the_session_at_once(
    exchange: Exchange, autojump_clock: MockClock, code: str, action: Action
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.reject(code, id=request["id"])
        await peer.receive()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        assert (await run.ended()).action is action
        assert trio.current_time() < 1
        assert acknowledged(run) == []


async def test_one_rejection_of_a_complete_request_is_quoted(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.receive()
        await peer.reject("60012")
        await peer.receive()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        ended = await run.ended()
        assert "no acknowledgement within 10 s for orders, account" in str(ended)
        assert "60012 illegal request" in str(ended)


async def test_silence_while_subscribing_ends_after_its_deadline(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][0]})
        await peer.receive()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        assert str(await run.ended()) == "subscribe: no acknowledgement within 10 s for account"
        assert trio.current_time() == pytest.approx(10)
        assert run.session
        assert run.session.live == ["orders"]  # for its Lost


async def test_a_long_list_is_split_and_each_request_is_answered_separately(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    wanted = [{"channel": "tickers", "instId": f"COIN{number:05}-USDT-SWAP"} for number in range(1200)]

    async def script(peer: Peer) -> None:
        await peer.subscribe()
        await peer.subscribe()
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of(*wanted, keys=None)) as run:
        await trio.sleep(1)
        assert run.phases[-1] == "live"
        assert len(acknowledged(run)) == 1200


# Live: what the exchange tells us


@pytest.mark.parametrize(
    ("code", "action"),
    [("60011", Action.RETRY), ("60012", Action.RETRY), ("60014", Action.SLOW), ("60032", Action.GIVE_UP)],
)
async def test_an_error_frame_while_live_ends_the_session(
    exchange: Exchange, autojump_clock: MockClock, code: str, action: Action
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.reject(code)
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        ended = await run.ended()
        assert (ended.action, str(ended).startswith(f"error frame: {code}")) == (action, True)


@pytest.mark.parametrize(
    "frame",
    [
        '{"event":"error","code":"60031","msg":"repeated login"}',
        '{"event":"channel-conn-count","channel":"orders","connCount":"1","connId":"a4d3ae55"}',
        '{"event":"subscribe","arg":{"channel":"orders"}}',
        '{"event":"login","code":"0"}',
        '{"arg":{"channel":"orders"},"data":[{"tag":"\\"event\\":"}]}',
        '{"event":',
        '{"event":{}}',
        "pong",
        "",
        "\x00 nonsense",
    ],
)
async def test_frames_without_an_effect_are_forwarded(
    exchange: Exchange, autojump_clock: MockClock, frame: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send(frame)
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(100)
        assert run.phases[-1] == "live"
        assert run.received.of(Note) == []
        assert (frame in frames(run)) == (frame != "pong")


async def test_the_notice_of_an_upgrade_is_journalled_and_the_session_continues(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        secret = '{"passphrase":"the-phrase"} \x1b'
        await peer.send({"event": "notice", "code": "64008", "msg": f"The connection will soon be closed {secret}"})
        await trio.sleep(60)
        await peer.close(1000)

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        (note,) = run.received.of(Note)
        assert (note.level, note.event) == ("warning", "notice")
        assert "64008: The connection will soon be closed" in note.detail
        assert "the-phrase" not in note.detail
        assert "\x1b" not in note.detail


@pytest.mark.parametrize(
    ("frame", "notes"),
    [
        ({"event": "novelty", "msg": "something new"}, 0),  # whoever stores it counts it
        ({"event": "notice", "code": "64009", "msg": "hello"}, 1),
        ({"event": "channel-conn-count", "channel": "orders", "connCount": "7"}, 1),
        ({"event": "channel-conn-count-error", "channel": "positions", "connCount": "31"}, 1),  # was never live
    ],
)
async def test_a_repeated_notice_is_journalled_once(
    exchange: Exchange, autojump_clock: MockClock, frame: dict[str, object], notes: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        for _ in range(500):
            await peer.send(frame)
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        await trio.sleep(1)
        assert len(run.received.of(Note)) == notes
        assert sum(len(one.frames) for one in run.received.of(Frames)) > 500  # and yet each is kept


async def test_the_journal_entries_of_different_notices_are_limited(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        for code in range(1000):
            await peer.send({"event": "notice", "code": str(code), "msg": "hello"})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        assert len(run.received.of(Note)) == MAX_NOTES


async def test_a_channel_that_other_connections_are_subscribed_to_is_journalled(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send({"event": "channel-conn-count", "channel": "orders", "connCount": "2", "connId": CONN_ID})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        (note,) = run.received.of(Note)
        assert note.event == "channel-conn-count"


async def test_an_unrequested_unsubscribe_ends_the_session(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send({"event": "unsubscribe", "arg": {"channel": "orders", "instType": "ANY"}})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        assert (await run.ended()).action is Action.RETRY


async def test_a_remote_close_while_live_ends_the_session_with_its_code(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.close(4004, "No data received in 30s.")

    exchange.script = script
    async with run_session(spec_of()) as run:
        end = await run.end()
        assert isinstance(end, SocketError)
        assert (end.code, str(end)) == (4004, "closed with 4004: No data received in 30s.")


# Live: is the other side there?


@pytest.mark.parametrize("every_s", [0.7, 1000.0])
async def test_pings_are_sent_on_schedule_with_or_without_data(
    exchange: Exchange, autojump_clock: MockClock, every_s: float
) -> None:
    pinged: list[float] = []

    async def push(peer: Peer) -> None:
        while True:
            await trio.sleep(every_s)
            await peer.send({"arg": {"channel": "account"}, "data": []})

    async def script(peer: Peer) -> None:
        await peer.go_live()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, peer)
            while True:
                assert await peer.receive() == "ping"
                pinged.append(trio.current_time())
                await peer.send("pong")

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(100)
        assert pinged == pytest.approx(range(0, 100, 5))
        assert len(run.received.of(Pong)) == 20


async def test_a_silent_peer_ends_the_session_ten_seconds_after_a_ping(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        for _ in range(2):
            await peer.receive()
            await peer.send("pong")
        while True:
            await peer.receive()

    exchange.script = script
    async with run_session(spec_of()) as run:
        ended = await run.ended()
        assert (str(ended), ended.action) == ("silent: no frame within 10 s after a ping", Action.RETRY)
        assert trio.current_time() == pytest.approx(20)


async def test_a_ping_that_cannot_be_sent_ends_the_session_whatever_is_received(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        assert await peer.receive() == "ping"
        exchange.reads = False
        while True:
            await peer.send({"arg": {"channel": "account"}, "data": []})
            await trio.sleep(1)

    exchange.script = script
    async with run_session(spec_of()) as run:
        assert str(await run.ended()) == "silent: a ping could not be sent within 10 s"
        assert trio.current_time() == pytest.approx(15)  # ten seconds after the ping that was not sent


async def test_any_frame_is_an_answer(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        while True:
            assert await peer.receive() == "ping"
            await trio.sleep(9)
            await peer.send({"arg": {"channel": "account"}, "data": []})

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(100)
        assert run.phases[-1] == "live"
        assert run.received.of(Pong) == []


async def test_a_frame_before_the_ping_does_not_answer_it(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.receive()
        await peer.send("pong")
        await trio.sleep(4.9)
        await peer.send({"arg": {"channel": "account"}, "data": []})
        await trio.sleep_forever()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await run.ended()
        assert trio.current_time() == pytest.approx(15)


async def test_a_pong_reports_the_round_trip_and_proves_the_time_up_to_its_ping(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        while True:
            await peer.receive()
            await trio.sleep(0.25)
            await peer.send("pong")

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(14)
        pongs = run.received.of(Pong)
        assert [(pong.connection_id, pong.listener) for pong in pongs] == [(7, "alpha")] * 3
        assert [pong.rtt_us for pong in pongs] == pytest.approx([250_000] * 3)
        assert [at(pong.at) for pong in pongs] == [0, 5, 10]


async def test_a_frame_was_sent_after_the_last_ping_whose_pong_was_read_before_it(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send({"data": ["before any pong"]})
        for number in range(3):
            assert await peer.receive() == "ping"
            await trio.sleep(2)
            await peer.send({"data": [f"before pong {number}"]})
            await peer.send("pong")
            await peer.send({"data": [f"after pong {number}"]})
        await trio.sleep_forever()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(14)
        pushes = [one for one in run.received.of(Frames) if "data" in one.frames[0][1]]
        assert [at(one.sent_after) if one.sent_after else None for one in pushes] == [None, None, 0, 0, 5, 5, 10]
        assert {one.socket for one in pushes} == {pushes[0].socket}


async def test_proofs_are_bounds_on_the_clock_of_the_exchange(exchange: Exchange, autojump_clock: MockClock) -> None:
    """Coverage ends by the least that its clock can show, and begins by the most."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.answer_pings()

    exchange.script = script
    clock.current.measured(START_NS / 1e9 - 0.4, START_NS / 1e9 + 0.9)  # it took 1.3 s
    async with run_session(spec_of()) as run:
        await trio.sleep(7)
        assert [at(one.at) for one in run.received.of(Subscribed)] == pytest.approx([0.9, 0.9], abs=0.001)
        assert [at(one.at) for one in run.received.of(Pong)] == pytest.approx([-0.4, 4.6], abs=0.001)


async def test_a_successor_proves_nothing_before_it_has_taken_over(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """Both have the same id, and the older one may have failed already."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of(), succeeds=True) as run:
        await trio.sleep(12)
        assert run.session
        assert run.phases[-1] == "live"
        assert run.received.of(Pong) == []
        await run.session.start_counting([])
        await trio.sleep(5)
        assert [at(one.at) for one in run.received.of(Pong)] == [15]


async def test_a_ping_of_the_exchange_is_answered_and_forwarded(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        assert await peer.receive() == "ping"
        await peer.send("ping")
        assert await peer.receive() == "pong"
        answered.set()
        await trio.sleep_forever()

    answered = trio.Event()
    exchange.script = script
    async with run_session(spec_of()) as run:
        await answered.wait()
        assert frames(run)[-1] == "ping"


async def test_a_reader_that_waits_for_our_own_queue_is_not_a_silent_peer(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        for number in range(10):
            await peer.send(f'{{"data":[{number}]}}')
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of(), capacity=7) as run:
        await trio.sleep(100)
        assert run.phases[-1] == "live"
        for _ in range(20):
            run.received.all.copy()
            await wait_all_tasks_blocked()
        assert [frame for frame in frames(run) if "data" in frame] == [f'{{"data":[{n}]}}' for n in range(10)]
        await trio.sleep(20)
        assert run.phases[-1] == "live"
        # Eleven pings waited behind the data, and each pong is that of its own ping.
        pongs = [(at(pong.at), pong.rtt_us / 1e6) for pong in run.received.of(Pong)]
        assert pongs[:11] == [(0, 100), *((at, 100 - at) for at in range(5, 100, 10))]


async def test_frames_read_after_a_stall_prove_nothing_until_a_new_pong_shows_that_we_have_caught_up(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_pings)
            for number in range(12):  # one each ten seconds, at 5, 15, 25 ...
                await trio.sleep(5)
                await peer.send(f'{{"data":[{number}]}}')
                await trio.sleep(5)

    exchange.script = script
    async with run_session(spec_of(), capacity=7) as run:
        await trio.sleep(101)
        while trio.current_time() < 101.1:
            run.received.all.copy()
            await trio.sleep(0.01)
        await trio.sleep(100)
        stamps = [at(local_us) for message in run.received.of(Frames) for local_us, _ in message.frames][3:]
        sent_at = [5 + 10 * number for number in range(12)]
        assert stamps == sorted(stamps)
        assert all(stamp <= time for stamp, time in zip(stamps, sent_at, strict=True))
        assert (stamps[0], stamps[10:]) == (5, sent_at[10:])


async def test_a_stall_while_a_control_frame_is_handled_is_a_stall_too(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """The reader does not read that socket: what is read afterwards may have arrived since the control frame."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_pings)
            await trio.sleep(12.5)
            await peer.send_at_once('{"data":[0]}', '{"event":"notice","code":"1","msg":"x"}')
            await trio.sleep(1)
            await peer.send('{"data":[1]}')

    exchange.script = script
    async with run_session(spec_of(), capacity=100) as run:
        await trio.sleep(12)
        run.received.all.copy()
        while run.send.statistics().messages < 100:
            run.send.send_nowait(Note(0, "info", None, "test", "full"))
        await trio.sleep(20)
        for _ in range(20):
            run.received.all.copy()
            await trio.sleep(0.1)
        stamps = {frame: at(stamp) for message in run.received.of(Frames) for stamp, frame in message.frames}
        assert stamps['{"data":[1]}'] <= 13.5
        assert run.phases[-1] == "live"


async def test_the_end_of_a_socket_that_is_not_read_is_found_by_reading(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """A ping cannot be sent to a peer that has closed, but its last frames wait to be read, and say why it closed."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        for number in range(10):
            await peer.send(f'{{"data":[{number}]}}')

    exchange.script = script
    async with run_session(spec_of(), capacity=7) as run:
        await trio.sleep(40)
        assert not run.has_ended
        for _ in range(20):
            run.received.all.copy()
            await wait_all_tasks_blocked()
        assert str(await run.end()) == "closed"
        assert [frame for frame in frames(run) if "data" in frame] == [f'{{"data":[{n}]}}' for n in range(10)]


async def test_silence_counts_once_our_queue_has_room(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        for number in range(10):
            await peer.send(f'{{"data":[{number}]}}')
        await trio.sleep_forever()

    exchange.script = script
    async with run_session(spec_of(), capacity=7) as run:
        await trio.sleep(38)
        for _ in range(20):
            run.received.all.copy()
            await wait_all_tasks_blocked()
        await run.ended()
        assert trio.current_time() == pytest.approx(50)  # ten seconds after the next ping


async def test_frames_are_forwarded_in_the_order_received_each_with_its_time(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        for number in range(200):
            await peer.send(f'{{"data":[{number}]}}')
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        crossed = [pair for message in run.received.of(Frames) for pair in message.frames]
        assert [frame for _, frame in crossed][3:] == [f'{{"data":[{number}]}}' for number in range(200)]
        assert [at for at, _ in crossed] == sorted(at for at, _ in crossed)


# Too many connections hold a channel


async def test_a_dropped_channel_alone_is_lost_and_is_requested_again_later(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    requested: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send({"event": "channel-conn-count-error", "channel": "orders", "connCount": "30"})
        while True:
            match await peer.receive():
                case "ping":
                    await peer.send("pong")
                case {"op": "subscribe", "id": id, "args": [{"channel": "orders"} as arg]}:
                    requested.append(trio.current_time())
                    await peer.send({"id": id, "event": "subscribe", "arg": arg})
                case other:
                    pytest.fail(str(other))

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        await trio.sleep(140)
        (lost,) = run.received.of(Lost)
        assert lost.channels == ["orders"]
        assert "30" in lost.reason
        assert run.session
        assert (run.phases[-1], run.session.live, requested) == ("live", ["account"], [])
        await trio.sleep(100)
        assert acknowledged(run) == ["orders", "account", "orders"]
        assert run.session.live == ["account", "orders"]
        await trio.sleep(1000)
        assert len(requested) == 1


async def test_a_channel_that_is_dropped_at_once_delays_no_other(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][0]})
        await peer.send({"event": "channel-conn-count-error", "channel": "orders", "connCount": "30"})
        await trio.sleep(5)
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][1]})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "account")) as run:
        await trio.sleep(100)
        assert run.phases[-1] == "live"
        assert run.session
        assert run.session.live == ["account"]
        assert [lost.channels for lost in run.received.of(Lost)] == [["orders"]]


async def test_a_session_whose_last_channel_is_dropped_ends_with_a_long_pause(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send({"event": "channel-conn-count-error", "channel": "orders", "connCount": "30"})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders")) as run:
        assert (await run.ended()).action is Action.SLOW
        assert [lost.channels for lost in run.received.of(Lost)] == [["orders"]]


async def test_a_dropped_channel_that_is_not_named_leaves_no_channel_live(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send({"event": "channel-conn-count-error", "connCount": "30"})
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("deposit-info", "orders-algo")) as run:
        assert "connection limit" in str(await run.ended())


@pytest.mark.parametrize(("size", "fit"), [(1000, 100), (32_768, 100), (65_536, 50), (2**20, 3)])
async def test_a_full_queue_stops_the_reader_at_a_bound_in_bytes_too(
    exchange: Exchange, autojump_clock: MockClock, size: int, fit: int
) -> None:
    max_bytes = 100 * 32_768

    async def script(peer: Peer) -> None:
        await peer.go_live()
        for _ in range(200):
            await peer.send("x" * size)
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of(), capacity=100, max_bytes=max_bytes) as run:
        await trio.sleep(1)
        queued = run.send.statistics()
        assert fit - 5 < queued.messages <= fit + 5  # with up to five reports and short frames
        assert queued.bytes <= max_bytes
        assert queued.blocked > 0
        for _ in range(200):
            await trio.sleep(0.1)
            received = sum(len(frame) == size for frame in frames(run))
        assert received == 200  # nothing is lost


@pytest.mark.parametrize("capacity", range(1, 8))
async def test_a_channel_that_is_live_was_reported_even_if_our_queue_was_full_until_its_deadline(
    exchange: Exchange, autojump_clock: MockClock, capacity: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of("orders", "account", "positions"), capacity=capacity) as run:
        await trio.sleep(12)
        for _ in range(20):
            run.received.all.copy()
            await wait_all_tasks_blocked()
        if run.phases[-1] == "live":
            assert run.session
            assert acknowledged(run) == run.session.live


async def test_an_answer_that_arrives_between_two_passes_of_the_reader_is_in_time(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    pinged = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.go_live()
        assert await peer.receive() == "ping"
        pinged.set()
        await trio.sleep(9.5)
        await peer.ping()  # is read at once, and no frame: the next pass comes after the pause
        await trio.sleep(0.3)
        await peer.send("pong")
        await peer.answer_pings()

    exchange.script = script
    async with run_session(spec_of()) as run:
        await pinged.wait()
        run.reader.pause_s = 3.0
        await trio.sleep(20)
        assert not run.has_ended


@pytest.mark.parametrize("before_s", [0.0, 0.001, 0.003])
async def test_a_peer_whose_answers_are_still_to_be_read_is_not_silent(
    exchange: Exchange, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, before_s: float
) -> None:
    """Our queue has room again just before an answer is due, and the next pass of the reader comes after that."""
    monkeypatch.setitem(PAUSES_S, "low", 0.006)

    async def script(peer: Peer) -> None:
        await peer.go_live()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_pings)
            for number in range(100):
                await peer.send(f'{{"data":[{number}]}}')
                await trio.sleep(0.5)

    exchange.script = script
    async with run_session(spec_of(), capacity=20) as run:
        await trio.sleep(4)
        run.received.all.copy()
        await trio.sleep_until(25.5 - before_s)  # ten seconds after the beat at 15.5 s
        for _ in range(20):
            run.received.all.copy()
            await trio.sleep(0.001)
        assert run.phases[-1] == "live"
        assert not run.has_ended
