"""Secrets for those who run in the loop: where asking may take long, the others go on meanwhile."""

from typing import Final

import trio

from okxsync.config.secret import ConfigError, Secret

ANSWER_S: Final = 60.0
"""Long enough for a user to unlock a keyring; one that hangs must not hold an account for ever."""
_one_at_a_time: Final = trio.CapacityLimiter(1)
"""Threads that hang are not those that names of hosts are looked up in."""


async def reveal(*secrets: Secret) -> list[str]:
    """Return what ``Secret.reveal`` does of each.

    Raises:
        ConfigError: one is not there, or is not said in time.
    """

    def ask() -> list[str]:
        return [secret.reveal() for secret in secrets]

    if not any(secret.may_wait for secret in secrets):
        return ask()
    try:
        with trio.fail_after(ANSWER_S):
            return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=_one_at_a_time)
    except trio.TooSlowError:
        raise ConfigError(f"the keyring gives no answer within {ANSWER_S:.0f} s") from None
