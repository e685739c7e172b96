"""Sizes of accounts from a CSV file beside the plan."""

import re
from decimal import Decimal

import pytest

from okxsync.plans.canonical import canonical
from okxsync.plans.document import PlanError
from okxsync.plans.plan_file import read
from okxsync.plans.size_files import MAX_BYTES, read_sizes

PLAN = (
    'title = "t"\n[accounts]\ninclude = ["all"]\n[[legs]]\ninstrument = "BTC-USDT-SWAP"\nside = "buy"\n[legs.size]\n'
    'rule = "table"\ncsv = "sizes.csv"\n'
)


@pytest.mark.parametrize(
    "text",
    [
        "alpha,1\nbeta,0.25",
        "account,size\r\nalpha,1\r\n\r\nbeta, 0.25\r\n",
        '\ufeffAccount,Size\n"alpha","1"\n beta ,0.25',
    ],
)
def test_it_has_a_line_for_each_account(text: str) -> None:
    assert read_sizes(text) == {"alpha": Decimal(1), "beta": Decimal("0.25")}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "it lists no account"),
        ("account,size\n", "it lists no account"),
        ("alpha;1", "line 1: expected account,size"),
        ("alpha,1,2", "line 1: expected account,size"),
        ("alpha,1\nbeta,", "line 2: expected account,size"),
        ("alpha,1\naccount,size", 'line 2: invalid number "size"; use 5000 or "0.25"'),
        ("alpha,1e3", 'line 1: invalid number "1e3"; use 5000 or "0.25"'),
        ("alpha,-1", "line 1: -1: must be 0 or above"),
        ("alpha,1\nalpha,2", 'line 2: "alpha" is listed twice'),
        ("x" * 200_000, "line 1: field larger than field limit (131072)"),
        ("x" * (MAX_BYTES + 1), f"the file is longer than {MAX_BYTES} bytes"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=re.escape(error)) as found:
        read_sizes(text)
    assert str(found.value) == error


def test_the_plan_is_stored_with_the_sizes_and_without_the_file() -> None:
    asked: list[str] = []
    plan = read(PLAN, read_file=lambda name: asked.append(name) or "alpha,1\nbeta,2")  # type: ignore[func-returns-value]
    assert asked == ["sizes.csv"]
    assert plan.legs[0].size.sizes == {"alpha": Decimal(1), "beta": Decimal(2)}
    assert read(canonical(plan)) == plan


def _missing(name: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", name)


@pytest.mark.parametrize(
    ("text", "read_file", "error"),
    [
        (PLAN, None, "leg 1, size csv: a file is read by `okxsync plan preview` alone; give the sizes in table"),
        (PLAN, _missing, "leg 1, size csv: sizes.csv: No such file or directory"),
        (PLAN, lambda name: "alpha", "leg 1, size csv: sizes.csv: line 1: expected account,size"),
        (f'{PLAN}table = {{ alpha = "1" }}\n', lambda name: "beta,1", 'leg 1, size table: belongs to the rule "table"'),
        (
            PLAN.replace('rule = "table"', 'rule = "contracts"\nvalue = 1'),
            lambda name: "alpha,1",
            'leg 1, size table: belongs to the rule "table"',
        ),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(text: str, read_file: object, error: str) -> None:
    with pytest.raises(PlanError) as found:
        read(text, read_file=read_file)  # type: ignore[arg-type]
    assert found.value.lines[0].startswith(error)
