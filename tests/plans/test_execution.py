"""A plan on a simulated exchange: replies are lost or late, the process is killed anywhere, the power fails."""

from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from okxsync.plans.commands import AskAbout, LeverAnswer, MeasureClock, Prepare, Send, Shrunk, Withheld
from okxsync.plans.replies import Stage, failed, judge_repeatable
from okxsync.plans.waves import Policy
from tests.plans.world import LAG_MS, Order, World, make_child

PICK = st.integers(0, 1_000_000)

REQUESTS = st.tuples(
    st.sampled_from([1, 2_900, 100, 1_500, 3_300, 5_000]),
    st.sampled_from(["", "", "", "", "51008", "50011", "50004"]),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
    st.sampled_from(["", "", "", "", "before", "between"]),
)
"""How a request fares: after how many milliseconds it arrives, the code of its refusal, whether the order rests,
whether it leaves at all, and when trading was halted meanwhile."""


Request: TypeAlias = tuple[int, str, bool, bool, str]


class PlanMachine(RuleBasedStateMachine):
    """Does to a plan what may happen to it, in any order."""

    world: World
    disasters = 0

    @initialize(
        accounts=st.integers(1, 4),
        valid_ms=st.sampled_from([60_000, 60_000, 12_000, 4_000]),
        skew_ms=st.integers(-200, 200),
        canary=st.sampled_from([0, 0, 1, 2]),
        on_reject=st.sampled_from(["continue", "stop", "cancel"]),
        on_unknown=st.sampled_from(["continue", "pause"]),
        request=REQUESTS,
    )
    def begin(
        self,
        accounts: int,
        valid_ms: int,
        skew_ms: int,
        canary: int,
        on_reject: str,
        on_unknown: str,
        request: Request,
    ) -> None:
        policy = Policy(canary, on_reject, None, on_unknown)  # type: ignore[arg-type]
        self.world = World(accounts, valid_ms, skew_ms, policy)
        self.it_goes_on(None)
        for command in self._commands(Send):
            self._send(command, *request)

    def _commands(self, kind: type) -> list[Prepare | Send | AskAbout]:
        return [one for one in self.world.commands if isinstance(one, kind)]

    @rule(ms=st.sampled_from([100, 1_000, 3_000, 6_000]))
    def time_passes(self, ms: int) -> None:
        self.world.advance(ms)

    @rule(withheld=st.sampled_from([None, None, None, Withheld("not-connected")]))
    def it_goes_on(self, withheld: Withheld | None) -> None:
        """The checks end, and the writer commits all."""
        for command in self._commands(Prepare):
            self.world.commands.remove(command)
            assert isinstance(command, Prepare)
            self.world.prepare(command.child, withheld)
        while self.world.queue:
            self.world.commit()

    @precondition(lambda self: self.world.queue)
    @rule()
    def the_writer_commits(self) -> None:
        self.world.commit()

    @precondition(lambda self: self._commands(Send))
    @rule(pick=PICK, request=REQUESTS)
    def a_request_leaves(self, pick: int, request: Request) -> None:
        found = self._commands(Send)
        self._send(found[pick % len(found)], *request)

    def _send(
        self, command: Prepare | Send | AskAbout, delay_ms: int, answers: str, stays: bool, leaves: bool, halted: str
    ) -> None:
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
        if not request.is_lost:
            self.world.lose_reply(request)

    @precondition(lambda self: self._commands(AskAbout))
    @rule(lag_ms=st.sampled_from([0, LAG_MS]), error=st.sampled_from(["", "", "", "HTTP status 502"]))
    def questions_are_answered(self, lag_ms: int, error: str) -> None:
        self.world.answer_all(lag_ms=lag_ms, error=error)

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

    @precondition(lambda self: self.disasters < 2 and (self.world.orders or self.world.transit))
    @rule(pick=PICK, kind=st.sampled_from(["kill", "power", "copy"]))
    def disaster_strikes(self, pick: int, kind: str) -> None:
        """The process is killed, the power fails, or an older copy of the database is restored."""
        self.disasters += 1
        match kind:
            case "kill":
                self.world.kill(pick % (len(self.world.queue) + 1))
            case "power":
                volatile = len(self.world.disk.commits) - self.world.disk.durable
                self.world.power_cut(pick % (volatile + 1))
            case _:
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


