"""Make text of the exchange safe to print: without secrets and control characters."""

import re
from typing import Final

CONTROL_ESCAPES: Final = {code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
"""For ``str.translate``: escapes characters that move a terminal's cursor or break a line."""


def sanitize(text: object) -> str:
    """Return at most 200 characters of the exchange's text, without secrets and control characters."""
    return redact(str(text if text is not None else "")[:_MAX_LENGTH])[:200].translate(CONTROL_ESCAPES)


_MAX_LENGTH: Final = 10_000
_SECRET: Final = re.compile(
    r"""
    ((?<!\\)(?P<quoting>\\*)"(?:apiKey|passphrase|sign|secretKey)(?P=quoting)"\s*:\s*(?P=quoting)")
    (?:
        (?:[^"\\]|(?P=quoting)\\(?:(?P=quoting)["\\]|[^"\\]))*(?=(?P=quoting)"\s*[,}])
        |.*  # truncated or not JSON: the end of the secret is unknown
    )""",
    re.VERBOSE | re.DOTALL,
)
"""JSON may contain JSON as text. Each level escapes the quotation marks once more: by 1, 3, 7 ... backslashes."""


def redact(text: str) -> str:
    """Replace secrets by ``***``: the exchange repeats a request that it does not understand (60012)."""
    return _SECRET.sub(r"\1***", text)
