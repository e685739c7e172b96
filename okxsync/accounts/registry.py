"""Identify each account with its first request (OKX docs: trading-account-rest-api-get-account-configuration).

The response has the account's uid and the key's permissions, and proves that key, region and mode are right. Before
it, no other request is sent. A name with stored rows is not connected before it either, because the key may belong to
another account.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec
import trio

from okxsync import events
from okxsync.accounts.identity import BlockReason, find_blocked
from okxsync.config.settings import AccountSettings
from okxsync.messages import AccountRemoved, ConfiguredAccount
from okxsync.mirror.queries import Identity
from okxsync.okx.account_config import ConfigRow, read_config_row
from okxsync.okx.codes import Action
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.http import UNREADABLE
from okxsync.runtime.backoff import RETRY_REJECTED_S, BackOff
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import supervised

log = logging.getLogger("okxsync.rest")

AT_ONCE: Final = 10
REQUEST_S: Final = 10.0
HOLD_S: Final = 30.0
"""The longest time that a name is held back: pushes meanwhile are lost, and REST may be down for hours."""


class AccountConfig(msgspec.Struct, frozen=True):
    """The response of ``account/config``; ``row`` is its JSON."""

    identity: Identity
    perm: str
    row: str


async def fetch_account_config(client: AccountClient, *, demo: bool) -> AccountConfig:
    """Request the account's uid and the key's permissions.

    Raises:
        RestError: the request failed, or the response has no uid.
    """
    try:
        rows = msgspec.json.decode(await client.get("account/config"), type=list[msgspec.Raw])
        row = bytes(rows[0]).decode()
        config = read_config_row(row)
    except (*UNREADABLE, IndexError):
        config = ConfigRow()
    if not config.uid:
        raise RestError("account/config: unexpected response", Action.RETRY)
    return AccountConfig(Identity(config.uid, demo), config.perm, row)


class Registry:
    """Keeps track of the OKX account that each name stands for, and reports it to the writer.

    Args:
        client_of: Returns the client of an account, or None if it is not configured or not enabled.
        send: The queue to the writer.
        known: The account whose rows are stored, by name.
        changed: Called with the name of an account when the result of ``blocked`` changes.
    """

    def __init__(
        self,
        client_of: Callable[[str], AccountClient | None],
        send: Outbox,
        known: Mapping[str, Identity],
        changed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._client_of = client_of
        self._send = send
        self._known = dict(known)
        self._changed = changed
        self._accounts: dict[str, AccountSettings] = {}  # in the order of accounts.toml
        self._held_back: set[str] = set()  # names with stored rows whose key is not identified yet
        self._configs: dict[str, AccountConfig] = {}
        self._blocked: dict[str, BlockReason] = {}
        self._identified: set[str] = set()
        self._limit = trio.CapacityLimiter(AT_ONCE)

    def client_of(self, name: str) -> AccountClient | None:
        """Return the client of an identified account that may be mirrored, else None."""
        return self._client_of(name) if name in self._identified else None

    def blocked(self, name: str) -> str | None:
        """Return why an account must not be connected: "" while it is being identified, None if it may."""
        if name in self._blocked:
            return self._blocked[name].why
        return "" if name in self._held_back else None

    def configure(self, accounts: Iterable[AccountSettings]) -> None:
        """These accounts are new or have changed: discard what was known about their keys."""
        for account in accounts:
            name = account.name
            self._accounts[name] = account
            self._configs.pop(name, None)
            self._blocked.pop(name, None)
            self._identified.discard(name)
            self._held_back.discard(name)
            if account.enabled and name in self._known:
                self._held_back.add(name)

    async def identify(self, accounts: Iterable[AccountSettings]) -> None:
        """Report the accounts as configured, then identify each, with retries; return when all are identified."""
        expected = list(accounts)
        for account in expected:
            await self._report(account, None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._admit_after_hold, expected)
            for account in expected:
                if account.enabled:
                    nursery.start_soon(self._keep_identifying, account)

    async def remove(self, names: Iterable[str]) -> None:
        """These accounts are no longer configured."""
        for name in names:
            for entries in (self._accounts, self._configs, self._blocked):
                entries.pop(name, None)
            self._identified.discard(name)
            self._held_back.discard(name)
            await self._send.send(AccountRemoved(name, now_us()))
        await self._judge()

    async def _keep_identifying(self, account: AccountSettings) -> None:
        subject = f"{account.name}: account/config"
        while not await supervised(self._send, account.name, subject, self._identify_one, account):
            pass

    async def _identify_one(self, account: AccountSettings) -> None:
        """Request until there is a response or the configuration changes; report each new reason of a failure."""
        back_off = BackOff(random.Random(), first_s=1.0)
        reported = ""
        while True:
            action, why = await self._request(account)
            if self._accounts.get(account.name) is not account or not why:
                return
            if why != reported:
                await self._note(account, events.ACCOUNT_CONFIG_FAILED, why)
                reported = why
            await self._admit(account)
            permanent = action in (Action.GIVE_UP, Action.FIX, Action.REJECT)
            await trio.sleep(RETRY_REJECTED_S if permanent else back_off.next_delay(0))

    async def _admit_after_hold(self, accounts: Iterable[AccountSettings]) -> None:
        await trio.sleep(HOLD_S)
        for account in accounts:
            await self._admit(account)

    async def _admit(self, account: AccountSettings) -> None:
        if account.name in self._held_back and self._accounts[account.name] is account:
            self._held_back.discard(account.name)
            await self._changed(account.name)

    async def _request(self, account: AccountSettings) -> tuple[Action, str]:
        """Send one request; return the action and the reason of a failure, "" if it succeeded."""
        if (client := self._client_of(account.name)) is None:  # removed meanwhile
            return Action.RETRY, ""
        try:
            async with self._limit:
                with trio.fail_after(REQUEST_S):
                    config = await fetch_account_config(client, demo=account.demo)
        except trio.TooSlowError:
            return Action.RETRY, f"account/config: no answer within {REQUEST_S:.0f} s"
        except RestError as error:
            return error.action, str(error)
        if self._accounts.get(account.name) is account:  # else the response is for a key that has been replaced
            self._held_back.discard(account.name)
            self._configs[account.name] = config
            await self._judge(account.name)
        return Action.RETRY, ""

    async def _judge(self, *responded: str) -> None:
        """Determine again which accounts may be mirrored, and report changes."""
        before = self._blocked
        claimed = {name: self._configs[name].identity for name in self._accounts if name in self._configs}
        self._blocked = find_blocked(claimed, self._known)
        identified = claimed.keys() - self._blocked.keys() - self._identified
        self._identified = claimed.keys() - self._blocked.keys()
        for name in identified:
            self._known[name] = claimed[name]
        changed = {name for name in claimed if before.get(name) != self._blocked.get(name)}
        for name in sorted(changed.union(responded)):
            if (account := self._accounts.get(name)) and (reason := self._blocked.get(name)):
                await self._note(account, reason.event, reason.why)
            await self._changed(name)
        for name in sorted(identified):
            if (account := self._accounts.get(name)) and (config := self._configs.get(name)):
                await self._report(account, config.row)
                if "withdraw" in config.perm:
                    why = "the key can withdraw; okxsync only needs the permission Read"
                    await self._note(account, events.KEY_CAN_WITHDRAW, why)

    async def _report(self, account: AccountSettings, config: str | None) -> None:
        await self._send.send(ConfiguredAccount(account.name, account.site_name, account.demo, now_us(), config))

    async def _note(self, account: AccountSettings, event: events.Event, detail: str) -> None:
        level = logging.ERROR if event.level == events.ERROR else logging.WARNING
        log.log(level, "%s %s: %s", account.name, event.name, detail)
        await self._send.send(event.note(now_us(), account.name, detail))
