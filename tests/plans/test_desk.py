"""A plan on the built-in exchange, with the real writer: orders at the exchange against rows of the plan."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from okxsync.config.settings import AccountSettings, Settings, load
from okxsync.feed.dialers import Dialers
from okxsync.feed.pool import ConnectionPool
from okxsync.messages import PlanAttempt, PlanPreviewed, PlanProgress
from okxsync.plans.children import Child, LeverageBody, OrderBody, OwnId, make_cl_ord_id, to_body, to_columns
from okxsync.plans.commands import ChildOrder, Withheld
from okxsync.plans.dead_man import DeadMan, Switch
from okxsync.plans.desk import Desk as PlanDesk
from okxsync.plans.desk import PlanRunner, Receipts, moment
from okxsync.plans.execution import Execution
from okxsync.plans.halt import HaltFile
from okxsync.plans.sender import Sender, open_sending_connections
from okxsync.plans.stored import read_attempts, read_children
from okxsync.plans.waves import Policy
from okxsync.plans.ways import WsWay
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.runtime.outbox import Inbox, open_outbox
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.faults.rules import ScriptedReply
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from okxsync.store.engines import Reader
from tests.support.desk import Desk
from tests.support.replay import until, write_config

PLAN_ID = "0123456789A"
BOTH_WAYS = pytest.mark.parametrize("via", ["rest", "ws"])


def previewed(accounts: list[str]) -> PlanPreviewed:
    children = []
    for number, account in enumerate(accounts, 1):
        cl_ord_id = make_cl_ord_id(OwnId(PLAN_ID, number))
        body = to_body(OrderBody("BTC-USDT-SWAP", "cross", cl_ord_id, "buy", "post_only", "1", px="1000"))
        child = Child(number=number, account=account, leg=1, phase=1, inst_id="BTC-USDT-SWAP", side="buy",
                      ord_type="post_only", cl_ord_id=cl_ord_id, body=body)  # fmt: skip
        children.append(to_columns(PLAN_ID, child))
    plan: dict[str, str | int | None] = {
        "plan_id": PLAN_ID, "title": "t", "kind": "trade", "doc": "", "doc_hash": "", "site_modes": "", "state":
        "executing", "accounts": len(accounts), "ready": len(accounts), "skipped": 0, "planned_usd": "0",
    }  # fmt: skip
    return PlanPreviewed(plan, children)


class Trading:
    def __init__(self, sandbox: Sandbox, store: Desk, desk: PlanDesk, pool: ConnectionPool) -> None:
        self.pool = pool
        self.sandbox = sandbox
        self.store = store
        self.desk = desk

    def runner(self, *, resumed: bool = False, valid_s: float = 30) -> PlanRunner:
        """Return what runs the stored plan."""
        reader = self.desk.reader
        children, attempts = read_children(reader, PLAN_ID), read_attempts(reader, PLAN_ID)
        valid_until_ms = moment().now_ms + int(valid_s * 1000)
        return PlanRunner(
            self.desk,
            PLAN_ID,
            lambda receipt: Execution(
                children,
                attempts,
                Policy(canary=0),
                valid_until_ms,
                receipt,
                moment(),
                resumed=resumed,
                transport_of=self.desk.transport_of,
            ),
        )

    def orders(self, account: str) -> list[str]:
        """Return the ids of the account's orders at the exchange."""
        exchange = self.sandbox.exchange
        member = next(one for one in exchange.members.values() if one.name == account)
        return [order.cl_ord_id for order in exchange.account(member.uid).orders.values()]

    def takes_requests(self, account: str) -> bool:
        """Return whether the private connection of an account is live."""
        settings = self.desk.accounts(account)
        assert settings
        return self.pool.takes_requests(settings)

    def states(self) -> list[tuple[str, str | None]]:
        return [tuple(row) for row in self.store.rows("SELECT state, reason FROM plan_orders ORDER BY child")]


