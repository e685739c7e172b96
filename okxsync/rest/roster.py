"""The first question to each account: who are you? (OKX docs: trading-account-rest-api-get-account-configuration)

It tells the account's uid and the key's permissions, and proves that key, region and mode are right.
"""

import logging
import time
from collections.abc import Callable, Iterable

import msgspec
import trio

from okxsync.config import Account
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.http import UNREADABLE
from okxsync.store import batch
from okxsync.store.batch import Message

log = logging.getLogger("okxsync.rest")

AT_ONCE = 10


class _Config(msgspec.Struct):
    uid: str = ""
    perm: str = ""


class Roster:
    """Knows which uid each account has, and says so to the writer."""

    def __init__(self, client_of: Callable[[str], AccountClient | None], send: trio.MemorySendChannel[Message]) -> None:
        self._client_of = client_of
        self._send = send
        self._uids: dict[str, str] = {}  # by account name
        self._limit = trio.CapacityLimiter(AT_ONCE)

    async def introduce(self, accounts: Iterable[Account]) -> None:
        """Write down the accounts as configured, then ask each who it is; what fails is journalled, not raised."""
        known = list(accounts)
        for account in known:
            await self._tell(account, None)
        async with trio.open_nursery() as nursery:
            for account in known:
                if account.enabled:
                    nursery.start_soon(self._ask, account)

    async def dismiss(self, names: Iterable[str]) -> None:
        """These accounts are no longer configured."""
        for name in names:
            self._uids.pop(name, None)
            await self._send.send(batch.AccountRemoved(name, _now_us()))

    async def _ask(self, account: Account) -> None:
        if (client := self._client_of(account.name)) is None:  # removed meanwhile
            return
        try:
            async with self._limit:
                rows = msgspec.json.decode(await client.get("account/config"), type=list[msgspec.Raw])
            config = msgspec.json.decode(rows[0], type=_Config)
        except RestError as error:
            await self._note(account, "warning", "account-unknown", str(error))
        except (*UNREADABLE, IndexError):
            await self._note(account, "warning", "account-unknown", "account/config: not the reply that is documented")
        else:
            await self._tell(account, bytes(rows[0]).decode())
            await self._check(account, config)

    async def _check(self, account: Account, config: _Config) -> None:
        twins = [name for name, uid in self._uids.items() if uid == config.uid and name != account.name]
        self._uids[account.name] = config.uid
        for twin in twins:
            await self._note(account, "error", "same-uid", f'"{twin}" and "{account.name}" are one account of OKX')
        if "withdraw" in config.perm:
            await self._note(account, "warning", "can-withdraw", "this key may withdraw; okxsync only needs to read")

    async def _tell(self, account: Account, config: str | None) -> None:
        await self._send.send(batch.Account(account.name, account.site_name, account.demo, _now_us(), config))

    async def _note(self, account: Account, level: str, event: str, detail: str) -> None:
        log.log(logging.ERROR if level == "error" else logging.WARNING, "%s %s: %s", account.name, event, detail)
        await self._send.send(batch.Note(_now_us(), level, account.name, event, detail))


def _now_us() -> int:
    return time.time_ns() // 1000
