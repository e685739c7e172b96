"""What an account holds is shown with its age, and unknown numbers are not shown as zero."""

import os
from io import StringIO

import pytest
from rich.console import Console

from okxsync.console.status import console, render
from okxsync.messages import ConfiguredAccount, Lost, Subscribed, WantedChannels
from okxsync.mirror.accounts import AccountState, ChannelState, Details, by_number
from okxsync.okx.channels import DEFAULT_CHANNELS
from tests.support.desk import NOW, Desk, order, phase
from tests.support.reading import read_details, read_status

S = 1_000_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.apply(
        ConfiguredAccount("alpha", "sandbox", True, NOW, None), ConfiguredAccount("beta", "sandbox", True, NOW, None)
    )
    desk.begin("account", "orders", pid=os.getpid())
    return desk


def states(desk: Desk, *, alive: bool = True, later_s: int = 1) -> dict[str, AccountState]:
    return {one.name: one for one in read_details(desk.path, NOW + later_s * S, storing=alive).accounts}


def test_what_an_account_holds(desk: Desk) -> None:
    desk.push("account", {"uTime": "5", "totalEq": "1234.567", "details": []})
    desk.push("orders", order(1), order(2, state="filled"), order(3, state="partially_filled"))
    alpha = states(desk)["alpha"]
    assert (alpha.equity, alpha.open_orders, alpha.stale_s) == ("1234.567", 2, None)
    assert alpha.age_s == pytest.approx(1, abs=0.01)
    assert [(one.channel, one.live) for one in alpha.channels] == [("account", True), ("orders", True)]


def test_what_was_never_covered_is_not_zero(desk: Desk) -> None:
    found = states(desk)
    assert (found["alpha"].open_orders, found["alpha"].positions) == (0, None)
    assert (found["beta"].open_orders, found["beta"].equity, found["beta"].age_s) == (None, None, None)
    assert not found["beta"].is_well


def test_a_lost_channel_makes_the_account_stale(desk: Desk) -> None:
    desk.apply(Lost(1, "alpha", ["orders"], NOW, "reset"))
    alpha = states(desk, later_s=60)["alpha"]
    assert (alpha.stale_s, alpha.gaps_open, alpha.gaps_being_filled) == (60.0, 1, 0)
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW + S))
    alpha = states(desk)["alpha"]
    assert (alpha.stale_s, alpha.gaps_open, alpha.gaps_being_filled, alpha.is_well) == (None, 1, 1, False)


def test_a_channel_that_is_no_longer_configured_makes_no_account_stale(desk: Desk) -> None:
    desk.apply(Lost(1, "alpha", ["orders"], NOW, "stopped"), WantedChannels([("alpha", "account")]))
    alpha = states(desk, later_s=60)["alpha"]
    assert ([one.channel for one in alpha.channels], alpha.gaps_open, alpha.is_well) == (["account"], 0, True)


def test_a_disabled_account_is_not_listed(desk: Desk) -> None:
    desk.apply(WantedChannels([("beta", "orders")]))
    assert list(states(desk)) == ["beta"]
    desk.apply(WantedChannels([("alpha", "orders")]))
    assert list(states(desk)) == ["beta", "alpha"]


def test_a_channel_with_arguments_counts_as_its_own(desk: Desk) -> None:
    desk.apply(Subscribed(2, "beta", ["orders:instType=SWAP"], NOW))
    assert states(desk)["beta"].open_orders == 0


def test_without_a_daemon_every_account_is_stale(desk: Desk) -> None:
    assert states(desk, alive=False, later_s=60)["alpha"].stale_s == 60.0


def picture(
    desk: Desk, accounts: list[AccountState], width: int, *, height: int | None = None, problems: bool = False
) -> str:
    out = Console(width=width, file=StringIO())
    details = Details(sorted(accounts, key=lambda one: one.rank), 10**6, 0, 10**9)
    status = read_status(desk.path, NOW + S)
    out.print(render(status, details=details, width=width, height=height, problems=problems))
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def account(number: int, *, live: bool = True) -> AccountState:
    channels = [ChannelState(name, live, 0.5, 2.0, 1) for name in ("account", "orders", "positions")]
    return AccountState(f"account-{number:03}", channels, "1000000.123456", 12, 3)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("count", [20, 500])
def test_the_table_fits_and_lists_the_worst_first(desk: Desk, width: int, count: int) -> None:
    shown = picture(desk, [account(number, live=number != count - 1) for number in range(count)], width)
    lines = [line.strip() for line in shown.splitlines()]
    assert len(lines) < 70
    assert max(map(len, shown.splitlines())) <= width
    (first, *_) = (line for line in lines if line.startswith("account-"))
    assert first.startswith(f"account-{count - 1:03}")
    assert "STALE" in first
    assert "1000000.12" in first
    assert ("460 more live and complete" in shown) is (count == 500)
    only = picture(desk, [account(number, live=number != 7) for number in range(count)], width, problems=True)
    named = [line.strip()[:11] for line in only.splitlines()]
    assert [name for name in named if name.startswith("account-")] == ["account-007"]


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("count", [1, 20, 500])
@pytest.mark.parametrize("height", [24, 50])
def test_the_page_fits_the_terminal(desk: Desk, width: int, count: int, height: int) -> None:
    for number in range(2, count + 1):
        desk.apply(phase(NOW, number=number, listener=f"account-{number:03}"))
    accounts = [account(number, live=number > 2) for number in range(count)]
    lines = picture(desk, accounts, width, height=height).splitlines()
    assert len(lines) <= height
    assert lines[1].startswith("gaps ")
    assert any("STALE" in line for line in lines)
    assert count < 20 or len(lines) >= height - 3


def test_the_row_of_an_account_says_up_to_when_it_is_complete_and_is_one_line_in_a_pipe(desk: Desk) -> None:
    channels = [ChannelState(name, True, 65.0 if name == "orders" else 6.0, 3600.0, 1) for name in DEFAULT_CHANNELS]
    lines = picture(desk, [AccountState("account-001", channels, "1000000.1", 12, 3)], console().width).splitlines()
    (header,) = (line for line in lines if line.startswith(" account "))
    row = lines[lines.index(header) + 2]
    start = header.index("complete up to")
    assert row[start:].startswith("65.0 s ago ")
    assert all(f"{channel} 60 min" in row for channel in DEFAULT_CHANNELS)


def test_names_sort_by_the_numbers_in_them() -> None:
    assert sorted(["a10", "a2", "b1", "a", "2a", "10a"], key=by_number) == ["2a", "10a", "a", "a2", "a10", "b1"]
