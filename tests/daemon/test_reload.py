"""accounts.toml changes while the daemon runs: what it says is so within seconds, and nobody else notices."""

import logging
import time
from dataclasses import astuple
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from okxsync import daemon
from okxsync.accounts.registry import Registry
from okxsync.config.location import Location
from okxsync.config.settings import Settings, load
from okxsync.messages import Note
from okxsync.plans.desk import Receipts
from okxsync.plans.service import PlanService
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.sandbox.exchange.members import Member
from okxsync.sandbox.server.server import Sandbox
from tests.support.outbox import queue, queued
from tests.support.replay import replace, until
from tests.support.truth import ACCOUNTS, differences, rows, status_of, trading

pytestmark = pytest.mark.slow

TAKES_S = 5.0
"""How long a change of accounts.toml may take to reach the feed, in virtual time."""


def phases(database: Location, listener: str) -> set[str]:
    return {one.phase for one in status_of(database).connections if one.listener == listener}


def nobody_else_noticed(database: Location, *concerned: str) -> bool:
    others = [one for one in status_of(database).connections if one.listener not in concerned]
    return all((one.phase, one.reconnects) == ("live", 0) for one in others) and len(others) >= 2 * (ACCOUNTS - 1)


@pytest.mark.parametrize(
    "broken",
    ["[[accounts", "accounts = 3", 'database = "x.db"\nspeed = "fast"', "\ud800", 'database = "~nosuchuser/x.db"'],
)
async def test_an_invalid_edit_is_reported_and_ignored(tmp_path: Path, broken: str) -> None:
    async with trading(tmp_path) as (sandbox, database):
        config = tmp_path / "accounts.toml"
        config.write_bytes(broken.encode("utf-8", "surrogatepass"))
        await until(lambda: bool(rows(database, "SELECT * FROM journal WHERE event = 'config-invalid'")))
        (said,) = rows(database, "SELECT detail FROM journal WHERE event = 'config-invalid'")
        assert str(config) in said["detail"]
        assert nobody_else_noticed(database)
        assert len(status_of(database).connections) == 2 * ACCOUNTS + 1
        sandbox.exchange.add_member("late")
        replace(config, sandbox.accounts_toml())
        await until(lambda: phases(database, "late") == {"live"})
        assert nobody_else_noticed(database, "late")


async def test_a_file_that_is_missing_for_a_moment_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "okxsync")
    async with trading(tmp_path) as (_, database):
        config = tmp_path / "accounts.toml"
        text = config.read_text()
        config.unlink()
        await until(lambda: bool(rows(database, "SELECT * FROM journal WHERE event = 'config-invalid'")))
        replace(config, text)
        await until(lambda: "configuration read again: accounts changed: 0, removed: 0" in caplog.text)
        assert nobody_else_noticed(database)


async def test_an_account_is_disabled_and_enabled_again(tmp_path: Path) -> None:
    async with trading(tmp_path) as (sandbox, database):
        config = tmp_path / "accounts.toml"
        text = config.read_text()
        replace(config, text.replace('name = "a3"', 'name = "a3"\nenabled = false'))
        await until(lambda: phases(database, "a3") == set())
        assert nobody_else_noticed(database, "a3")
        replace(config, text)
        await until(lambda: phases(database, "a3") == {"live"})
        await until(lambda: not rows(database, "SELECT * FROM gaps WHERE outcome IS NULL"))
        assert rows(database, "SELECT * FROM gaps WHERE account = 'a3' AND reason = 'not subscribed'")
        assert nobody_else_noticed(database, "a3")
        await until(lambda: not differences(sandbox.exchange, database))


async def test_a_renamed_account_is_another_one(tmp_path: Path) -> None:
    async with trading(tmp_path) as (_, database):
        config = tmp_path / "accounts.toml"
        replace(config, config.read_text().replace('name = "a3"', 'name = "three"'))
        await until(lambda: phases(database, "three") == {"live"} and phases(database, "a3") == set())
        assert nobody_else_noticed(database, "a3", "three")
        removed = "SELECT name FROM accounts WHERE removed_at IS NOT NULL"
        await until(lambda: [row["name"] for row in rows(database, removed)] == ["a3"])
        assert rows(database, "SELECT * FROM journal WHERE event = 'duplicate-account'") == []


