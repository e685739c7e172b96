"""Both engines store the same, whatever arrives, and in whatever batches."""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.messages import Frames, Lost, Message, OrdersNotFound, Pong, Rows, Subscribed, Unverified, Verified
from okxsync.store.postgres import connection
from tests.support.desk import MS, NOW, Desk, phase
from tests.support.postgres import empty_database

TIMES = st.integers(0, 6).map(lambda later: str(MS + later))
AMOUNTS = st.sampled_from(["", "0", "0.0", "1", "1.50", "1.5", "-2e3", "much", "12 USD", "a\0b"])
IDS = st.integers(1, 3).map(str)


def row(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ORDERS = row(
    ordId=IDS, instId=st.sampled_from(["X", "Y"]), state=st.sampled_from(["live", "partially_filled", "filled", "new"]),
    sz=AMOUNTS, accFillSz=AMOUNTS, fillSz=AMOUNTS, tradeId=st.sampled_from(["", "0", "1", "2"]), px=AMOUNTS,
    uTime=TIMES, fillTime=TIMES, tag=st.text(max_size=3), more=AMOUNTS,
)  # fmt: skip
ROWS = {
    "orders": ORDERS,
    "orders-algo": row(algoId=IDS, state=st.sampled_from(["live", "pause", "effective"]), sz=AMOUNTS, uTime=TIMES),
    "positions": row(posId=IDS, instType=st.just("SWAP"), instId=IDS, pos=AMOUNTS, uTime=TIMES, pTime=TIMES),
    "account": row(
        totalEq=AMOUNTS, uTime=TIMES,
        details=st.lists(row(ccy=IDS, eq=AMOUNTS, cashBal=AMOUNTS, uTime=TIMES), max_size=3),
    ),
    "balance_and_position": row(
        pTime=TIMES, balData=st.lists(row(ccy=IDS, cashBal=AMOUNTS, uTime=TIMES), max_size=2),
        posData=st.lists(row(posId=IDS, pos=AMOUNTS, uTime=TIMES), max_size=2),
    ),
    "mark-price": row(instId=IDS, markPx=AMOUNTS, ts=TIMES),
    "instruments": row(instId=IDS, instType=st.just("SWAP"), tickSz=AMOUNTS, state=st.just("live")),
    "deposit-info": row(depId=IDS, ccy=IDS, amt=AMOUNTS, ts=TIMES, pTime=TIMES),
}  # fmt: skip
MARKS = st.sampled_from([{}, {"eventType": "snapshot", "curPage": 1, "lastPage": True}])


@st.composite
def frames(draw: st.DrawFn) -> Frames:
    channel = draw(st.sampled_from(sorted(ROWS)))
    body = {"arg": {"channel": channel}, **draw(MARKS), "data": draw(st.lists(ROWS[channel], max_size=4))}
    return Frames(1, "alpha", [(NOW + draw(st.integers(0, 9)), msgspec.json.encode(body).decode())])


@st.composite
def rest(draw: st.DrawFn) -> Rows:
    channel = draw(st.sampled_from(["orders", "orders-algo", "positions", "account", "fills", "bills"]))
    fills = row(instId=st.just("X"), ordId=IDS, tradeId=IDS, billId=IDS, fillSz=AMOUNTS, ts=TIMES)
    found = draw(st.lists(ROWS.get(channel, fills), max_size=4))
    complete = draw(st.booleans())
    return Rows("alpha", channel, msgspec.json.encode(found).decode(), NOW, as_of_ms=MS + 3, complete=complete)


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    frames(),
    frames(),
    frames(),
    rest(),
    st.builds(lambda at: Pong(1, "alpha", NOW + at, 700), st.integers(0, 9)),
    st.builds(lambda at, one: Lost(1, "alpha", [one], NOW + at, "closed"), st.integers(0, 9), st.sampled_from([*ROWS])),
    st.builds(lambda at: Subscribed(1, "alpha", [*ROWS], NOW + at), st.integers(0, 9)),
    st.builds(lambda at: Verified("alpha", "orders", NOW + at), st.integers(0, 9)),
    st.builds(lambda at: Unverified("alpha", "orders", NOW + at, "refused"), st.integers(0, 9)),
    st.builds(lambda ids: OrdersNotFound("alpha", "orders", ids, NOW, MS + 4), st.lists(IDS, max_size=2)),
)


def content(desk: Desk) -> dict[str, list[str]]:
    """Return all rows of all tables, as text and sorted."""
    found = {}
    for table in desk.db.tables():
        names = sorted(table.columns)
        read = desk.db.query(f"SELECT * FROM {table.name}")
        found[table.name] = sorted(repr([one[name] for name in names]) for one in read)
    return found


@pytest.mark.parametrize("few", [0, 1000], ids=["copied", "as statements"])
@settings(max_examples=40)
@given(batches=st.lists(st.lists(MESSAGES, min_size=1, max_size=6), max_size=6))
def test_both_store_the_same(few: int, batches: list[list[Message]]) -> None:
    before, connection.FEW = connection.FEW, few  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as folder:
            desks = [Desk(Path(folder) / "okxsync.db"), Desk(empty_database())]
            for desk in desks:
                desk.apply(desk.start(NOW), phase(NOW), Subscribed(1, "alpha", [*ROWS], NOW))
                for batch in batches:
                    desk.apply(*batch)
            sqlite, postgres = map(content, desks)
            for desk in desks:
                desk.database.close()
        assert postgres == sqlite
    finally:
        connection.FEW = before  # type: ignore[misc]
