"""What each kind of reply or failure proves about an order."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.plans.codes import Reaction
from okxsync.plans.replies import Stage, Verdict, failed, judge, judge_batch, judge_repeatable

ID = "P0123456789A0001"


def reply(code: str = "0", *rows: dict[str, object], **more: object) -> bytes:
    return json.dumps({"code": code, "msg": "", "data": list(rows), **more}).encode()


def row(code: str, ord_id: str = "", cl_ord_id: str = ID, **more: object) -> dict[str, object]:
    return {"clOrdId": cl_ord_id, "ordId": ord_id, "tag": "", "sCode": code, "sMsg": "", **more}


@pytest.mark.parametrize(
    ("body", "status", "verdict", "resend"),
    [
        (reply("0", row("0", "31")), 200, Verdict.PLACED, False),
        (reply("2", row("0", "31")), 200, Verdict.PLACED, False),
        (reply("1", row("51008", subCode="1001")), 200, Verdict.REFUSED, False),
        (reply("1", row("50036")), 200, Verdict.REFUSED, False),
        (reply("1", row("51016")), 200, Verdict.UNKNOWN, True),
        (reply("1", row("51054")), 500, Verdict.UNKNOWN, True),
        (reply("1", row("51008")), 500, Verdict.UNKNOWN, True),
        (reply("1", row("59999")), 200, Verdict.UNKNOWN, False),
        (reply("0", row("0")), 200, Verdict.UNKNOWN, True),
        (reply("0", row("0", "31", "P_OTHER")), 200, Verdict.UNKNOWN, True),
        (reply("1", row("51008", "", "P_OTHER")), 200, Verdict.UNKNOWN, True),
        (reply("1", row("51008", "31")), 200, Verdict.UNKNOWN, False),
        (reply("1", row("51008"), row("0", "31")), 200, Verdict.UNKNOWN, True),
        (reply("1", row("")), 200, Verdict.UNKNOWN, True),
        (reply("0"), 200, Verdict.UNKNOWN, True),
        (reply("1"), 200, Verdict.UNKNOWN, True),
        (reply("51000"), 400, Verdict.REFUSED, False),
        (reply("50011"), 200, Verdict.REFUSED, True),
        (b'{"msg":"Too Many Requests","code":"50011"}', 429, Verdict.REFUSED, True),
        (reply("50061"), 200, Verdict.REFUSED, True),
        (reply("50102"), 401, Verdict.REFUSED, True),
        (reply("50113"), 401, Verdict.REFUSED, False),
        (reply("50004"), 400, Verdict.UNKNOWN, True),
        (reply("50013"), 503, Verdict.UNKNOWN, True),
        (reply("60013"), None, Verdict.REFUSED, False),
        (b"<html>429 Too Many Requests</html>", 429, Verdict.UNKNOWN, True),
        (b"<html>502 Bad Gateway</html>", 502, Verdict.UNKNOWN, True),
        (reply("0", row("0", "31"))[:-9], 200, Verdict.UNKNOWN, True),
        (b"", 200, Verdict.UNKNOWN, True),
        (b"\xff\xfe", 200, Verdict.UNKNOWN, True),
        (b"[]", 200, Verdict.UNKNOWN, True),
        (b'{"data": [1, null, "x"], "code": "0"}', 200, Verdict.UNKNOWN, True),
        (reply("0", row("0", "31")), 302, Verdict.UNKNOWN, True),
    ],
)
def test_a_reply_proves(body: bytes, status: int | None, verdict: Verdict, resend: bool) -> None:
    found = judge(ID, body, status)
    assert (found.verdict, found.resend) == (verdict, resend)
    assert found.text


def test_a_request_that_did_not_start_was_not_sent_and_one_that_started_is_unknown() -> None:
    assert failed(Stage.NOT_STARTED, "connection refused").verdict is Verdict.NOT_SENT
    assert failed(Stage.STARTED, "connection reset").verdict is Verdict.UNKNOWN


def test_each_order_of_a_batch_is_judged_by_its_own_row() -> None:
    body = reply("2", row("51121", cl_ord_id="P3"), row("0", "7", "P1"))
    assert [one.verdict for one in judge_batch(["P1", "P2", "P3"], body, 200)] == [
        Verdict.PLACED, Verdict.UNKNOWN, Verdict.REFUSED,
    ]  # fmt: skip


def test_codes_texts_and_times_are_kept() -> None:
    refused = row("51008", subCode="1001") | {"sMsg": "Insufficient\x1b[2J margin"}
    found = judge(ID, reply("1", refused, inTime="1", outTime="2"), 200)
    assert (found.code, found.s_code, found.sub_code, found.in_time, found.out_time) == ("1", "51008", "1001", "1", "2")
    assert "\x1b" not in found.s_msg


@given(st.binary() | st.text().map(str.encode), st.sampled_from([None, 200, 400, 429, 500]))
def test_no_garbage_is_a_proof(body: bytes, status: int | None) -> None:
    assert judge(ID, body, status).verdict is Verdict.UNKNOWN


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.just(ID)
    | st.sampled_from(["0", "1", "51008"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["code", "data", "sCode", "ordId", "clOrdId", "msg"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(JSON)
def test_only_a_row_of_ours_with_an_id_is_placed(value: object) -> None:
    body = json.dumps(value).encode()
    if judge(ID, body, 200).verdict is Verdict.PLACED:
        assert isinstance(value, dict)
        assert [one for one in value["data"] if one.get("clOrdId") == ID and one["sCode"] in ("0", 0) and one["ordId"]]


@pytest.mark.parametrize(
    ("body", "status", "verdict", "reaction"),
    [
        ('{"code":"0","data":[{"ordId":"1","sCode":"0"}]}', 200, Verdict.PLACED, None),
        ('{"code":"0","data":[{"lever":"3","mgnMode":"cross"}]}', 200, Verdict.PLACED, None),
        ('{"code":"1","data":[{"ordId":"1","sCode":"51400"}]}', 200, Verdict.UNKNOWN, Reaction.ENDED),
        ('{"code":"59107","data":[],"msg":"pending orders"}', 200, Verdict.REFUSED, Reaction.REJECT),
        ('{"code":"50011","msg":"Too Many Requests"}', 429, Verdict.REFUSED, Reaction.SLOW),
        ('{"code":"50004","data":[]}', 400, Verdict.UNKNOWN, Reaction.UNKNOWN),
        ('{"code":"0","data":[]}', 502, Verdict.UNKNOWN, None),
        ("<html>", 429, Verdict.UNKNOWN, None),
    ],
)
def test_a_request_that_may_be_repeated_needs_no_id_in_its_reply(
    body: str, status: int, verdict: Verdict, reaction: Reaction | None
) -> None:
    found = judge_repeatable(body, status)
    assert (found.verdict, found.reaction) == (verdict, reaction)
