"""The first question to each account: who are you? (OKX docs: trading-account-rest-api-get-account-configuration)

It tells the account's uid and the key's permissions, and proves that key, region and mode are right. Until it is
answered nothing else is asked, and a name whose rows are here already is not even listened to: they may be another
account's.
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
from okxsync.messages import AccountRemoved, ConfiguredAccount, Message
from okxsync.mirror.queries import Identity
from okxsync.okx.codes import Action
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.http import UNREADABLE
from okxsync.runtime.backoff import BackOff
from okxsync.runtime.clock import now_us
from okxsync.runtime.supervise import supervised

log = logging.getLogger("okxsync.rest")

AT_ONCE: Final = 10
ANSWER_S: Final = 10.0
HOLD_S: Final = 30.0
"""A name is held back no longer: pushes that nobody takes are lost, and REST may be down for hours."""
GIVEN_UP_S: Final = 1800.0
"""A key that was refused is asked about again this late; a changed configuration at once."""


class AccountConfig(msgspec.Struct, frozen=True):
    """What ``account/config`` says; ``row`` is its JSON."""

    identity: Identity
    perm: str
    row: str


class _IdentityFields(msgspec.Struct):
    uid: str
    perm: str = ""


async def fetch_account_config(client: AccountClient, *, demo: bool) -> AccountConfig:
    """Ask an account who it is.

    Raises:
        RestError: it cannot be asked, or does not say.
    """
    try:
        rows = msgspec.json.decode(await client.get("account/config"), type=list[msgspec.Raw])
        row = bytes(rows[0]).decode()
        config = msgspec.json.decode(row, type=_IdentityFields)
    except (*UNREADABLE, IndexError):
        config = _IdentityFields("")
    if not config.uid:
        raise RestError("account/config: not the reply that is documented", Action.RETRY)
    return AccountConfig(Identity(config.uid, demo), config.perm, row)


class Registry:
    """Knows which account of OKX each name stands for, and says so to the writer.

    Args:
        client_of: An account's client, or None if it is not configured and enabled.
        send: Where accounts and notes go.
        known: Whose rows are here, by name.
        changed: Told the name of an account about which ``blocked`` says something else than before.
    """

    def __init__(
        self,
        client_of: Callable[[str], AccountClient | None],
        send: trio.MemorySendChannel[Message],
        known: Mapping[str, Identity],
        changed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._client_of = client_of
        self._send = send
        self._known = dict(known)
        self._changed = changed
        self._accounts: dict[str, AccountSettings] = {}  # in the order of accounts.toml
        self._held_back: set[str] = set()  # known ones whose key nobody has asked for so far
        self._configs: dict[str, AccountConfig] = {}
        self._blocked: dict[str, BlockReason] = {}
        self._identified: set[str] = set()
        self._limit = trio.CapacityLimiter(AT_ONCE)

    def client_of(self, name: str) -> AccountClient | None:
        """Return the client of an account that is known to be the one whose rows are here, else None."""
        return self._client_of(name) if name in self._identified else None

    def blocked(self, name: str) -> str | None:
        """Return why an account must not be listened to: "" while that is being found out, None if it may."""
        if name in self._blocked:
            return self._blocked[name].why
        return "" if name in self._held_back else None

    def configure(self, accounts: Iterable[AccountSettings]) -> None:
        """These accounts are new, or have changed: what was known of their keys is known no more."""
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
        """Write down the accounts as configured, then ask each who it is, until it says so; return once all have."""
        expected = list(accounts)
        for account in expected:
            await self._report(account, None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._admit_after_hold, expected)
            for account in expected:
                if account.enabled:
                    nursery.start_soon(self._keep_asking, account)

    async def remove(self, names: Iterable[str]) -> None:
        """These accounts are no longer configured."""
        for name in names:
            for held in (self._accounts, self._configs, self._blocked):
                held.pop(name, None)
            self._identified.discard(name)
            self._held_back.discard(name)
            await self._send.send(AccountRemoved(name, now_us()))
        await self._judge()

    async def _keep_asking(self, account: AccountSettings) -> None:
        subject = f"{account.name}: account/config"
        while not await supervised(self._send, account.name, subject, self._ask_until_known, account):
            pass

    async def _ask_until_known(self, account: AccountSettings) -> None:
        """Ask until there is an answer, or the account is configured in another way; say once what is wrong."""
        back_off = BackOff(random.Random(), first_s=1.0)
        reported = ""
        while True:
            action, why = await self._ask(account)
            if self._accounts.get(account.name) is not account or not why:
                return
            if why != reported:
                await self._note(account, events.ACCOUNT_CONFIG_FAILED, why)
                reported = why
            await self._admit(account)
            for_good = action in (Action.GIVE_UP, Action.FIX, Action.REJECT)
            await trio.sleep(GIVEN_UP_S if for_good else back_off.next_delay(0))

    async def _admit_after_hold(self, accounts: Iterable[AccountSettings]) -> None:
        await trio.sleep(HOLD_S)
        for account in accounts:
            await self._admit(account)

    async def _admit(self, account: AccountSettings) -> None:
        if account.name in self._held_back and self._accounts[account.name] is account:
            self._held_back.discard(account.name)
            await self._changed(account.name)

    async def _ask(self, account: AccountSettings) -> tuple[Action, str]:
        """Ask once; return what was wrong, "" if nothing was."""
        if (client := self._client_of(account.name)) is None:  # removed meanwhile
            return Action.RETRY, ""
        try:
            async with self._limit:
                with trio.fail_after(ANSWER_S):
                    answer = await fetch_account_config(client, demo=account.demo)
        except trio.TooSlowError:
            return Action.RETRY, f"account/config: no answer within {ANSWER_S:.0f} s"
        except RestError as error:
            return error.action, str(error)
        if self._accounts.get(account.name) is account:  # else the answer is to another key than it has now
            self._held_back.discard(account.name)
            self._configs[account.name] = answer
            await self._judge(account.name)
        return Action.RETRY, ""

    async def _judge(self, *answered: str) -> None:
        """Find out anew who may be mirrored, and say what has changed."""
        before = self._blocked
        claimed = {name: self._configs[name].identity for name in self._accounts if name in self._configs}
        self._blocked = find_blocked(claimed, self._known)
        identified = claimed.keys() - self._blocked.keys() - self._identified
        self._identified = claimed.keys() - self._blocked.keys()
        for name in identified:
            self._known[name] = claimed[name]
        changed = {name for name in claimed if before.get(name) != self._blocked.get(name)}
        for name in sorted(changed.union(answered)):
            if (account := self._accounts.get(name)) and (reason := self._blocked.get(name)):
                await self._note(account, reason.event, reason.why)
            await self._changed(name)
        for name in sorted(identified):
            if (account := self._accounts.get(name)) and (answer := self._configs.get(name)):
                await self._report(account, answer.row)
                if "withdraw" in answer.perm:
                    why = "this key may withdraw; okxsync only needs to read"
                    await self._note(account, events.KEY_CAN_WITHDRAW, why)

    async def _report(self, account: AccountSettings, config: str | None) -> None:
        await self._send.send(ConfiguredAccount(account.name, account.site_name, account.demo, now_us(), config))

    async def _note(self, account: AccountSettings, event: events.Event, detail: str) -> None:
        level = logging.ERROR if event.level == events.ERROR else logging.WARNING
        log.log(level, "%s %s: %s", account.name, event.name, detail)
        await self._send.send(event.note(now_us(), account.name, detail))
