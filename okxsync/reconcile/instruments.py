"""Load the list of instruments over REST, because pushes name only what has changed (OKX changelog, 2026-09-30).

A type of instrument is loaded when its channel is subscribed, after each push, and daily. OKX does not say at which
time a list or a push was true, so after a push the list counts, once it is surely later.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import trio

from okxsync.messages import MARKET, Rows
from okxsync.okx.channels import arguments_of
from okxsync.okx.endpoints import REST_LAG_S
from okxsync.reconcile.held import Reads
from okxsync.rest.client import Client, RestError
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import supervised
from okxsync.store.database import CHANNEL_NAME
from okxsync.store.engines import Reader, keep_going

log = logging.getLogger("okxsync.reconcile")

POLL_S: Final = 5.0
LAG_MS: Final = int(REST_LAG_S * 1000)
CURRENT_US: Final = LAG_MS * 1000 + 1_000_000
"""A list that is requested so much later than a push includes it, even if clocks differ by up to a second."""
PAUSE_US: Final = 60_000_000
"""A type of instrument is loaded at most so often, however much is pushed and whatever fails."""
DAY_US: Final = 86_400_000_000
_ALL: Final = "SWAP"  # what a subscription without arguments is to
_OPTIONS: Final = "OPTION"


class Listing(msgspec.Struct, frozen=True):
    """One list of instruments that a channel pushes changes of."""

    inst_type: str
    family: str = ""

    @classmethod
    def of(cls, channel: str) -> "Listing":
        """Return the list that belongs to a channel's key in coverage."""
        arguments = arguments_of(channel)
        return cls(arguments.get("instType", _ALL), arguments.get("instFamily", ""))


class InstrumentLoader:
    """Loads the instruments whose channels are live.

    Args:
        client: Returns the client of the market; another one is another exchange. None: there is no market.
        send: Where the rows go.
    """

    def __init__(self, reads: Reads, client: Callable[[], Client | None], send: Outbox) -> None:
        self._reads = reads
        self._client_now = client
        self._send = send
        self._client: Client | None = None
        self._requested_us: dict[str, int] = {}  # by channel: when its list was requested last
        self._loaded_us: dict[str, int] = {}  # and when the list was requested that was received last

    async def run(self) -> None:
        while not await supervised(self._send, None, "loading instruments", self._run):
            pass

    async def _run(self) -> None:
        while True:
            if (client := self._client_now()) is not self._client:
                self._client = client
                self._requested_us.clear()
                self._loaded_us.clear()
            if client is not None:
                with keep_going(log, "instruments: the database cannot be read"):
                    for channel in self.due(await self._reads.in_thread(_changes), now_us()):
                        if families := await self._families_of(Listing.of(channel)):
                            self._requested_us[channel] = began_us = now_us()
                            if await self._load(client, Listing.of(channel), families):
                                self._loaded_us[channel] = began_us
            await trio.sleep(POLL_S)

    def due(self, changes: Mapping[str, int], now_us: int) -> list[str]:
        """Return the channels whose list is to be loaded now.

        Args:
            changes: By channel, when it was subscribed or has pushed last; local microseconds.
        """
        found = []
        for channel, changed_us in changes.items():
            loaded_us = self._loaded_us.get(channel, 0)
            is_old = loaded_us < changed_us + CURRENT_US <= now_us or 0 < loaded_us <= now_us - DAY_US
            if is_old and now_us - self._requested_us.get(channel, 0) >= PAUSE_US:
                found.append(channel)
        return found

    async def _families_of(self, listing: Listing) -> list[str]:
        """Return the families to request, "" for all: OKX lists options by family only."""
        if listing.inst_type != _OPTIONS or listing.family:
            return [listing.family]
        return await self._reads.in_thread(_families)

    async def _load(self, client: Client, listing: Listing, families: Iterable[str]) -> bool:
        """Send all instruments of a list; return whether they were all received."""
        loaded = True
        for family in families:
            params = {"instType": listing.inst_type} | ({"instFamily": family} if family else {})
            as_of_ms = client.now_ms() - LAG_MS
            began_us = now_us()
            try:
                body = await client.get("public/instruments", params)
            except RestError as error:
                has_none = family != listing.family and error.is_rejection
                if not has_none:
                    log.warning("instruments of type %s cannot be loaded: %s", listing.inst_type, error)
                    loaded = False
                continue
            rows = body.decode(errors="replace")
            await self._send.send(Rows(MARKET, "instruments", rows, began_us, as_of_ms))
        return loaded


def _changes(reader: Reader) -> dict[str, int]:
    """Return when each live channel of instruments was subscribed or has pushed last; local microseconds."""
    return dict(
        reader.rows(
            "SELECT channel, max(since_at, coalesce(last_push_at, 0))"
            " FROM coverage JOIN connections ON connections.id = connection_id"
            f" WHERE coverage.account = ? AND live = 1 AND phase = 'live' AND {CHANNEL_NAME} = 'instruments'",
            [MARKET],
        )
    )


def _families(reader: Reader) -> list[str]:
    """Return the families that may have options: those of all derivatives that are known."""
    sql = "SELECT DISTINCT inst_family FROM instruments WHERE inst_type IN ('OPTION', 'FUTURES', 'SWAP') ORDER BY 1"
    return [family for (family,) in reader.rows(sql) if family]
