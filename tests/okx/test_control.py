"""Control frames, requests, and secrets in what the exchange repeats."""

import json
import time

from hypothesis import example, given
from hypothesis import strategies as st

from okxsync.okx.channels import Subscription, subscription
from okxsync.okx.control import MAX_REQUEST_BYTES, login_frame, read_event, subscribe_requests
from okxsync.runtime.text import redact


def test_login_is_what_okx_documents() -> None:
    frame = json.loads(login_frame("key", "phrase", "0123456789ABCDEF0123456789ABCDEF", 1704876947))
    assert frame == {
        "op": "login",
        "args": [
            {
                "apiKey": "key",
                "passphrase": "phrase",
                "timestamp": "1704876947",
                "sign": "ZuGLUUn1vPbzKSG4K5HzbiibZHAU3Qmy4PHIlAGhMok=",
            }
        ],
    }


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=2000, unique=True))
def test_requests_contain_every_subscription_once_and_stay_small(numbers: list[int]) -> None:
    wanted = [subscription({"channel": "mark-price", "instId": f"COIN{n}-USDT-SWAP"}) for n in numbers]
    requests = list(subscribe_requests(wanted))
    requested: list[Subscription] = [one for request in requests for one in request.subscriptions]
    assert requested == wanted
    assert len({request.id for request in requests}) == len(requests)
    for request in requests:
        assert len(request.frame) < MAX_REQUEST_BYTES + 200
        assert json.loads(request.frame)["args"] == [dict(one.arg) for one in request.subscriptions]
        assert request.id.isalnum()
        assert len(request.id) <= 32


def test_an_acknowledgement_matches_its_subscription_even_with_added_keys() -> None:
    event = read_event(
        '{"event":"subscribe","arg":{"channel":"orders","instType":"ANY","uid":"7"},"connId":"a1b2c3d4"}'
    )
    assert event is not None
    assert event.names(subscription("orders"))
    assert not event.names(subscription("positions"))
    assert event.conn_id == "a1b2c3d4"


def test_codes_and_counts_may_be_strings_or_numbers() -> None:
    for count in ('"2"', "2"):
        event = read_event(f'{{"event":"channel-conn-count","channel":"orders","connCount":{count}}}')
        assert event is not None
        assert str(event.conn_count) == "2"


def test_a_push_with_an_event_is_a_push() -> None:
    assert read_event('{"event":"update","arg":{"channel":"orders"},"data":[{"ordId":"1"}]}') is None
    assert read_event('{"event":"error","code":"60012","msg":"","data":[]}') is not None
    assert read_event('{"arg":{"channel":"orders"},"data":[{"ordId":"1"}],"event":"update"}') is None
    assert read_event('{"arg":{"channel":"orders"},"event":"subscribe","connId":"a"}') is not None
    for data in ("[ ]", "null", "{}"):
        assert (
            read_event(f'{{"event":"subscribe","arg":{{"channel":"orders"}},"connId":"a","data":{data}}}') is not None
        )


@given(st.text())
def test_other_frames_are_not_taken_for_control_frames(text: str) -> None:
    assert read_event(text) is None
    assert read_event('{"arg":{"channel":"orders"},"data":[{"tag":' + json.dumps('"event"' + text) + "}]}") is None
    assert read_event('{"event":' + text) is None


def quoted(text: str, times: int) -> str:
    """Embed a text in JSON as a string, ``times`` times."""
    for _ in range(times):
        text = json.dumps({"event": "error", "msg": f"Illegal request: {text}", "code": "60012"})
    return text


@given(st.text(), st.integers(0, 4))
@example('Abc"def123!', 1)
@example('Abc\\"def123!\\', 2)
@example('","', 1)
def test_secrets_are_redacted_however_often_they_are_quoted(secret: str, times: int) -> None:
    login = '{"op":"login","args":[{"apiKey":%s,"passphrase":%s,"timestamp":"1","sign":%s}]}'
    frame = quoted(login % ((json.dumps(secret),) * 3), times)
    assert redact(frame) == quoted(login % (('"***"',) * 3), times)


@given(st.text(st.characters(codec="ascii"), min_size=6), st.integers(0, 3), st.data())
def test_a_truncated_frame_shows_no_part_of_a_secret(secret: str, times: int, data: st.DataObject) -> None:
    frame = quoted(json.dumps({"passphrase": secret}), times)
    begin = frame.index(":", frame.index("passphrase"))
    cut = frame[: data.draw(st.integers(begin, len(frame)))]
    assert redact(cut).partition("passphrase")[2].strip('\\": }*,code0612') == ""


def test_invalid_json_shows_nothing_after_a_secret() -> None:
    assert redact('{"passphrase":"Abc"def","sign":"x"}') == '{"passphrase":"***'


def test_a_frame_full_of_backslashes_is_fast() -> None:
    begin = time.process_time()
    redact("\\" * 1_000_000 + '"passphrase":' + '"' + '\\"' * 500_000)
    assert time.process_time() - begin < 5