async def test_the_second_name_of_one_account_is_not_mirrored(tmp_path: Path) -> None:
    async with trading(tmp_path) as (sandbox, database):
        config = tmp_path / "accounts.toml"
        alone = config.read_text()
        uid = next(uid for uid, member in sandbox.exchange.members.items() if member.name == "a3")
        sandbox.add_key(uid, "twin")
        replace(config, sandbox.accounts_toml())
        await until(lambda: phases(database, "twin") == {"stopped"})
        (why,) = {one.last_error for one in status_of(database).connections if one.listener == "twin"}
        assert why == (
            f'"a3" and "twin" are the same OKX account (uid {uid}, demo); remove one: "twin" is not mirrored'
        )
        (noted,) = rows(database, "SELECT * FROM journal WHERE event = 'duplicate-account'")
        assert (noted["level"], noted["account"], noted["detail"]) == ("error", "twin", why)
        assert status_of(database).exit_code == 1
        assert nobody_else_noticed(database, "twin")
        replace(config, without(sandbox.accounts_toml(), "a3"))
        await until(lambda: phases(database, "twin") == {"live"} and phases(database, "a3") == set())
        replace(config, alone)  # and back
        await until(lambda: phases(database, "a3") == {"live"} and phases(database, "twin") == set())


async def test_the_key_of_another_account_changes_no_rows(tmp_path: Path) -> None:
    """A name stands for the account whose rows are here; it is held again once its own key is back."""
    async with trading(tmp_path) as (sandbox, database):
        config = tmp_path / "accounts.toml"
        await until(lambda: len(rows(database, "SELECT * FROM accounts WHERE uid IS NOT NULL")) == ACCOUNTS)
        balances = "SELECT ccy, cash_bal FROM balances WHERE account = 'a3' ORDER BY ccy"
        text = config.read_text()
        before = rows(database, balances)
        assert before
        a3 = next(one for one in sandbox.exchange.members.values() if one.name == "a3")
        member = sandbox.operate(sandbox.exchange.add_member, "stranger", deposit={"USDT": "1", "BTC": "2"})
        replace(config, with_keys_of(text, a3, member))
        await until(lambda: phases(database, "a3") == {"stopped"})
        (why,) = {one.last_error for one in status_of(database).connections if one.listener == "a3"}
        assert why == (
            f'key "a3" belongs to OKX account uid {member.uid}, demo, but the data stored as "a3" is for uid {a3.uid},'
            " demo; use a new name"
        )
        assert rows(database, "SELECT detail FROM journal WHERE event = 'account-mismatch'") == [{"detail": why}]
        covered = "SELECT min(covered_until) AS at FROM coverage WHERE account = 'a0' AND channel = 'account'"
        now_us = time.time_ns() // 1000
        await until(lambda: rows(database, covered)[0]["at"] > now_us)  # all that was queued before is stored
        assert rows(database, balances) == before
        assert rows(database, "SELECT uid FROM accounts WHERE name = 'a3'") == [{"uid": a3.uid}]
        assert nobody_else_noticed(database, "a3")
        replace(config, text)
        await until(lambda: phases(database, "a3") == {"live"})
        await until(lambda: status_of(database).exit_code == 0)


def with_keys_of(text: str, one: Member, other: Member) -> str:
    """Return accounts.toml with the keys of another account."""
    for old, new in zip(astuple(one.credentials), astuple(other.credentials), strict=True):
        text = text.replace(str(old), str(new))
    return text


def without(text: str, name: str) -> str:
    """Return accounts.toml without the table of an account."""
    head, *tables = text.split("[[accounts]]\n")
    return "[[accounts]]\n".join([head, *(table for table in tables if f'name = "{name}"' not in table)])


def with_secret_file(sandbox: Sandbox, text: str) -> str:
    """Let a3's passphrase stand in a file of its own."""
    passphrase = next(one.credentials.passphrase for one in sandbox.exchange.members.values() if one.name == "a3")
    return text.replace(f'passphrase = "{passphrase}"', 'passphrase = { file = "secret.txt" }')


