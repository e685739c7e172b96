"""The row of ``GET account/config``, whatever types its fields have (OKX docs: get-account-configuration)."""

from typing import Final

import msgspec
from msgspec.structs import fields


class ConfigRow(msgspec.Struct, frozen=True, rename="camel"):
    """What okxsync reads of it; a field that is absent, null or neither text nor a number is ``""``."""

    uid: str = ""
    main_uid: str = ""
    acct_lv: str = ""
    pos_mode: str = ""
    perm: str = ""
    ip: str = ""
    level: str = ""


_NAMES: Final = {field.encode_name: field.name for field in fields(ConfigRow)}
_decode: Final = msgspec.json.Decoder(dict[str, object]).decode


def read_config_row(row: bytes | str) -> ConfigRow:
    """Return the fields of a row; one of an unexpected type does not stop the others.

    Raises:
        msgspec.DecodeError: the row is not a JSON object.
    """
    found = _decode(row)
    texts = {name: _text(found.get(field)) for field, name in _NAMES.items()}
    return ConfigRow(**texts)


def unexpected_fields(row: bytes | str) -> list[str]:
    """Return the names of the fields that are read and are neither text nor null."""
    found = _decode(row)
    return [field for field in _NAMES if not isinstance(found.get(field), str | None)]


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