@asynccontextmanager
async def trading(folder: Path, accounts: int = 3, via: str = "rest") -> AsyncIterator[Trading]:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    names = [f"a{number}" for number in range(accounts)]
    for name in names:
        exchange.add_member(name)
    store = Desk(folder / "okxsync.db")
    store.apply(previewed(names))
    send, receive = open_outbox(1000, 10**7)
    async with serve_sandbox(exchange) as sandbox, open_http() as http, open_sending_connections() as sending:
        settings = load(write_config(folder, sandbox.accounts_toml()))
        by_name = {account.name: account for account in settings.accounts}
        clients = Clients(http, settings.accounts)
        await clients.measure_clocks()
        reader = Reader(store.path)
        pool = ConnectionPool(send, clients.clock_of, Dialers(), {})
        _, no_changes = trio.open_memory_channel[Settings | str](0)

        def code_of(account: AccountSettings, inst_id: str) -> int:
            return exchange.instruments[inst_id].inst_id_code(account.demo)

        async def passes(child: ChildOrder) -> Withheld | None:
            return None

        desk = PlanDesk(
            clients,
            by_name.get,
            Sender(sending, 200, WsWay(pool, lambda: via == "ws", code_of)),
            reader,
            send,
            HaltFile(store.path),
            passes,
            Receipts(),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write, receive, store, desk)
            if via == "ws":
                nursery.start_soon(pool.run, settings, no_changes)
                await until(lambda: all(map(pool.takes_requests, settings.accounts)))
            yield Trading(sandbox, store, desk, pool)
            nursery.cancel_scope.cancel(reason="the test is over")
    reader.close()
    store.database.close()


async def _write(inbox: Inbox, store: Desk, desk: PlanDesk) -> None:
    while True:
        await inbox.wait()
        desk.receipts.written(store.writer.apply(inbox.receive_batch_nowait(500, 10**7)))


async def is_accepted(trading: Trading, runner: PlanRunner) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await until(lambda: {state for state, _ in trading.states()} <= {"accepted", "working"})
        nursery.cancel_scope.cancel(reason="all are accepted")


@BOTH_WAYS
async def test_every_account_gets_exactly_one_order(tmp_path: Path, via: str) -> None:
    async with trading(tmp_path, via=via) as world:
        await is_accepted(world, world.runner())
        for number, account in enumerate(("a0", "a1", "a2"), 1):
            assert world.orders(account) == [make_cl_ord_id(OwnId(PLAN_ID, number))]
        rows = world.store.rows(
            "SELECT child, attempt, verdict, s_code, sent_at >= armed_at FROM plan_attempts ORDER BY child"
        )
        assert rows == [(1, 1, "placed", "0", 1), (2, 1, "placed", "0", 1), (3, 1, "placed", "0", 1)]


async def test_a_plan_is_sending_until_its_orders_are_answered(tmp_path: Path) -> None:
    async with trading(tmp_path) as world:
        runner = world.runner()
        assert runner.is_sending
        await is_accepted(world, runner)
        assert not runner.is_sending


@BOTH_WAYS
@pytest.mark.parametrize("how", ["50004", "reset", "50026", "lost"])
async def test_an_order_whose_reply_is_lost_is_found_and_not_sent_again(tmp_path: Path, how: str, via: str) -> None:
    async with trading(tmp_path, accounts=1, via=via) as world:
        world.sandbox.faults.requests.append(RequestFault(how, "trade/order"))
        await is_accepted(world, world.runner())
        assert world.orders("a0") == [make_cl_ord_id(OwnId(PLAN_ID, 1))]
        ((attempt, transport, proof),) = world.store.rows("SELECT attempt, transport, proof FROM plan_attempts")
        assert (attempt, transport) == (1, via)
        assert proof is None or json.loads(proof)["conclusion"] == "found"  # None: a push has shown it


@pytest.mark.slow
@BOTH_WAYS
@pytest.mark.parametrize("how", ["50004", "reset", "lost"])
async def test_an_order_that_was_lost_is_sent_again_once_its_absence_is_proved(
    tmp_path: Path, how: str, via: str
) -> None:
    async with trading(tmp_path, accounts=1, via=via) as world:
        world.sandbox.faults.requests.append(RequestFault(how, "trade/order", acts=False))
        await is_accepted(world, world.runner(valid_s=60))
        assert world.orders("a0") == [make_cl_ord_id(OwnId(PLAN_ID, 1))]
        first, second = world.sandbox.requests.of(path="trade/order")
        assert int(second.at_us) // 1000 > int(first.exp_time), "sent again before the first one had expired"
        attempts = world.store.rows("SELECT attempt, transport, verdict FROM plan_attempts ORDER BY attempt")
        assert attempts == [(1, via, "absent"), (2, via, "placed")]


@BOTH_WAYS
async def test_the_push_of_an_order_may_come_before_its_reply(tmp_path: Path, via: str) -> None:
    async with trading(tmp_path, accounts=1, via=via) as world:
        world.sandbox.faults.push_first = True
        world.sandbox.faults.requests.append(RequestFault("own", "trade/order", delay_s=0.5))
        await is_accepted(world, world.runner())
        assert world.store.rows("SELECT attempt FROM plan_attempts") == [(1,)]
        assert len(world.orders("a0")) == 1