async def test_a_wrong_secret_stops_one_account_until_its_file_is_right(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    async with trading(tmp_path) as (sandbox, database):
        config = tmp_path / "accounts.toml"
        secret.write_text("wrong")
        replace(config, with_secret_file(sandbox, config.read_text()))
        await until(lambda: phases(database, "a3") == {"stopped"})
        (reason,) = {one.last_error for one in status_of(database).connections if one.listener == "a3"}
        assert reason == "login: 60024 wrong passphrase (Wrong passphrase); check passphrase"
        tried = rows(database, "SELECT next_attempt_at FROM connections WHERE listener = 'a3'")
        earliest_us = time.time_ns() // 1000 + 20 * 60 * 1_000_000  # of 30 minutes
        assert [row for row in tried if row["next_attempt_at"] < earliest_us] == []
        member = next(one for one in sandbox.exchange.members.values() if one.name == "a3")
        secret.write_text(member.credentials.passphrase)
        await until(lambda: phases(database, "a3") == {"live"})
        secret.unlink()
        await until(lambda: phases(database, "a3") == {"stopped"})
        (reason,) = {one.last_error for one in status_of(database).connections if one.listener == "a3"}
        assert str(reason).endswith("secret.txt cannot be read: No such file or directory")
        secret.write_text(member.credentials.passphrase)
        await until(lambda: phases(database, "a3") == {"live"})
        assert nobody_else_noticed(database, "a3")
        await until(lambda: status_of(database).exit_code == 0)
        assert sandbox.violations == []


class Watched:
    """Who follows accounts.toml, on virtual time; what it says, and the settings that it hands on once ``taken``."""

    def __init__(self, config: Path, accounts: str = "") -> None:
        self.config = config
        self.write(accounts)
        self.settings = load(config)
        self.send, self._receive = queue()
        self._changed, self.changes = trio.open_memory_channel[Settings | str](0)

    def write(self, accounts: str, first: str = "") -> None:
        keys = "".join(f'{field} = {{ env = "KEY" }}\n' for field in ("api_key", "secret_key", "passphrase"))
        tables = "".join(f'[[accounts]]\nname = "{a}"\nenabled = false\n{keys}' for a in accounts)
        self.config.write_text(f"{first}\n{tables}")

    async def run(self) -> None:
        async with open_http() as http, trio.open_nursery() as nursery:
            clients = Clients(http, self.settings.accounts)
            registry = Registry(clients.of, self.send, {}, self._changed.send)
            plans = PlanService(
                self.settings, self.settings.database, clients, http, registry.blocked, self.send, Receipts()
            )
            await daemon._watch(self.settings, self._changed, clients, registry, plans, self.send, nursery)

    async def settled(self) -> Settings:
        """Return the next settings that are handed on."""
        settings = await self.changes.receive()
        assert isinstance(settings, Settings)
        return settings

    async def hands_on(self) -> None:
        """Wait until it hands settings to a feed that is busy."""
        with trio.fail_after(TAKES_S):
            while not self._changed.statistics().tasks_waiting_send:  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)

    async def first_notes(self) -> list[Note]:
        """Wait until there are journal entries, and return them."""
        with trio.fail_after(TAKES_S):
            while not (notes := self.notes):  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)
        return notes

    @property
    def notes(self) -> list[Note]:
        return [one for one in queued(self._receive) if isinstance(one, Note)]


async def test_an_edit_during_the_previous_one_is_applied_too(tmp_path: Path, autojump_clock: MockClock) -> None:
    watched = Watched(tmp_path / "accounts.toml", "a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        watched.write("ab")
        await watched.hands_on()
        watched.write("abc")
        with trio.fail_after(TAKES_S):
            applied = [await watched.settled() for _ in range(2)]
        assert [[one.name for one in settings.accounts] for settings in applied] == [["a", "b"], ["a", "b", "c"]]
        nursery.cancel_scope.cancel()


async def test_a_half_written_file_is_not_used(tmp_path: Path, autojump_clock: MockClock) -> None:
    watched = Watched(tmp_path / "accounts.toml", "abcdef")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        await trio.sleep(0.1)
        for part in ("", "ab", "abcd"):  # each is a file that could be meant
            watched.write(part)
            await trio.sleep(0.4)
        watched.write("abcdef")
        with trio.fail_after(TAKES_S):
            assert [one.name for one in (await watched.settled()).accounts] == list("abcdef")
        nursery.cancel_scope.cancel()


async def test_an_edit_before_the_watch_begins_is_applied_too(tmp_path: Path, autojump_clock: MockClock) -> None:
    watched = Watched(tmp_path / "accounts.toml", "a")
    watched.write("ab")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        with trio.fail_after(TAKES_S):
            assert [one.name for one in (await watched.settled()).accounts] == ["a", "b"]
        nursery.cancel_scope.cancel()


class MadPath(type(Path())):  # type: ignore[misc]
    """What no code of ours foresees."""

    def open(self, *args: object, **named: object) -> object:
        return 1 / 0


async def test_an_unexpected_error_while_reading_an_edit_is_reported_as_invalid(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    watched = Watched(tmp_path / "accounts.toml", "a")
    mad = MadPath(watched.config)
    watched.settings = msgspec.structs.replace(watched.settings, path=mad)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        watched.write("ab")
        (note,) = await watched.first_notes()
        assert (note.level, note.event) == ("error", "config-invalid")
        assert note.detail.startswith(f"{mad}: internal error (ZeroDivisionError at config/settings.py:")
        nursery.cancel_scope.cancel()


async def test_a_change_that_needs_a_restart_is_reported_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    watched = Watched(tmp_path / "accounts.toml", "a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        for accounts in ("a", "ab"):
            watched.write(accounts, 'database = "other.db"')
            with trio.fail_after(TAKES_S):
                await watched.changes.receive()
        (note,) = watched.notes
        assert (note.level, note.event) == ("warning", "restart-required")
        assert note.detail == f"database: {tmp_path / 'other.db'} is used after a restart"
        nursery.cancel_scope.cancel()