TestPlan = pytest.mark.slow(PlanMachine.TestCase)
TestPlan.settings = settings(max_examples=300, stateful_step_count=25, suppress_health_check=list(HealthCheck))


def started(accounts: int = 1, valid_ms: int = 60_000, policy: Policy | None = None) -> World:
    """Return a world in which the intents of all children are on disk."""
    world = World(accounts, valid_ms, 0, policy or Policy(canary=0))
    goes_on(world)
    return world


def goes_on(world: World) -> None:
    for command in [one for one in world.commands if isinstance(one, Prepare)]:
        world.commands.remove(command)
        world.prepare(command.child, None)
    while world.queue:
        world.commit()


def leaves(world: World, delay_ms: int = 1, answers: str = "", *, stays: bool = False, connects: bool = True) -> None:
    """Send all that is to be sent; without a connection nothing leaves."""
    for command in [one for one in world.commands if isinstance(one, Send)]:
        world.commands.remove(command)
        world.send(command, delay_ms=delay_ms, answers=answers, stays=stays, leaves=connects, halted="")


def states(world: World) -> list[str]:
    return [str(one.state) for one in world.execution.children]


def ends(world: World) -> list[str]:
    world.drain()
    world.check()
    world.check_end()
    return states(world)


def test_an_order_without_a_connection_is_tried_again() -> None:
    world = started()
    leaves(world, connects=False)
    assert (world.sent, states(world)) == ([], ["ready"])
    world.advance(2_000)
    goes_on(world)
    leaves(world)
    assert world.sent == [(0, 2)]
    assert ends(world) == ["filled"]


def test_an_order_that_arrives_late_is_not_sent_twice() -> None:
    """The reply is lost, and the order is processed just before it expires: until then it is not absent."""
    world = started()
    leaves(world, delay_ms=2_999)
    world.lose_reply((0, 1))
    for _ in range(12):
        world.answer_all(lag_ms=0)
        goes_on(world)
        leaves(world)
        world.advance(300)
    assert len(world.sent) == 1
    assert ends(world) == ["filled"]


@pytest.mark.parametrize("lag_ms", [0, LAG_MS])
def test_an_order_that_expired_on_its_way_is_sent_again(lag_ms: int) -> None:
    world = started()
    leaves(world, delay_ms=5_000)
    world.lose_reply((0, 1))
    for _ in range(30):
        world.advance(300)
        world.answer_all(lag_ms=lag_ms)
    goes_on(world)
    leaves(world)
    assert world.sent == [(0, 1), (0, 2)]
    assert ends(world) == ["filled"]


def test_an_expired_plan_resolves_and_sends_nothing_more() -> None:
    world = started(2, valid_ms=4_000)
    leaves(world, delay_ms=5_000)
    world.lose_reply((0, 1))
    world.lose_reply((1, 1))
    assert ends(world) == ["absent", "absent"]
    assert len(world.sent) == 2


@pytest.mark.parametrize("arrives", [True, False])
def test_an_intent_of_a_dead_process_is_unknown(arrives: bool) -> None:
    world = started()
    if arrives:
        leaves(world)
    world.advance(100)
    world.kill(0)
    assert states(world) == ["unknown"]
    assert ends(world) == ["filled"]
    assert len(world.sent) == 1


def test_a_child_without_intent_goes_on_after_a_restart_and_stops_if_the_plan_says_so() -> None:
    world = World(1, 60_000, 0, Policy(canary=0))
    world.kill(0)
    assert ends(world) == ["filled"]


