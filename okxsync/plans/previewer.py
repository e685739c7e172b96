"""Makes previews: reads the plan, collects the facts of its accounts, and stores the result of ``plans.preview``."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import trio

from okxsync.config.settings import AccountSettings
from okxsync.messages import PlanPreviewed
from okxsync.plans.canonical import canonical
from okxsync.plans.children import is_plan_id, to_columns
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.document import Plan
from okxsync.plans.follow_up import Planned, plan_to_follow
from okxsync.plans.gather import FOLLOWED_S, Gatherer, with_answers
from okxsync.plans.known_refusals import read_known_refusals
from okxsync.plans.plan_file import read
from okxsync.plans.precheck import Prechecks
from okxsync.plans.preview import make_preview, to_plan_columns
from okxsync.plans.requests import Answered, Request
from okxsync.plans.selection import select
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import supervised
from okxsync.store.engines import Reader

WARM_S: Final = 5.0
"""How often the connections of a preview are looked at: the exchange closes idle ones."""
Warm: TypeAlias = Callable[[Sequence[AccountSettings]], Awaitable[None]]


class Previewer:
    """Answers the requests ``preview``, ``retry`` and ``undo``.

    Args:
        warm: Opens the connections over which the orders of accounts are sent.

    Attributes:
        made: Ids of the plans that were previewed by this process, so that no other one can have executed them.
    """

    def __init__(
        self,
        facts: CurrentFacts,
        gatherer: Gatherer,
        prechecks: Prechecks,
        warm: Warm,
        reader: Reader,
        send: Outbox,
        nursery: trio.Nursery,
    ) -> None:
        self._facts = facts
        self._gatherer = gatherer
        self._prechecks = prechecks
        self._warm = warm
        self._reader = reader
        self._send = send
        self._nursery = nursery
        self.made: set[str] = set()

    async def answer(self, request: Request, body: dict[str, Any]) -> Answered:
        """Make and store a preview; the answer is what a person types to approve it, or why there is none.

        Raises:
            PlanError: the document is invalid.
            StoreError: the database cannot be read.
        """
        plan_id = request.plan_id or ""
        if not is_plan_id(plan_id):
            return Answered("bad-request", "plan_id: 11 characters of Crockford's base 32")
        if self._reader.rows("SELECT 1 FROM plans WHERE plan_id = ?", [plan_id]):
            return Answered("previewed", "it exists already")
        planned = self._read(request.kind, body)
        if isinstance(planned, Answered):
            return planned
        return await self._preview(plan_id, planned, precheck=body.get("precheck") is True)

    def _read(self, kind: str, body: dict[str, Any]) -> Planned | Answered:
        if kind in ("retry", "undo"):
            planned = plan_to_follow(self._reader, kind, str(body.get("parent_id", "")))
            if isinstance(planned, Planned):
                read(canonical(planned.plan))  # it is executed from its text: one that cannot be read is not shown
            return planned
        return Planned(read(str(body.get("document", ""))))

    async def _preview(self, plan_id: str, planned: Planned, *, precheck: bool) -> Answered:
        plan, trading = planned.plan, self._facts.trading
        accounts = self._facts.accounts  # these, although the settings may change while OKX is asked
        facts = await self._facts.of_accounts(plan, accounts)
        groups = {name: trading.accounts[name].groups if name in trading.accounts else frozenset() for name in facts}
        names = select(plan, plan_id, groups, {name: one.equity for name, one in facts.items()})
        completed = await self._gatherer.complete(plan, {name: facts[name] for name in names}, accounts)
        system = await self._facts.of_system_and_day(plan, [accounts[name] for name in names])
        # The accounts' state in the mirror is read again: asking REST may have taken seconds.
        fresh = await self._facts.of_accounts(plan, accounts)
        known = read_known_refusals(self._reader, system.now_ms)
        for name, one in completed.items():
            fresh[name] = msgspec.structs.replace(with_answers(fresh[name], one), known=known.get(name, {}))
        reads = self._facts.reads
        preview = await reads.computed(make_preview, plan, plan_id, fresh, trading, system, planned.cancels)
        preview = msgspec.structs.replace(preview, warnings=(*preview.warnings, *planned.notes))
        if precheck:
            modes = {name: one.mode for name, one in completed.items()}
            children = await self._prechecks.ask(preview.children, accounts, modes)
            preview = msgspec.structs.replace(preview, children=tuple(children))
        orders = await reads.computed(lambda: [to_columns(plan_id, child) for child in preview.children])
        columns = to_plan_columns(preview, planned.kind, planned.parent_id)
        self.made.add(plan_id)
        await self._send.send(PlanPreviewed(columns, orders))
        traded = [accounts[name] for name in dict.fromkeys(one.account for one in preview.children if not one.reason)]
        for subject, work in (
            ("prices", self._gatherer.follow_quotes),
            ("first accounts", self._gatherer.follow_first),
            ("connections", self._keep_warm),
        ):
            self._nursery.start_soon(supervised, self._send, None, f"plan {plan_id}: {subject}", work, plan, traded)
        return Answered("previewed", preview.confirmation)

    async def _keep_warm(self, plan: Plan, accounts: Sequence[AccountSettings]) -> None:
        """Keep the connections of the first wave open for as long as the preview may be approved."""
        with trio.move_on_after(min(plan.valid_for, FOLLOWED_S)):
            while True:
                await self._warm(accounts)
                await trio.sleep(WARM_S)
