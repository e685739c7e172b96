"""Order frames of one account, as OKX pushes them: 1.2 KB each, of different orders, the same at each run.

Of 100 frames 60 are new orders; the rest are part fills, completions and cancels of earlier ones. The client order id
of an order says when its first frame was sent, so a reader of any database knows how old the row is that it sees.
"""

import json
import random
from dataclasses import dataclass
from typing import Final

SENTINEL: Final = 9_000_000_000_000_000_000
"""The last order of account n is SENTINEL + n: when it can be read, all before it were stored."""
UID: Final = 446_611_220_000
INSTRUMENTS: Final = {"BTC": 103_698.9, "ETH": 4_120.55, "SOL": 171.2, "XRP": 2.3911, "DOGE": 0.2217}
FIRST: Final = 2_700_000_000_000_000_000
FEE: Final = 0.0002 / 1e4  # of the price, for 0.01 contracts of 0.01 coins


@dataclass
class _Order:
    """One that is open: its frame's texts, and its size and what was filled of it, in hundredths of a contract."""

    texts: dict[str, str]
    size: int
    filled: int
    price: float


class Orders:
    """Makes the frames of account ``number`` one by one."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._rng = random.Random(number)
        self._made = 0
        self._open: list[_Order] = []

    def next(self, now_us: int) -> bytes:
        """Return the next frame, as of ``now_us`` (microseconds UTC)."""
        if not self._open or self._rng.random() < 0.6:
            order_id = FIRST + (self._number * 1_000_000 + self._count()) * 4096 + self._rng.randrange(4096)
            order = self._new(order_id, now_us)
            self._open.append(order)
        else:
            index = self._rng.randrange(len(self._open))
            order = self._open[index]
            self._change(order, now_us)
            if order.texts["state"] != "partially_filled":
                self._open[index] = self._open[-1]
                self._open.pop()
        return (_FRAME % order.texts).encode()

    def open(self, now_us: int) -> bytes:
        """Return the frame of a new order that is large enough for any number of part fills by ``fill``."""
        order = self._new(FIRST + (self._number * 1_000_000 + self._count()) * 4096, now_us)
        order.texts["sz"], order.size = "1000000", 100_000_000
        self._open.append(order)
        return (_FRAME % order.texts).encode()

    def fill(self, now_us: int) -> bytes:
        """Return the frame of a part fill; the order stays open."""
        order = self._rng.choice(self._open)
        self._fill(order, self._rng.randrange(1, 100), str(now_us // 1000))
        return (_FRAME % order.texts).encode()

    def last(self, now_us: int) -> bytes:
        """Return the frame that ends it all: a new order whose id is known beforehand."""
        return (_FRAME % self._new(SENTINEL + self._number, now_us).texts).encode()

    def _count(self) -> int:
        self._made += 1
        return self._made

    def _new(self, order_id: int, now_us: int) -> _Order:
        rng = self._rng
        base = rng.choice(list(INSTRUMENTS))
        side = rng.choice(("buy", "sell"))
        price = INSTRUMENTS[base] * rng.uniform(0.98, 1.02)
        size = rng.randrange(1, 5000)
        texts = {
            "uid": str(UID + self._number), "ordId": str(order_id), "clOrdId": f"b{now_us}", "base": base,
            "side": side, "posSide": rng.choice(("net", "net", "long" if side == "buy" else "short")),
            "px": f"{price:.5g}", "sz": _size(size), "lever": rng.choice(("3", "5", "10", "20")),
            "ordType": rng.choice(("limit", "limit", "post_only")), "tag": rng.choice(("", "", "grid7", "hedge")),
            "reduceOnly": rng.choice(("false", "false", "true")), "notionalUsd": f"{price * size / 1e4:.6f}",
            "cTime": str(now_us // 1000), "uTime": str(now_us // 1000), "state": "live", "cancelSource": "",
            "accFillSz": "0", "avgPx": "", "fee": "0", **_NO_FILL,
        }  # fmt: skip
        return _Order(texts, size, 0, price)

    def _change(self, order: _Order, now_us: int) -> None:
        rng, left = self._rng, order.size - order.filled
        at = str(now_us // 1000)
        if rng.random() < 0.25:
            order.texts |= {"uTime": at, "state": "canceled", "cancelSource": "1", **_NO_FILL}
            return
        self._fill(order, left if rng.random() < 0.3 else rng.randrange(1, left + 1), at)

    def _fill(self, order: _Order, fill: int, at: str) -> None:
        rng, price, left = self._rng, order.price, order.size - order.filled
        order.filled += fill
        order.texts |= {
            "uTime": at, "state": "filled" if fill == left else "partially_filled", "accFillSz": _size(order.filled),
            "avgPx": f"{price:.5g}", "fillPx": f"{price:.5g}", "fillSz": _size(fill), "fillTime": at,
            "tradeId": str(self._number * 1_000_000 + self._count()), "execType": rng.choice("TM"),
            "fillFee": f"{-price * fill * FEE:.8f}", "fillNotionalUsd": f"{price * fill / 1e4:.6f}",
            "fillMarkPx": f"{price:.5g}", "fee": f"{-price * order.filled * FEE:.8f}",
        }  # fmt: skip


def _size(hundredths: int) -> str:
    return f"{hundredths / 100:g}"


_NO_FILL: Final = {
    "fillPx": "", "fillSz": "0", "fillTime": "", "tradeId": "", "execType": "", "fillFee": "0", "fillNotionalUsd": "",
    "fillMarkPx": "",
}  # fmt: skip
_VARYING: Final = """accFillSz avgPx cTime cancelSource clOrdId execType fee fillFee fillMarkPx fillNotionalUsd fillPx
    fillSz fillTime lever notionalUsd ordId ordType posSide px reduceOnly side state sz tag tradeId
    uTime""".split()
_CONSTANT: Final = {
    "algoClOrdId": "", "algoId": "", "amendResult": "", "amendSource": "", "attachAlgoClOrdId": "",
    "attachAlgoOrds": [], "category": "normal", "ccy": "", "code": "0", "feeCcy": "USDT", "fillFeeCcy": "USDT",
    "fillFwdPx": "", "fillMarkVol": "", "fillPxUsd": "", "fillPxVol": "", "fillPnl": "0", "pnl": "0",
    "instId": "%(base)s-USDT-SWAP", "instType": "SWAP", "isTpLimit": "false", "lastPx": "%(px)s",
    "linkedAlgoOrd": {"algoId": ""}, "msg": "",
    "pxType": "", "pxUsd": "", "pxVol": "", "quickMgnType": "", "rebate": "0", "rebateCcy": "USDT", "reqId": "",
    "slOrdPx": "", "slTriggerPx": "", "slTriggerPxType": "", "source": "", "stpId": "", "stpMode": "cancel_maker",
    "tdMode": "cross", "tgtCcy": "", "tpOrdPx": "", "tpTriggerPx": "", "tpTriggerPxType": "",
}  # fmt: skip
_FRAME: Final = json.dumps(
    {
        "arg": {"channel": "orders", "instType": "ANY", "uid": "%(uid)s"},
        "data": [dict(sorted((_CONSTANT | {name: f"%({name})s" for name in _VARYING}).items()))],
    },
    separators=(",", ":"),
)