def test_on_an_older_copy_of_the_database_each_child_is_looked_up_first() -> None:
    world = started()
    leaves(world)
    world.advance(100)
    world.restore(0)
    assert states(world) == ["ready"]
    world.answer_all(lag_ms=0)
    assert states(world) == ["accepted"]
    assert ends(world) == ["filled"]


def test_an_older_copy_waits_for_the_requests_of_the_lost_process() -> None:
    """The request that the copy does not know is processed just before it expires; then it is found, not sent again."""
    world = started()
    leaves(world, delay_ms=2_900)
    world.restore(0)
    for _ in range(12):
        world.answer_all(lag_ms=0)
        goes_on(world)
        leaves(world)
        world.advance(300)
    assert len(world.sent) == 1
    assert ends(world) == ["filled"]


def test_an_older_copy_does_not_prove_absence_while_a_later_attempt_is_under_way() -> None:
    world = started()
    leaves(world, answers="50011")
    world.advance(100)
    world.reply(world.replies.pop())
    armed = len(world.disk.commits)
    world.advance(6_000)
    goes_on(world)
    leaves(world, delay_ms=2_900)
    world.restore(armed)
    assert states(world) == ["unknown"]
    for _ in range(12):
        world.answer_all(lag_ms=0)
        goes_on(world)
        leaves(world)
        world.advance(300)
    assert len(world.sent) == 2
    assert ends(world) == ["filled"]


@pytest.mark.parametrize("placed", [True, False])
def test_an_older_copy_after_the_validity_looks_up_each_child_before_it_ends(placed: bool) -> None:
    world = started(valid_ms=10_000)
    if placed:
        leaves(world)
    world.advance(20_000)
    world.restore(0)
    assert ends(world) == ["filled" if placed else "withheld"]
    assert len(world.sent) == placed


def test_a_child_that_will_not_be_sent_ends_although_the_exchange_cannot_be_asked() -> None:
    world = World(1, 10_000, 0, Policy(canary=0))
    world.advance(20_000)
    world.restore(0)
    for _ in range(40):
        world.answer_all(lag_ms=0, error="HTTP status 502")
        world.advance(2_000)
    (child,) = world.execution.children
    assert (child.state, child.reason) == ("withheld", "expired")
    assert "could not be asked" in child.detail


@pytest.mark.parametrize("code", ["50004", "50001", "50013", "50026", "51054", "51149", "59999"])
def test_a_code_that_proves_nothing_leaves_the_order_unknown(code: str) -> None:
    world = started()
    leaves(world, answers=code)
    world.advance(100)
    world.reply(world.replies.pop())
    assert states(world) == ["unknown"]


def test_after_a_rate_limit_the_same_order_is_sent_again_a_little_later_and_three_times_at_most() -> None:
    world = started()
    for attempt in (1, 2, 3):
        leaves(world, answers="50011")
        world.advance(100)
        world.reply(world.replies.pop())
        assert states(world) == ["ready" if attempt < 3 else "refused"]
        world.advance(1_000)
        assert not world.commands
        world.advance(1_000)
        goes_on(world)
    assert [one for one in world.sent if one[0] == 0] == [(0, 1), (0, 2), (0, 3)]


def test_nothing_is_sent_before_its_intent_is_on_disk() -> None:
    world = World(1, 60_000, 0, Policy(canary=0))
    for command in list(world.commands):
        assert isinstance(command, Prepare)
        world.prepare(command.child, None)
    assert [one.receipt > 0 for one in world.queue] == [True]
    assert not [one for one in world.commands if isinstance(one, Send)]
    world.commit()
    assert [one for one in world.commands if isinstance(one, Send)]


def test_an_intent_that_cannot_be_stored_is_given_up() -> None:
    world = World(1, 60_000, 0, Policy(canary=0))
    world.commands.clear()
    world.prepare(0, None)
    world.advance(2_100)
    while world.queue:
        world.commit()
    assert [(one.state, one.reason) for one in world.execution.children] == [("withheld", "store-blocked")]
    assert ends(world) == ["withheld"]
    assert not world.sent