@BOTH_WAYS
async def test_an_order_that_comes_too_late_is_not_placed(tmp_path: Path, via: str) -> None:
    """It waits in a queue of the exchange until it has expired."""
    async with trading(tmp_path, accounts=1, via=via) as world:
        world.sandbox.faults.requests.append(RequestFault("own", "trade/order", queue_s=3.5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.runner().run)
            await until(lambda: world.states() == [("refused", "refused")])
            nursery.cancel_scope.cancel(reason="it has ended")
        assert world.store.rows("SELECT attempt, coalesce(s_code, code) FROM plan_attempts") == [(1, "50037")]
        assert world.orders("a0") == []


async def test_what_a_websocket_cannot_do_goes_over_rest(tmp_path: Path) -> None:
    """An order with take-profit or stop-loss, and a cancellation while the connection is not live."""
    attached = ',"attachAlgoOrds":[{"attachAlgoClOrdId":"T1","slTriggerPx":"900","slOrdPx":"-1"}]}'
    async with trading(tmp_path, accounts=1, via="ws") as world:
        world.store.db.execute("UPDATE plan_orders SET body = substr(body, 1, length(body) - 1) || ?", [attached])
        runner = world.runner()
        await is_accepted(world, runner)
        assert world.store.rows("SELECT transport FROM plan_attempts") == [("rest",)]
        world.sandbox.faults.login_delay_s = 60.0
        for connection in list(world.sandbox.connections):
            world.sandbox.drop(connection)
        await until(lambda: not world.takes_requests("a0"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            runner.execution.cancel()
            await until(lambda: bool(world.store.rows("SELECT 1 FROM plan_cancels")))
            nursery.cancel_scope.cancel(reason="it was sent")
        assert world.store.rows("SELECT transport, verdict FROM plan_cancels LIMIT 1") == [("rest", "placed")]
        assert {one.transport for one in world.sandbox.requests} == {"rest"}


async def test_an_order_does_not_leave_while_the_websocket_is_down(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=1, via="ws") as world:
        world.sandbox.faults.login_delay_s = 60.0
        for connection in list(world.sandbox.connections):
            world.sandbox.drop(connection)
        with trio.fail_after(30):
            await world.runner(valid_s=3).run()
        await until(lambda: world.states() == [("withheld", "expired")])
        assert not world.sandbox.requests.of(path="trade/order")
        assert {row[0] for row in world.store.rows("SELECT verdict FROM plan_attempts")} == {"not_sent"}


@BOTH_WAYS
async def test_a_resumed_plan_looks_up_each_child_and_sends_none_twice(tmp_path: Path, via: str) -> None:
    """The second runner starts on rows of before the first one, as on an older copy of the database."""
    async with trading(tmp_path, via=via) as world:
        again = world.runner(resumed=True)
        await is_accepted(world, world.runner())
        world.store.db.execute("UPDATE plan_orders SET state = 'ready'")
        await is_accepted(world, again)
        assert [len(world.orders(account)) for account in ("a0", "a1", "a2")] == [1, 1, 1]


async def test_an_order_without_an_intent_is_followed_to_its_end(tmp_path: Path) -> None:
    """It was sent before an older copy of the database was restored."""
    async with trading(tmp_path, accounts=1) as world:
        cl_ord_id = make_cl_ord_id(OwnId(PLAN_ID, 1))
        world.store.db.execute("UPDATE plan_orders SET state = 'accepted', ord_id = '7'")
        world.store.db.execute(
            "INSERT INTO orders (account, inst_id, ord_id, cl_ord_id, state, acc_fill_sz, source, received_at)"
            " VALUES ('a0', 'BTC-USDT-SWAP', '7', ?, 'canceled', '0', 'ws', 1)",
            [cl_ord_id],
        )
        with trio.fail_after(30):
            await world.runner(resumed=True).run()
        await until(lambda: world.states() == [("canceled", None)])


async def test_while_halted_nothing_leaves_and_each_order_has_a_reason(tmp_path: Path) -> None:
    async with trading(tmp_path) as world:
        world.desk.halt.make()
        world.store.db.execute(
            "INSERT INTO connections (listener, account, endpoint, url, site, demo, requires_auth, phase, since_at,"
            " last_message_at, messages, reconnects) VALUES ('a0', 'a0', 'private', '', '', 1, 1, 'live', 1, 77, 1, 0)"
        )
        world.store.db.execute(
            "INSERT INTO coverage (account, channel, covered_since, covered_until, live)"
            " VALUES ('a0', 'orders:SWAP', 1, 55, 1), ('a0', 'positions', 1, 66, 1), ('a0', 'bills', 1, 5, 1)"
        )
        with trio.fail_after(30):
            await world.runner().run()
        await until(lambda: {state for state, _ in world.states()} == {"withheld"})
        assert world.states() == [("withheld", "halted")] * 3
        assert [world.orders(account) for account in ("a0", "a1", "a2")] == [[], [], []]
        assert len(world.store.rows("SELECT reason FROM misfires WHERE reason = 'halted'")) == 3
        links = world.store.rows("SELECT account, phase, last_message_at, covered_until FROM misfires ORDER BY child")
        assert links == [("a0", "live", 77, 55), ("a1", None, None, None), ("a2", None, None, None)]
        assert world.store.rows("SELECT count(*) FROM misfires WHERE clock_error_ms >= 0") == [(3,)]


async def test_an_order_leaves_as_soon_as_its_intent_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner pauses between its steps, and not between an intent and its order."""
    pause_s = 3.0
    monkeypatch.setattr("okxsync.plans.desk.TOGETHER_S", pause_s)
    async with trading(tmp_path, accounts=1) as world:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.runner().run)
            await until(lambda: bool(world.orders("a0")))
            (order,) = world.sandbox.requests.of(path="trade/order")
            nursery.cancel_scope.cancel(reason="the test is over")
        ((armed_ms,),) = world.store.rows("SELECT armed_at FROM plan_attempts")
    assert order.at_us / 1000 - armed_ms < pause_s * 1000 / 2


class HaltedAtTheLastMoment(HaltFile):
    """Trading is halted when the first request would leave: connected, signed, and its intent stored."""

    def exists(self) -> bool:
        self.make()
        return super().exists()


@BOTH_WAYS
async def test_what_is_halted_at_the_last_moment_is_not_placed(tmp_path: Path, via: str) -> None:
    async with trading(tmp_path, accounts=1, via=via) as world:
        world.desk.halt = HaltedAtTheLastMoment(world.store.path)
        with trio.fail_after(30):
            await world.runner().run()
        await until(lambda: world.states() == [("withheld", "halted")])
        assert world.orders("a0") == []
        assert not world.sandbox.requests.of(path="trade/order")
        assert world.store.rows("SELECT attempt, verdict FROM plan_attempts") == [(1, "not_sent")]


def leverage_step(lever: str) -> dict[str, str | int | None]:
    body = to_body(LeverageBody("BTC-USDT-SWAP", lever, "cross"))
    return to_columns(
        PLAN_ID,
        Child(number=9, account="a0", leg=1, phase=0, kind="leverage", inst_id="BTC-USDT-SWAP",
              cl_ord_id=make_cl_ord_id(OwnId(PLAN_ID, 9)), body=body),
    )  # fmt: skip


async def test_a_leverage_whose_reply_is_lost_is_confirmed_before_the_order_is_sent(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=1) as world:
        row = leverage_step("7")
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        world.store.db.execute(f"INSERT INTO plan_orders ({names}) VALUES ({marks})", list(row.values()))
        lost = json.dumps({"code": "50004", "msg": "API endpoint request timeout", "data": []})
        world.sandbox.faults.replies.append(ScriptedReply("account/set-leverage", 400, lost, after=True))
        runner = world.runner()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            await until(lambda: {state for state, _ in world.states()} == {"accepted", "done"})
            nursery.cancel_scope.cancel(reason="all is done")
        (proof,) = world.store.rows("SELECT verdict, attempt, proof FROM plan_attempts WHERE child = 9")
        assert (proof[0], proof[1], json.loads(str(proof[2]))["lever"]) == ("placed", 1, "7")
        (armed,) = world.store.rows("SELECT armed_at FROM plan_attempts WHERE child = 1")
        assert armed[0] > json.loads(str(proof[2]))["asked_ms"]
        member = next(iter(world.sandbox.exchange.members.values()))
        rows = world.sandbox.exchange.leverage_rows(member.uid, "cross", "BTC-USDT-SWAP")
        assert {row["lever"] for row in rows} == {"7"}


async def test_the_dead_mans_switch_is_on_while_it_is_wanted(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=1) as world:
        wanted = {Switch("a0", "mine"): 60}
        deadlines = world.sandbox.exchange._deadlines
        async with trio.open_nursery() as nursery:
            nursery.start_soon(DeadMan(world.desk, lambda: wanted).run)
            await until(lambda: [list(one) for one in deadlines.values()] == [["mine"]])
            wanted.clear()
            await until(lambda: not any(deadlines.values()))
            nursery.cancel_scope.cancel(reason="it was switched off")


async def test_what_was_sent_with_a_smaller_size_is_resolved_with_that_size(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=1) as world:
        ((body,),) = world.store.rows("SELECT body FROM plan_orders")
        sent = str(body).replace('"sz":"1"', '"sz":"0.5"')
        world.store.apply(
            PlanProgress(PLAN_ID, [], [PlanAttempt(1, 1, "rest", sent, 9, 8)], [], {"state": "executing"}, receipt=1)
        )
        (child,) = read_children(world.desk.reader, PLAN_ID)
        assert (child.sz, child.approved_sz, child.body) == ("0.5", "", sent)


async def test_a_step_that_cannot_be_read_is_withheld_and_the_orders_of_the_others_are_placed(tmp_path: Path) -> None:
    async with trading(tmp_path) as world:
        world.store.db.execute("UPDATE plan_orders SET kind = 'cancel', body = 'nonsense' WHERE child = 2")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.runner().run)
            states = [("accepted", None), ("withheld", "internal-error"), ("accepted", None)]
            await until(lambda: world.states() == states)
            nursery.cancel_scope.cancel(reason="all are settled")
        assert [len(world.orders(account)) for account in ("a0", "a1", "a2")] == [1, 0, 1]
        assert world.store.rows("SELECT reason FROM misfires") == [("internal-error",)]


async def test_each_cancellation_is_a_row_and_numbered_on_after_a_restart(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=1) as world:
        runner = world.runner()
        sql = "SELECT action, attempt, verdict FROM plan_cancels"
        for number in (1, 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run)
                await until(lambda: {state for state, _ in world.states()} <= {"accepted", "working"})
                runner.execution.cancel()
                await until(lambda number=number: len(world.store.rows(sql)) == number)  # type: ignore[misc]
                nursery.cancel_scope.cancel(reason="it was sent")
            runner = PlanRunner(
                PlanDesk(
                    world.desk.clients, world.desk.accounts, world.desk.sender, world.desk.reader, world.desk.outbox,
                    world.desk.halt, world.desk.check, world.desk.receipts,
                ),
                PLAN_ID,
                lambda receipt: Execution(
                    read_children(world.desk.reader, PLAN_ID), read_attempts(world.desk.reader, PLAN_ID),
                    Policy(canary=0), moment().now_ms + 30_000, receipt, moment(), resumed=True,
                ),
            )  # fmt: skip
        assert world.store.rows(sql) == [("cancel", 1, "placed"), ("cancel", 2, "unknown")]
        assert {number: one.number for number, one in read_attempts(world.desk.reader, PLAN_ID).items()} == {1: 1}


async def test_a_plan_counts_its_orders_while_it_is_executed(tmp_path: Path) -> None:
    def count() -> list[tuple[int, int, int]]:
        return world.store.rows("SELECT accepted, rejected, unknown FROM plans")

    async with trading(tmp_path) as world, trio.open_nursery() as nursery:
        nursery.start_soon(world.runner().run)
        await until(lambda: count() == [(3, 0, 0)])
        assert [state for state, _ in world.states()] == ["accepted"] * 3
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_plan_says_what_is_filled_while_it_is_executed(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=1) as world, trio.open_nursery() as nursery:
        world.store.db.execute(
            "UPDATE plan_orders SET state = 'accepted', ord_id = '7', sz = '1', planned_usd = '1000.5'"
        )
        world.store.db.execute(
            "INSERT INTO orders (account, inst_id, ord_id, cl_ord_id, state, acc_fill_sz, source, received_at)"
            " VALUES ('a0', 'BTC-USDT-SWAP', '7', ?, 'partially_filled', '0.5', 'ws', 1)",
            [make_cl_ord_id(OwnId(PLAN_ID, 1))],
        )
        nursery.start_soon(world.runner(resumed=True).run)
        await until(lambda: world.store.rows("SELECT filled_usd FROM plans") == [("500.25",)])
        assert world.states() == [("working", None)]
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_plan_says_why_it_is_paused(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=2) as world:
        world.store.db.execute("UPDATE plan_orders SET doubled = 1 WHERE child = 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.runner().run)
            await until(
                lambda: (
                    world.store.rows("SELECT state, pause_reason FROM plans") == [("paused", "an order exists twice")]
                )
            )
            nursery.cancel_scope.cancel(reason="it is stored")


async def test_a_plan_that_goes_on_after_a_restart_is_no_longer_paused(tmp_path: Path) -> None:
    async with trading(tmp_path, accounts=1) as world:
        world.store.db.execute("UPDATE plans SET state = 'paused', pause_reason = 'why'")
        await is_accepted(world, world.runner(resumed=True))
        assert world.store.rows("SELECT state, pause_reason FROM plans") == [("executing", None)]
