"""Prices: each instrument's mark walks at random, seeded; the book is one tick to either side of it.

The walk is pulled gently towards the start price, so that long runs stay in a plausible range. What the public channels
push (``mark-price``, ``tickers``, ``funding-rate``) is derived from here, no more often than OKX does.
"""

from decimal import Decimal
from random import Random
from typing import Any

from okxsync.sandbox.exchange.instruments import Instrument, text
from okxsync.sandbox.exchange.tape import Tape

STEP = 0.0001
"""Standard deviation of one tick's relative move."""
PULL = 0.0005
"""The fraction of the relative distance to the start price that one tick takes back."""
MARK_MS, MARK_IDLE_MS, TICKER_MS, FUNDING_MS = 200, 10_000, 100, 60_000
BOOK_MS, LIMIT_MS = 100, 200
_LEAST_MS = {
    "mark-price": MARK_MS,
    "tickers": TICKER_MS,
    "funding-rate": FUNDING_MS,
    "books": BOOK_MS,
    "price-limit": LIMIT_MS,
}
"""Least time between two pushes of a channel; an unchanged mark is repeated after the idle time."""


class Quote:
    """The prices of one instrument. `depth` is the size that the market offers on each side, None for no limit."""

    def __init__(self, instrument: Instrument, now: int) -> None:
        self.instrument = instrument
        self.mark = self.last = self.open = self.high = self.low = instrument.start_px
        self.last_sz = instrument.min_sz
        self.volume = Decimal(0)
        self.time = now
        self.depth: Decimal | None = None
        self.tape = Tape(instrument)
        self._taken = {True: Decimal(0), False: Decimal(0)}  # by whether it was bought
        self.funding_rate = Decimal("0.0001") if instrument.is_swap else Decimal(0)
        self._pushed = {
            "mark-price": (-MARK_IDLE_MS, ""),
            "tickers": (-TICKER_MS, ""),
            "books": (-BOOK_MS, ""),
            "price-limit": (-LIMIT_MS, ""),
            "funding-rate": (-FUNDING_MS, ""),
        }

    @property
    def bid(self) -> Decimal:
        return max(self.mark - self.instrument.tick_sz, self.instrument.tick_sz)

    @property
    def ask(self) -> Decimal:
        return self.mark + self.instrument.tick_sz

    @property
    def last_text(self) -> str:
        return text(self.last)

    def offered(self, *, buys: bool) -> Decimal | None:
        """The size that takers can still buy or sell until the mark moves; None without a limit."""
        return None if self.depth is None else max(self.depth - self._taken[buys], Decimal(0))

    def take(self, sz: Decimal, *, buys: bool) -> None:
        """Take a size from the market."""
        self._taken[buys] += sz

    def step(self, random: Random, now: int) -> None:
        """Move the mark by one random step."""
        away = float(self.mark / self.instrument.start_px) - 1
        self.set_mark(self.mark * (1 + Decimal(round(random.gauss(-PULL * away, STEP), 9))), now)

    def set_mark(self, px: Decimal, now: int) -> None:
        self.mark = self.instrument.to_tick(px)
        self.time = now
        self._taken = {True: Decimal(0), False: Decimal(0)}
        self._trade(self.mark, self.instrument.min_sz)

    def trade(self, px: Decimal, sz: Decimal, now: int) -> None:
        """Record a trade of a member."""
        self.time = now
        self.volume += sz
        self._trade(px, sz)

    def _trade(self, px: Decimal, sz: Decimal) -> None:
        self.last, self.last_sz = px, sz
        self.tape.record(px, sz, self.time)
        self.high, self.low = max(self.high, px), min(self.low, px)

    def book_levels(self, levels: int, *, buys: bool) -> list[list[str]]:
        """One side of the book, best price first: price, size, "0", number of orders."""
        instrument, offered = self.instrument, self.offered(buys=buys)
        size = text(offered) if offered is not None else "10"
        best, step = (self.ask, instrument.tick_sz) if buys else (self.bid, -instrument.tick_sz)
        prices = [best + step * number for number in range(levels)]
        return [[text(px), size, "0", "1"] for px in prices if px > 0 and size != "0"]

    def mark_row(self) -> dict[str, Any]:
        instrument = self.instrument
        return {
            "instId": instrument.inst_id,
            "instType": instrument.inst_type,
            "markPx": text(self.mark),
            "ts": str(self.time),
        }

    def ticker_row(self) -> dict[str, Any]:
        instrument = self.instrument
        volume_ccy = self.volume * (self.mark if instrument.is_spot else instrument.ct_val)
        return {
            "askPx": text(self.ask),
            "askSz": "10",
            "bidPx": text(self.bid),
            "bidSz": "10",
            "high24h": text(self.high),
            "instId": instrument.inst_id,
            "instType": instrument.inst_type,
            "last": text(self.last),
            "lastSz": text(self.last_sz),
            "low24h": text(self.low),
            "open24h": text(self.open),
            "sodUtc0": text(self.open),
            "sodUtc8": text(self.open),
            "ts": str(self.time),
            "vol24h": text(self.volume),
            "volCcy24h": text(volume_ccy),
        }

    def funding_row(self, funding_time: int, interval: int, now: int) -> dict[str, Any]:
        """Return the row of the next settlement, at `funding_time`; times in ms."""
        rate = text(self.funding_rate)
        return {
            "formulaType": "withRate",
            "fundingRate": rate,
            "fundingTime": str(funding_time),
            "impactValue": "20000",
            "instId": self.instrument.inst_id,
            "instType": self.instrument.inst_type,
            "interestRate": "0.0001",
            "maxFundingRate": "0.00375",
            "method": "current_period",
            "minFundingRate": "-0.00375",
            "nextFundingRate": "",
            "nextFundingTime": str(funding_time + interval),
            "premium": "0",
            "settFundingRate": rate,
            "settState": "settled",
            "ts": str(now),
        }

    def due(self, channel: str, value: str, now: int) -> bool:
        """Return whether a channel must push `value` now, and record that it does."""
        pushed_at, pushed = self._pushed[channel]
        least = _LEAST_MS[channel]
        waited = now - pushed_at
        idle = channel in ("mark-price", "funding-rate") and waited >= max(MARK_IDLE_MS, least)
        if not idle and (waited < least or value == pushed):
            return False
        self._pushed[channel] = now, value
        return True
