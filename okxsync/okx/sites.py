"""Where OKX is served: one site per region, each with a live and a demo exchange.

An account exists on one site only; elsewhere its key "doesn't exist" (REST 50119, WebSocket 60032). The demo exchange
is chosen by host on WebSocket and by the header ``x-simulated-trading`` on REST (OKX docs:
overview-production-trading-services, overview-demo-trading-services).
"""

import ipaddress
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


def built_in_site(name: str, *, demo: bool) -> Site:
    """Return OKX's own site ``global``, ``eea`` or ``us``; KeyError for any other name."""
    return (_DEMO if demo else _LIVE)[name]


def why_unusable(url: str, secure: str, plain: str) -> str | None:
    """Say why ``url`` may not be used: it must be ``secure://``, or ``plain://`` to a loopback address."""
    parts = urlsplit(url)
    if parts.scheme == secure and parts.hostname:
        return None
    if parts.scheme != plain or not parts.hostname:
        return f"must be a {secure}:// address"
    if parts.hostname == "localhost":
        return None
    try:
        loopback = ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        loopback = False
    return None if loopback else f"{plain}:// is for loopback addresses only, use {secure}://"
