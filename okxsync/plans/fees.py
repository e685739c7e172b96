"""The fee of a taker, by account and instrument (OKX docs: trading-account-rest-api-get-fee-rates)."""

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
import trio

from okxsync.plans.facts import Instrument, decimal_of
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.pages import read_page

log = logging.getLogger("okxsync.plans")

KEPT_S: Final = 3600.0
"""Fees change with the VIP level, which OKX sets once a day; five questions in two seconds are allowed."""


class Fees:
    """Fees that were asked for. They are shown, and decide nothing: an account whose fee is not known trades, too."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[AccountClient, float, Mapping[str, Any]]] = {}

    async def ask(self, client: AccountClient, instrument: Instrument, into: dict[str, Decimal]) -> None:
        """Set the fee of an instrument, if OKX says it."""
        name = "instId" if instrument.kind == "spot" else "instFamily"
        subject = instrument.inst_id if instrument.kind == "spot" else instrument.family
        key = client.name, instrument.inst_type, subject
        known = self._known.get(key)
        if not known or known[0] is not client or trio.current_time() > known[1] + KEPT_S:
            try:
                rows = await read_page(client, "account/trade-fee", {"instType": instrument.inst_type, name: subject})
            except RestError as error:
                log.warning("%s: the fee of %s is not known: %s", client.name, instrument.inst_id, error)
                return
            known = self._known[key] = client, trio.current_time(), rows[0] if rows else {}
        if (fee := taker_fee(known[2], instrument)) is not None:
            into[instrument.inst_id] = fee


def taker_fee(row: Mapping[str, Any], instrument: Instrument) -> Decimal | None:
    """Return the fee of a taker as a share, from a row of ``account/trade-fee``; None: it does not say.

    OKX reports a fee that is charged as a negative number. A rebate counts like a fee: it is not there beforehand.
    """
    try:
        groups = msgspec.convert(row.get("feeGroup"), list[dict[str, Any]])
    except msgspec.ValidationError:
        groups = []
    listed = [one.get("taker") for one in groups if str(one.get("groupId")) == instrument.group]
    deprecated = ["taker"] if instrument.kind != "linear" else ["takerUSDC" if instrument.quote == "USDC" else "takerU"]
    found = next((fee for one in [*listed, *map(row.get, deprecated)] if (fee := decimal_of(one)) is not None), None)
    return None if found is None else abs(found)
