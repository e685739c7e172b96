"""Values that the parts of the feed share: the settings of a connection, and why one has ended."""

import random
from typing import Final

import msgspec

from okxsync.config.secret import Secret
from okxsync.okx.channels import Subscription
from okxsync.okx.codes import Action

SLOW_S: Final = 150.0


def slow_pause_s() -> float:
    """Return a pause in seconds after a rejection that a retry can make worse: too many connections or requests.

    It is random, so that two programs which exceed a limit together do not retry at the same times.
    """
    return random.uniform(SLOW_S, 1.5 * SLOW_S)


class Keys(msgspec.Struct, frozen=True):
    """The credentials of one account."""

    api_key: Secret
    secret_key: Secret
    passphrase: Secret


class ConnectionSpec(msgspec.Struct, frozen=True):
    """The settings of one connection. A connection whose spec is unchanged is left alone."""

    listener: str
    account: str | None
    endpoint: str
    url: str
    site: str
    demo: bool
    subscriptions: tuple[Subscription, ...]
    keys: Keys | None
    blocked: str | None = None  # why it must not be opened

    @property
    def name(self) -> str:
        return f"{self.listener}/{self.endpoint}"


class Disconnected(Exception):
    """Why a connection has ended, and what that means for the next attempt."""

    def __init__(self, text: str, action: Action = Action.RETRY) -> None:
        super().__init__(text)
        self.action = action
