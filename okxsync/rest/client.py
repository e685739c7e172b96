"""Signed requests to OKX's REST API (OKX docs: overview-rest-authentication).

The signature covers the bytes that are sent; each attempt is signed anew. Replies are untrusted: anything but the
expected JSON is a ``RestError``, and so is code 0 with an HTTP status other than 200.
"""

import itertools
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import httpx
import msgspec
import trio

from okxsync.config.reveal import reveal
from okxsync.config.secret import ConfigError
from okxsync.config.settings import AccountSettings, MarketSettings
from okxsync.messages import MARKET
from okxsync.okx.codes import REJECTIONS, Action, meaning_of_reply
from okxsync.okx.endpoints import BUDGETS
from okxsync.okx.signing import sign_rest
from okxsync.okx.sites import Site
from okxsync.rest.clock import SiteClock
from okxsync.rest.http import UNREADABLE, Auth, Http, fetch
from okxsync.runtime.backoff import BackOff
from okxsync.runtime.rate_limiter import RateLimiters
from okxsync.runtime.text import sanitize

ATTEMPT_S: Final = 10.0
ATTEMPTS: Final = 6
ATTEMPTS_UNLISTED: Final = 3
"""An error that okxsync does not know may be transient; it is more likely about this one request."""
_NOT_SERVED: Final = frozenset({404, 405, 410})
"""HTTP status of an endpoint that a site does not have."""
SLOW_S: Final = 2.0
"""OKX's rate limits count over two seconds at most. After a "slow down" the next attempt comes that much later."""


class RestError(Exception):
    """A request failed, and is not retried any more; ``code`` is OKX's, ``action`` what that means for us."""

    def __init__(self, text: str, action: Action, code: str = "") -> None:
        super().__init__(text)
        self.action = action
        self.code = code

    @property
    def is_rejection(self) -> bool:
        """Whether OKX rejects this one request, and would reject it again."""
        return self.action in REJECTIONS


class _RestReply(msgspec.Struct):
    code: str | int
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw()


class SignedBy:
    """Signs the requests of an account; see ``rest.http.Auth``."""

    def __init__(self, account: AccountSettings, clock: SiteClock) -> None:
        self._account = account
        self._clock = clock

    async def headers(self, method: str, target: bytes, content: bytes) -> dict[str, str]:
        return await signed(self._account, self._clock, method, target, content)


async def signed(account: AccountSettings, clock: SiteClock, method: str, target: bytes, body: bytes) -> dict[str, str]:
    """Return the headers with which a request is of an account.

    Raises:
        ConfigError: a secret is missing.
    """
    api_key, passphrase, secret_key = await reveal(account.api_key, account.passphrase, account.secret_key)
    now = datetime.fromtimestamp(clock.now_s(), UTC)
    timestamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    headers = {
        "OK-ACCESS-KEY": api_key,
        "OK-ACCESS-PASSPHRASE": passphrase,
        "OK-ACCESS-TIMESTAMP": timestamp,
        "OK-ACCESS-SIGN": sign_rest(secret_key, timestamp, method, target, body),
    }
    return headers | {"x-simulated-trading": "1"} if account.demo else headers


class Unsigned:
    """Leaves public requests without a key; demo trading has instruments of its own."""

    def __init__(self, *, demo: bool) -> None:
        self._headers = {"x-simulated-trading": "1"} if demo else {}

    async def headers(self, method: str, target: bytes, content: bytes) -> dict[str, str]:
        return self._headers


