"""Complete lists of wire rows, newest first. The server applies filters, pages and retention."""

from collections import Counter

from okxsync.sandbox.exchange import balances, money_rows, position_rows, rows
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.exchange.state import State
from okxsync.sandbox.exchange.tape import Tape


class Reads(State):
    """The read methods, one for each list that REST offers."""

    def account_row(self, uid: str) -> Row:
        """The row of ``GET account/balance``, with all non-zero currencies."""
        self._now()
        return self._account_row(uid, None)

    def position_rows(self, uid: str, *, with_closed: bool = False) -> list[Row]:
        """The rows of ``GET account/positions``; closed ones have ``pos`` 0."""
        held = [each for each in self.account(uid).positions.values() if each.pos or (with_closed and each.cycles)]
        return [self._position_row(each) for each in sorted(held, key=lambda each: int(each.pos_id), reverse=True)]

    def balance_and_position_row(self, uid: str) -> Row:
        """The snapshot of channel ``balance_and_position``."""
        account, now = self.account(uid), self._now()
        return {
            "pTime": str(now),
            "eventType": "snapshot",
            "balData": [balances.balance_data(account, ccy, now) for ccy in sorted(account.cash) if account.cash[ccy]],
            "posData": [position_rows.position_data(each) for each in account.positions.values() if each.pos],
            "trades": [],
        }

    def order_rows(self, uid: str) -> list[Row]:
        """All orders ever, as REST reports them."""
        return [rows.order_row(order) for order in reversed(self.account(uid).orders.values())]

    def order_counts(self) -> Counter[tuple[str, str]]:
        """How many orders exist or existed, by name of the account and ``clOrdId``."""
        return Counter(
            (self.members[uid].name, order.cl_ord_id)
            for uid, account in self._accounts.items()
            for order in account.orders.values()
        )

    def algo_rows(self, uid: str) -> list[Row]:
        """All algo orders ever, in any state."""
        algos = reversed(self.account(uid).algos.values())
        return [rows.algo_row(algo, self._quotes[algo.instrument.inst_id].last_text) for algo in algos]

    def fill_rows(self, uid: str) -> list[Row]:
        return [rows.fill_row(order, fill) for order, fill in reversed(self.account(uid).fills)]

    def bill_rows(self, uid: str) -> list[Row]:
        return [money_rows.bill_row(bill) for bill in reversed(self.account(uid).bills)]

    def positions_history_rows(self, uid: str) -> list[Row]:
        """One row a position's life, from its first partial close; newest change first."""
        lives = [
            (cycle, position)
            for position in self.account(uid).positions.values()
            for cycle in position.cycles
            if cycle.closed
        ]
        lives.sort(key=lambda life: (life[0].u_time, life[0].c_time), reverse=True)
        return [position_rows.cycle_row(position, cycle) for cycle, position in lives]

    def deposit_rows(self, uid: str) -> list[Row]:
        return [money_rows.deposit_row(deposit) for deposit in reversed(self.account(uid).deposits)]

    def withdrawal_rows(self, uid: str) -> list[Row]:
        return [money_rows.withdrawal_row(each) for each in reversed(self.account(uid).withdrawals)]

    def asset_bill_rows(self, uid: str) -> list[Row]:
        return [money_rows.asset_bill_row(bill) for bill in reversed(self.account(uid).asset_bills)]

    def asset_balance_rows(self, uid: str) -> list[Row]:
        """Non-zero balances of the funding account."""
        funds = self.account(uid).funds
        return [
            {"availBal": text(bal), "bal": text(bal), "ccy": ccy, "frozenBal": "0"}
            for ccy, bal in sorted(funds.items())
            if bal
        ]

    def config_row(self, uid: str) -> Row:
        """The row of ``GET account/config``."""
        member = self.members[uid]
        return {
            "acctLv": member.acct_lv,
            "acctStpMode": member.acct_stp_mode,
            "autoLoan": member.pooled,
            "ctIsoMode": "automatic",
            "enableSpotBorrow": False,
            "feeType": "0",
            "greeksType": "PA",
            "ip": member.ip,
            "kycLv": "2",
            "label": member.label,
            "level": f"VIP{member.vip}" if member.vip else "Lv1",
            "levelTmp": "",
            "liquidationGear": "-1",
            "mainUid": member.main_uid,
            "mgnIsoMode": "automatic",
            "opAuth": "0",
            "perm": member.perm,
            "posMode": member.pos_mode,
            "roleType": "0",
            "settleCcy": "USDT",
            "settleCcyList": ["USDT"],
            "spotBorrowAutoRepay": False,
            "spotOffsetType": "",
            "spotRoleType": "0",
            "spotTraderInsts": [],
            "stgyType": "0",
            "traderInsts": [],
            "type": "0" if member.uid == member.main_uid else "1",
            "uid": member.uid,
        } | member.config

    def tape(self, inst_id: str) -> Tape:
        """The public trades and candles of an instrument."""
        return self._quotes[inst_id].tape

    def book_row(self, inst_id: str, levels: int) -> Row:
        """The row of ``GET market/books``: the market, without the members' own orders."""
        quote = self._quotes[inst_id]
        asks, bids = quote.book_levels(levels, buys=True), quote.book_levels(levels, buys=False)
        return {"asks": asks, "bids": bids, "instId": inst_id, "seqId": quote.time, "ts": str(self._time)}

    def price_limit_row(self, inst_id: str) -> Row:
        """The row of ``GET public/price-limit``; options have no band."""
        instrument = self.instruments[inst_id]
        highest, lowest = ("", "") if instrument.is_option else map(text, self.band(inst_id))
        row = {"buyLmt": highest, "enabled": not instrument.is_option, "instId": inst_id}
        return row | {"instType": instrument.inst_type, "sellLmt": lowest, "ts": str(self._time)}

    def instrument_rows(self, inst_type: str, *, demo: bool = True) -> list[Row]:
        """The rows of ``GET public/instruments``; codes differ between demo and live trading."""
        if inst_type == "MARGIN" and "MARGIN" not in self.types:
            return []
        wanted = "SPOT" if inst_type == "MARGIN" else inst_type
        return [each.row(demo, inst_type) for each in self.listed if each.inst_type == wanted]

    def mark_price_rows(self, inst_type: str) -> list[Row]:
        return [self._quotes[each.inst_id].mark_row() for each in self.listed if each.inst_type == inst_type]

    def ticker_rows(self, inst_type: str) -> list[Row]:
        return [self._quotes[each.inst_id].ticker_row() for each in self.listed if each.inst_type == inst_type]

    def funding_rate_row(self, inst_id: str) -> Row:
        """The row of ``GET public/funding-rate``; only swaps have one."""
        return self._quotes[inst_id].funding_row(self._next_funding, self.funding_ms, self._time)
