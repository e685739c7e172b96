"""The checks directly before each send: reads the facts, and waits for what ends by itself.

``send_checks`` has the rules. Those of a resumed plan wait until the daemon's connections are live. A position that the
plan itself has changed may be pushed later than its orders. A leverage waits until no order of its account is of
unknown outcome.
"""

from collections.abc import Mapping
from typing import Final

import trio

from okxsync.config.settings import AccountSettings
from okxsync.plans.children import parse_cl_ord_id
from okxsync.plans.commands import ChildOrder, Shrunk, Withheld
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.desk import NOT_CONFIGURED, TOGETHER_S
from okxsync.plans.facts import AccountFacts
from okxsync.plans.gather import Gatherer, with_answers
from okxsync.plans.reasons import Reason
from okxsync.plans.running import Batch, Running, Unsettled
from okxsync.plans.send_checks import find_changed
from okxsync.plans.states import ChildState
from okxsync.runtime.turns import Turns
from okxsync.store.database import StoreError

RECOVERS_S: Final = 45.0
"""How long after its start the daemon may need until the connections of a resumed plan are live and their gaps filled:
REST may lag, so a gap is not filled at once."""
RECHECK_S: Final = 0.25
READ_TOGETHER: Final = 25
"""Accounts of which the mirror is read at once: the first orders of a wave leave while the others are still checked."""
SETTLES_S: Final = 5.0
"""How much later than the orders the position may be pushed."""
_RECOVERABLE: Final = frozenset({Reason.NOT_CONNECTED, Reason.STALE, Reason.ORDERS_UNCOVERED, Reason.CLOCK})
"""Reasons that end when the connections are live again."""
_MAY_EXIST: Final = frozenset({ChildState.ARMED, ChildState.SENT, ChildState.UNKNOWN})
"""States of an order that may be placed, and it is not known."""


class Checker:
    """Checks the children of all plans.

    Args:
        running: The plans that are being executed, by id.
    """

    def __init__(self, facts: CurrentFacts, gatherer: Gatherer, running: Mapping[str, Running]) -> None:
        self._facts = facts
        self._gatherer = gatherer
        self._running = running
        self._turns = Turns()
        self._started_at = trio.current_time()

    async def check(self, child: ChildOrder) -> Withheld | Shrunk | None:
        """Return why a child is withheld, or its smaller size; None: it may be sent as approved."""
        own = parse_cl_ord_id(child.cl_ord_id)
        running = self._running.get(own.plan_id) if own else None
        if running is None:
            return Withheld(Reason.BAD_REQUEST, "the plan is not being executed")
        try:
            return await self._check_until_settled(child, running)
        except StoreError as error:
            return Withheld(Reason.STORE_BLOCKED, str(error))

    async def _check_until_settled(self, child: ChildOrder, running: Running) -> Withheld | Shrunk | None:
        settles_at = trio.current_time() + SETTLES_S
        while True:
            finding = await self._find_changed(child, running)
            recovers = running.resumed and trio.current_time() - self._started_at < RECOVERS_S
            waits = finding is None and child.kind == "leverage" and self._has_unknown(child.account)
            waits = waits or (isinstance(finding, Unsettled) and trio.current_time() < settles_at)
            waits = waits or bool(recovers and isinstance(finding, Withheld) and finding.reason in _RECOVERABLE)
            if not waits:
                return finding
            await trio.sleep(RECHECK_S)

    def _has_unknown(self, account: str) -> bool:
        """Return whether an order of an account may be placed, and it is not known: then its leverage stays."""
        executions = [one.runner.execution for one in self._running.values() if one.runner]
        return any(
            child.account == account and child.kind == "order" and child.state in _MAY_EXIST
            for one in executions
            for child in one.children
        )

    async def _find_changed(self, order: ChildOrder, running: Running) -> Withheld | Shrunk | None:
        """Return why a child is withheld now, ``Unsettled``: perhaps not in a moment; or with which size it is sent."""
        account = self._facts.enabled_account(order.account)
        if account is None:
            return Withheld(Reason.NO_KEY, NOT_CONFIGURED)
        child = running.children[order.number]
        if child.kind == "cancel":
            return None
        if not_set := running.find_unset_lever(child):
            return not_set
        answered = await self._gatherer.refresh(running.plan, self._facts.unread(account))
        # The reply may have taken seconds: what the mirror knows is read after it.
        facts = with_answers(await self._read(running, account), answered)
        system = await self._facts.of_system(running.plan, [account])
        await self._turns.take()
        expected = running.expected(child)
        finding = find_changed(
            child,
            running.plan,
            facts,
            self._facts.trading,
            system,
            valid_until_ms=running.valid_until_ms,
            expected=expected,
            sums=running.sums(account.name),
        )
        if finding and finding.reason is Reason.DRIFT_POSITION and expected and expected.is_moving:
            return Unsettled(finding.reason, finding.detail)
        return Withheld(finding.reason, finding.detail) if finding else running.shrunk(child, facts)

    async def _read(self, running: Running, account: AccountSettings) -> AccountFacts:
        """Return what the mirror knows of an account; one read serves several accounts that are checked at the time.

        Raises:
            StoreError: the database cannot be read.
        """
        batch = running.next_read
        is_first = not batch.accounts
        batch.accounts[account.name] = account
        if len(batch.accounts) >= READ_TOGETHER:
            running.next_read = Batch()
        if is_first:
            await trio.sleep(TOGETHER_S)
            if running.next_read is batch:
                running.next_read = Batch()
            try:
                batch.facts = await self._facts.of_accounts(running.plan, batch.accounts)
            except StoreError as error:
                batch.error = str(error)
            finally:
                batch.ended.set()
        await batch.ended.wait()
        if batch.facts is None:
            raise StoreError(batch.error)
        return batch.facts[account.name]
