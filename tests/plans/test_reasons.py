"""The table of reasons."""

from pathlib import Path

from okxsync.plans.reasons import REASONS, Reason, markdown_table

DOCS = Path(__file__).parents[2] / "docs" / "plans.md"


def test_each_code_has_a_meaning_and_a_remedy() -> None:
    assert set(REASONS) == set(Reason)
    assert all(entry.meaning and entry.remedy for entry in REASONS.values())


def test_the_documentation_has_the_table_of_reasons() -> None:
    assert markdown_table() in DOCS.read_text(encoding="utf-8")


def test_each_code_is_checked_at_preview_or_before_a_send() -> None:
    assert all(entry.at_preview or entry.at_send for entry in REASONS.values())


def test_only_an_own_order_ahead_is_a_warning() -> None:
    assert [code for code, entry in REASONS.items() if entry.warning] == [Reason.OWN_ORDER_AHEAD]
