"""A script of faults: what is injected, where and when. It is read from a TOML file of ``[[fault]]`` tables.

[[fault]]
at = 10                 # seconds after the start
every = 60              # seconds between repetitions; absent: once
for = 5                 # seconds that a lasting fault stays (see `Rule`)
do = "login-error"
code = "60009"
account = "account1"    # absent: all; likewise endpoint, channel, path

[[fault]]
do = "request"          # what becomes of requests that trade, and of their replies (see `RequestFault`)
how = "reset"           # own, lost, reset, truncated, 50001, 50004, 50013, 50026, http-429, http-500, http-502
acts = true             # whether the request is executed
queue = 4               # seconds that it waits before
seconds = 2             # seconds that the reply waits after
path = "trade/order"
"""

import random
import tomllib
from pathlib import Path
from typing import Final

import msgspec
import trio

from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.server.server import Sandbox

LASTING: Final = (
    "refuse",
    "login-error",
    "login-delay",
    "subscribe-error",
    "crowded",
    "silent",
    "delay",
    "double",
    "reorder",
    "join",
    "unannounced",
    "rest",
    "request",
)
"""Faults that last: each is a `Rule` while it is active, ``request`` a `RequestFault`."""
SUDDEN: Final = ("rst", "half-open", "close", "upgrade", "frame", "delete-key", "skew")
"""Faults that happen once, to the open connections: ``close`` with `code`, ``upgrade`` within `seconds`, ``frame``
sends `text`; ``skew`` sets the exchange's clock `seconds` ahead."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"for_s": "for", "at_s": "at"}):
    """One table of the file. Times in seconds; with ``any`` one random connection of the matching ones is chosen."""

    do: str
    at_s: float = 0.0
    every: float = 0.0
    for_s: float = 10.0
    account: str = ""
    endpoint: str = ""
    channel: str = ""
    path: str = ""
    code: str = ""
    seconds: float = 0.0
    text: str = ""
    any: bool = False
    how: str = "own"
    acts: bool = True
    queue: float = 0.0

    def __post_init__(self) -> None:
        if self.do not in (*LASTING, *SUDDEN):
            raise ValueError(f'"{self.do}" is not one of {", ".join((*LASTING, *SUDDEN))}')
        if self.do == "close" and not (self.code.isdecimal() and 1000 <= int(self.code) < 5000):
            raise ValueError("close needs a code from 1000 to 4999")
        if self.code and not self.code.isdecimal():
            raise ValueError(f'code "{self.code}" is not a number')
        if self.do == "request":
            self.of_requests()
        if min(self.at_s, self.every, self.for_s) < 0:
            raise ValueError("a time must not be negative")

    def of_requests(self) -> RequestFault:
        """The fault of requests that it describes. Raises ValueError."""
        return RequestFault(
            self.how, self.path, self.account, acts=self.acts, queue_s=self.queue, delay_s=self.seconds, times=0
        )


class _ScriptFile(msgspec.Struct, forbid_unknown_fields=True):
    fault: list[Fault] = []


def read_script(path: Path) -> list[Fault]:
    """Read a file of faults.

    Raises:
        ValueError: the file cannot be read or is invalid; the message is one line.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _ScriptFile).fault
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from None


async def play(sandbox: Sandbox, faults: list[Fault], rng: random.Random) -> None:
    """Inject the faults, each at its time; return when all that do not repeat have ended."""
    async with trio.open_nursery() as nursery:
        for fault in faults:
            nursery.start_soon(_repeat, sandbox, fault, rng)


async def _repeat(sandbox: Sandbox, fault: Fault, rng: random.Random) -> None:
    due = trio.current_time() + fault.at_s
    while True:
        await trio.sleep_until(due)
        if fault.do in LASTING:
            await _hold(sandbox, fault)
        else:
            strike(sandbox, fault, rng)
        if not fault.every:
            return
        due = max(due + fault.every, trio.current_time())


async def _hold(sandbox: Sandbox, fault: Fault) -> None:
    if fault.do == "request":
        of_requests = fault.of_requests()
        sandbox.faults.requests.append(of_requests)
        try:
            await trio.sleep(fault.for_s)
        finally:
            sandbox.faults.requests.remove(of_requests)
        return
    rule = Rule(
        fault.do, fault.account, fault.endpoint, fault.channel, fault.path, fault.code, fault.seconds, fault.text
    )
    sandbox.faults.rules.append(rule)
    try:
        await trio.sleep(fault.for_s)
    finally:
        sandbox.faults.rules.remove(rule)


def strike(sandbox: Sandbox, fault: Fault, rng: random.Random) -> None:
    """Inject a fault that happens once, now."""
    if fault.do == "skew":
        sandbox.faults.clock_skew_ms = int(fault.seconds * 1000)
        return
    targets = [each for each in sandbox.connections
             if fault.endpoint in ("", each.endpoint)
             and fault.account in ("", each.member.name if each.member else "")]  # fmt: skip
    if fault.any and targets:
        targets = [rng.choice(targets)]
    for each in targets:
        match fault.do:
            case "upgrade":
                each.announce_upgrade(fault.seconds or 60.0)
            case "frame":
                each.send(fault.text)
            case "delete-key":
                sandbox.delete_key(each.api_key)
            case "close":
                sandbox.drop(each, fault.code)
            case _:
                sandbox.drop(each, fault.do)
