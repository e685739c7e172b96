"""Decode the envelope of a frame: its subscription and its rows, even if some fields have unexpected types."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from okxsync.okx.channels import arguments_of, channel_of
from okxsync.store.decode import replace_nul, strip_lone_surrogates


class Arg(msgspec.Struct, rename="camel"):
    """The arguments of a subscription; one without limits has only ``ANY``."""

    channel: str = ""
    inst_type: str = ""
    inst_id: str = ""
    inst_family: str = ""
    ccy: str = ""


class Envelope(msgspec.Struct, rename="camel"):
    """The envelope of a push; the channel decides how its rows are decoded."""

    arg: msgspec.Raw
    data: list[msgspec.Raw]
    event_type: str = ""
    cur_page: int | None = None
    last_page: bool | None = None


class _LenientEnvelope(msgspec.Struct, rename="camel"):
    arg: msgspec.Raw
    data: list[msgspec.Raw]
    event_type: object = ""


decode_envelope: Final = msgspec.json.Decoder(Envelope).decode
decode_arg: Final = msgspec.json.Decoder(Arg).decode
decode_object: Final = msgspec.json.Decoder(dict[str, object]).decode
decode_rows: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


def row_texts(rows: str) -> list[str]:
    """Return the elements of a JSON array; text that is not an array is returned as the only element."""
    with suppress(*UNREADABLE):
        return [bytes(row).decode() for row in decode_leniently(decode_rows, rows)]
    return [rows]


T = TypeVar("T")


def decode_leniently(decode: Callable[[str], T], text: str) -> T:
    if "\\u0000" in text:
        text = replace_nul(text)
    try:
        return decode(text)
    except msgspec.DecodeError:
        return decode(strip_lone_surrogates(text))


def decode_lenient_envelope(text: str) -> Envelope:
    """Decode a frame with page marks of unexpected types: the marks are ignored, the rows count.

    Raises:
        msgspec.DecodeError: ``arg`` or the list of rows is missing.
    """
    found = msgspec.json.decode(text, type=_LenientEnvelope)
    event_type = found.event_type if isinstance(found.event_type, str) else ""
    return Envelope(found.arg, found.data, event_type)


def fits(key: str, arg: dict[str, object]) -> bool:
    """Whether a push with ``arg`` belongs to the subscription ``key`` (``channel`` or ``channel:name=value,...``)."""
    named = arguments_of(key)
    return arg.get("channel") == channel_of(key) and all(arg.get(name) == value for name, value in named.items())