@pytest.mark.parametrize("halted", ["before", "between"])
def test_a_halt_just_before_the_headers_or_the_body_withholds_the_order(halted: str) -> None:
    world = started(2)
    for command in [one for one in world.commands if isinstance(one, Send)]:
        world.commands.remove(command)
        world.send(command, delay_ms=1, answers="", stays=False, leaves=True, halted=halted)
    assert [(one.state, one.reason) for one in world.execution.children] == [("withheld", "halted")] * 2
    assert not world.sent
    while world.queue:
        world.commit()
    _, attempts = world.disk.read()
    assert {one.verdict for one in attempts.values()} == {"not_sent"}
    assert ends(world) == ["withheld", "withheld"]


def test_a_push_before_the_reply_counts_and_the_reply_changes_nothing() -> None:
    world = started()
    leaves(world, stays=True)
    world.advance(10)
    world.follow(world.orders[0])
    assert states(world) == ["working"]
    world.reply(world.replies.pop())
    assert states(world) == ["working"]
    assert ends(world) == ["filled"]


def test_a_second_order_of_one_id_is_an_alarm_and_pauses_the_plan() -> None:
    world = started(2)
    leaves(world)
    world.advance(10)
    order = world.orders[0]
    world.follow(order)
    world.follow(Order("999", order.child, world.now_ms, live=True))
    world.step()
    assert len(world.alarms) == 1
    assert world.execution.children[order.child].doubled
    assert world.execution.breakers.doubled


def test_one_account_that_hangs_delays_no_other() -> None:
    world = started(3)
    leaves(world, delay_ms=2_900)
    world.transit[1].arrives_ms = world.transit[2].arrives_ms = world.now_ms + 1
    world.advance(5)
    for request in list(world.replies):
        world.reply(request)
    assert states(world) == ["sent", "accepted", "accepted"]


def test_the_canary_goes_first_and_the_others_follow_its_acceptance() -> None:
    world = started(3, policy=Policy(canary=1))
    leaves(world)
    assert world.sent == [(0, 1)]
    world.advance(10)
    world.reply(world.replies.pop())
    goes_on(world)
    leaves(world)
    assert world.sent == [(0, 1), (1, 1), (2, 1)]


def test_a_refused_canary_stops_the_plan() -> None:
    world = started(3, policy=Policy(canary=1))
    leaves(world, answers="51008")
    world.advance(10)
    world.reply(world.replies.pop())
    assert [(one.state, one.reason) for one in world.execution.children] == [
        ("refused", "refused"), ("withheld", "canary"), ("withheld", "canary"),
    ]  # fmt: skip


def test_a_request_expires_with_its_plan_at_the_latest() -> None:
    world = World(1, 2_500, 0, Policy(canary=0))
    goes_on(world)
    (command,) = world.commands
    assert isinstance(command, Send)
    assert command.attempt.exp_ms == world.valid_until_ms


def resting(accounts: int, policy: Policy | None = None) -> World:
    """Return a world whose limit orders have been sent, and rest."""
    children = [make_child(number, ord_type="limit") for number in range(accounts)]
    world = World(accounts, 60_000, 0, policy or Policy(canary=0), children)
    goes_on(world)
    leaves(world, stays=True)
    world.advance(10)
    return world


def test_a_canceled_plan_cancels_what_rests_once_and_what_is_found_to_rest_later() -> None:
    world = resting(3)
    world.lose_reply(world.replies.pop(2))
    for request in list(world.replies):
        world.reply(request)
    world.follow(world.orders[0])
    assert states(world) == ["working", "accepted", "unknown"]
    world.execution.cancel()
    world.step()
    assert world.canceling == [0, 1]
    world.follow(world.orders[2])
    world.step()
    assert world.canceling == [0, 1, 2]


def test_an_order_that_ends_at_once_is_not_canceled() -> None:
    world = started()
    leaves(world)
    world.advance(10)
    world.reply(world.replies.pop())
    world.execution.cancel()
    world.step()
    assert (states(world), world.canceling) == (["accepted"], [])


