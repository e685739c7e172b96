"""Bills follow each other in whatever order OKX lists those of one moment; one that is missing breaks the chain."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from hypothesis import assume, given
from hypothesis import strategies as st

from okxsync.mirror.bill_chain import Break, Chain, Change, breaks_of

BEGIN = datetime(2027, 1, 15, tzinfo=UTC)
amounts = st.decimals("-1000", "1000", places=8).filter(bool)


def bills(changes: list[Decimal], moments: list[int], opening: Decimal) -> list[Change]:
    """Return bills that follow each other; ``moments`` are the milliseconds from each to the next."""
    after = list(accumulate(changes, initial=opening))[1:]
    times = accumulate(moments)
    return [
        Change(str(number), BEGIN + timedelta(milliseconds=at), change, bal)
        for number, (at, change, bal) in enumerate(zip(times, changes, after, strict=True))
    ]


def check(found: list[Change]) -> tuple[list[Break], frozenset[Decimal]]:
    chain = Chain()
    return list(breaks_of(found, chain)), chain.ends


@st.composite
def chains(draw: st.DrawFn, between: st.SearchStrategy[int]) -> list[Change]:
    changes = draw(st.lists(amounts, min_size=1, max_size=12))
    moments = draw(st.lists(between, min_size=len(changes), max_size=len(changes)))
    return bills(changes, moments, draw(amounts))


@given(chains(st.sampled_from([0, 0, 1, 400, 5000])), st.randoms())
def test_bills_of_one_moment_follow_each_other_in_any_order(found: list[Change], random: object) -> None:
    last = found[-1].bal
    random.shuffle(found)  # type: ignore[attr-defined]
    found.sort(key=lambda bill: bill.ts)
    breaks, ends = check(found)
    assert breaks == []
    assert last in ends


@given(chains(st.integers(1001, 5000)), st.data())
def test_a_missing_bill_breaks_the_chain(found: list[Change], data: st.DataObject) -> None:
    assume(len(found) > 2)
    index = data.draw(st.integers(1, len(found) - 2))
    del found[index]
    breaks, ends = check(found)
    after = found[index]
    assert breaks == [Break(after, found[index - 1].bal + after.bal_chg)]
    assert ends == {found[-1].bal}


@given(chains(st.sampled_from([0, 1])), st.data(), st.randoms())
def test_a_missing_bill_is_noticed_among_bills_of_one_moment(
    found: list[Change], data: st.DataObject, random: object
) -> None:
    assume(len(found) > 2 and len({found[0].before, *(bill.bal for bill in found)}) > len(found))
    opening = Change("first", BEGIN - timedelta(seconds=5), Decimal(0), found[0].before)
    del found[data.draw(st.integers(0, len(found) - 2))]
    random.shuffle(found)  # type: ignore[attr-defined]
    found.sort(key=lambda bill: bill.ts)
    breaks, _ = check([opening, *found])
    assert len(breaks) == 1


def test_bills_that_change_nothing_and_bills_that_cancel_each_other_out() -> None:
    found = bills([Decimal(text) for text in ("5", "0", "-5", "5", "0", "-5")], [0] * 6, Decimal(0))
    breaks, ends = check(found[::-1])
    assert breaks == []
    assert Decimal(0) in ends
    apart = found[1]._replace(bal=Decimal(70), bill_id="x")
    breaks, _ = check([*found, apart])
    assert [one.bill.bill_id for one in breaks] == ["x"]


def test_bills_a_millisecond_apart_may_be_in_the_wrong_order() -> None:
    one, two, three = bills([Decimal(1)] * 3, [0, 1, 1], Decimal(0))
    swapped = [one, three._replace(ts=two.ts), two._replace(ts=three.ts)]
    assert check(swapped) == ([], frozenset({Decimal(3)}))
    breaks, _ = check([one, three, two._replace(ts=three.ts + timedelta(seconds=5))])
    assert len(breaks) == 2
