"""Who may use the terminal: its own page, in a browser that was given the token. Pure.

Host        must be one of ours: DNS rebinding ends there
Origin      must be ours for the socket and for every POST, and Sec-Fetch-Site, where sent, same-origin: no other
            page can use a browser's session, also none on another port of this machine
session     has two halves, a cookie and a key. Cookies know no ports: a program on another port of this machine is
            sent ours. It does not get the key, which the page keeps and sends with each request
trading     a session may trade for as long as it does; then the token must be given again
token       128 random bits or more; wrong ones are counted
"""

import hmac
import math
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from okxsync.runtime.clock import steady_s

IDLE_S: Final = 12 * 3600.0
"""A session that is not used for so long ends."""
TRADE_IDLE_S: Final = 15 * 60.0
"""A session that has traded nothing for so long must give the token again before it may. An open page is no trade."""
TRIES: Final = 5
TRIES_S: Final = 60.0
"""So many tries in so many seconds, by whomever: a limit for each client would be none on a machine of many."""
SESSIONS: Final = 100
"""The session that was not used for longest ends if there are more."""
_TOKEN_BYTES: Final = 16

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self';"
    " connect-src 'self' {socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)


class Refused(NamedTuple):
    """An HTTP status, and one line for the log of the browser."""

    status: int
    reason: str


class Origins:
    """The addresses that this server has.

    Args:
        names: Host names and addresses, as browsers write them.
        scheme: ``http`` or ``https``.
    """

    def __init__(self, names: tuple[str, ...], port: int, scheme: str = "http") -> None:
        self._scheme = scheme
        default = {"http": 80, "https": 443}[scheme]
        self._hosts = {f"{name}:{port}".lower() for name in names}
        if port == default:  # browsers leave it out
            self._hosts |= {name.lower() for name in names}

    def refuse(self, headers: Mapping[str, str], *, acts: bool, reads: bool = False) -> Refused | None:
        """Return why a request is refused, or None.

        Args:
            headers: By lower-case name.
            acts: Whether it opens the socket or changes anything, so that another page must not send it.
            reads: Whether it reads data. A browser sends the origin of such a request only if it is another one.
        """
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return Refused(421, "this server does not have that name")
        own = f"{self._scheme}://{host}"
        if (acts or reads) and headers.get("origin", "" if acts else own).lower() != own:
            return Refused(403, "requests of other pages are not accepted")
        if (acts or reads) and headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return Refused(403, "requests of other sites are not accepted")
        return None

    def headers(self, host: str) -> dict[str, str]:
        """Return the headers of every answer to a request for one of our hosts."""
        socket = f"{'wss' if self._scheme == 'https' else 'ws'}://{host}" if host.lower() in self._hosts else ""
        return {
            "Content-Security-Policy": CONTENT_POLICY.format(socket=socket),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }


class Session(NamedTuple):
    """Its two halves."""

    cookie: str
    key: str


class Sessions:
    """The sessions of one server; they end with it."""

    def __init__(self, token: str, now_s: Callable[[], float] = steady_s) -> None:
        self._token = token
        self._now_s = now_s
        self._used_s: dict[Session, float] = {}  # the one that was used last is the last
        self._traded_s: dict[Session, float] = {}
        self._failed_s: deque[float] = deque()

    def login(self, token: str) -> Session | Refused:
        """Trade the token for a new session."""
        if refused := self._check(token):
            return refused
        session = Session(new_token(), new_token())
        self._used_s[session] = self._traded_s[session] = self._now_s()
        self._expire(self._now_s())
        return session

    def let_trade(self, session: Session, token: str) -> Refused | None:
        """Let a session trade again; return why not."""
        refused = self._check(token)
        if refused is None and session in self._used_s:
            self._traded_s[session] = self._now_s()
        return refused

    def may_trade(self, session: Session) -> bool:
        """Whether a session may trade; it counts as having traded now."""
        now_s = self._now_s()
        if now_s - self._traded_s.get(session, -math.inf) >= TRADE_IDLE_S:
            return False
        self._traded_s[session] = now_s
        return True

    def _check(self, token: str) -> Refused | None:
        """Return why a token is refused, which counts as a try."""
        now_s = self._now_s()
        while self._failed_s and self._failed_s[0] <= now_s - TRIES_S:
            self._failed_s.popleft()
        if len(self._failed_s) >= TRIES:
            return Refused(429, "too many wrong tokens: wait a minute")
        if not _equal(token, self._token):
            self._failed_s.append(now_s)
            return Refused(403, "wrong token")
        return None

    def find(self, cookie: str, key: str) -> Session | None:
        """Return the session of two halves, which counts as used now; None if there is none."""
        now_s = self._now_s()
        self._expire(now_s)
        found = None
        for session in self._used_s:  # all of them: the time taken says nothing
            if _equal(cookie, session.cookie) & _equal(key, session.key):
                found = session
        if found:
            self.use(found)
        return found

    def use(self, session: Session) -> bool:
        """Whether a session still exists; it counts as used now."""
        now_s = self._now_s()
        self._expire(now_s)
        if self._used_s.pop(session, None) is None:
            return False
        self._used_s[session] = now_s
        return True

    def _expire(self, now_s: float) -> None:
        while self._used_s:
            oldest = next(iter(self._used_s))
            if len(self._used_s) <= SESSIONS and now_s - self._used_s[oldest] < IDLE_S:
                break
            del self._used_s[oldest]
            self._traded_s.pop(oldest, None)


def new_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
