"""An exchange with all instrument types and a clock that is moved by hand."""

from typing import Any

from okxsync.sandbox.exchange.catalogue import TYPES
from okxsync.sandbox.exchange.exchange import Exchange, Member, Push

START = 1_700_000_000_000
DEPOSIT = {"USDT": "100000", "BTC": "1", "ETH": "10"}


class World:
    """The exchange; `now` is its time in ms."""

    def __init__(self, seed: int = 1, **more: Any) -> None:
        self.now = START
        self.exchange = Exchange(lambda: self.now, seed, types=TYPES, **more)

    def member(self, acct_lv: str, pos_mode: str = "net_mode", deposit: dict[str, str] | None = None) -> Member:
        found = self.exchange.add_member(
            f"m{len(self.exchange.members)}", acct_lv=acct_lv, pos_mode=pos_mode, deposit=deposit or DEPOSIT
        )
        self.exchange.take_pushes()
        return found

    def listed(self, inst_type: str, start: str = "") -> str:
        """The first listed instrument of a type whose id starts so."""
        return next(
            each.inst_id
            for each in self.exchange.listed
            if each.inst_type == inst_type and each.inst_id.startswith(start)
        )

    def pushed(self, channel: str) -> list[dict[str, Any]]:
        """The rows that a channel has pushed since the last call of any kind."""
        return rows_of(self.exchange.take_pushes(), channel)


def rows_of(pushes: list[Push], channel: str) -> list[dict[str, Any]]:
    return [row for push in pushes if push.channel == channel for row in push.rows]
