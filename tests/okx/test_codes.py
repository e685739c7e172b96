"""The table of codes: complete, and of one mind with the page of facts about OKX."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from okxsync.okx.codes import CLOSES, CODES, Action, Meaning, meaning_of

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
    "60011": "we keep the order of login and subscribe: then it is a login that the exchange has lost",
    "60014": "the page says RETRY after a minute, which is SLOW",
    "60023": "the page says RETRY slow",
    "60007": "one RESYNC, then it is given up",
    "60010": "either",
    "60031": "then we are logged in",
    "50105": "its own word, in a row of others",
    "51028": "likewise",
    "51029": "likewise",
    "51030": "likewise",
    "64007": "reads may be repeated",
    "64008": "no error: a successor is opened",
    "4001": "the error frame before it tells",
    "50004": "reads may be repeated",
    "50113": "one RESYNC, then it is given up",
    "59500": "a call that a sub-account must not make is a mistake of ours",
    "59604": "likewise",
}
"""Where our word is another one, and why."""


def told(text: str) -> Iterator[tuple[str, str]]:
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


@pytest.mark.skipif(not FACTS.is_file(), reason="the page of facts is not here")
def test_every_code_that_is_known_has_an_action_and_the_right_one() -> None:
    found = dict(told(FACTS.read_text(encoding="utf-8")))
    assert len(found) > 150
    ours = {**CODES, **{str(code): meaning for code, meaning in CLOSES.items()}}
    assert sorted(found.keys() - ours.keys() - OURS.keys()) == []
    for code, row in found.items():
        if code not in OURS and (word := re.search("|".join(WORDS), row)):
            assert ours[code].action is WORDS[word[0]], row


def test_the_table_is_what_an_operator_can_read() -> None:
    for code, meaning in CODES.items():
        assert code.isdecimal(), code
        assert len(code) == 5, code
        assert meaning.text, code
        assert "\n" not in meaning.text + meaning.hint, code


def test_what_nobody_knows_is_tried_again() -> None:
    assert meaning_of("99999").action is Action.RETRY
    assert meaning_of(None).action is Action.RETRY
    assert meaning_of(60032) == CODES["60032"] != Meaning(Action.RETRY, "")
