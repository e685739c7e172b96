"""Which account may be mirrored under which name."""

from okxsync.accounts.identity import find_blocked
from okxsync.mirror.queries import Identity

ONE, TWO = Identity("1", False), Identity("2", False)


def events(claimed: dict[str, Identity], known: dict[str, Identity]) -> dict[str, str]:
    return {name: reason.event.name for name, reason in find_blocked(claimed, known).items()}


def test_names_of_different_accounts_are_all_mirrored() -> None:
    assert events({"a": ONE, "b": TWO}, {}) == {}
    assert events({"a": ONE, "b": TWO}, {"a": ONE, "old": TWO}) == {}  # a renamed account is a new name


def test_of_two_names_for_one_account_the_second_is_blocked() -> None:
    assert events({"a": ONE, "b": ONE, "c": ONE, "d": TWO}, {}) == {"b": "duplicate-account", "c": "duplicate-account"}


def test_the_name_with_stored_rows_keeps_the_account() -> None:
    assert events({"a": ONE, "b": ONE}, {"b": ONE}) == {"a": "duplicate-account"}


def test_a_name_cannot_be_reused_for_another_account() -> None:
    assert events({"a": TWO}, {"a": ONE}) == {"a": "account-mismatch"}
    assert events({"a": TWO, "b": TWO}, {"a": ONE}) == {"a": "account-mismatch"}


def test_demo_and_live_are_different_accounts_even_with_one_uid() -> None:
    assert events({"a": ONE, "b": Identity("1", True)}, {}) == {}
    assert events({"a": Identity("1", True)}, {"a": ONE}) == {"a": "account-mismatch"}
