"""Reading rows that are not what was promised."""

import msgspec
import pytest

from okxsync.events import Event
from okxsync.okx import models
from okxsync.store.decode import Record, strip_lone_surrogates


class Told:
    """What was odd."""

    def __init__(self) -> None:
        self.things: list[tuple[str, str]] = []

    def __call__(self, kind: Event, what: str) -> None:
        self.things.append((kind.name, what))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def record() -> Record[models.Order]:
    return Record(models.Order, times=("u_time",), known={"state": frozenset({"live"})})


def read(record: Record[models.Order], row: object, told: Told) -> dict[str, object]:
    found = record.read(msgspec.json.encode(row), told)
    assert found is not None
    return dict(zip(record.columns, record.values(found, told), strict=True))


def test_absent_is_empty(record: Record[models.Order], told: Told) -> None:
    row = read(record, {"ordId": "1", "px": ""}, told)
    assert (row["ord_id"], row["px"], row["sz"], row["attach_algo_ords"]) == ("1", "", "", "")
    assert told.things == []


def test_a_number_in_place_of_text_is_kept_exactly(record: Record[models.Order], told: Told) -> None:
    found = record.read(b'{"ordId":"1","px":0.10,"sz":12345678901234567890,"accFillSz":1e-7}', told)
    assert found is not None
    assert (found.px, found.sz, found.acc_fill_sz) == ("0.10", "12345678901234567890", "1e-7")
    assert {kind for kind, _ in told.things} == {"unexpected-type"}


@pytest.mark.parametrize(("sent", "kept"), [(None, ""), (True, "true"), ([1], "[1]"), ({"a": None}, '{"a":null}')])
def test_other_types_in_place_of_text(record: Record[models.Order], told: Told, sent: object, kept: object) -> None:
    assert read(record, {"ordId": "1", "px": sent, "side": "buy"}, told)["px"] == kept


def test_an_unknown_field_is_reported_for_each_row_that_has_it(record: Record[models.Order], told: Told) -> None:
    sent = {"ordId": "1", "px": "5", "newField": {"deep": [1]}}
    assert read(record, sent, told)["px"] == "5"
    assert read(record, sent, told)["px"] == "5"
    assert read(record, {"ordId": "1", "px": "5"}, told)["px"] == "5"
    assert read(record, {"ordId": "1", "px": None, "otherField": None}, told)["px"] == ""
    assert read(record, sent | {"px": None, "otherField": None}, told)["px"] == ""
    assert read(record, sent | {"otherField": None}, told)["px"] == "5"
    names = "newField newField otherField newField otherField newField otherField".split()
    assert told.things == [("unknown-field", name) for name in names]


def test_a_new_value_is_kept_and_named(record: Record[models.Order], told: Told) -> None:
    assert read(record, {"ordId": "1", "state": "pondering"}, told)["state"] == "pondering"
    assert told.things == [("unknown-value", "state=pondering")]


@pytest.mark.parametrize("time", ["-5", "soon", "1" * 40, "1.5", "٣", "0x10"])
def test_what_is_no_time_is_absent(record: Record[models.Order], told: Told, time: str) -> None:
    assert read(record, {"ordId": "1", "uTime": time}, told)["u_time"] == ""
    assert told.things == [("invalid-time", "u_time")]


def test_half_a_surrogate_pair_is_replaced_and_nothing_else() -> None:
    assert strip_lone_surrogates(r'{"a":"\ud800x \\ud800 \u00e9 \n"}') == r'{"a":"?x \\ud800 \u00e9 \n"}'


@pytest.mark.parametrize("raw", [b"[1]", b"null", b'{"ordId":', b"[" * 100_000, b'"text"'])
def test_no_object_is_no_row(record: Record[models.Order], told: Told, raw: bytes) -> None:
    assert record.read(raw, told) is None


@pytest.mark.parametrize(("sent", "kept"), [(7, "7"), ("7", "7"), (None, ""), ("", "")])
def test_a_code_is_a_number_or_text_or_null(told: Told, sent: object, kept: str) -> None:
    record = Record(models.Instrument)
    found = record.read(msgspec.json.encode({"instId": "X", "instIdCode": sent}), told)
    assert found is not None
    assert dict(zip(record.columns, record.values(found, told), strict=True))["inst_id_code"] == kept
