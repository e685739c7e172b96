"""Text of others made fit for a line of ours: without secrets and control characters."""

import re
from typing import Final

CONTROL_ESCAPES: Final = {code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
"""For ``str.translate``: what would move a terminal's cursor, or break a line, is written out."""


def sanitize(text: object) -> str:
    """Return what the exchange says, fit for a line of ours: without secrets and control characters, and not long."""
    return redact(str(text if text is not None else "")[:_LONGEST])[:200].translate(CONTROL_ESCAPES)


_LONGEST: Final = 10_000
_SECRET: Final = re.compile(
    r"""
    ((?<!\\)(?P<quoting>\\*)"(?:apiKey|passphrase|sign|secretKey)(?P=quoting)"\s*:\s*(?P=quoting)")
    (?:
        (?:[^"\\]|(?P=quoting)\\(?:(?P=quoting)["\\]|[^"\\]))*(?=(?P=quoting)"\s*[,}])
        |.*  # cut off in the middle, or no JSON: then who knows where it ends
    )""",
    re.VERBOSE | re.DOTALL,
)
"""JSON may stand as text in JSON: each time, what quoted is quoted once more, by one backslash, three, seven ..."""


def redact(text: str) -> str:
    """Blank what may be ours to hide: the exchange echoes a request that it does not understand (60012)."""
    return _SECRET.sub(r"\1***", text)
