"""Plans under faults, by hand: ``python -m tests.plans.chaos --seed 1 --rounds 20 --via ws``.

The built-in exchange runs here, the daemon in a process of its own. Each round executes one plan or two on accounts of
all modes, with random faults of requests, and does something violent meanwhile: kill -9, a power cut, an older copy of
the database, halt, cancel. Afterwards the orders at the exchange are compared with the rows of all plans: exactly one
for each row that says so, none for the others, a reason for each account without an order, and no order requested
again before it was proved absent. Exit code 1: a difference was found; it is printed with the seed and the round.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from okxsync.plans.children import parse_cl_ord_id
from okxsync.plans.client import new_plan_id, submit
from okxsync.plans.states import ENDED, PLACED, ChildState
from okxsync.sandbox.accounts import MODES, open_accounts
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from okxsync.store.database import StoreError
from tests.support.replay import write_config
from tests.support.truth import status_of

READY_S: Final = 120.0
ENDS_S: Final = 150.0
HALT_MS: Final = 50
SLACK_MS: Final = 60
"""The exchange shares the processors and notes arrivals late; the time at which the daemon has sent decides."""
FAULTS: Final = (
    ("lost", True), ("lost", False), ("reset", True), ("reset", False), ("50004", True), ("50004", False),
    ("50026", True), ("50026", False), ("http-500", True), ("http-500", False), ("http-429", False),
    ("truncated", True), ("50013", False),
)  # fmt: skip
WAL_HEADER: Final = 32
FRAME_HEADER: Final = 24
SMALL: Final = 200 << 20
"""A file system of fewer bytes may be filled completely."""
BACKFILLED: Final = 96
"""Where the index of the log says how many frames are in the database file (SQLite docs: walformat, WalCkptInfo)."""


async def happens(condition: Callable[[], bool]) -> None:
    """Return at the moment at which a condition becomes true; the caller limits the time."""
    while True:
        if condition():
            return
        await trio.sleep(0.001)


@dataclass
class Chaos:
    """The exchange, the folder of the daemon, and what all plans so far have been."""

    sandbox: Sandbox
    folder: Path
    random: random.Random
    process: subprocess.Popen[bytes] | None = None
    known: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # orders of lost databases too
    found: list[str] = field(default_factory=list)
    label: str = ""
    began_us: int = 0
    tally: Counter[str] = field(default_factory=Counter)

    @property
    def database(self) -> Path:
        return self.folder / "okxsync.db"

    @property
    def halt_file(self) -> Path:
        return Path(f"{self.database}.halt")

    # The daemon

    def start(self) -> None:
        command = [sys.executable, "-m", "okxsync", "run", "--config", str(self.folder / "accounts.toml")]
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self, *, everything: bool = False) -> None:
        """Kill the daemon; ``everything``: its writer process at the same moment too."""
        assert self.process
        if everything:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    async def wait_for_writer(self) -> None:
        """Wait until the writer process of a killed daemon has ended."""
        assert self.process
        with trio.fail_after(20):
            await happens(lambda: not self._group_lives())

    def _group_lives(self) -> bool:
        assert self.process
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    async def restart(self) -> None:
        await self.wait_for_writer()
        self.start()

    # The database

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]

    async def until(self, condition: Callable[[], bool], within_s: float, what: str) -> bool:
        with trio.move_on_after(within_s):
            while True:
                try:
                    if condition():
                        return True
                except (sqlite3.Error, StoreError):
                    pass
                await trio.sleep(0.05)
        self.wrong(f"not within {within_s:.0f} s: {what}")
        return False

    def wrong(self, text: str) -> None:
        line = f"{self.label}: {text}"
        self.found.append(line)
        print("WRONG", line, flush=True)

    async def is_ready(self) -> None:
        await self.until(lambda: status_of(self.database).exit_code == 0, READY_S, "the daemon is ready")

    # Requests

    async def ask(
        self, kind: str, plan_id: str | None, body: dict[str, object], within_s: float = 60
    ) -> tuple[str, str]:
        number = await trio.to_thread.run_sync(submit, self.database, kind, plan_id, body)
        answer: list[dict[str, Any]] = []

        def answered() -> bool:
            answer[:] = self.rows("SELECT outcome, detail FROM answers WHERE request_id = ?", [number])
            return bool(answer)

        if not await self.until(answered, within_s, f"an answer to {kind}"):
            return "none", ""
        return answer[0]["outcome"], answer[0]["detail"]

    async def preview(self, kind: str = "preview", **body: object) -> dict[str, Any] | None:
        plan_id = new_plan_id()
        outcome, detail = await self.ask(kind, plan_id, body)
        if outcome != "previewed":
            print(f"  {self.label}: {kind}: {outcome}: {detail}", flush=True)
            return None
        (row,) = self.rows("SELECT plan_id, preview_hash, ready FROM plans WHERE plan_id = ?", [plan_id])
        return {**row, "confirm": detail}

    def execute(self, plan: dict[str, Any]) -> int:
        """Insert the approval, and return the number of the request."""
        body = {"preview_hash": plan["preview_hash"], "confirm": plan["confirm"]}
        return submit(self.database, "execute", plan["plan_id"], body)

    def state_of(self, plan_id: str) -> dict[str, Any]:
        found = self.rows("SELECT * FROM plans WHERE plan_id = ?", [plan_id])
        return found[0] if found else {}

    async def finish(self, plan_ids: Sequence[str]) -> None:
        """Wait until the plans have ended; cancel what rests of them."""

        def settled() -> bool:
            for one in plan_ids:
                plan = self.state_of(one)
                if not plan or plan["state"] == "previewed" or plan["ended_at"]:
                    continue
                sql = "SELECT count(*) AS n FROM plan_orders WHERE plan_id = ? AND state NOT IN ('working', {})"
                ended = ", ".join(f"'{state}'" for state in ENDED)
                if self.rows(sql.format(ended), [one])[0]["n"]:
                    return False
            return True

        await self.until(settled, ENDS_S, f"all orders of {plan_ids} are settled")
        for one in plan_ids:
            plan = self.state_of(one)
            if plan and plan["ended_at"] is None and plan["state"] in ("executing", "paused"):
                await self.ask("cancel", one, {"protection": True})
                await self.until(partial(self.has_ended, one), 60, f"{one} has ended")

    def has_ended(self, plan_id: str) -> bool:
        return self.state_of(plan_id)["ended_at"] is not None

    # The comparison

    def remember(self) -> None:
        """Keep the orders of this database, before it is replaced."""
        for row in self.rows("SELECT * FROM plan_orders WHERE kind = 'order'"):
            earlier = self.known.get((row["account"], row["cl_ord_id"]), {"attempts": 0})
            row["attempts"] = max(row["attempts"], earlier["attempts"])
            self.known[row["account"], row["cl_ord_id"]] = row

    def compare(self) -> None:
        """Compare the exchange with the plans."""
        exchange = self.sandbox.exchange
        counts = exchange.order_counts()
        plans = {row["plan_id"]: row for row in self.rows("SELECT * FROM plans")}
        orders = self.rows("SELECT * FROM plan_orders WHERE kind = 'order'")
        attempts: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows("SELECT * FROM plan_attempts ORDER BY plan_id, child, attempt"):
            attempts[row["plan_id"], row["child"]].append(row)
        misfires = {(row["plan_id"], row["child"]) for row in self.rows("SELECT plan_id, child FROM misfires")}
        requests: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for one in self.sandbox.requests.of(path="trade/order"):
            requests[one.account, str(one.bodies[0].get("clOrdId") or "")].append(one)
        truth = {
            (member.name, row["clOrdId"]): row
            for uid, member in exchange.members.items()
            for row in exchange.order_rows(uid)
        }
        of_plan: dict[str, set[str]] = defaultdict(set)
        for row in orders:
            key = row["account"], row["cl_ord_id"]
            name, plan = f"{row['plan_id']}/{row['child']} {row['account']} {row['state']}", plans[row["plan_id"]]
            of_plan[row["plan_id"]].add(row["account"])
            state = ChildState(row["state"])
            executed = [one for one in requests[key] if one.codes == ["0"]]
            if counts[key] > 1 or len(executed) > 1:
                self.wrong(f"{name}: DOUBLED: {counts[key]} orders, {len(executed)} executed requests")
            if row["doubled"] and counts[key] < 2:
                self.wrong(f"{name}: false alarm of a doubled order: {row['detail']}")
            if plan["state"] in ("previewed", "discarded"):
                if counts[key] and key not in self.known:
                    self.wrong(f"{name}: an order of a plan that is {plan['state']}")
                continue
            if state in PLACED and counts[key] != 1:
                self.wrong(f"{name}: {counts[key]} orders at the exchange")
            if state not in PLACED and counts[key]:
                self.wrong(f"{name} ({row['reason']}: {row['detail']}): an order exists at the exchange")
            if state in (ChildState.SKIPPED, ChildState.WITHHELD, ChildState.REFUSED, ChildState.ABSENT):
                self.tally[f"{state} {row['reason']}"] += 1
                if not row["reason"]:
                    self.wrong(f"{name}: without a reason")
            else:
                self.tally[state] += 1
            if state is ChildState.WITHHELD and (row["plan_id"], row["child"]) not in misfires:
                self.wrong(f"{name} ({row['reason']}): without a misfire")
            if state not in ENDED:
                self.wrong(f"{name}: not ended")
            elif state in PLACED and (row["ord_id"], row["acc_fill_sz"]) != (
                truth[key]["ordId"],
                truth[key]["accFillSz"],
            ):
                theirs = truth[key]["ordId"], truth[key]["accFillSz"], truth[key]["state"]
                self.wrong(f"{name}: {row['ord_id']} {row['acc_fill_sz']}, at the exchange {theirs}")
            self._compare_requests(name, row, plan, attempts[row["plan_id"], row["child"]], requests[key])
        for plan_id, plan in plans.items():
            if plan["state"] not in ("previewed", "discarded") and plan["ended_at"] is None:
                self.wrong(f"{plan_id}: {plan['state']}, not ended")
        for key, count in counts.items():
            own = parse_cl_ord_id(key[1])
            if own and key not in self.known and not any((row["account"], row["cl_ord_id"]) == key for row in orders):
                self.wrong(f"{count} orders {key} without a row")
        if violations := self.sandbox.violations:
            self.wrong(f"limits exceeded: {violations[:3]}")
            violations.clear()

    def _by_name(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a body over WebSocket as it would be over REST."""
        codes = {one.inst_id_code(True): one.inst_id for one in self.sandbox.exchange.instruments.values()}
        body = dict(body)
        return {"instId": codes[body.pop("instIdCode")], **body} if "instIdCode" in body else body

    def _compare_requests(
        self, name: str, row: dict[str, Any], plan: dict[str, Any], attempts: list[dict[str, Any]], requests: list[Any]
    ) -> None:
        lost = self.known.get((row["account"], row["cl_ord_id"]), {}).get("attempts", 0)
        if len(requests) > len(attempts) + lost:
            self.wrong(f"{name}: {len(requests)} requests, {len(attempts)} attempts")
        for one in requests:
            if json.loads(row["body"]) != self._by_name(one.bodies[0]):
                self.wrong(f"{name}: the request differs from the approved one: {one.bodies[0]}")
            if plan["valid_until"] and one.at_us // 1000 > plan["valid_until"] + SLACK_MS and not lost:
                self.wrong(
                    f"{name}: arrived {one.at_us // 1000 - plan['valid_until']} ms after the end of its validity"
                )
            if plan["valid_until"] and int(one.exp_time or 0) > plan["valid_until"]:
                self.wrong(f"{name}: expTime is after the validity")
        for earlier in attempts[:-1]:
            if earlier["verdict"] not in ("refused", "not_sent", "absent"):
                self.wrong(f"{name}: attempt {earlier['attempt']} is {earlier['verdict']}, and another one follows")


