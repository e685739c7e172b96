"""The account table of ``okxsync status``: the worst first, with fewer columns on a narrow terminal."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from okxsync.console.format import UNKNOWN, age, and_more
from okxsync.mirror.accounts import AccountState, ChannelState

WIDE: Final = 110
"""From this terminal width on, all columns of the table are shown."""


def render_accounts(accounts: Sequence[AccountState], *, wide: bool, most: int, cut: bool = False) -> RenderableType:
    """Return a table of the first ``most`` accounts, in the given order.

    Args:
        wide: Show all columns.
        cut: Cut what does not fit into one line per account; else it is wrapped.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("account", overflow="ellipsis", no_wrap=True)
    table.add_column("complete up to", no_wrap=True)
    for name in ("equity USD", "orders", "positions", "gaps"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("channels: last push", overflow="ellipsis" if cut else "fold", no_wrap=cut)
    for one in accounts[:most]:
        dim = "" if one.stale_s is None else "dim"
        cells = [
            Text(one.name),
            _complete_up_to(one),
            Text(_money(one.equity), dim),
            Text(_number(one.open_orders), dim),
            Text(_number(one.positions), dim),
            Text(str(one.gaps_open or ""), "yellow"),
        ]
        table.add_row(*cells, *([_channels(one.channels)] if wide else []))
    return Group(table, *and_more([one.is_well for one in accounts[most:]], "live and complete"))


def _complete_up_to(one: AccountState) -> Text:
    """Return what is proved: new rows are there within milliseconds, and the proof of `orders` about a minute later."""
    if one.age_s is None:
        return Text("never covered", "red")
    if one.stale_s is not None:
        return Text(f"STALE {age(one.stale_s)} ago", "red")
    return Text(f"{age(one.age_s)} ago", "yellow" if one.gaps_open else "green")


def _channels(channels: Sequence[ChannelState]) -> Text:
    text = Text()
    for one in channels:
        last_push = age(one.push_age_s) if one.push_age_s is not None else "none yet"
        text.append(f"{', ' if text else ''}{one.channel} {last_push}", "" if one.live else "red")
    return text


def _money(amount: str | None) -> str:
    """Return an amount with two decimals, truncated and not rounded; the database has the exact one."""
    if not amount:
        return UNKNOWN
    units, point, cents = amount.partition(".")
    return f"{units}.{cents[:2]:0<2}" if point else units


def _number(count: int | None) -> str:
    return UNKNOWN if count is None else str(count)
