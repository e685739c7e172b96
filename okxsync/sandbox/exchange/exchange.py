"""The exchange: members trade, prices move, and every change is pushed and can be read at once.

It is a stack of small classes on one state: ``booking`` (what a trade changes), ``matching`` (how orders fill),
``order_reading``, ``admission``, ``order_entry``, ``algos``, ``off_book``, ``settlement``, ``settings``, ``capacity``,
``dead_man``, ``funds`` and ``reads``. This module has
the members and the ticks. Nothing here does I/O: time comes from the given clock, randomness from the seed, and the
same calls at the same times give the same ids.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal

from okxsync.sandbox.exchange.dead_man import DeadMan
from okxsync.sandbox.exchange.funds import Funds
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.members import Credentials, Member
from okxsync.sandbox.exchange.orders import OrderRejected
from okxsync.sandbox.exchange.quotes import Quote
from okxsync.sandbox.exchange.reads import Reads
from okxsync.sandbox.exchange.state import Push

__all__ = ["Credentials", "Exchange", "Member", "OrderRejected", "Push"]

POS_MODES = {
    "1": ("net_mode",),
    "2": ("net_mode", "long_short_mode"),
    "3": ("net_mode", "long_short_mode"),
    "4": ("net_mode",),
}
"""The position modes of each account mode."""


class Exchange(DeadMan, Funds, Reads):
    """The whole exchange.

    Args:
        clock: Returns the time in ms UTC; while a clock goes back, the exchange's time stands still.
        seed: Determines ids, keys, the walk of prices and the sizes of partial fills.
        funding_ms: The funding interval of all swaps.
        interest_ms: The period of interest.
        expiry_ms: How long futures and options are listed.
        types: The instrument types to list; by default two spot pairs and two linear swaps.
    """

    def add_member(
        self,
        name: str,
        *,
        demo: bool = True,
        deposit: Mapping[str, str] | None = None,
        main_uid: str | None = None,
        perm: str = "read_only,trade",
        ip: str = "",
        vip: int = 0,
        acct_lv: str = "2",
        pos_mode: str = "net_mode",
    ) -> Member:
        """Open an account, with 100000 USDT by default; its keys follow from the seed and the name.

        Raises:
            ValueError: there is no such account mode, or it does not have this position mode.
        """
        if acct_lv not in POS_MODES or pos_mode not in POS_MODES[acct_lv]:
            raise ValueError(f"account mode {acct_lv} with {pos_mode} does not exist")
        self._now()
        digest = hashlib.sha256(f"{self._seed} {name}".encode()).hexdigest()
        key = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
        secret = hashlib.sha256(f"secret {digest}".encode()).hexdigest()[:32].upper()
        uid = str(700_000_000_000 + len(self.members) + 1)
        credentials = Credentials(key, secret, f"Pass-{digest[32:44]}")
        member = Member(name, uid, main_uid or uid, credentials, demo, perm, ip, vip, acct_lv, name, pos_mode)
        self.members[uid] = member
        self._accounts[uid] = Account(uid)
        for ccy, amt in ({"USDT": "100000"} if deposit is None else deposit).items():
            movement = self._movement(uid, ccy, amt)
            self._accounts[uid].deposits.append(movement)
            movement.state = "2"
            self._credit(movement)
            self._into_trading(movement)
        self._flush()
        return member

    def tick(self) -> None:
        """Advance time: prices move, orders fill and trigger, deposits and withdrawals proceed, funding is settled.

        While the market is closed only deposits and withdrawals proceed.
        """
        now = self._now()
        self._change_due()
        self._cancel_due()
        self._fill_racing()
        if self.closed:
            self._advance()
            self._flush()
            return
        for instrument in self.listed:
            inst_id = instrument.inst_id
            self._quotes[inst_id].step(self._random, now)
            self._remark(inst_id)
            self._cross(inst_id)
            self._trigger(inst_id)
        self._flush()
        self._advance()
        self._flush()
        self._settle_due()
        self._push_market()

    def set_mark(self, inst_id: str, px: str) -> None:
        """Move one mark to a price, for scripted tests; orders fill and trigger as at a tick."""
        self._quotes[inst_id].set_mark(Decimal(px), self._now())
        self._remark(inst_id)
        self._cross(inst_id)
        self._trigger(inst_id)
        self._flush()
        self._push_market()

    def _push_market(self) -> None:
        now = self._time
        for instrument in self.listed:
            inst_id = instrument.inst_id
            quote = self._quotes[inst_id]
            if quote.due("mark-price", text(quote.mark), now):
                self._pushes.append(Push("", "mark-price", [quote.mark_row()]))
            if quote.due("tickers", quote.last_text, now):
                self._pushes.append(Push("", "tickers", [quote.ticker_row()]))
            if self.watched:
                self._push_watched(quote, now)
            if quote.instrument.is_swap and quote.due("funding-rate", "", now):
                self._pushes.append(Push("", "funding-rate", [self.funding_rate_row(inst_id)]))

    def _push_watched(self, quote: Quote, now: int) -> None:
        """Push what is only made while somebody watches it."""
        inst_id, watched = quote.instrument.inst_id, self.watched
        if "trades" in watched:
            self._pushes += [Push("", "trades", [row]) for row in quote.tape.new_trade_rows()]
        if quote.due("books", f"{quote.mark} {quote.offered(buys=True)} {quote.offered(buys=False)}", now):
            for channel, levels in (("books5", 5), ("bbo-tbt", 1)):
                if channel in watched:
                    self._pushes.append(Push("", channel, [self.book_row(inst_id, levels)]))
        if "price-limit" in watched and quote.due("price-limit", text(quote.mark), now):
            self._pushes.append(Push("", "price-limit", [self.price_limit_row(inst_id)]))
