"""Who are you? Asked until there is an answer; nothing of REST is stored before it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from okxsync.accounts.registry import Registry
from okxsync.config.settings import Settings, load
from okxsync.messages import ConfiguredAccount, Message, Note
from okxsync.mirror.queries import Identity
from okxsync.rest import client
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from tests.support.replay import Replay, write_config


def reply(row: str) -> bytes:
    body = f'{{"code":"0","msg":"","data":[{row}]}}'.encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


NOBODY = reply('{"perm":"read_only"}')
ONE = reply('{"uid":"1","perm":"read_only"}')


class Asked:
    """A roster that asks a server; ``answers`` are given one after the other, the last one again and again."""

    def __init__(self, registry: Registry, settings: Settings, messages: trio.MemoryReceiveChannel[Message]) -> None:
        self.registry = registry
        self.settings = settings
        self._messages = messages
        self._heard: list[Message] = []

    def heard(self) -> list[Message]:
        """Return all that was sent so far."""
        while self._messages.statistics().current_buffer_used:
            self._heard.append(self._messages.receive_nowait())
        return self._heard


@asynccontextmanager
async def asking(
    folder: Path,
    *answers: bytes,
    names: tuple[str, ...] = ("alpha",),
    known: dict[str, Identity] | None = None,
    changed: Callable[[str], Awaitable[None]] | None = None,
) -> AsyncIterator[Asked]:
    left = list(answers)

    async def serve(stream: trio.SocketStream) -> None:
        if await stream.receive_some():
            await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    async def nobody_minds(name: str) -> None:
        pass

    send, messages = trio.open_memory_channel[Message](100)
    async with trio.open_nursery() as nursery, open_http() as http:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        text = Replay(listeners[0].socket.getsockname()[1], {}).accounts_toml("orders")
        head, table = text.split("[[accounts]]")
        tables = [table.replace("alpha", name) for name in names]
        settings = load(write_config(folder, "[[accounts]]".join([head, *tables])))
        clients = Clients(http, settings.accounts)
        registry = Registry(clients.of, send, known or {}, changed or nobody_minds)
        registry.configure(settings.accounts)
        nursery.start_soon(registry.identify, settings.accounts)
        yield Asked(registry, settings, messages)
        nursery.cancel_scope.cancel(reason="the test is over")


def notes(messages: list[Message]) -> list[tuple[str, str | None]]:
    return [(one.event, one.account) for one in messages if isinstance(one, Note)]


def configs(messages: list[Message]) -> list[str | None]:
    return [one.config for one in messages if isinstance(one, ConfiguredAccount)]


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - nothing else tells
            await trio.sleep(0.01)


async def test_it_is_asked_again_until_it_says_who_it_is(tmp_path: Path) -> None:
    async with asking(tmp_path, NOBODY, b"HTTP/1.1 503 Busy\r\n\r\n", NOBODY, ONE) as asked:
        await until(lambda: len(configs(asked.heard())) == 2)
        assert configs(asked.heard()) == [None, '{"uid":"1","perm":"read_only"}']
        assert set(notes(asked.heard())) == {("account-config-failed", "alpha")}
        assert asked.registry.client_of("alpha") is not None


async def test_two_that_do_not_say_who_they_are_are_not_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    async with asking(tmp_path, NOBODY, names=("alpha", "beta")) as asked:
        await until(lambda: len(notes(asked.heard())) == 2)
        assert sorted(notes(asked.heard()), key=str) == [
            ("account-config-failed", "alpha"),
            ("account-config-failed", "beta"),
        ]
        assert asked.registry.client_of("alpha") is None
        assert asked.registry.blocked("alpha") is None  # there is nothing to mix with


async def test_a_name_with_rows_is_held_back_until_it_is_known_or_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    told: list[tuple[str, str | None]] = []

    async def changed(name: str) -> None:
        told.append((name, asked.registry.blocked(name)))

    known = {"alpha": Identity("2", False)}
    async with asking(tmp_path, NOBODY, ONE, known=known, changed=changed) as asked:
        assert asked.registry.blocked("alpha") == ""
        await until(lambda: len(told) == 2)
        (name, first), (_, second) = told
        assert (name, first) == ("alpha", None)
        assert second is not None
        assert second.startswith(
            'key "alpha" belongs to OKX account uid 1, but the data stored as "alpha" is for uid 2'
        )
        assert asked.registry.client_of("alpha") is None
        await until(lambda: ("account-mismatch", "alpha") in notes(asked.heard()))
