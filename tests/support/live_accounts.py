"""Accounts that are live in a real database, their clients, and an exchange with scripted replies, in virtual time."""

import os
import random
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from okxsync.config.settings import load
from okxsync.messages import ConfiguredAccount, Message, Pong, Subscribed
from okxsync.reconcile.gaps import GapSource
from okxsync.reconcile.held import Reads
from okxsync.reconcile.reconciler import Reconciler, Source
from okxsync.reconcile.rest_only import RestOnlySource
from okxsync.reconcile.stalled import StalledSource
from okxsync.reconcile.timings import TIMINGS
from okxsync.rest.clients import Clients
from okxsync.runtime import clock as clock_module
from okxsync.store.writer import Writer
from tests.support.desk import NOW, Desk, phase
from tests.support.mock_http import MockHttp
from tests.support.outbox import queue, queued
from tests.support.replies import reply

START_NS = NOW * 1000
Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]


async def silence(request: httpx.Request) -> httpx.Response:
    """The exchange's answer while its REST is down."""
    await trio.sleep_forever()
    raise AssertionError("not reached")


async def nothing(request: httpx.Request) -> httpx.Response:
    """The answer that there is nothing."""
    await trio.lowlevel.checkpoint()
    return reply({"code": "0", "msg": "", "data": []})


class Exchange(httpx.AsyncBaseTransport):
    """Where the network would be: ``answer`` may be changed at any time."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[float, httpx.Request]] = []
        self.waiting = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((trio.current_time(), request))
        self.waiting += 1
        try:
            return await self.answer(request)
        finally:
            self.waiting -= 1


class LiveAccounts:
    """``accounts`` accounts, each with these channels, live since the start and without a gap."""

    def __init__(self, folder: Path, desk: Desk, exchange: Exchange, accounts: int, *channels: str) -> None:
        self.desk = desk
        desk.writer = Writer(desk.db, now_us=lambda: time.time_ns() // 1000)  # see ``virtual_time``
        self.names = [f"a{number}" for number in range(accounts)]
        keys = 'api_key = "k"\nsecret_key = "s"\npassphrase = "p"\n'
        config = folder / "accounts.toml"
        config.write_text("".join(f'[[accounts]]\nname = "{name}"\nsite = "global"\n{keys}' for name in self.names))
        config.chmod(0o600)
        self.clients = Clients(MockHttp(exchange), load(config).accounts)
        self.send, self.receive = queue()
        desk.apply(desk.start(NOW, os.getpid()))
        for number, name in enumerate(self.names, 1):
            desk.apply(
                ConfiguredAccount(name, "global", False, NOW, None), Subscribed(number, name, list(channels), NOW)
            )
        for number, name in enumerate(self.names, 1):
            desk.apply(phase(NOW, number=number, listener=name))
        self.reads = Reads(desk.path, threads=False)
        self.stale: list[tuple[str, str, str]] = []
        self._written: list[Message] = []

    def reconciler(self, *sources: Source) -> Reconciler:
        return Reconciler(sources, self.reads, self.clients.of, self.send)

    def gap_source(self) -> GapSource:
        return GapSource(self.reads, TIMINGS, random.Random(1))

    def rest_only_source(self) -> RestOnlySource:
        return RestOnlySource(self.reads, self.clients.of, TIMINGS)

    def stalled_source(self) -> StalledSource:
        return StalledSource(self.reads, self.send, lambda *what: self.mark_stale(*what), TIMINGS)

    async def mark_stale(self, account: str, channel: str, why: str) -> None:
        self.stale.append((account, channel, why))
        await trio.lowlevel.checkpoint()

    async def write(self, every_s: float = 1.0, ping_every: int = 1) -> None:
        """Write what was sent for as long as it runs, and each ``ping_every`` times the answers to pings too."""
        for number in count():
            self._write(pongs=number % ping_every == 0)
            await trio.sleep(every_s)

    def received(self) -> list[Message]:
        """Write what was sent, and return it since the last call."""
        self._write()
        messages, self._written = self._written, []
        return messages

    def _write(self, *, pongs: bool = True) -> None:
        messages = queued(self.receive)
        now_us = time.time_ns() // 1000
        answers = [Pong(number, name, now_us, 0) for number, name in enumerate(self.names, 1)] if pongs else []
        self.desk.apply(*messages, *answers)
        self._written += messages


def virtual_time(monkeypatch: pytest.MonkeyPatch, clock: MockClock) -> None:
    """Let the wall clock and the steady clock go with trio's."""
    assert trio.lowlevel.current_clock() is clock, "the test itself must take autojump_clock"
    monkeypatch.setattr(time, "time_ns", lambda: START_NS + round(trio.current_time() * 1e9))
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: trio.current_time())
    monkeypatch.setattr(clock_module, "current", clock_module.Clock())
