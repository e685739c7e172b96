"""The account's configuration is read whatever types its fields have."""

import msgspec
import pytest

from okxsync.messages import ConfiguredAccount
from okxsync.okx.account_config import ConfigRow, read_config_row
from tests.support.desk import NOW, Desk

ROW = {
    "uid": "7001",
    "mainUid": "7000",
    "acctLv": "3",
    "posMode": "net_mode",
    "perm": "read_only",
    "ip": "",
    "level": "Lv1",
}


def read(**fields: object) -> ConfigRow:
    return read_config_row(msgspec.json.encode(ROW | fields))


def test_the_documented_row() -> None:
    assert read() == ConfigRow("7001", "7000", "3", "net_mode", "read_only", "", "Lv1")
    assert read_config_row(b"{}") == ConfigRow()


@pytest.mark.parametrize("value", [None, True, {}, {"a": 1}])
def test_a_field_that_is_no_text_is_absent_and_does_not_stop_the_others(value: object) -> None:
    assert read(posMode=value, ip=value, settleCcyList=value) == ConfigRow(
        "7001", "7000", "3", "", "read_only", "", "Lv1"
    )


def test_numbers_and_lists_are_read_as_text() -> None:
    assert read(uid=7001, acctLv=3).uid == "7001"
    assert read(acctLv=3).acct_lv == "3"
    assert read(perm=["read_only", "withdraw"]).perm == "read_only,withdraw"


@pytest.mark.parametrize("row", [b"[]", b"7", b"", b"{"])
def test_anything_but_an_object_is_an_error(row: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_config_row(row)


def test_an_account_is_known_whatever_types_its_configuration_has(desk: Desk) -> None:
    config = '{"uid":"7001","acctLv":3,"posMode":null,"mainUid":null,"perm":["read_only","trade"],"ip":null}'
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, config))
    expected = ("7001", None, "3", None, "read_only,trade", config)
    assert desk.rows("SELECT uid, main_uid, acct_lv, pos_mode, perm, raw FROM accounts") == [expected]
    assert desk.rows("SELECT what, count FROM anomalies ORDER BY 1") == [
        ("account/config: acctLv", 1),
        ("account/config: perm", 1),
    ]
