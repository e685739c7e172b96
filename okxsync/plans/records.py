"""The children and attempts of a plan in memory, and what of them is to be stored next. No I/O."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from okxsync.plans.commands import Alarm, Attempt, ChildOrder, Command, Misfire, Moment, Store, Withheld
from okxsync.plans.replies import Judgement, Verdict
from okxsync.plans.states import ENDED, ChildEvent, ChildState, after


class Records:
    """The records of one execution.

    Attributes:
        children: By number.
        attempts: The last attempt of each child that has one.
        commands: What is to be done, in this order.
    """

    def __init__(self, children: Sequence[ChildOrder], attempts: Mapping[int, Attempt]) -> None:
        self.children = {one.number: one for one in children}
        self.attempts = dict(attempts)
        self.commands: list[Command] = []
        self._changed: dict[int, None] = {}
        self._changed_attempts: dict[tuple[int, int], Attempt] = {}
        self._misfires: list[Misfire] = []

    @property
    def has_doubled(self) -> bool:
        return any(one.doubled for one in self.children.values())

    def happens(self, number: int, event: ChildEvent, now: Moment, reason: str = "", detail: str = "") -> None:
        """Move a child to the state after an event.

        Raises:
            IllegalTransition: the event cannot happen in its state.
        """
        child = self.children[number]
        state = after(child.state, event)
        ended_ms = now.now_ms if state in ENDED else 0
        self.set(replace(child, state=state, reason=reason, detail=detail, ended_ms=ended_ms))

    def withhold(self, number: int, withheld: Withheld, now: Moment) -> None:
        """End a child that is not sent."""
        account = self.children[number].account
        self._misfires.append(Misfire(now.now_ms, number, account, withheld.reason, withheld.detail))
        self.happens(number, ChildEvent.WITHHOLD, now, withheld.reason, withheld.detail)

    def set(self, child: ChildOrder) -> None:
        """Replace a child; the new one is stored."""
        self.children[child.number] = child
        if child.state is not ChildState.SENT:  # whoever reads an intent without an outcome knows as much
            self._changed[child.number] = None

    def end_attempt(
        self, number: int, verdict: Verdict, reply: Judgement | None = None, now: Moment | None = None, proof: str = ""
    ) -> None:
        """Note the verdict on the last attempt of a child; ``now``: when its reply was received."""
        attempt = self.attempts[number]
        attempt = replace(
            attempt,
            verdict=str(verdict),
            reply=reply or attempt.reply,
            replied_ms=now.now_ms if now else attempt.replied_ms,
            proof=proof,
            transport=(reply and reply.transport) or attempt.transport,
        )
        self.attempts[number] = attempt
        self._changed_attempts[number, attempt.number] = attempt

    def order_seen(self, number: int, ord_id: str) -> None:
        """Note the id of a child's order; a second one is an alarm."""
        child = self.children[number]
        if not child.ord_id:
            self.set(replace(child, ord_id=ord_id))
        elif ord_id and ord_id != child.ord_id and not child.doubled:
            self.doubled(number, f"two orders have the id {child.cl_ord_id}: {child.ord_id} and {ord_id}")

    def doubled(self, number: int, text: str) -> None:
        """Note that a child has more than one order."""
        self.set(replace(self.children[number], doubled=True))
        self.alarm(number, text)

    def alarm(self, number: int, text: str) -> None:
        self.commands.append(Alarm(number, self.children[number].account, text))

    def store_changes(self) -> None:
        """Add the command that stores what has changed since the last one."""
        if self._changed or self._changed_attempts or self._misfires:
            children = tuple(self.children[one] for one in self._changed)
            self.commands.append(Store(children, tuple(self._changed_attempts.values()), tuple(self._misfires)))
            self._changed, self._changed_attempts, self._misfires = {}, {}, []

    def take_commands(self) -> list[Command]:
        commands, self.commands = self.commands, []
        return commands
