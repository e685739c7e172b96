"""Frames of the raw log as lines: one line each, with control characters escaped."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from okxsync.mirror.frames import LoggedFrame
from okxsync.runtime.text import CONTROL_ESCAPES

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def as_text(frame: LoggedFrame) -> str:
    """Return time, account, channel or kind, and the frame as received except for control characters."""
    what = frame.channel if frame.kind == "push" else f"{frame.channel or '-'} {frame.kind}"
    return f"{_iso(frame.received_at)} {frame.account or 'market'} {what} {frame.text}".translate(CONTROL_ESCAPES)


def as_json(frame: LoggedFrame) -> str:
    """Return one JSON object. ``frame`` is the frame itself, or a string if it is not JSON on one line."""
    line = {
        "received_at": _iso(frame.received_at),
        "connection_id": frame.connection_id,
        "account": frame.account,
        "channel": frame.channel,
        "kind": frame.kind,
        "frame": msgspec.Raw(frame.text.encode()) if _is_line_of_json(frame.text) else frame.text,
    }
    return (
        msgspec.json.encode(line).decode().translate(CONTROL_ESCAPES)
    )  # they occur in strings only, and JSON has the same escapes


def _is_line_of_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return not any(character in text for character in "\n\r\t")


def _iso(at_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")