@pytest.mark.parametrize("cancel_orders", [True, False])
def test_a_halt_cancels_what_rests_only_if_it_says_so(cancel_orders: bool) -> None:
    world = resting(1)
    world.reply(world.replies.pop())
    world.execution.halt(cancel_orders=cancel_orders)
    world.step()
    assert world.canceling == ([0] if cancel_orders else [])


def test_a_refusal_cancels_what_rests_if_the_plan_says_so_also_when_nothing_is_left_to_send() -> None:
    children = [make_child(number, ord_type="limit") for number in range(2)]
    world = World(2, 60_000, 0, Policy(0, "cancel"), children)
    goes_on(world)
    leaves(world, stays=True)
    world.transit[1].answers = "51008"
    world.advance(10)
    for request in list(world.replies):
        world.reply(request)
    assert (states(world), world.canceling) == (["accepted", "refused"], [0])
    while world.queue:
        world.commit()
    world.canceling.clear()
    world.kill(0)  # the next process goes on canceling
    assert world.canceling == [0]


def with_steps(kind: str, valid_ms: int = 60_000) -> World:
    """Return a world with a step and an order of the phase after it; the request of the step has left."""
    children = [make_child(0, phase=0, kind=kind), make_child(1, position=0)]
    world = World(1, valid_ms, 0, Policy(canary=1), children)
    goes_on(world)
    (command,) = [one for one in world.commands if isinstance(one, Send)]
    world.commands.clear()
    assert world.execution.may_send(0, command.attempt.number, world.moment, halted=False)
    return world


def lever_answers(world: World, answer: LeverAnswer) -> None:
    world.advance(1_000)
    assert [one.child.number for one in world.levers] == [0]
    world.levers.clear()
    world.execution.lever_answered(0, answer, world.moment)
    world.step()


def test_a_leverage_that_is_set_ends_its_phase() -> None:
    world = with_steps("leverage")
    assert not [one for one in world.commands if isinstance(one, Prepare)]
    world.execution.replied(0, 1, judge_repeatable('{"code":"0","data":[{"lever":"3"}]}', 200), world.moment)
    world.step()
    assert states(world) == ["done", "ready"]
    assert [one for one in world.commands if isinstance(one, Prepare)] == [Prepare(1)]


@pytest.mark.parametrize("is_set", [True, False])
def test_after_a_lost_reply_the_leverage_is_asked_for_before_anything_is_sent(is_set: bool) -> None:
    world = with_steps("leverage")
    world.execution.replied(0, 1, failed(Stage.STARTED, "a time-out"), world.moment)
    world.step()
    lever_answers(world, LeverAnswer(world.now_ms, error="HTTP status 502"))
    assert states(world) == ["unknown", "ready"]
    assert not world.commands
    lever_answers(world, LeverAnswer(world.now_ms, "3" if is_set else "10", is_set))
    assert states(world) == ["done" if is_set else "ready", "ready"]
    assert [one.child for one in world.commands if isinstance(one, Prepare)] == [1 if is_set else 0]
    while world.queue:
        world.commit()
    assert '"lever"' in world.disk.commits[-1].attempts[-1].proof


def test_a_leverage_that_was_not_set_when_the_plan_expires_ends_as_absent() -> None:
    world = with_steps("leverage", valid_ms=3_500)
    world.execution.replied(0, 1, failed(Stage.STARTED, "a time-out"), world.moment)
    world.advance(2_600)
    lever_answers(world, LeverAnswer(world.now_ms, "10"))
    assert [(one.state, one.reason) for one in world.execution.children] == [
        ("absent", "absent"), ("withheld", "expired"),
    ]  # fmt: skip


def test_after_a_restart_a_leverage_is_asked_for_and_a_cancellation_is_sent_again() -> None:
    world = with_steps("leverage")
    world.kill(0)
    assert states(world) == ["unknown", "ready"]
    assert len(world.levers) == 1
    world = with_steps("cancel")
    world.kill(0)
    assert [one for one in world.commands if isinstance(one, Prepare)] == [Prepare(0)]


