"""Compare accounts with the exchange, side by side; a difference counts only if it is stable."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from okxsync.config.settings import AccountSettings
from okxsync.mirror.ledger import Difference
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http

STABLE_ROUNDS: Final = 3
MOST_ROUNDS: Final = 10
AGAIN_S: Final = 1.0
AT_ONCE: Final = 32

Compared: TypeAlias = tuple[list[Difference], list[str]]
"""What differs for one account, and notes of what was not compared."""


async def compare_side_by_side(
    accounts: Sequence[AccountSettings], compare: Callable[[AccountClient, AccountSettings], Awaitable[Compared]]
) -> tuple[list[Difference], dict[str, str]]:
    """Return what differs, and for each account that could not be compared completely what, and the reason.

    Args:
        compare: Compares one account. A RestError means that it cannot be compared; other errors are raised.
    """
    found: dict[str, list[Difference]] = {}
    uncompared: dict[str, str] = {}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def one(client: AccountClient, account: AccountSettings) -> None:
        try:
            async with limit:
                found[account.name], notes = await compare(client, account)
            if notes:
                uncompared[account.name] = "; ".join(notes)
        except RestError as error:
            uncompared[account.name] = str(error)

    async with open_http() as http:
        clients = Clients(http, accounts)
        await clients.measure_clocks()
        async with trio.open_nursery() as nursery:
            for account in accounts:
                if client := clients.of(account.name):
                    nursery.start_soon(one, client, account)
    return [difference for name in sorted(found) for difference in found[name]], uncompared


async def stable_differences(compare: Callable[[], Awaitable[set[Difference]]], again_s: float) -> list[Difference]:
    """Compare until the differences were the same three times in a row, and return them.

    Args:
        again_s: The pause between two comparisons.
    """
    before: set[Difference] | None = None
    stood = 1
    for _ in range(MOST_ROUNDS):
        found = await compare()
        stood = stood + 1 if found == before else 1
        if not found or stood == STABLE_ROUNDS:
            break
        before = found
        await trio.sleep(again_s)
    return sorted(found, key=lambda one: (one.table, one.key, one.column))
