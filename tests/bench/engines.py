"""The writer on SQLite and on PostgreSQL, in turns: frames a second, and how soon a frame is committed at 500 a second.

    uv run python -m tests.bench.engines

The server shares the processors with the writer, and syncs each commit. By hand: it takes some three minutes.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from okxsync.config.location import Location, Url
from okxsync.messages import Frames
from okxsync.store.database import Upkeep
from okxsync.store.engines import engine_of
from okxsync.store.writer import Writer
from tests.support.postgres import new_server

ACCOUNTS, BATCH, BATCHES, ROUNDS = 20, 500, 24, 3
RATE, STEADY_S = 500, 12.0
FIELDS = (
    "accFillSz algoClOrdId algoId amendResult attachAlgoClOrdId avgPx cancelSource category ccy clOrdId code execType"
    " fee feeCcy fillFee fillFeeCcy fillFwdPx fillMarkPx fillMarkVol fillNotionalUsd fillPnl fillPx fillPxUsd fillPxVol"
    " fillSz fillTime lever msg notionalUsd ordType pnl posSide px pxType pxUsd pxVol quickMgnType rebate rebateCcy"
    " reduceOnly reqId side slOrdPx slTriggerPx slTriggerPxType source stpId stpMode tag tdMode tgtCcy tpOrdPx"
    " tpTriggerPx tpTriggerPxType tradeId"
).split()


def frames() -> Iterator[Frames]:
    """Yield order pushes of 1.3 KB: each order is placed, filled in part, and filled."""
    encode = msgspec.json.encode
    for number in itertools.count():
        at_us = time.time_ns() // 1000
        order, step = divmod(number, 3)
        state, filled = (("live", "0"), ("partially_filled", "4"), ("filled", "10"))[step]
        row = dict.fromkeys(FIELDS, "") | {
            "instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": str(10**17 + order), "state": state, "sz": "10",
            "px": f"{30000 + number % 997}.5", "accFillSz": filled, "fillSz": "5" if step else "0", "side": "buy",
            "tradeId": str(number) if step else "", "uTime": str(at_us // 1000), "cTime": str(at_us // 1000),
        }  # fmt: skip
        name = f"a{order % ACCOUNTS}"
        text = encode({"arg": {"channel": "orders", "instType": "ANY", "uid": "7"}, "data": [row]}).decode()
        yield Frames(order % ACCOUNTS + 1, name, [(at_us, text)])


def flood(writer: Writer, upkeep: Upkeep, source: Iterator[Frames]) -> float:
    """Return frames a second in full batches."""
    batches = [list(itertools.islice(source, BATCH)) for _ in range(BATCHES)]
    began = time.perf_counter()
    for batch in batches:
        writer.apply(batch)
        upkeep.committed()
    return BATCH * BATCHES / (time.perf_counter() - began)


def steady(writer: Writer, upkeep: Upkeep, source: Iterator[Frames]) -> list[float]:
    """Return for each frame, in milliseconds, how long after it came it was committed; what has come is one batch."""
    waited: list[float] = []
    began = time.perf_counter()
    done = 0
    while (now := time.perf_counter() - began) < STEADY_S:
        if (come := int(now * RATE)) == done:
            time.sleep((done + 1) / RATE - now)
            continue
        writer.apply(list(itertools.islice(source, come - done)))
        ended = time.perf_counter() - began
        upkeep.committed()
        waited += [(ended - (number + 1) / RATE) * 1000 for number in range(done, come)]
        done = come
    return waited


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        new_server(
            fsync="on", full_page_writes="on", autovacuum="on", shared_buffers="128MB", max_wal_size="2GB"
        ) as server,
    ):
        locations: dict[str, Location] = {"SQLite": Path(folder) / "okxsync.db", "PostgreSQL": Url(server.url)}
        speeds: dict[str, list[float]] = {name: [] for name in locations}
        sources = {name: frames() for name in locations}
        for _ in range(ROUNDS):
            for name, location in locations.items():
                engine = engine_of(location)
                with closing(engine.writer()) as db, engine.upkeep(db) as upkeep:
                    speeds[name].append(flood(Writer(db), upkeep, sources[name]))
        base = statistics.median(speeds["SQLite"])
        for name, found in speeds.items():
            median = statistics.median(found)
            print(f"{name:11} {median:7,.0f} frames/s  {median / base:4.2f}  ({min(found):,.0f}-{max(found):,.0f})")
        for name, location in locations.items():
            engine = engine_of(location)
            with closing(engine.writer()) as db, engine.upkeep(db) as upkeep:
                waited = statistics.quantiles(steady(Writer(db), upkeep, sources[name]), n=100)
            print(f"{name:11} {RATE}/s: committed after {waited[49]:.1f} ms (p50), {waited[98]:.1f} ms (p99)")


if __name__ == "__main__":
    main()
