"""The exchange: members trade, prices move, and every change is pushed and can be read at once.

It is a stack of small classes on one state: ``matching`` (how orders fill), ``order_entry``, ``algos``, ``funds`` and
``reads``. This module has the members and the ticks. It supports net mode, spot and linear swaps. Nothing here does
I/O: time comes from the given clock, randomness from the seed, and the same calls give the same ids.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal

from okxsync.sandbox.exchange.algos import Algos
from okxsync.sandbox.exchange.funds import Funds
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import PLACES, Account
from okxsync.sandbox.exchange.orders import OrderRejected
from okxsync.sandbox.exchange.reads import Reads
from okxsync.sandbox.exchange.state import Credentials, Member, Push

__all__ = ["Credentials", "Exchange", "Member", "OrderRejected", "Push"]


class Exchange(Algos, Funds, Reads):
    """The whole exchange.

    Args:
        clock: Returns the time in ms UTC; while a clock goes back, the exchange's time stands still.
        seed: Determines ids, keys, the walk of prices and the sizes of partial fills.
        funding_ms: The funding interval of all swaps.
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
    ) -> Member:
        """Open an account, with 100000 USDT by default; its keys follow from the seed and the name."""
        self._now()
        digest = hashlib.sha256(f"{self._seed} {name}".encode()).hexdigest()
        key = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
        secret = hashlib.sha256(f"secret {digest}".encode()).hexdigest()[:32].upper()
        uid = str(700_000_000_000 + len(self.members) + 1)
        credentials = Credentials(key, secret, f"Pass-{digest[32:44]}")
        member = Member(name, uid, main_uid or uid, credentials, demo, perm, ip, vip, acct_lv, label=name)
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
        """Advance time: prices move, orders fill and trigger, deposits and withdrawals proceed, funding is settled."""
        now = self._now()
        for inst_id, quote in self._quotes.items():
            quote.step(self._random, now)
            self._remark(inst_id)
            self._cross(inst_id)
            self._trigger(inst_id)
        self._flush()
        self._advance()
        self._flush()
        if now >= self._next_funding:
            self._settle_funding()
            self._next_funding = now - now % self.funding_ms + self.funding_ms
            self._flush()
        self._push_market()

    def set_mark(self, inst_id: str, px: str) -> None:
        """Move one mark to a price, for scripted tests; orders fill and trigger as at a tick."""
        self._quotes[inst_id].set_mark(Decimal(px), self._now())
        self._remark(inst_id)
        self._cross(inst_id)
        self._trigger(inst_id)
        self._flush()
        self._push_market()

    def _settle_funding(self) -> None:
        """Longs pay shorts (or the reverse) the rate on their value; one bill of type 8 a position."""
        now = self._time
        for account in self._accounts.values():
            for key, position in account.positions.items():
                if not position.pos:
                    continue
                instrument, mark = position.instrument, self._marks[position.instrument.inst_id]
                rate = self._quotes[instrument.inst_id].funding_rate
                paid = round(-position.pos * instrument.ct_val * mark * rate, PLACES)
                position.cycles[-1].funding += paid
                position.cycles[-1].u_time = position.u_time = max(now, position.u_time)
                account.post(
                    self._next_id(),
                    now,
                    instrument.quote,
                    "8",
                    "174" if paid > 0 else "173",
                    paid,
                    pnl=paid,
                    sz=abs(position.pos),
                    px=mark,
                    pos_bal=position.pos,
                    instrument=instrument,
                    mgn_mode=position.mgn_mode,
                )
                touched = self._touch(account.uid)
                touched.event = "funding_fee"
                touched.paid(instrument.quote)
                touched.positions[key] = position
        for quote in self._quotes.values():
            if quote.instrument.is_swap:
                quote.funding_rate = Decimal(self._random.randrange(-20, 40)) / 100_000

    def _push_market(self) -> None:
        now = self._time
        for inst_id, quote in self._quotes.items():
            if quote.due("mark-price", text(quote.mark), now):
                self._pushes.append(Push("", "mark-price", [quote.mark_row()]))
            if quote.due("tickers", quote.last_text, now):
                self._pushes.append(Push("", "tickers", [quote.ticker_row()]))
            if quote.instrument.is_swap and quote.due("funding-rate", "", now):
                self._pushes.append(Push("", "funding-rate", [self.funding_rate_row(inst_id)]))
