"""Where OKX is served: one site per region, each with a live and a demo exchange.

An account exists on one site only; elsewhere its key "doesn't exist" (REST 50119, WebSocket 60032). The demo exchange
is chosen by host on WebSocket and by the header ``x-simulated-trading`` on REST (OKX docs:
overview-production-trading-services, overview-demo-trading-services).
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

ENDPOINTS: Final = ("public", "private", "business")


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The addresses of one exchange. ``dials_per_second`` is OKX's limit of new connections per IP."""

    rest: str
    public: str
    private: str
    business: str
    dials_per_second: int = 3

    def url(self, endpoint: str) -> str:
        """Return the WebSocket address of ``public``, ``private`` or ``business``."""
        return {"public": self.public, "private": self.private, "business": self.business}[endpoint]


def _site(rest: str, websocket: str) -> Site:
    base = f"wss://{websocket}:8443/ws/v5/"
    return Site(f"https://{rest}", base + "public", base + "private", base + "business")


_LIVE: Final = {
    "global": _site("www.okx.com", "ws.okx.com"),
    "eea": _site("eea.okx.com", "wseea.okx.com"),
    "us": _site("us.okx.com", "wsus.okx.com"),
}
_DEMO: Final = {
    "global": _site("www.okx.com", "wspap.okx.com"),
    "eea": _site("eea.okx.com", "wseeapap.okx.com"),
    "us": _site("us.okx.com", "wsuspap.okx.com"),
}
BUILT_IN: Final = tuple(_LIVE)
_NUMBERS: Final = re.compile(r":|^[0-9.]+$")  # what can be no name
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)


def built_in_site(name: str, *, demo: bool) -> Site:
    """Return OKX's own site ``global``, ``eea`` or ``us``; KeyError for any other name."""
    return (_DEMO if demo else _LIVE)[name]


def why_unusable(url: str, secure: str, plain: str) -> str | None:
    """Say why ``url`` may not be used: it must be ``secure://``, or ``plain://`` to a loopback address."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "an address is made of ASCII without blanks"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
        host = parts.hostname or ""
        address = ipaddress.ip_address(host) if _NUMBERS.search(host) else None
    except ValueError as error:
        return f"no address: {error}"
    if not host or parts.scheme not in (secure, plain):
        return f"must be a {secure}:// address"
    if not (address or _NAME.fullmatch(host)):
        return f'"{host}" is no name of a host'
    if parts.scheme == secure:
        return None
    loopback = address.is_loopback if address else host == "localhost"
    return None if loopback else f"{plain}:// is for loopback addresses only, use {secure}://"
