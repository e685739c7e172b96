"""A plan that is being executed: what was approved, and what its checks need of all its children."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from okxsync.plans.children import Child, OrderBody, plain, to_body
from okxsync.plans.commands import ChildOrder, Shrunk, Withheld
from okxsync.plans.document import Plan
from okxsync.plans.expected import Expected, Key, drafting_order, expected_position, key_of
from okxsync.plans.facts import AccountFacts, decimal_of
from okxsync.plans.reasons import Reason
from okxsync.plans.send_checks import Sums, shrunk_size
from okxsync.plans.states import ChildState

if TYPE_CHECKING:
    from okxsync.config.settings import AccountSettings
    from okxsync.plans.desk import PlanRunner


UNREADABLE_USD: Final = Decimal(10**18)
"""What an amount counts that cannot be read: more than any limit of the day, so that no check passes by mistake."""


class Unsettled(Withheld, frozen=True):
    """The position is not the expected one, and orders of the plan have changed it just now."""


class Batch:
    """Accounts of which the mirror is read together; ``facts`` is what it knows of them.

    Attributes:
        ended: Whether it was read; if ``facts`` is then still None, it could not be, for the reason ``error``.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, AccountSettings] = {}
        self.facts: Mapping[str, AccountFacts] | None = None
        self.error = "it was not read"
        self.ended = trio.Event()


class Running:
    """A plan that is being executed; ``resumed``: an earlier process has begun it.

    Args:
        approved_today: In USD by account, in other plans.

    Attributes:
        planned: In USD by account.
        next_read: The accounts of which the mirror is read next.
    """

    def __init__(
        self,
        plan: Plan,
        children: list[Child],
        valid_until_ms: int,
        approved_today: Mapping[str, Decimal],
        *,
        resumed: bool,
    ) -> None:
        self.resumed = resumed
        self.plan = plan
        self.children = {one.number: one for one in children}
        self.valid_until_ms = valid_until_ms
        self.runner: PlanRunner | None = None
        self.next_read = Batch()
        self.planned: dict[str, Decimal] = {}
        for one in children:
            if not one.reason:
                self.planned[one.account] = self.planned.get(one.account, Decimal(0)) + one.planned_usd
        self._approved_today = approved_today
        self._planned_usd = sum(self.planned.values(), Decimal(0))
        self._day_usd = self._planned_usd + sum(approved_today.values(), Decimal(0))
        self._levers: dict[tuple[str, str, str], list[Child]] = {}
        bodies = (msgspec.json.decode(one.body, type=OrderBody) for one in children if one.kind == "order" and one.body)
        self.tag = next((one.tag for one in bodies if one.tag), "")
        for one in children:
            if one.kind == "leverage":
                self._levers.setdefault((one.account, one.inst_id, one.td_mode), []).append(one)
        self._siblings: dict[Key, list[Child]] = {}
        for one in sorted(children, key=drafting_order(plan)):
            if one.kind == "order":
                self._siblings.setdefault(key_of(one), []).append(one)

    @property
    def approved_ms(self) -> int:
        return self.valid_until_ms - self.plan.valid_for * 1000

    def sums(self, account: str) -> Sums:
        """Return what the limits of plan and day count."""
        planned = self.planned.get(account, Decimal(0))
        day = planned + self._approved_today.get(account, Decimal(0))
        return Sums(self._planned_usd, planned, self._day_usd, day)

    def expected(self, child: Child) -> Expected | None:
        """Return the position that the account should have before a child is sent."""
        siblings = self._siblings.get(key_of(child), ())
        return expected_position(siblings, self.runner.execution.child, child.number) if self.runner else None

    def shrunk(self, child: Child, account: AccountFacts) -> Shrunk | Withheld | None:
        """Return the smaller size of a reduction whose position has become smaller; None: the approved one fits."""
        if not child.facts.shrink or (size := shrunk_size(child, account)) == child.sz:
            return None
        if not size:
            return Withheld(Reason.DRIFT_POSITION, "nothing is left to reduce")
        at_once = [one for one in self._siblings[key_of(child)] if one.phase == child.phase and one.facts.shrink]
        if len(at_once) > 1:
            return Withheld(Reason.DRIFT_POSITION, "several orders reduce the position, which has become smaller")
        body = msgspec.json.decode(child.body, type=OrderBody)
        return Shrunk(plain(size), to_body(msgspec.structs.replace(body, sz=plain(size))))

    def order(self, stored: ChildOrder) -> ChildOrder:
        """Return a child with what its leg says about when it is canceled."""
        child = self.children[stored.number]
        after_s = self.plan.legs[child.leg - 1].cancel_after if child.kind == "order" else None
        return msgspec.structs.replace(stored, cancel_after_ms=after_s * 1000) if after_s else stored

    def find_unset_lever(self, child: Child) -> Withheld | None:
        """Return why an order is withheld whose leverage the plan was to set, and did not."""
        if child.kind != "order" or self.runner is None:
            return None
        for step in self._levers.get((child.account, child.inst_id, child.td_mode), ()):
            found = self.runner.execution.child(step.number)
            if step.pos_side in ("", child.pos_side) and found.state is not ChildState.DONE:
                return Withheld(Reason.LEVERAGE, f"it could not be set: {found.detail or found.state}")
        return None


def approved_since(
    since_ms: int, stored: Iterable[tuple[str, str, str]], running: Mapping[str, Running]
) -> dict[str, Decimal]:
    """Return what was approved since a time, in USD by account.

    Args:
        since_ms: The exchange's time.
        stored: Plan, account and USD of each order approved since then, as stored.
        running: By plan id; the approval of these may not be stored yet, so what is stored of them does not count.
    """
    amounts = [
        (account, UNREADABLE_USD if (amount := decimal_of(usd)) is None else amount)
        for plan_id, account, usd in stored
        if plan_id not in running
    ]
    for one in running.values():
        if one.approved_ms >= since_ms:
            amounts += one.planned.items()
    found: dict[str, Decimal] = {}
    for account, usd in amounts:
        found[account] = found.get(account, Decimal(0)) + usd
    return found
