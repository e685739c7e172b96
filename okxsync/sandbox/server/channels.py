"""The channels, their subscription arguments, and the rows that a subscription receives.

OKX docs: the page of each channel.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.exchange.rows import Row

Arg = Mapping[str, Any]


@dataclass(frozen=True)
class Channel:
    """A channel: its endpoint, its required argument, and its behaviour."""

    name: str
    endpoint: str
    needs: str = ""  # the required argument
    counted: bool = False  # at most 30 connections of an account may subscribe
    paged: bool = False  # regular snapshots, with eventType and pages
    watched: bool = False  # made only while somebody is subscribed


CHANNELS = {
    each.name: each
    for each in (
        Channel("account", "private", counted=True, paged=True),
        Channel("positions", "private", "instType", counted=True, paged=True),
        Channel("balance_and_position", "private", counted=True),
        Channel("orders", "private", "instType", counted=True),
        Channel("fills", "private"),
        Channel("liquidation-warning", "private", "instType", counted=True),
        Channel("account-greeks", "private", counted=True),
        Channel("orders-algo", "business", "instType"),
        Channel("algo-advance", "business", "instType"),
        Channel("deposit-info", "business"),
        Channel("withdrawal-info", "business"),
        Channel("tickers", "public", "instId"),
        Channel("mark-price", "public", "instId"),
        Channel("index-tickers", "public", "instId"),
        Channel("funding-rate", "public", "instId"),
        Channel("open-interest", "public", "instId"),
        Channel("trades", "public", "instId", watched=True),
        Channel("books5", "public", "instId", watched=True),
        Channel("bbo-tbt", "public", "instId", watched=True),
        Channel("price-limit", "public", "instId", watched=True),
        Channel("instruments", "public", "instType"),
        Channel("status", "public"),
    )
}
_INSTRUMENTS = "instType instFamily instId"
ARGS = {
    "account": "ccy extraParams",
    "positions": f"{_INSTRUMENTS} extraParams",
    "balance_and_position": "",
    "orders": _INSTRUMENTS,
    "fills": "instType instId",
    "liquidation-warning": _INSTRUMENTS,
    "account-greeks": "ccy",
    "orders-algo": _INSTRUMENTS,
    "algo-advance": "instType instId algoId",
    "deposit-info": "ccy",
    "withdrawal-info": "ccy",
    "tickers": "instType instId",
    "mark-price": "instType instId",
    "index-tickers": "instId",
    "funding-rate": "instType instId",
    "open-interest": "instType instId",
    "trades": "instId",
    "books5": "instId",
    "bbo-tbt": "instId",
    "price-limit": "instId",
    "instruments": "instType instFamily",
    "status": "",
}
"""The arguments of each channel. Each selects rows or their rhythm; one that would have no effect is rejected."""
INST_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})
FILLS_VIP = 4
OWN_INTERVALS_S = {"2000": 2.0, "3000": 3.0, "4000": 4.0}
"""The values of ``updateInterval`` for the regular pushes of positions, in seconds."""


class BadArg(Exception):
    """A rejected subscription; the others of its request are not affected."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def channel_of(arg: Arg, endpoint: str, member: Member | None, exchange: Exchange) -> Channel:
    """Return the channel of a subscription's argument. Raises BadArg if the argument is invalid."""
    name = arg.get("channel", "")
    channel = CHANNELS.get(name) if isinstance(name, str) else None
    given = ",".join(f"{key}:{value}" if key != "channel" else str(value) for key, value in arg.items())
    missing = BadArg(
        "60018", f"Wrong URL or channel:{given} doesn't exist. Please use the correct URL, channel and parameters"
    )
    if channel is None:
        raise missing
    if channel.endpoint != endpoint:
        if channel.endpoint == "business":
            raise BadArg("64001", f"Channel {name} has been migrated to the '/business' URL.")
        if endpoint == "business":
            raise BadArg("64002", f"Channel {name} is not supported by '/business' URL.")
        raise missing
    if channel.endpoint != "public" and member is None:
        raise BadArg("60011", "Please log in")
    if "uly" in arg:
        raise BadArg("64000", "Subscription parameter uly is unavailable anymore, please replace uly with instFamily.")
    if channel.needs and not arg.get(channel.needs):
        raise BadArg("60027", f"The {channel.needs} parameter can not be empty")
    inst_type = arg.get("instType", "ANY")
    known_types = INST_TYPES if channel.endpoint == "public" else INST_TYPES | {"ANY"}
    if channel.needs == "instType" and inst_type not in known_types:
        raise missing
    inst_id = arg.get("instId", "")
    if inst_id and (inst_id not in exchange.instruments or inst_id in exchange.expired):
        raise missing
    if arg.keys() - set(ARGS[name].split()) - {"channel"}:
        raise missing
    if name == "positions" and inst_type == "SPOT":
        raise missing
    if name == "funding-rate" and not exchange.instruments[inst_id].is_swap:
        raise missing
    if name == "fills" and member and member.vip < FILLS_VIP:
        raise BadArg("64003", "Your trading fee tier is too low to access this channel")
    interval_s(arg, 0)
    return channel


def interval_s(arg: Arg, usual_s: float) -> float:
    """Return the period of the regular pushes that an argument selects, 0 for none. Raises BadArg.

    It is given in ``extraParams``, which is JSON in a string: ``"{\\"updateInterval\\":\\"0\\"}"``.
    """
    extra = arg.get("extraParams", "")
    if not extra:
        return usual_s
    wrong = BadArg("60012", f"Illegal request: {json.dumps(arg)}")
    if not isinstance(extra, str):
        raise wrong
    try:
        asked = json.loads(extra)
    except ValueError:
        raise wrong from None
    if not isinstance(asked, dict):
        raise wrong
    interval = asked.get("updateInterval", "")
    if interval in ("0", 0):
        return 0.0
    if arg.get("channel") == "positions" and interval in OWN_INTERVALS_S:
        return usual_s * OWN_INTERVALS_S[interval] / 5
    return usual_s


def pushed_arg(channel: Channel, arg: Arg, uid: str) -> dict[str, Any]:
    """Return the argument that pushes repeat: as subscribed, with ``uid`` if private, without ``extraParams``."""
    pushed = {name: value for name, value in arg.items() if name != "extraParams"}
    return pushed if channel.endpoint == "public" else pushed | {"uid": uid}


def select(channel: str, arg: Arg, rows: list[Row], exchange: Exchange) -> list[Row]:
    """Return those rows of a push that a subscription covers."""
    if channel == "account":
        if ccy := arg.get("ccy"):
            rows = [row | {"details": [each for each in row["details"] if each["ccy"] == ccy]} for row in rows]
            return [row for row in rows if row["details"]]
        return rows
    if channel == "fills" and arg.get("instType", "ANY") != "ANY":  # its rows do not say their type
        rows = [row for row in rows if exchange.instruments[row["instId"]].inst_type == arg["instType"]]
    for name in ("instType", "instId", "ccy", "algoId"):
        wanted = arg.get(name)
        if wanted and wanted != "ANY":
            rows = [row for row in rows if row.get(name, wanted) == wanted]
    if family := arg.get("instFamily"):
        found = exchange.instruments
        rows = [row for row in rows if row["instId"] in found and found[row["instId"]].uly == family]
    return rows
