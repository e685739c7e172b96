"""POST operations that are not orders: settings of an account, and the check of an order.

Each takes one object and replies with one row, or fails with an outer code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.rows import Row


@dataclass(frozen=True)
class SettingOperation:
    """One of them: at most `limit` requests of an account in `period_s`."""

    path: str
    execute: Callable[[Exchange, str, Mapping[str, Any]], Row]
    limit: int
    period_s: float = 2.0
    per: str = ""  # a parameter whose values are counted separately


SETTING_OPERATIONS = {
    each.path: each
    for each in (
        SettingOperation("account/set-leverage", Exchange.set_leverage, 20),
        SettingOperation("account/set-position-mode", Exchange.set_position_mode, 5),
        SettingOperation("trade/cancel-all-after", Exchange.cancel_all_after, 1, 1.0, per="tag"),
        SettingOperation("trade/order-precheck", Exchange.precheck_row, 5),
    )
}
