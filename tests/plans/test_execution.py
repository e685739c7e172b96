"""A plan on a simulated exchange: replies are lost or late, the process is killed anywhere, the power fails."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from okxsync.plans.execution import AskAbout, Prepare, Send, Withheld
from okxsync.plans.waves import Policy
from tests.plans.world import LAG_MS, World

PICK = st.integers(0, 1_000_000)


class PlanMachine(RuleBasedStateMachine):
    """Does to a plan what may happen to it, in any order."""

    world: World

    @initialize(
        accounts=st.integers(1, 4),
        valid_ms=st.sampled_from([4_000, 12_000, 60_000]),
        skew_ms=st.integers(-200, 200),
        canary=st.integers(0, 2),
        on_reject=st.sampled_from(["continue", "stop"]),
        on_unknown=st.sampled_from(["continue", "pause"]),
    )
    def begin(self, accounts: int, valid_ms: int, skew_ms: int, canary: int, on_reject: str, on_unknown: str) -> None:
        policy = Policy(canary, on_reject, None, on_unknown)  # type: ignore[arg-type]
        self.world = World(accounts, valid_ms, skew_ms, policy)

    def _commands(self, kind: type) -> list[Prepare | Send | AskAbout]:
        return [one for one in self.world.commands if isinstance(one, kind)]

    @rule(ms=st.sampled_from([1, 50, 300, 1_000, 2_500, 6_000]))
    def time_passes(self, ms: int) -> None:
        self.world.advance(ms)

    @precondition(lambda self: self.world.queue)
    @rule()
    def the_writer_commits(self) -> None:
        self.world.commit()

    @precondition(lambda self: self._commands(Prepare))
    @rule(pick=PICK, passes=st.sampled_from([True, True, True, False]))
    def a_check_ends(self, pick: int, passes: bool) -> None:
        found = self._commands(Prepare)
        command = found[pick % len(found)]
        self.world.commands.remove(command)
        assert isinstance(command, Prepare)
        self.world.prepare(command.child, None if passes else Withheld("not-connected"))

    @precondition(lambda self: self._commands(Send))
    @rule(
        pick=PICK,
        delay_ms=st.sampled_from([1, 1, 100, 1_500, 2_900, 3_300, 5_000]),
        answers=st.sampled_from(["", "", "", "", "51008", "50011", "50004"]),
        stays=st.booleans(),
        leaves=st.sampled_from([True, True, True, False]),
        halted=st.sampled_from([False, False, False, False, True]),
    )
    def a_request_leaves(self, pick: int, delay_ms: int, answers: str, stays: bool, leaves: bool, halted: bool) -> None:
        found = self._commands(Send)
        command = found[pick % len(found)]
        self.world.commands.remove(command)
        assert isinstance(command, Send)
        self.world.send(command, delay_ms=delay_ms, answers=answers, stays=stays, leaves=leaves, halted=halted)

    @precondition(lambda self: self.world.replies)
    @rule(pick=PICK, lost=st.booleans())
    def a_reply_arrives(self, pick: int, lost: bool) -> None:
        request = self.world.replies.pop(pick % len(self.world.replies))
        if lost:
            self.world.lose_reply(request)
        else:
            self.world.reply(request)

    @precondition(lambda self: self.world.transit)
    @rule(pick=PICK)
    def a_request_times_out(self, pick: int) -> None:
        """The order may still be placed afterwards."""
        request = self.world.transit[pick % len(self.world.transit)]
        self.world.lose_reply(request)

    @precondition(lambda self: self._commands(AskAbout))
    @rule(pick=PICK, lag_ms=st.sampled_from([0, 0, LAG_MS]), error=st.sampled_from(["", "", "", "HTTP status 502"]))
    def a_question_is_answered(self, pick: int, lag_ms: int, error: str) -> None:
        found = self._commands(AskAbout)
        command = found[pick % len(found)]
        assert isinstance(command, AskAbout)
        if command.ask.not_before_ms <= self.world.moment.earliest_ms:
            self.world.commands.remove(command)
            self.world.answer(command, lag_ms=lag_ms, error=error)

    @precondition(lambda self: self.world.orders)
    @rule(pick=PICK, ends=st.booleans())
    def a_push_arrives(self, pick: int, ends: bool) -> None:
        order = self.world.orders[pick % len(self.world.orders)]
        order.live = order.live and not ends
        self.world.follow(order)

    @precondition(lambda self: self.world.orders)
    @rule(pick=PICK)
    def an_order_ends(self, pick: int) -> None:
        self.world.orders[pick % len(self.world.orders)].live = False

    @rule(pick=PICK)
    def the_process_is_killed(self, pick: int) -> None:
        self.world.kill(pick % (len(self.world.queue) + 1))

    @rule(pick=PICK)
    def the_power_fails(self, pick: int) -> None:
        volatile = len(self.world.disk.commits) - self.world.disk.durable
        self.world.power_cut(pick % (volatile + 1))

    @rule(pick=PICK)
    def an_old_copy_is_restored(self, pick: int) -> None:
        self.world.restore(pick % (len(self.world.disk.commits) + 1))

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.drain()
            self.world.check()
            self.world.check_end()


TestPlan = PlanMachine.TestCase
TestPlan.settings = settings(max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck))
