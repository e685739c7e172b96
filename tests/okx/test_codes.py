"""The table of codes is complete, and agrees with the page of facts about OKX."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from okxsync.okx.codes import CLOSES, CODES, Action, Meaning, meaning_of, meaning_of_reply

FACTS = Path(os.environ.get("OKXSYNC_PAYLOADS", "")).parent / "okx-v5.md"
WORDS = {
    "FIX": Action.FIX,
    "GIVE UP": Action.GIVE_UP,
    "RETRY": Action.RETRY,
    "RESYNC": Action.RESYNC,
    "IGNORE": Action.IGNORE,
    "SLOW": Action.SLOW,
    "REJECT": Action.REJECT,
    "CHECK": Action.CHECK,
}
OURS = {
    "0": "success is no error",
    "60011": "okxsync subscribes after the login, so the exchange has lost the login",
    "60014": "the page has RETRY after a minute, which is SLOW",
    "60023": "the page has RETRY slow",
    "60007": "one RESYNC, then GIVE UP",
    "60010": "either",
    "60031": "the connection is logged in",
    "50105": "its row has several codes with different actions",
    "51028": "likewise",
    "51029": "likewise",
    "51030": "likewise",
    "64007": "reads may be repeated",
    "64008": "not an error: a successor is opened",
    "4001": "the error frame before it has the reason",
    "50004": "reads may be repeated",
    "50113": "one RESYNC, then GIVE UP",
    "59500": "a request that a sub-account must not send is our mistake",
    "59604": "likewise",
}
"""Codes with another action than the page's, and why."""


def documented(text: str) -> Iterator[tuple[str, str]]:
    """Return each code of the tables of sections 3.5 and 7, with its row."""
    sections = (
        text[text.index("### 3.5") : text.index("### 3.6")],
        text[text.index("## 7. REST") : text.index("## 8.")],
    )
    for line in "\n".join(sections).splitlines():
        first = line.strip("|").split("|")[0] if line.startswith("|") else ""
        for found in re.finditer(r"(\d{4,5})(?:-(\d{5}))?", first if re.match(r"\s*\d", first) else ""):
            for code in range(int(found[1]), int(found[2] or found[1]) + 1):
                yield str(code), line


@pytest.mark.skipif(not FACTS.is_file(), reason="the page of facts is not available")
def test_every_documented_code_has_the_documented_action() -> None:
    found = dict(documented(FACTS.read_text(encoding="utf-8")))
    assert len(found) > 150
    ours = {**CODES, **{str(code): meaning for code, meaning in CLOSES.items()}}
    assert sorted(found.keys() - ours.keys() - OURS.keys()) == []
    for code, row in found.items():
        if code not in OURS and (word := re.search("|".join(WORDS), row)):
            assert ours[code].action is WORDS[word[0]], row


def test_every_code_has_a_text_of_one_line() -> None:
    for code, meaning in CODES.items():
        assert code.isdecimal(), code
        assert len(code) == 5, code
        assert meaning.text, code
        assert "\n" not in meaning.text + meaning.hint, code


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (200, Action.UNLISTED),
        (400, Action.UNLISTED),
        (401, Action.GIVE_UP),
        (403, Action.GIVE_UP),
        (429, Action.SLOW),
        (503, Action.RETRY),
    ],
)
def test_the_http_status_decides_about_a_code_of_rest_that_is_not_listed(status: int, action: Action) -> None:
    assert meaning_of_reply("99999", status).action is action
    assert meaning_of_reply("50011", status) == CODES["50011"]


def test_an_unknown_code_is_retried() -> None:
    assert meaning_of("99999").action is Action.RETRY
    assert meaning_of(None).action is Action.RETRY
    assert meaning_of(60032) == CODES["60032"] != Meaning(Action.RETRY, "")
