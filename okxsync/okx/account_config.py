"""The row of ``GET account/config``, whatever types its fields have (OKX docs: get-account-configuration)."""

from typing import Final

import msgspec


class ConfigRow(msgspec.Struct, frozen=True):
    """What okxsync reads of it; a field that is absent, null or neither text nor a number is ``""``."""

    uid: str = ""
    main_uid: str = ""
    acct_lv: str = ""
    pos_mode: str = ""
    perm: str = ""
    ip: str = ""
    level: str = ""


_NAMES: Final = {"mainUid": "main_uid", "acctLv": "acct_lv", "posMode": "pos_mode"}


def read_config_row(row: bytes | str) -> ConfigRow:
    """Return the fields of a row; one of an unexpected type does not stop the others.

    Raises:
        msgspec.DecodeError: the row is not a JSON object.
    """
    found = msgspec.json.decode(row, type=dict[str, object])
    texts = {_NAMES.get(name, name): _text(value) for name, value in found.items()}
    return ConfigRow(**{name: texts.get(name, "") for name in ConfigRow.__struct_fields__})


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case bool() | None:
            return ""
        case int() | float():
            return str(value)
        case list():
            return ",".join(_text(one) for one in value)  # permissions and addresses are lists, joined by commas
        case _:
            return ""
