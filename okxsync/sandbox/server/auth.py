"""Authentication: signatures of REST requests and of WebSocket logins (OKX docs:
overview-rest-authentication-signature, overview-websocket-login).

The signature is Base64(HMAC-SHA256(secret, timestamp + method + target + body)), over the target and the body exactly
as received. Each failure has its own code, and clients must distinguish them.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from okxsync.sandbox.exchange.exchange import Credentials, Exchange, Member
from okxsync.sandbox.faults.rules import Faults

VALID_MS = 30_000
"""The maximum age of a signature, and how far ahead of our clock it may be."""
_KEY = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


class Denied(Exception):
    """A request that is not authenticated or not permitted; `status` is the HTTP status over REST."""

    def __init__(self, code: str, message: str, *, status: int = 401) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status


def sign(secret: str, message: bytes) -> str:
    """Return the signature of a message. The secret is used as text, not decoded."""
    return base64.b64encode(hmac.digest(secret.encode(), message, hashlib.sha256)).decode()


class Keyring:
    """All API keys of an exchange: one for each member, and those that were added (an account may have many keys)."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self._exchange = exchange
        self._faults = faults
        self._by_key: dict[str, Member] = {}
        self.added: dict[str, tuple[str, Credentials, str]] = {}  # by api key: name, credentials, uid of the member

    def add(self, uid: str, name: str) -> Credentials:
        """Create another key for a member."""
        digest = hashlib.sha256(f"key {uid} {name}".encode()).hexdigest()
        key = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
        credentials = Credentials(key, digest[32:].upper(), f"Pass-{digest[:8]}")
        self.added[key] = name, credentials, uid
        return credentials

    def _find(self, api_key: str) -> tuple[Member, Credentials] | None:
        if api_key in self._faults.deleted_keys:
            return None
        if api_key in self.added:
            _, credentials, uid = self.added[api_key]
            return self._exchange.members[uid], credentials
        member = self._by_key.get(api_key)
        if member is None or member.credentials.api_key != api_key:  # members and their keys may have changed
            self._by_key = {each.credentials.api_key: each for each in self._exchange.members.values()}
            member = self._by_key.get(api_key)
        return (member, member.credentials) if member else None

    def name_of(self, api_key: str) -> str:
        """Return the name of the account of a key, or "" for an unknown key."""
        found = self._find(api_key)
        return found[0].name if found else ""

    def check_request(
        self, headers: Mapping[str, str], method: str, target: bytes, body: bytes, now_ms: int, ip: str
    ) -> Member:
        """Return the member that signed a REST request. Raises Denied."""
        given = []
        for name, code in (("KEY", "50103"), ("PASSPHRASE", "50104"), ("SIGN", "50106"), ("TIMESTAMP", "50107")):
            value = headers.get(f"OK-ACCESS-{name}", "")
            if not value:
                raise Denied(code, f'Request header "OK-ACCESS-{name}" cannot be empty')
            given.append(value)
        api_key, passphrase, signature, timestamp = given
        if not _TIME.fullmatch(timestamp):
            raise Denied("50112", "Invalid OK-ACCESS-TIMESTAMP")
        try:
            at = datetime.fromisoformat(timestamp)
        except ValueError:
            raise Denied("50112", "Invalid OK-ACCESS-TIMESTAMP") from None
        if abs(at.timestamp() * 1000 - now_ms) > VALID_MS:
            raise Denied("50102", "Timestamp request expired")
        if not _KEY.fullmatch(api_key):
            raise Denied("50111", "Invalid OK-ACCESS-KEY")
        found = self._find(api_key)
        if found is None:
            raise Denied("50119", "API key doesn't exist")
        member, credentials = found
        if member.demo is not (headers.get("x-simulated-trading", "0") == "1"):
            raise Denied("50101", "APIKey does not match current environment.")
        if passphrase != credentials.passphrase:
            raise Denied("50105", 'Request header "OK-ACCESS-PASSPHRASE" incorrect.')
        expected = sign(credentials.secret_key, timestamp.encode() + method.encode() + target + body)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise Denied("50113", "Invalid Sign")
        self._check_ip(member, ip)
        return member

    def check_login(self, arg: Mapping[str, Any], now_ms: int, ip: str) -> tuple[Member, str]:
        """Return the member that logs in on WebSocket, and its key. The timestamp is in seconds, text or number.

        Raises:
            Denied: with the codes of WebSocket, which differ from those of REST.
        """
        try:
            at = float(arg["timestamp"])
            written = str(arg["timestamp"])
        except (KeyError, TypeError, ValueError):
            raise Denied("60004", "Invalid timestamp") from None
        if not abs(at * 1000 - now_ms) <= VALID_MS:
            raise Denied("60006", "Timestamp request expired")
        api_key = arg.get("apiKey")
        if not isinstance(api_key, str) or not _KEY.fullmatch(api_key):
            raise Denied("60005", "Invalid apiKey")
        found = self._find(api_key)
        if found is None:
            raise Denied("60032", "API key doesn't exist")
        member, credentials = found
        if self._faults.environment and member.demo is not (self._faults.environment == "demo"):
            raise Denied("50101", "APIKey does not match current environment.")
        if arg.get("passphrase") != credentials.passphrase:
            raise Denied("60024", "Wrong passphrase")
        expected = sign(credentials.secret_key, f"{written}GET/users/self/verify".encode())
        if not hmac.compare_digest(str(arg.get("sign", "")).encode(), expected.encode()):
            raise Denied("60007", "Invalid sign")
        self._check_ip(member, ip)
        return member, api_key

    def _check_ip(self, member: Member, ip: str) -> None:
        if member.ip and ip not in member.ip.split(","):
            raise Denied("50110", f"Your IP {ip} is not included in your API key's IP whitelist.")
