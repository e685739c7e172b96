"""What a connection is to be, and why one has ended: the values that the feed's parts hand each other."""

import random
from typing import Final

import msgspec

from okxsync.config.secret import Secret
from okxsync.okx.channels import Subscription
from okxsync.okx.codes import Action

SLOW_S: Final = 150.0


def slow_pause_s() -> float:
    """Return a pause, in seconds, after a refusal that another attempt may make worse: too many connections, requests.

    Random, so that programs which crowd each other out do not march in step.
    """
    return random.uniform(SLOW_S, 1.5 * SLOW_S)


class Keys(msgspec.Struct, frozen=True):
    """What logs an account in."""

    api_key: Secret
    secret_key: Secret
    passphrase: Secret


class ConnectionSpec(msgspec.Struct, frozen=True):
    """What a connection is to be. Two equal specs are the same connection, two different ones are not."""

    listener: str
    account: str | None
    endpoint: str
    url: str
    site: str
    demo: bool
    subscriptions: tuple[Subscription, ...]
    keys: Keys | None
    blocked: str | None = None  # why it must not be held

    @property
    def name(self) -> str:
        return f"{self.listener}/{self.endpoint}"


class Disconnected(Exception):
    """Why a connection is not live any more, and what that means for the next attempt."""

    def __init__(self, text: str, action: Action = Action.RETRY) -> None:
        super().__init__(text)
        self.action = action
