"""Read secrets without blocking the event loop: a keyring may wait for its user."""

from typing import Final

import trio

from okxsync.config.secret import ConfigError, Secret

KEYRING_TIMEOUT_S: Final = 60.0
"""Long enough for a user to unlock a keyring; one that hangs must not block an account for ever."""
_one_at_a_time: Final = trio.CapacityLimiter(1)
"""Separate from trio's default limiter: threads that hang must not use up those that resolve host names."""


async def reveal(*secrets: Secret) -> list[str]:
    """Return the value of each secret.

    Raises:
        ConfigError: a secret is missing or invalid, or the keyring does not answer in time.
    """

    def read() -> list[str]:
        return [secret.reveal() for secret in secrets]

    if not any(secret.may_wait for secret in secrets):
        return read()
    try:
        with trio.fail_after(KEYRING_TIMEOUT_S):
            return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=_one_at_a_time)
    except trio.TooSlowError:
        raise ConfigError(f"the keyring does not answer within {KEYRING_TIMEOUT_S:.0f} s") from None
