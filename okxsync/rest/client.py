"""Signed requests to OKX's REST API (OKX docs: overview-rest-authentication).

The signature covers the bytes that are sent: it is made by an ``httpx.Auth`` from the finished request, anew for each
attempt. Replies are untrusted: a body that is not the JSON we know, whatever its status, is a ``RestError``.
"""

from collections.abc import Generator
from datetime import UTC, datetime

import httpx
import msgspec
import trio

from okxsync.config import Account
from okxsync.okx.errors import Action, meaning_of
from okxsync.okx.signing import sign_rest
from okxsync.rest.clock import SiteClock

ATTEMPT_S = 10.0


class RestError(Exception):
    """A request failed; ``action`` says what that means for the next one."""

    def __init__(self, text: str, action: Action) -> None:
        super().__init__(text)
        self.action = action


class _Reply(msgspec.Struct):
    code: str | int
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")


class SignedBy(httpx.Auth):
    """Signs the request target and body exactly as they are sent."""

    requires_request_body = True

    def __init__(self, account: Account, clock: SiteClock) -> None:
        self._account = account
        self._clock = clock

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        account = self._account
        now = datetime.fromtimestamp(self._clock.now_s(), UTC)
        timestamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        secret_key = account.secret_key.reveal()
        request.headers["OK-ACCESS-KEY"] = account.api_key.reveal()
        request.headers["OK-ACCESS-PASSPHRASE"] = account.passphrase.reveal()
        request.headers["OK-ACCESS-TIMESTAMP"] = timestamp
        request.headers["OK-ACCESS-SIGN"] = sign_rest(
            secret_key, timestamp, request.method, request.url.raw_path, request.content
        )
        if account.demo:
            request.headers["x-simulated-trading"] = "1"
        yield request


class AccountClient:
    """Asks for one account."""

    def __init__(self, http: httpx.AsyncClient, account: Account, clock: SiteClock) -> None:
        self._http = http
        self._account = account
        self._auth = SignedBy(account, clock)

    async def get(self, path: str, params: dict[str, str] | None = None) -> bytes:
        """Return ``data`` of the reply, a JSON array as bytes. One attempt.

        Args:
            path: Below ``/api/v5/``, as in ``account/config``.

        Raises:
            RestError: no answer in time, no JSON, or a code other than 0.
        """
        url = f"{self._account.site.rest}/api/v5/{path}"
        try:
            with trio.fail_after(ATTEMPT_S):
                response = await self._http.get(url, params=params, auth=self._auth)
        except trio.TooSlowError:
            raise RestError(f"{path}: no answer within {ATTEMPT_S:.0f} s", Action.RETRY) from None
        except httpx.HTTPError as error:
            raise RestError(f"{path}: {type(error).__name__}: {error}", Action.RETRY) from None
        try:
            reply = msgspec.json.decode(response.content, type=_Reply)
        except msgspec.DecodeError:
            raise RestError(f"{path}: HTTP status {response.status_code} without JSON", Action.RETRY) from None
        if str(reply.code) != "0":
            meaning = meaning_of(reply.code)
            hint = f"; {meaning.hint}" if meaning.hint else ""
            raise RestError(f"{path}: {reply.code} {meaning.text} ({reply.msg[:200]}){hint}", meaning.action)
        return bytes(reply.data)