class Client:
    """Sends the requests of one listener, within each endpoint's rate limit.

    Args:
        name: The account's, or ``messages.MARKET``.
        limiters: Shared with the clients of other listeners; None: this client has its own.
    """

    def __init__(
        self,
        http: Http,
        name: str,
        site: Site,
        clock: SiteClock,
        auth: Auth,
        *,
        attempts: int = ATTEMPTS,
        limiters: RateLimiters | None = None,
    ) -> None:
        self.name = name
        self._http = http
        self._site = site
        self._clock = clock
        self._attempts = attempts
        self._auth = auth
        self._limiters = RateLimiters() if limiters is None else limiters

    def now_ms(self) -> int:
        """Return the exchange's time in milliseconds, as measured last."""
        return int(self._clock.now_s() * 1000)

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, priority: int = 1) -> bytes:
        """Return ``data`` of the reply, a JSON array as bytes; transient errors are retried.

        Args:
            path: Below ``/api/v5/``, one of ``endpoints.BUDGETS``.
            params: In the order in which they are sent and signed.
            priority: Of the requests that wait for this endpoint, the one with the lowest number goes first.

        Raises:
            RestError: the request was rejected, or every attempt has failed.
        """
        back_off = BackOff(random.Random(), first_s=0.3, cap_s=20.0)
        was_resigned = False
        for attempt in itertools.count(1):
            try:
                return await self._attempt(path, params, priority)
            except RestError as error:
                if error.action is Action.RESIGN and was_resigned:  # the clock was right: the secret is wrong
                    raise RestError(str(error), Action.GIVE_UP, error.code) from None
                is_unlisted = error.action is Action.UNLISTED
                if error.action is Action.GIVE_UP or (error.is_rejection and not is_unlisted):
                    raise
                if attempt >= (min(ATTEMPTS_UNLISTED, self._attempts) if is_unlisted else self._attempts):
                    raise
                was_resigned = error.action is Action.RESIGN or was_resigned
                if error.action in (Action.RESYNC, Action.RESIGN):
                    await self._clock.measure()
                slow_s = SLOW_S if error.action is Action.SLOW else 0.0
            await trio.sleep(slow_s + back_off.next_delay(0))
        raise AssertionError("not reached")

    async def _attempt(self, path: str, params: Mapping[str, str] | None, priority: int) -> bytes:
        url = f"{self._site.rest}/api/v5/{path}"
        try:
            async with self._limiters.of((self.name, path), BUDGETS[path]).acquire(priority):
                with trio.fail_after(ATTEMPT_S):
                    status, body = await fetch(self._http, url, params, self._auth)
        except trio.TooSlowError:
            raise RestError(f"{path}: no answer within {ATTEMPT_S:.0f} s", Action.RETRY) from None
        except (httpx.LocalProtocolError, UnicodeError) as error:  # its text may contain a header, and so a secret
            raise RestError(f"{path}: {type(error).__name__}", Action.RETRY) from None
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise RestError(f"{path}: {type(error).__name__}: {error}", Action.RETRY) from None
        except ConfigError as error:
            raise RestError(f"{path}: {error}; set it", Action.GIVE_UP) from None
        try:
            reply = msgspec.json.decode(body, type=_RestReply)
        except UNREADABLE:
            action = Action.UNLISTED if status in _NOT_SERVED else Action.RETRY
            raise RestError(f"{path}: HTTP status {status}, and no JSON", action) from None
        code = str(reply.code)
        if code != "0":
            meaning = meaning_of_reply(code, status)
            hint = f"; {meaning.hint}" if meaning.hint else ""
            raise RestError(
                f"{path}: {sanitize(code)} {meaning.text} ({sanitize(reply.msg)}){hint}", meaning.action, code
            )
        # An empty list means that there was nothing, so nothing else may pass for one.
        if status != httpx.codes.OK or not bytes(reply.data).startswith(b"["):
            found = f"HTTP status {status}" if status != httpx.codes.OK else "data is not a list"
            raise RestError(f"{path}: code 0, but {found}", Action.RETRY)
        return bytes(reply.data)


class AccountClient(Client):
    """The client of one account: OKX counts private calls per user id."""

    def __init__(
        self,
        http: Http,
        account: AccountSettings,
        clock: SiteClock,
        *,
        attempts: int = ATTEMPTS,
        limiters: RateLimiters | None = None,
    ) -> None:
        auth = SignedBy(account, clock)
        super().__init__(http, account.name, account.site, clock, auth, attempts=attempts, limiters=limiters)


class MarketClient(Client):
    """The client of the public data of one exchange: OKX counts these calls per IP."""

    def __init__(self, http: Http, market: MarketSettings, clock: SiteClock) -> None:
        super().__init__(http, MARKET, market.site, clock, Unsigned(demo=market.demo))
