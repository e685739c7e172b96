"""What a connection is to be, and why one has ended: the values that the feed's parts hand each other."""

from typing import Protocol

import msgspec

from okxsync.config import Secret
from okxsync.okx.channels import Subscription
from okxsync.okx.errors import Action


class Keys(msgspec.Struct, frozen=True):
    """What logs an account in."""

    api_key: Secret
    secret_key: Secret
    passphrase: Secret


class Plan(msgspec.Struct, frozen=True):
    """What a connection is to be. Two equal plans are the same connection, two different ones are not."""

    listener: str
    account: str | None
    endpoint: str
    url: str
    site: str
    demo: bool
    subscriptions: tuple[Subscription, ...]
    keys: Keys | None

    @property
    def name(self) -> str:
        return f"{self.listener}/{self.endpoint}"


class Clock(Protocol):
    """The exchange's clock, as far as it is known."""

    def now_s(self) -> float:
        """Return Unix seconds, as the exchange would say."""

    async def measure(self) -> None:
        """Compare with the exchange again."""


class Ended(Exception):
    """Why a connection is not live any more, and what that means for the next attempt."""

    def __init__(self, text: str, action: Action = Action.RETRY) -> None:
        super().__init__(text)
        self.action = action
