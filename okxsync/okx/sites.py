"""The addresses of OKX: one site per region, each with a live and a demo exchange.

An account exists on one site only. On other sites its key "doesn't exist" (REST 50119, WebSocket 60032). The demo
exchange is selected by host on WebSocket and by the header ``x-simulated-trading`` on REST (OKX docs:
overview-production-trading-services, overview-demo-trading-services).
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

ENDPOINTS: Final = ("public", "private", "business")


class Site(msgspec.Struct, frozen=True):
    """The addresses of one exchange. ``dials_per_second`` is OKX's limit of new connections per IP."""

    rest: str
    public: str
    private: str
    business: str
    dials_per_second: int = 3

    def url(self, endpoint: str) -> str:
        """Return the WebSocket address of ``public``, ``private`` or ``business``."""
        return {"public": self.public, "private": self.private, "business": self.business}[endpoint]


class Host(msgspec.Struct, frozen=True):
    """A host of OKX, the source of its name, and the date of the last check (ISO 8601)."""

    name: str
    source: str
    checked: str


class Region(msgspec.Struct, frozen=True):
    """The hosts of one site; live and demo share the REST host."""

    rest: Host
    live: Host
    demo: Host

    def site(self, *, demo: bool) -> Site:
        # Without a port, which means 443: OKX closed its separate WebSocket port on 2026-10-31, on every host and path,
        # live and demo (OKX docs: changelog, 2026-09-30).
        base = f"wss://{(self.demo if demo else self.live).name}/ws/v5/"
        return Site(f"https://{self.rest.name}", base + "public", base + "private", base + "business")


_LIVE: Final = "OKX docs: overview-production-trading-services"
_DEMO: Final = "OKX docs: overview-demo-trading-services"
_EEA: Final = "nautilus_trader: adapters/okx/src/common/urls.rs; ccxt: myokx.py; okx-api (npm): websocket-util.ts"
_US: Final = "nautilus_trader: adapters/okx/src/common/urls.rs; ccxt: okxus.py; okx-api (npm): websocket-util.ts"
REGIONS: Final = {
    "global": Region(
        rest=Host("www.okx.com", _LIVE, "2026-10-01"),
        live=Host("ws.okx.com", _LIVE, "2026-10-01"),
        demo=Host("wspap.okx.com", _DEMO, "2026-10-01"),
    ),
    "eea": Region(
        rest=Host("eea.okx.com", _EEA, "2026-10-01"),
        live=Host("wseea.okx.com", _EEA, "2026-10-01"),
        demo=Host("wseeapap.okx.com", _EEA, "2026-10-01"),
    ),
    "us": Region(
        rest=Host("us.okx.com", _US, "2026-10-01"),
        live=Host("wsus.okx.com", _US, "2026-10-01"),
        demo=Host("wsuspap.okx.com", _US, "2026-10-01"),
    ),
}
BUILT_IN: Final = tuple(REGIONS)
_NUMBERS: Final = re.compile(r":|^[0-9.]+$")  # not a host name
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)


def built_in_site(name: str, *, demo: bool) -> Site:
    """Return OKX's own site ``global``, ``eea`` or ``us``; KeyError for any other name."""
    return REGIONS[name].site(demo=demo)


def why_unusable(url: str, secure: str, plain: str) -> str | None:
    """Return why ``url`` is invalid, else None. It must be ``secure://``, or ``plain://`` to a loopback address."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "invalid address: use ASCII characters without spaces"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is invalid
        host = parts.hostname or ""
        address = ipaddress.ip_address(host) if _NUMBERS.search(host) else None
    except ValueError as error:
        return f"invalid address: {error}"
    if not host or parts.scheme not in (secure, plain):
        return f"must be a {secure}:// address"
    if not (address or _NAME.fullmatch(host)):
        return f'invalid host name "{host}"'
    if parts.scheme == secure:
        return None
    loopback = address.is_loopback if address else host == "localhost"
    return None if loopback else f"{plain}:// is for loopback addresses only, use {secure}://"
