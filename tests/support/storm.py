"""Faults of all kinds, at random times."""

import random
from collections.abc import Iterator

from okxsync.sandbox.faults.script import Fault, play
from okxsync.sandbox.server.server import Sandbox

ANOMALOUS_FRAMES = (
    '{"event":"party","msg":"\\u001b[2J\\u0007"}',
    '{"event":"error","code":"60018","msg":"Wrong URL or channel:orders doesn\'t exist."}',
    '{"event":"error","code":"63999","msg":"Internal system error"}',
    '{"event":"notice","code":"1","msg":"hello"}',
    '{"event":"channel-conn-count","channel":"orders","connCount":"7"}',
    '{"arg":{"channel":"orders"},"data":[{"fillPx":"NaN","fillSz":1e999},[],null,{"state":"\\ud800"}]}',
    '{"arg":{"channel":"positions"},"data":' + "[" * 5000 + "]" * 5000 + "}",
    "[" * 200_000,
    "not json at all \x1b]0;title\x07",
    "",
)
REST_ANSWERS = (
    ("403", "<html>Forbidden</html>"),
    ("429", '{"msg":"Too Many Requests","code":"50011"}'),
    ("500", '{"msg":"System error","code":"50026"}'),
    ("503", '{"code":"50001","msg":"Service temporarily unavailable","data":[]}'),
    ("200", '{"code":"0","msg":"","data":[{"ordId":'),
    ("200", '{"code":"0","msg":"","data":' + "[" * 100_000 + "]" * 100_000 + "}"),
    ("200", '{"code":"0","msg":"","data":{"not":"a list"}}'),
    ("200", "\x00\xff"),
)


def storm(rng: random.Random, lasts_s: float, accounts: list[str]) -> Iterator[Fault]:
    """Return temporary faults of all kinds, at random times."""
    for _ in range(int(lasts_s * 3)):
        who = rng.choice(["", *accounts])
        at_s, for_s = rng.uniform(0, lasts_s), rng.uniform(0.5, 5)
        code, text = rng.choice(REST_ANSWERS)
        yield rng.choice(
            [
                Fault(do="rst", at_s=at_s, account=who, any=True),
                Fault(do="half-open", at_s=at_s, any=True),
                Fault(do="close", at_s=at_s, any=True, code=rng.choice("4001 4004 4005 4006 4007 1001 1011".split())),
                Fault(do="upgrade", at_s=at_s, account=who, seconds=rng.uniform(0.5, 10)),
                Fault(do="frame", at_s=at_s, account=who, text=rng.choice(ANOMALOUS_FRAMES)),
                Fault(do="refuse", at_s=at_s, for_s=for_s, code=rng.choice(["429", "403", "502"])),
                Fault(do="login-error", at_s=at_s, for_s=for_s, account=who, code=rng.choice(["60009", "63999"])),
                Fault(do="login-delay", at_s=at_s, for_s=for_s, seconds=rng.uniform(0, 5)),
                Fault(do="subscribe-error", at_s=at_s, for_s=for_s, account=who, code="63999"),
                Fault(do="double", at_s=at_s, for_s=for_s, account=who),
                Fault(do="reorder", at_s=at_s, for_s=for_s, account=who, channel="orders"),
                Fault(do="join", at_s=at_s, for_s=for_s),
                Fault(do="rest", at_s=at_s, for_s=for_s, account=who, code=code, text=text, seconds=rng.choice([0, 3])),
                Fault(do="skew", at_s=at_s, seconds=rng.choice([0, 5, -3600])),
            ]
        )


async def rage(sandbox: Sandbox, seed: int, lasts_s: float) -> None:
    """Inject faults while the exchange trades; at the end no fault is active."""
    rng = random.Random(seed)
    accounts = [member.name for member in sandbox.exchange.members.values()]
    await play(sandbox, list(storm(rng, lasts_s, accounts)), rng)
    sandbox.faults.rules.clear()
    sandbox.faults.clock_skew_ms = 0
    for connection in sandbox.connections:
        if connection.half_open:
            sandbox.drop(connection)


def secrets_of(sandbox: Sandbox) -> list[str]:
    keys = [member.credentials for member in sandbox.exchange.members.values()]
    return [text for one in keys for text in (one.api_key, one.secret_key, one.passphrase)]
