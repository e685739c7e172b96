"""Decoding rows that are not as documented."""

import msgspec
import pytest

from okxsync.events import Event
from okxsync.okx import models
from okxsync.store.decode import Record, strip_lone_surrogates


class Reported:
    """The anomalies of a test."""

    def __init__(self) -> None:
        self.anomalies: list[tuple[str, str]] = []

    def __call__(self, kind: Event, what: str) -> None:
        self.anomalies.append((kind.name, what))


@pytest.fixture
def reported() -> Reported:
    return Reported()


@pytest.fixture
def record() -> Record[models.Order]:
    return Record(models.Order, times=("u_time",), known={"state": frozenset({"live"})})


def read(record: Record[models.Order], row: object, reported: Reported) -> dict[str, object]:
    found = record.read(msgspec.json.encode(row), reported)
    assert found is not None
    return dict(zip(record.columns, record.values(found, reported), strict=True))


def test_absent_is_empty(record: Record[models.Order], reported: Reported) -> None:
    row = read(record, {"ordId": "1", "px": ""}, reported)
    assert (row["ord_id"], row["px"], row["sz"], row["attach_algo_ords"]) == ("1", "", "", "")
    assert reported.anomalies == []


def test_a_number_in_place_of_text_is_kept_exactly(record: Record[models.Order], reported: Reported) -> None:
    found = record.read(b'{"ordId":"1","px":0.10,"sz":12345678901234567890,"accFillSz":1e-7}', reported)
    assert found is not None
    assert (found.px, found.sz, found.acc_fill_sz) == ("0.10", "12345678901234567890", "1e-7")
    assert {kind for kind, _ in reported.anomalies} == {"unexpected-type"}


@pytest.mark.parametrize(("sent", "kept"), [(None, ""), (True, "true"), ([1], "[1]"), ({"a": None}, '{"a":null}')])
def test_other_types_in_place_of_text(
    record: Record[models.Order], reported: Reported, sent: object, kept: object
) -> None:
    assert read(record, {"ordId": "1", "px": sent, "side": "buy"}, reported)["px"] == kept


def test_an_unknown_field_is_reported_for_each_row_that_has_it(
    record: Record[models.Order], reported: Reported
) -> None:
    sent = {"ordId": "1", "px": "5", "newField": {"deep": [1]}}
    assert read(record, sent, reported)["px"] == "5"
    assert read(record, sent, reported)["px"] == "5"
    assert read(record, {"ordId": "1", "px": "5"}, reported)["px"] == "5"
    assert read(record, {"ordId": "1", "px": None, "otherField": None}, reported)["px"] == ""
    assert read(record, sent | {"px": None, "otherField": None}, reported)["px"] == ""
    assert read(record, sent | {"otherField": None}, reported)["px"] == "5"
    names = "newField newField otherField newField otherField newField otherField".split()
    assert reported.anomalies == [("unknown-field", name) for name in names]


def test_an_unknown_value_is_kept_and_reported(record: Record[models.Order], reported: Reported) -> None:
    assert read(record, {"ordId": "1", "state": "pondering"}, reported)["state"] == "pondering"
    assert reported.anomalies == [("unknown-value", "state=pondering")]


@pytest.mark.parametrize("time", ["-5", "soon", "1" * 40, "1.5", "٣", "0x10"])
def test_an_invalid_time_is_absent(record: Record[models.Order], reported: Reported, time: str) -> None:
    assert read(record, {"ordId": "1", "uTime": time}, reported)["u_time"] == ""
    assert reported.anomalies == [("invalid-time", "u_time")]


def test_only_a_lone_surrogate_is_replaced() -> None:
    assert strip_lone_surrogates(r'{"a":"\ud800x \\ud800 \u00e9 \n"}') == r'{"a":"?x \\ud800 \u00e9 \n"}'


@pytest.mark.parametrize("raw", [b"[1]", b"null", b'{"ordId":', b"[" * 100_000, b'"text"'])
def test_text_that_is_not_an_object_is_not_a_row(record: Record[models.Order], reported: Reported, raw: bytes) -> None:
    assert record.read(raw, reported) is None


@pytest.mark.parametrize(("sent", "kept"), [(7, "7"), ("7", "7"), (None, ""), ("", "")])
def test_a_code_is_a_number_or_text_or_null(reported: Reported, sent: object, kept: str) -> None:
    record = Record(models.Instrument)
    found = record.read(msgspec.json.encode({"instId": "X", "instIdCode": sent}), reported)
    assert found is not None
    assert dict(zip(record.columns, record.values(found, reported), strict=True))["inst_id_code"] == kept
