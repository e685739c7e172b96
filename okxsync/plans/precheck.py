"""Asks OKX what an order would do to an account, without placing it.

OKX docs: order-book-trading-trade-post-order-precheck. It exists in Multi-currency and Portfolio margin mode only. The
answer is shown and decides nothing: the check does not know what the orders of earlier phases set free.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec
import trio

from okxsync.config.secret import ConfigError
from okxsync.config.settings import AccountSettings
from okxsync.okx.rate_limits import Budget, Slots
from okxsync.plans.children import Child
from okxsync.plans.facts import decimal_of
from okxsync.plans.replies import Verdict, judge_repeatable
from okxsync.rest.client import SignedBy
from okxsync.rest.clock import SiteClock
from okxsync.rest.http import UNREADABLE, Http, post
from okxsync.runtime.rate_limiter import RateLimiter

PATH: Final = "trade/order-precheck"
MODES: Final = frozenset({"3", "4"})
LIMIT: Final = Budget(5, 2)
ACCOUNT_S: Final = 20.0
"""How long the checks of one account may take, with the limit of five in two seconds."""
NUMBERS: Final = ("adjEq", "imr", "mmr", "mgnRatio", "availBal")
"""Of the account, before the order; each has a twin ``...Chg`` for what the order changes."""


class _Reply(msgspec.Struct):
    data: list[dict[str, Any]] = []


class Prechecks:
    """Asks for all accounts side by side.

    Args:
        clock_of: The clock of an account's site.
    """

    def __init__(self, http: Http, clock_of: Callable[[AccountSettings], SiteClock]) -> None:
        self._http = http
        self._clock_of = clock_of
        self._limiters: dict[str, RateLimiter] = {}

    async def ask(
        self, children: Sequence[Child], accounts: Mapping[str, AccountSettings], modes: Mapping[str, str]
    ) -> list[Child]:
        """Return the children, each order that is ready with what OKX says of it.

        Args:
            modes: ``acctLv`` by account.
        """
        found: dict[int, Child] = {}
        asked: dict[str, list[Child]] = {}
        for child in children:
            if child.kind == "order" and not child.reason and modes.get(child.account) in MODES:
                asked.setdefault(child.account, []).append(child)

        async def of_account(name: str) -> None:
            with trio.move_on_after(ACCOUNT_S):
                for child in asked[name]:
                    text = await self._ask(accounts[name], child)
                    warnings = (*child.facts.warnings, f"OKX's check: {text}")
                    found[child.number] = msgspec.structs.replace(
                        child, facts=msgspec.structs.replace(child.facts, warnings=warnings)
                    )

        async with trio.open_nursery() as nursery:
            for name in asked:
                nursery.start_soon(of_account, name)
        return [found.get(child.number, child) for child in children]

    async def _ask(self, account: AccountSettings, child: Child) -> str:
        limiter = self._limiters.setdefault(account.name, RateLimiter(Slots(LIMIT.calls, LIMIT.window_s)))
        url, auth = f"{account.site.rest}/api/v5/{PATH}", SignedBy(account, self._clock_of(account))
        try:
            async with limiter.acquire(1):
                status, body = await post(self._http, url, child.body.encode(), auth)
        except (httpx.HTTPError, OSError, ValueError, ConfigError) as error:  # its text may contain a header
            return f"no answer ({type(error).__name__})"
        return summary(body, status)


def summary(body: bytes, status: int) -> str:
    """Return a reply for people: the numbers of the account after the order, or why OKX would reject it."""
    judged = judge_repeatable(body, status)
    if judged.verdict is not Verdict.PLACED:
        return f"rejected, {judged.summary}" if judged.verdict is Verdict.REFUSED else judged.summary
    try:
        row = next(iter(msgspec.json.decode(body, type=_Reply).data), {})
    except UNREADABLE:
        row = {}
    after = []
    for name in NUMBERS:
        now, change = decimal_of(row.get(name)), decimal_of(row.get(f"{name}Chg"))
        if now is not None and change is not None:
            after.append(f"{name} {now + change:f}")
    return f"{', '.join(after)} after the order" if after else "it has no objection"
