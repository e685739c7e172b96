"""The public tape of one instrument: its last trades, and its minutes, of which candles are made."""

from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange.instruments import Instrument, text

KEPT_TRADES = 500
KEPT_MINUTES = 1500
_MINUTE = 60_000
BARS = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1H": 60, "2H": 120, "4H": 240,
    "6H": 360, "12H": 720, "1D": 1440, "6Hutc": 360, "12Hutc": 720, "1Dutc": 1440,
}  # fmt: skip
"""Minutes of a candle. Days begin at 00:00 UTC here, whatever the bar says."""


@dataclass(slots=True)
class _Minute:
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def add(self, high: Decimal, low: Decimal, close: Decimal, volume: Decimal) -> None:
        self.high, self.low = max(self.high, high), min(self.low, low)
        self.close = close
        self.volume += volume


class Tape:
    """Records trades. Times in ms."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._trades: deque[tuple[int, Decimal, Decimal, int]] = deque(maxlen=KEPT_TRADES)  # id, price, size, time
        self._minutes: OrderedDict[int, _Minute] = OrderedDict()
        self._last_id = 0
        self._pushed_id = 0

    def record(self, px: Decimal, sz: Decimal, now: int) -> None:
        """Add a trade."""
        self._last_id += 1
        self._trades.append((self._last_id, px, sz, now))
        start = now - now % _MINUTE
        minute = self._minutes.setdefault(start, _Minute(px, px, px, px, Decimal(0)))
        minute.add(px, px, px, sz)
        if len(self._minutes) > KEPT_MINUTES:
            self._minutes.popitem(last=False)

    def trade_rows(self, most: int) -> list[dict[str, Any]]:
        """The rows of ``GET market/trades``, newest first."""
        return [self._row(*each) for each in list(self._trades)[: -most - 1 : -1]]

    def new_trade_rows(self) -> list[dict[str, Any]]:
        """The rows of channel ``trades`` since the last call, oldest first."""
        since = self._pushed_id or self._last_id - 1
        self._pushed_id = self._last_id
        return [self._row(*each) | {"count": "1", "seqId": each[0]} for each in self._trades if each[0] > since]

    def _row(self, trade_id: int, px: Decimal, sz: Decimal, at: int) -> dict[str, Any]:
        side = "buy" if trade_id % 2 else "sell"
        ids = {"instId": self._instrument.inst_id, "source": "0", "tradeId": str(trade_id)}
        return ids | {"px": text(px), "side": side, "sz": text(sz), "ts": str(at)}

    def candle_rows(self, bar: str, now: int) -> list[list[str]]:
        """The rows of ``GET market/candles``, newest first; the bar is one of `BARS`."""
        period = BARS[bar] * _MINUTE
        joined: OrderedDict[int, _Minute] = OrderedDict()
        for start, each in sorted(self._minutes.items()):
            begin = start - start % period
            into = joined.setdefault(begin, _Minute(each.open, each.high, each.low, each.close, Decimal(0)))
            into.add(each.high, each.low, each.close, each.volume)
        return [self._candle(begin, each, now >= begin + period) for begin, each in reversed(joined.items())]

    def _candle(self, begin: int, bar: _Minute, done: bool) -> list[str]:
        instrument = self._instrument
        coins = bar.volume if instrument.is_spot else bar.volume * instrument.ct_val
        in_ccy = coins / bar.close if instrument.inverse else coins
        in_quote = coins if instrument.inverse else coins * bar.close
        prices = [text(each) for each in (bar.open, bar.high, bar.low, bar.close)]
        volumes = [text(round(each, 8)) for each in (bar.volume, in_ccy, in_quote)]
        return [str(begin), *prices, *volumes, "1" if done else "0"]
