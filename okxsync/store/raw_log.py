"""The raw log: every frame as received, each compressed for itself so that any one can be read alone.

Small frames of one kind share nearly all their bytes, so they are compressed against a dictionary. The first one is
made with the database, of OKX's shapes; a second one, of the frames that really came, takes over after a while: order
frames of 1.25 KB then take 5 % of their size and not 17 %. Dictionaries are kept in ``codecs``, and each body says in
its header which one it needs. What might be a secret of ours, echoed by the exchange, never gets here.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import zstandard

from okxsync.okx import models
from okxsync.store.database import Connection

DICTIONARY_BYTES: Final = 24 * 1024
LEVEL: Final = 3
SAMPLES: Final = 1000
"""Frames to learn from: some 1 MB and 30 ms; three times as many compress no better."""
_FIRST_ID: Final = 0x6F6B78


class Codec:
    """Compresses with the newest dictionary of a database, and decompresses with whichever a body was made with."""

    def __init__(self, dictionaries: Iterable[tuple[int, bytes]]) -> None:
        self._readers: dict[int, zstandard.ZstdDecompressor] = {0: zstandard.ZstdDecompressor()}
        newest = None
        for _, body in sorted(dictionaries):
            newest = zstandard.ZstdCompressionDict(body)
            self._readers[newest.dict_id()] = zstandard.ZstdDecompressor(dict_data=newest)
        if newest:
            newest.precompute_compress(level=LEVEL)
        # The size is a column, and a checksum costs four bytes of some eighty.
        self.compress = zstandard.ZstdCompressor(level=LEVEL, dict_data=newest, write_checksum=False).compress

    def decompress(self, body: bytes) -> bytes:
        """Return the frame.

        Raises:
            zstandard.ZstdError: the body is damaged.
            KeyError: its dictionary is not in ``codecs``.
        """
        return self._readers[zstandard.get_frame_parameters(body).dict_id].decompress(body)


def open_codec(db: Connection) -> Codec:
    """Return the codec of a database, with a new dictionary if it has none yet."""
    if not db.execute("SELECT count(*) FROM codecs").fetchone()[0]:
        trained = train().as_bytes()
        db.execute("INSERT INTO codecs (id, name, body) VALUES (1, 'zstd-dictionary', ?)", [trained])
    return Codec(db.execute("SELECT id, body FROM codecs").fetchall())


def learns(db: Connection) -> bool:
    """Whether the database still uses its first dictionary."""
    return bool(db.execute("SELECT count(*) FROM codecs").fetchone()[0] == 1)


def learn(db: Connection, frames: Sequence[bytes]) -> Codec:
    """Return a codec with a dictionary made of frames that came, kept for readers; 12 ms, once in a database's life.

    To look for the best segments takes four times as long and compresses no better: of frames most is always the same.
    """
    number = db.execute("SELECT max(id) FROM codecs").fetchone()[0] + 1
    segments = {"k": 2000, "d": 8}
    body = zstandard.train_dictionary(
        DICTIONARY_BYTES, list(frames), level=LEVEL, dict_id=_FIRST_ID + number, **segments
    ).as_bytes()
    db.execute("INSERT INTO codecs (id, name, body) VALUES (?, 'zstd-dictionary', ?)", (number, body))
    return open_codec(db)


def train() -> zstandard.ZstdCompressionDict:
    """Make a dictionary of OKX's shapes; the same at each call."""
    return zstandard.train_dictionary(DICTIONARY_BYTES, list(_samples()), level=LEVEL, dict_id=_FIRST_ID)


def _samples() -> Iterator[bytes]:
    """Made-up frames: OKX's field names in OKX's (alphabetical) order, values of the usual looks."""
    rng = random.Random(5)
    for _ in range(40):
        for channel, model in _CHANNELS.items():
            arg = {"channel": channel, **_ARGS.get(channel, {}), "uid": str(rng.randrange(10**17, 10**18))}
            frame: dict[str, object] = {"arg": arg}
            row = _row(model, rng)
            if channel in ("account", "positions"):
                frame["eventType"] = rng.choice(["snapshot", "event_update"])
                if frame["eventType"] == "snapshot":
                    frame |= {"curPage": 1, "lastPage": True}
            if channel == "account":
                row["details"] = [_row(models.Balance, rng) for _ in range(rng.randrange(1, 4))]
            if channel == "balance_and_position":
                row |= {"balData": [_row(models.CashBalance, rng)], "posData": [], "trades": []}
            yield msgspec.json.encode(frame | {"data": [row]})


def _row(model: type[msgspec.Struct], rng: random.Random) -> dict[str, object]:
    names = sorted(field.encode_name for field in msgspec.structs.fields(model))
    row: dict[str, object] = {name: _value(name, rng) for name in names}
    if "algoClOrdId" in row and "linkedAlgoOrd" in row:
        row |= {"attachAlgoOrds": [], "linkedAlgoOrd": {"algoId": ""}}
    return row


def _value(name: str, rng: random.Random) -> object:
    if name in _USUAL:
        return rng.choice(_USUAL[name])
    if name in ("ordId", "posId", "depId", "wdId") or (name == "algoId" and rng.random() < 0.2):
        return str(rng.randrange(2 * 10**18, 3 * 10**18))
    if name in ("cTime", "uTime", "pTime", "ts", "fillTime"):
        return str(rng.randrange(1_760_000_000_000, 1_800_000_000_000))
    if name in ("sz", "accFillSz", "fillSz", "fee", "pnl", "px", "avgPx", "fillPx", "cashBal", "eq", "upl", "markPx"):
        return rng.choice(["0", "1", str(rng.randrange(1, 10**6) / 100), f"-{rng.random():.8f}"])
    return ""


_ARGS: Final = {"positions": {"instType": "ANY"}, "orders": {"instType": "ANY"}, "orders-algo": {"instType": "ANY"}}
_CHANNELS: Final[dict[str, type[msgspec.Struct]]] = {
    "orders": models.Order,
    "account": models.Equity,
    "positions": models.Position,
    "balance_and_position": models.BalanceAndPosition,
    "orders-algo": models.AlgoOrder,
    "deposit-info": models.Deposit,
    "withdrawal-info": models.Withdrawal,
    "mark-price": models.MarkPrice,
}
_USUAL: Final[dict[str, list[str]]] = {
    "instId": ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USDT", "ETH-USDT", "SOL-USDT-SWAP"],
    "instType": ["SWAP", "SPOT", "FUTURES"],
    "ccy": ["USDT", "BTC", "ETH", ""],
    "feeCcy": ["USDT", "BTC"],
    "rebateCcy": ["USDT", ""],
    "fillFeeCcy": ["USDT", ""],
    "state": ["live", "partially_filled", "filled", "canceled"],
    "side": ["buy", "sell"],
    "posSide": ["net", "long", "short"],
    "tdMode": ["cross", "cash", "isolated"],
    "mgnMode": ["cross", "isolated"],
    "ordType": ["limit", "market", "post_only", "ioc", "trigger", "conditional", "oco"],
    "category": ["normal"],
    "reduceOnly": ["false", "true"],
    "isTpLimit": ["false"],
    "stpMode": ["cancel_maker"],
    "execType": ["", "T", "M"],
    "lever": ["3", "10", "2.0"],
    "eventType": ["filled", "snapshot", "transferred"],
    "rebate": ["0"],
    "amendResult": [""],
}
