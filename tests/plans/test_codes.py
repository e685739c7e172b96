"""Every code that OKX documents for orders has a meaning; one that is in no table proves nothing."""

import os
import re
from pathlib import Path

import pytest

from okxsync.plans.codes import _TABLE, CODES, SUB_CODES, Reaction, _each, meaning_of

FACTS = Path(os.environ.get("OKXSYNC_PAYLOADS", "")).parent / "okx-v5-trading.md"
NO_CODES = {"64008", "65000", "66811", "67012", "67213", "70000"}
"""Numbers of that page that are prices, or a notice."""
UNKNOWN = "50001 50004 50013 50026 50042 51054 51149 64007 51016 51011".split()
NOT_PLACED = """50036 50037 60011 60012 60013 60018 50100 50119 51008 51000 51010 51020 51121 51155 54030 54092 54109
    54094 51169 51170 51046 51305 54004 51004 51502""".split()
AGAIN = "50011 50061 50040 58102 50102 50112".split()


@pytest.mark.skipif(not FACTS.is_file(), reason="the page of facts is not available")
def test_every_documented_code_has_a_meaning() -> None:
    text = FACTS.read_text(encoding="utf-8")
    found = re.findall(r"(?<![\d.])([5-7]\d{4})(?:-([5-7]\d{4}))?(?![\d])", text)
    codes = {str(code) for first, last in found for code in range(int(first), int(last or first) + 1)} - NO_CODES
    assert len(codes) > 250
    assert sorted(code for code in codes if not meaning_of(code).known) == []


def test_no_code_has_two_meanings() -> None:
    listed = [code for texts in _TABLE.values() for each in texts for code in _each(each)]
    assert sorted({code for code in listed if listed.count(code) > 1}) == []
    assert len(listed) == len(CODES)


@pytest.mark.parametrize("code", UNKNOWN)
def test_what_may_hide_an_order_is_unknown(code: str) -> None:
    assert meaning_of(code).reaction in (Reaction.UNKNOWN, Reaction.EXISTS)


@pytest.mark.parametrize("code", NOT_PLACED)
def test_a_definite_refusal_is_not_placed(code: str) -> None:
    assert meaning_of(code).reaction in (Reaction.REJECT, Reaction.FIX, Reaction.ACCOUNT)


@pytest.mark.parametrize("code", AGAIN)
def test_after_a_rate_or_clock_error_the_order_may_be_sent_again(code: str) -> None:
    assert meaning_of(code).reaction in (Reaction.SLOW, Reaction.CLOCK)


@pytest.mark.parametrize("code", ["59999", "1", "", "x", "5000", "99999", "-1"])
def test_a_code_that_is_not_listed_is_unknown(code: str) -> None:
    assert meaning_of(code).reaction is Reaction.UNKNOWN


def test_codes_of_authentication_are_never_about_an_order() -> None:
    assert meaning_of("50199").reaction is Reaction.ACCOUNT


def test_a_sub_code_refines_the_text() -> None:
    assert meaning_of("51008", "1001").text.endswith(SUB_CODES["1001"])
    assert meaning_of("51008", "51008_1001") == meaning_of("51008", "1001")
    assert meaning_of("51008", "7777") == meaning_of("51008")
