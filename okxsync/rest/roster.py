"""The first question to each account: who are you? (OKX docs: trading-account-rest-api-get-account-configuration)

It tells the account's uid and the key's permissions, and proves that key, region and mode are right. Until it is
answered nothing else is asked, and a name whose rows are here already is not even listened to: they may be another
account's.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec
import trio

from okxsync.config import Account
from okxsync.guard import guarded
from okxsync.okx.errors import Action
from okxsync.okx.limits import BackOff
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.http import UNREADABLE
from okxsync.rest.identity import Refusal, refusals
from okxsync.store import batch
from okxsync.store.batch import Message
from okxsync.store.queries import Identity

log = logging.getLogger("okxsync.rest")

AT_ONCE: Final = 10
ANSWER_S: Final = 10.0
HOLD_S: Final = 30.0
"""A name is held back no longer: pushes that nobody takes are lost, and REST may be down for hours."""
GIVEN_UP_S: Final = 1800.0
"""A key that was refused is asked about again this late; a changed configuration at once."""


class Answer(msgspec.Struct, frozen=True):
    """What ``account/config`` says; ``row`` is its JSON."""

    identity: Identity
    perm: str
    row: str


class _Config(msgspec.Struct):
    uid: str
    perm: str = ""


async def ask_who(client: AccountClient, *, demo: bool) -> Answer:
    """Ask an account who it is.

    Raises:
        RestError: it cannot be asked, or does not say.
    """
    try:
        rows = msgspec.json.decode(await client.get("account/config"), type=list[msgspec.Raw])
        row = bytes(rows[0]).decode()
        config = msgspec.json.decode(row, type=_Config)
    except (*UNREADABLE, IndexError):
        config = _Config("")
    if not config.uid:
        raise RestError("account/config: not the reply that is documented", Action.RETRY)
    return Answer(Identity(config.uid, demo), config.perm, row)


class Roster:
    """Knows which account of OKX each name stands for, and says so to the writer.

    Args:
        client_of: An account's client, or None if it is not configured and enabled.
        send: Where accounts and notes go.
        known: Whose rows are here, by name.
        changed: Told the name of an account about which ``barred`` says something else than before.
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
        self._accounts: dict[str, Account] = {}  # in the order of accounts.toml
        self._held_back: set[str] = set()  # known ones whose key nobody has asked for so far
        self._answers: dict[str, Answer] = {}
        self._refused: dict[str, Refusal] = {}
        self._admitted: set[str] = set()
        self._limit = trio.CapacityLimiter(AT_ONCE)

    def client_of(self, name: str) -> AccountClient | None:
        """Return the client of an account that is known to be the one whose rows are here, else None."""
        return self._client_of(name) if name in self._admitted else None

    def barred(self, name: str) -> str | None:
        """Return why an account must not be listened to: "" while that is being found out, None if it may."""
        if name in self._refused:
            return self._refused[name].why
        return "" if name in self._held_back else None

    def expect(self, accounts: Iterable[Account]) -> None:
        """These accounts are new, or have changed: what was known of their keys is known no more."""
        for account in accounts:
            name = account.name
            self._accounts[name] = account
            self._answers.pop(name, None)
            self._refused.pop(name, None)
            self._admitted.discard(name)
            self._held_back.discard(name)
            if account.enabled and name in self._known:
                self._held_back.add(name)

    async def introduce(self, accounts: Iterable[Account]) -> None:
        """Write down the accounts as configured, then ask each who it is, until it says so; return once all have."""
        expected = list(accounts)
        for account in expected:
            await self._tell(account, None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lose_patience, expected)
            for account in expected:
                if account.enabled:
                    nursery.start_soon(self._keep_asking, account)

    async def dismiss(self, names: Iterable[str]) -> None:
        """These accounts are no longer configured."""
        for name in names:
            for held in (self._accounts, self._answers, self._refused):
                held.pop(name, None)
            self._admitted.discard(name)
            self._held_back.discard(name)
            await self._send.send(batch.AccountRemoved(name, _now_us()))
        await self._judge()

    async def _keep_asking(self, account: Account) -> None:
        subject = f"{account.name}: account/config"
        while not await guarded(self._send, account.name, subject, self._ask_until_known, account):
            pass

    async def _ask_until_known(self, account: Account) -> None:
        """Ask until there is an answer, or the account is configured in another way; say once what is wrong."""
        back_off = BackOff(random.Random(), first_s=1.0)
        said = ""
        while True:
            action, why = await self._ask(account)
            if self._accounts.get(account.name) is not account or not why:
                return
            if why != said:
                await self._note(account, "warning", "account-unknown", why)
                said = why
            await self._let_go(account)
            for_good = action in (Action.GIVE_UP, Action.FIX, Action.REJECT)
            await trio.sleep(GIVEN_UP_S if for_good else back_off.next_delay(0))

    async def _lose_patience(self, accounts: Iterable[Account]) -> None:
        await trio.sleep(HOLD_S)
        for account in accounts:
            await self._let_go(account)

    async def _let_go(self, account: Account) -> None:
        if account.name in self._held_back and self._accounts[account.name] is account:
            self._held_back.discard(account.name)
            await self._changed(account.name)

    async def _ask(self, account: Account) -> tuple[Action, str]:
        """Ask once; return what was wrong, "" if nothing was."""
        if (client := self._client_of(account.name)) is None:  # removed meanwhile
            return Action.RETRY, ""
        try:
            async with self._limit:
                with trio.fail_after(ANSWER_S):
                    answer = await ask_who(client, demo=account.demo)
        except trio.TooSlowError:
            return Action.RETRY, f"account/config: no answer within {ANSWER_S:.0f} s"
        except RestError as error:
            return error.action, str(error)
        if self._accounts.get(account.name) is account:  # else the answer is to another key than it has now
            self._held_back.discard(account.name)
            self._answers[account.name] = answer
            await self._judge(account.name)
        return Action.RETRY, ""

    async def _judge(self, *answered: str) -> None:
        """Find out anew who may be mirrored, and say what has changed."""
        before = self._refused
        told = {name: self._answers[name].identity for name in self._accounts if name in self._answers}
        self._refused = refusals(told, self._known)
        admitted = told.keys() - self._refused.keys() - self._admitted
        self._admitted = told.keys() - self._refused.keys()
        for name in admitted:
            self._known[name] = told[name]
        changed = {name for name in told if before.get(name) != self._refused.get(name)}
        for name in sorted(changed.union(answered)):
            if (account := self._accounts.get(name)) and (refusal := self._refused.get(name)):
                await self._note(account, "error", refusal.event, refusal.why)
            await self._changed(name)
        for name in sorted(admitted):
            if (account := self._accounts.get(name)) and (answer := self._answers.get(name)):
                await self._tell(account, answer.row)
                if "withdraw" in answer.perm:
                    why = "this key may withdraw; okxsync only needs to read"
                    await self._note(account, "warning", "can-withdraw", why)

    async def _tell(self, account: Account, config: str | None) -> None:
        await self._send.send(batch.Account(account.name, account.site_name, account.demo, _now_us(), config))

    async def _note(self, account: Account, level: str, event: str, detail: str) -> None:
        log.log(logging.ERROR if level == "error" else logging.WARNING, "%s %s: %s", account.name, event, detail)
        await self._send.send(batch.Note(_now_us(), level, account.name, event, detail))


def _now_us() -> int:
    return time.time_ns() // 1000
