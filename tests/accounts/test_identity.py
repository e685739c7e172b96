"""Who may be mirrored under which name."""

from okxsync.accounts.identity import find_blocked
from okxsync.mirror.queries import Identity

ONE, TWO = Identity("1", False), Identity("2", False)


def events(told: dict[str, Identity], known: dict[str, Identity]) -> dict[str, str]:
    return {name: refusal.event.name for name, refusal in find_blocked(told, known).items()}


def test_names_of_different_accounts_are_all_mirrored() -> None:
    assert events({"a": ONE, "b": TWO}, {}) == {}
    assert events({"a": ONE, "b": TWO}, {"a": ONE, "gone": TWO}) == {}  # a renamed account is a new name


def test_of_two_names_for_one_account_the_second_is_refused() -> None:
    assert events({"a": ONE, "b": ONE, "c": ONE, "d": TWO}, {}) == {"b": "duplicate-account", "c": "duplicate-account"}


def test_that_name_stays_whose_rows_are_here() -> None:
    assert events({"a": ONE, "b": ONE}, {"b": ONE}) == {"a": "duplicate-account"}


def test_a_name_does_not_pass_to_another_account() -> None:
    assert events({"a": TWO}, {"a": ONE}) == {"a": "account-mismatch"}
    assert events({"a": TWO, "b": TWO}, {"a": ONE}) == {"a": "account-mismatch"}


def test_demo_trading_is_another_account_whatever_its_uid() -> None:
    assert events({"a": ONE, "b": Identity("1", True)}, {}) == {}
    assert events({"a": Identity("1", True)}, {"a": ONE}) == {"a": "account-mismatch"}