def test_a_cancellation_goes_on_after_the_end_of_the_plan_and_while_halted() -> None:
    children = [make_child(0, kind="cancel"), make_child(1, phase=2, position=0)]
    world = World(1, 60_000, 0, Policy(canary=1), children)
    world.advance(70_000)
    world.execution.halt(cancel_orders=False)
    world.step()
    assert states(world) == ["ready", "withheld"]
    goes_on(world)
    (command,) = [one for one in world.commands if isinstance(one, Send)]
    assert world.execution.may_send(0, command.attempt.number, world.moment, halted=True)
    world.execution.canceled(0, 1, "canceled", world.moment)
    step = world.execution.child(0)
    assert (step.state, step.detail) == ("done", "canceled")


def test_a_canceled_plan_sends_no_cancellation_of_its_own_steps() -> None:
    world = World(1, 60_000, 0, Policy(), [make_child(0, kind="cancel")])
    world.execution.cancel()
    world.step()
    assert states(world) == ["withheld"]


def test_an_order_that_rests_longer_than_cancel_after_is_canceled_also_after_the_end_of_the_plan() -> None:
    children = [make_child(number, ord_type="limit", cancel_after_ms=number * 90_000) for number in range(2)]
    world = World(2, 60_000, 0, Policy(canary=0), children)
    goes_on(world)
    leaves(world, stays=True)
    world.advance(10)
    for request in list(world.replies):
        world.reply(request)
    world.advance(89_000)
    assert world.canceling == []
    world.advance(1_000)
    assert world.canceling == [1]


@pytest.mark.parametrize(
    ("accounts", "doubted", "stops"),
    [(10, ["a0"], False), (3, ["a0"], False), (10, ["a0", "a1"], True), (3, ["x"], False)],
)
def test_doubt_about_several_accounts_stops_the_plan(accounts: int, doubted: list[str], stops: bool) -> None:
    world = World(accounts, 60_000, 0, Policy(canary=0))
    world.execution.doubted(doubted)
    world.step()
    assert set(states(world)) == ({"withheld"} if stops else {"ready"})


def test_a_clock_that_is_off_pauses_the_plan_until_it_is_right() -> None:
    world = World(2, 60_000, 0, Policy(canary=1))
    goes_on(world)
    world.error_ms = 300
    assert world.execution.step(world.moment).count(MeasureClock()) == 1
    world.now_ms += 100
    assert MeasureClock() not in world.execution.step(world.moment)  # it is under way
    assert world.execution.decision.paused
    leaves(world)
    world.advance(10)
    world.reply(world.replies.pop())
    assert not world.commands
    world.error_ms = 200
    world.step()
    assert [one for one in world.commands if isinstance(one, Prepare)] == [Prepare(1)]
    assert not world.execution.decision.paused


def test_a_plan_with_a_doubled_order_stays_paused_after_a_restart() -> None:
    world = started(2, policy=Policy(canary=1))
    leaves(world)
    world.advance(10)
    world.follow(world.orders[0])
    world.follow(Order("999", 0, world.now_ms, live=True))
    while world.queue:
        world.commit()
    world.kill(0)
    world.answer_all(lag_ms=0)
    assert world.execution.decision.paused
    assert not [one for one in world.commands if isinstance(one, Prepare | Send)]


def test_a_reduction_that_has_shrunk_is_sent_with_its_smaller_size() -> None:
    world = World(1, 60_000, 0, Policy(canary=0))
    world.execution.prepared(0, Shrunk("0.5", '{"sz":"0.5"}'), world.moment)
    world.step()
    while world.queue:
        world.commit()
    (command,) = [one for one in world.commands if isinstance(one, Send)]
    assert (command.child.sz, command.child.body) == ("0.5", '{"sz":"0.5"}')