# Plans


def document(chance: random.Random, names: Sequence[str], valid_s: int, kind: str = "") -> str:
    kind = kind or chance.choice(["ioc", "ioc", "limit", "mixed", "spot"])
    side = chance.choice(["buy", "sell"]) if kind != "spot" else "buy"
    good = "+1%" if side == "buy" else "-1%"
    away = "-1.5%" if side == "buy" else "+1.5%"
    leg = '[[legs]]\ninstrument = "{}"\nside = "{}"\ntype = "{}"\nprice = "mark {}"\n{}'
    leg += '[legs.size]\nrule = "{}"\nvalue = "{}"\n'
    legs = []
    pos_side = 'pos_side = "long"\n' if side == "buy" else 'pos_side = "short"\n'
    if kind in ("ioc", "mixed"):
        legs.append(leg.format("BTC-USDT-SWAP", side, "ioc", good, pos_side, "contracts", chance.choice(["1", "2"])))
    if kind in ("limit", "mixed"):
        inst_id = "ETH-USDT-SWAP" if kind == "mixed" else "BTC-USDT-SWAP"
        phase = "phase = 2\n"
        legs.append(leg.format(inst_id, side, "limit", away, pos_side + phase, "contracts", "1"))
    if kind in ("spot", "mixed"):
        spot = leg.format("BTC-USDT", "buy", "ioc", "+1%", "", "quote", "200")
        legs.append(spot)
    include = ["all"] if chance.random() < 0.7 else sorted(chance.sample(list(names), max(2, len(names) // 2)))
    failure = [
        f"canary = {chance.choice([0, 0, 1, 2])}",
        f'on_reject = "{chance.choice(["continue", "continue", "continue", "stop", "cancel"])}"',
        f'on_unknown = "{chance.choice(["continue", "continue", "pause"])}"',
        f'on_restart = "{chance.choice(["resume", "resume", "resume", "stop"])}"',
    ]
    head = f'title = "chaos {kind}"\nvalid_for = "{valid_s}s"\n[accounts]\ninclude = {json.dumps(include)}\n'
    limits = '[limits]\nmax_drift_price = "5%"\nmax_drift_equity = "20%"\n'
    return head + limits + "".join(legs) + "[failure]\n" + "\n".join(failure) + "\n"


def set_faults(chaos: Chaos, names: Sequence[str], share: float) -> None:
    chance, faults = chaos.random, chaos.sandbox.faults
    faults.requests.clear()
    for name in names:
        if chance.random() >= share:
            continue
        kind = chance.random()
        if kind < 0.7:
            how, acts = chance.choice(FAULTS)
            fault = RequestFault(how, "trade/order", name, acts=acts, times=chance.choice([1, 1, 1, 2]))
            if acts and chance.random() < 0.3:
                fault.delay_s = chance.uniform(0, 2)
        elif kind < 0.85:
            fault = RequestFault("own", "trade/order", name, delay_s=chance.choice([0.3, 1.0, 4.0, 9.0]))
        else:
            how = chance.choice(["own", "lost", "reset"])
            fault = RequestFault(how, "trade/order", name, queue_s=chance.choice([0.5, 2.0, 2.9, 4.0]))
        faults.requests.append(fault)
    faults.requests.append(RequestFault("own", path="trade/order", delay_s=chance.choice([0.0, 0.05, 0.2]), times=0))
    faults.rest_lags_ms = chance.choice([0, 0, 300, 900, 1500])
    faults.push_first = chance.random() < 0.5
    faults.join_orders = chance.random() < 0.3
    faults.repeat_orders_ms = chance.choice([None, None, 5])


def clear_faults(chaos: Chaos) -> None:
    faults = chaos.sandbox.faults
    faults.requests.clear()
    faults.rest_lags_ms, faults.push_first, faults.join_orders, faults.repeat_orders_ms = 0, False, False, None


# Moments


def placements(chaos: Chaos) -> int:
    return sum(one.at_us >= chaos.began_us for one in chaos.sandbox.requests.of(path="trade/order"))


async def wait_for_moment(chaos: Chaos, plan: dict[str, Any]) -> str:
    """Wait for a random moment of the fan-out, and return its name."""
    chance, ready = chaos.random, max(1, plan["ready"])
    match chance.choice(["before", "early", "arm", "arrival", "arrival", "reply", "resolving", "late"]):
        case "before":
            await trio.sleep(chance.uniform(0, 0.03))
            return "before arm"
        case "early":
            await trio.sleep(chance.uniform(0.03, 0.5))
            return "early"
        case "arm":
            sql = "SELECT count(*) AS n FROM plan_attempts WHERE plan_id = ?"
            with trio.move_on_after(5):
                await happens(lambda: bool(chaos.rows(sql, [plan["plan_id"]])[0]["n"]))
            return "after arm"
        case "arrival":
            after = chance.randint(1, ready)
            with trio.move_on_after(5):
                await happens(lambda: placements(chaos) >= after)
            return f"arrival {after} of {ready}"
        case "reply":
            with trio.move_on_after(5):
                await happens(lambda: placements(chaos) >= ready)
            await trio.sleep(chance.uniform(0, 0.3))
            return "replies"
        case "resolving":
            await trio.sleep(chance.uniform(0.5, 6))
            return "resolving"
    await trio.sleep(chance.uniform(2, 9))
    return "late"


def copy_database(chaos: Chaos, name: str, *, resume: bool) -> Path:
    """Stop the daemon and its writer, and copy the database as it is at this moment; then resume or kill them."""
    assert chaos.process
    group = chaos.process.pid
    os.killpg(group, signal.SIGSTOP)
    folder = chaos.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        source = Path(f"{chaos.database}{suffix}")
        if source.exists():
            shutil.copy(source, folder / source.name)
    if resume:
        os.killpg(group, signal.SIGCONT)
    else:
        chaos.kill(everything=True)
    return folder


def put_back(chaos: Chaos, folder: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{chaos.database}{suffix}").unlink(missing_ok=True)
    for file in (one for one in folder.iterdir() if one.suffix != ".db-shm"):
        shutil.copy(file, chaos.folder / file.name)
        os.chmod(chaos.folder / file.name, 0o600)


def cut_to_last_sync(folder: Path, chance: random.Random) -> int:
    """Drop commits of the write-ahead log that no later intent has synced; return how many bytes."""
    wal = folder / "okxsync.db-wal"
    if not wal.exists() or wal.stat().st_size <= WAL_HEADER:
        return 0
    data = wal.read_bytes()
    page = int.from_bytes(data[8:12], "big")
    salt, ends = data[16:24], [WAL_HEADER]
    for start in range(WAL_HEADER, len(data) - FRAME_HEADER - page + 1, FRAME_HEADER + page):
        if data[start + 8 : start + 16] != salt:
            break
        if int.from_bytes(data[start + 4 : start + 8], "big"):
            ends.append(start + FRAME_HEADER + page)

    def intents(end: int) -> set[tuple[Any, ...]]:
        with tempfile.TemporaryDirectory() as name:
            copy = Path(name) / "okxsync.db"
            shutil.copy(folder / "okxsync.db", copy)
            if end > WAL_HEADER:
                Path(f"{copy}-wal").write_bytes(data[:end])
            with closing(sqlite3.connect(copy)) as db:
                return set(db.execute("SELECT plan_id, child, attempt FROM plan_attempts"))

    complete = intents(ends[-1])
    shared = (folder / "okxsync.db-shm").read_bytes()
    synced = int.from_bytes(shared[BACKFILLED : BACKFILLED + 4], sys.byteorder)  # before frames go to the database file
    low, high = sum(end < WAL_HEADER + synced * (FRAME_HEADER + page) for end in ends), len(ends) - 1
    while low < high:  # the earliest commit with all intents
        middle = (low + high) // 2
        if intents(ends[middle]) == complete:
            high = middle
        else:
            low = middle + 1
    end = ends[low] if chance.random() < 0.7 else ends[chance.randint(low, len(ends) - 1)]
    wal.write_bytes(data[:end])
    return ends[-1] - end


# Scenarios


async def kill(chaos: Chaos, plan: dict[str, Any]) -> str:
    parts = []
    for _ in range(chaos.random.choice([1, 1, 1, 2, 3])):
        moment = await wait_for_moment(chaos, plan)
        everything = chaos.random.random() < 0.3
        chaos.kill(everything=everything)
        parts.append(moment + (" (and the writer)" if everything else ""))
        await trio.sleep(chaos.random.choice([0, 0, 0.5, 3]))
        await chaos.restart()
        if chaos.random.random() < 0.5:
            await trio.sleep(chaos.random.uniform(1, 6))
    return ", ".join(parts)


async def power_cut(chaos: Chaos, plan: dict[str, Any]) -> str:
    moment = await wait_for_moment(chaos, plan)
    chaos.remember()
    folder = copy_database(chaos, "cut", resume=False)
    lost = cut_to_last_sync(folder, chaos.random)
    await chaos.wait_for_writer()
    put_back(chaos, folder)
    await trio.sleep(chaos.random.choice([0, 0.5, 3]))
    chaos.start()
    return f"{moment}, {lost} bytes lost"


async def older_copy(chaos: Chaos, plan: dict[str, Any]) -> str:
    """Restore a copy that was made at an earlier moment, inside the plan's validity or later."""
    first = await wait_for_moment(chaos, plan)
    folder = copy_database(chaos, "copy", resume=True)
    second = await wait_for_moment(chaos, plan)
    if later := chaos.random.random() < 0.4:
        valid_until = chaos.state_of(plan["plan_id"]).get("valid_until") or 0
        await trio.sleep(max(0.0, valid_until / 1000 - time.time() + 1))
    chaos.remember()
    chaos.kill(everything=chaos.random.random() < 0.5)
    await chaos.wait_for_writer()
    put_back(chaos, folder)
    chaos.start()
    return f"copy of {first}, restored {second}{' and later than its validity' if later else ''}"


async def halt(chaos: Chaos, plan: dict[str, Any]) -> str:
    """Run ``okxsync halt`` while the database is usable, locked or on a full disk, or without a daemon."""
    is_small = shutil.disk_usage(chaos.folder).total < SMALL
    how = chaos.random.choice(["plain", "plain", "locked", "dead", *(["full"] if is_small else [])])
    moment = await wait_for_moment(chaos, plan)
    lock = filler = None
    if how == "locked":
        lock = sqlite3.connect(chaos.database, isolation_level=None, timeout=5)
        lock.execute("BEGIN IMMEDIATE")
    elif how == "full":
        filler = chaos.folder / "filler"
        fill(filler)
    elif how == "dead":
        chaos.kill()
    if how in ("locked", "full"):
        await trio.sleep(chaos.random.choice([0, 0.2, 2.5]))
    command = [sys.executable, "-m", "okxsync", "halt", "--db", str(chaos.database)]
    if chaos.random.random() < 0.3 and how == "plain":
        command.append("--cancel-orders")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.run_process, command, check=False, capture_stdout=True, capture_stderr=True))
        with trio.fail_after(20):
            await happens(chaos.halt_file.exists)
        halted_ms = int(chaos.halt_file.stat().st_mtime * 1000)
        await trio.sleep(chaos.random.choice([0.5, 3]))
        if lock:
            lock.execute("ROLLBACK")
            lock.close()
        if filler:
            filler.unlink()
    if how == "dead":
        await chaos.restart()
    if chaos.random.random() < 0.3:
        await trio.sleep(1)
        chaos.kill()
        await chaos.restart()
        how += " and killed"
    await trio.sleep(8)
    check_halt(chaos, halted_ms)
    await chaos.finish([plan["plan_id"]])
    check_halt(chaos, halted_ms)
    chaos.halt_file.unlink()
    return f"{moment}, {how}"


def check_halt(chaos: Chaos, halted_ms: int) -> None:
    for one in chaos.sandbox.requests:
        late = one.at_us // 1000 - halted_ms
        if one.path in ("trade/order", "account/set-leverage") and late > HALT_MS:
            sql = "SELECT max(sent_at) AS at FROM plan_attempts AS a JOIN plan_orders AS o USING (plan_id, child)"
            id_ = str(one.bodies[0].get("clOrdId") or "")
            sent = chaos.rows(f"{sql} WHERE o.account = ? AND o.cl_ord_id = ?", [one.account, id_])[0]["at"]
            if sent is None or sent > halted_ms + HALT_MS:
                chaos.wrong(f"{one.account}: an order arrived {late} ms after the halt, sent at {sent}, {halted_ms}")
            elif late > HALT_MS + SLACK_MS:
                print(f"  {chaos.label}: {late} ms after the halt, sent {sent - halted_ms} ms after it", flush=True)


def fill(file: Path) -> None:
    """Fill a file system with a file."""
    with file.open("wb", buffering=0) as stream:
        size = 1 << 20
        while size:
            try:
                stream.write(bytes(size))
            except OSError:
                size //= 2


async def cancel(chaos: Chaos, plan: dict[str, Any]) -> str:
    """Cancel during the fan-out; then retry, and undo both."""
    moment = await wait_for_moment(chaos, plan)
    outcome, _ = await chaos.ask("cancel", plan["plan_id"], {"protection": chaos.random.random() < 0.5})
    await chaos.finish([plan["plan_id"]])
    parts = [moment, outcome]
    plan_ids = [plan["plan_id"]]
    if chaos.random.random() < 0.7 and (retry := await chaos.preview("retry", parent_id=plan["plan_id"])):
        chaos.execute(retry)
        if chaos.random.random() < 0.3:
            await wait_for_moment(chaos, retry)
            chaos.kill()
            await chaos.restart()
        await settle(chaos, [retry["plan_id"]])
        plan_ids.append(retry["plan_id"])
        parts.append("retry")
    for plan_id in plan_ids:
        if chaos.random.random() < 0.8 and (undo := await chaos.preview("undo", parent_id=plan_id)):
            chaos.execute(undo)
            if chaos.random.random() < 0.3:
                await wait_for_moment(chaos, undo)
                chaos.kill()
                await chaos.restart()
            await settle(chaos, [undo["plan_id"]])
            parts.append("undo")
    return ", ".join(parts)


async def nothing(chaos: Chaos, plan: dict[str, Any]) -> str:
    return "faults only"


async def settle(chaos: Chaos, plan_ids: Sequence[str]) -> None:
    """Wait until the plans are approved, and then until they have ended."""
    with trio.move_on_after(30):
        await happens(lambda: not any(chaos.state_of(one).get("state") in (None, "previewed") for one in plan_ids))
    await chaos.finish(plan_ids)


SCENARIOS: Final[dict[str, Callable[[Chaos, dict[str, Any]], Awaitable[str]]]] = {
    "kill": kill,
    "power": power_cut,
    "copy": older_copy,
    "halt": halt,
    "cancel": cancel,
    "plain": nothing,
}


async def play(chaos: Chaos, names: Sequence[str], scenario: str, number: int) -> None:
    chance = chaos.random
    chaos.label = f"round {number} {scenario}"
    await chaos.is_ready()
    chaos.began_us = time.time_ns() // 1000
    valid_s = chance.choice([6, 12, 30, 60])
    count = 2 if chance.random() < 0.25 else 1
    previews = [await chaos.preview(document=document(chance, names, valid_s)) for _ in range(count)]
    plans = [one for one in previews if one]
    if not plans:
        return
    set_faults(chaos, names, chance.choice([0.1, 0.4, 0.8]))
    numbers = [chaos.execute(one) for one in plans]
    what = await SCENARIOS[scenario](chaos, plans[0])
    await settle(chaos, [one["plan_id"] for one in plans])
    answers = ",".join(
        (chaos.rows("SELECT outcome FROM answers WHERE request_id = ?", [one]) or [{"outcome": "none"}])[0]["outcome"]
        for one in numbers
    )
    clear_faults(chaos)
    await chaos.is_ready()
    await trio.sleep(0.5)
    chaos.compare()
    print(
        f"  {chaos.label}: {what} [{len(plans)} plans, {plans[0]['ready']} ready, {valid_s} s: {answers}]", flush=True
    )


async def run(seed: int, rounds: int, accounts: int, only: Sequence[str], folder: Path, via: str) -> list[str]:
    chance = random.Random(seed)
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=seed)
    names = [f"a{number:02}" for number in range(accounts)]
    open_accounts(exchange, names, list(MODES.values()))
    async with serve_sandbox(exchange, rate=0.0, dials_per_second=0) as sandbox:
        text = sandbox.accounts_toml({name: ["trading = true"] for name in names})
        trading = f'[trading]\nenabled = true\nip_rate = 400\nvia = "{via}"\n\n'
        write_config(folder, f'[history]\ninitial = "0"\n\n{trading}{text}')
        chaos = Chaos(sandbox, folder, chance)
        chaos.start()
        try:
            for number in range(1, rounds + 1):
                await play(chaos, names, chance.choice(list(only)), number)
        finally:
            chaos.kill(everything=True)
    print(dict(sorted(chaos.tally.items())), flush=True)
    return chaos.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--via", choices=["rest", "ws"], default="rest")
    parser.add_argument("--folder", type=Path, help="of the database; a small file system can be filled completely")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = trio.run(run, given.seed, given.rounds, given.accounts, given.only, Path(name), given.via)
        if found:
            kept = Path(tempfile.mkdtemp(prefix=f"chaos-{given.seed}-"))
            shutil.copytree(name, kept, dirs_exist_ok=True)
            print(f"kept: {kept}")
    print(f"seed {given.seed}: {given.rounds} rounds, {len(found)} wrong")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
