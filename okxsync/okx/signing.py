"""Signatures of OKX API v5 (docs: overview-rest-authentication-signature, overview-websocket-login).

Both are Base64(HMAC-SHA256(secret as UTF-8 text, message)). Only the message differs: REST signs the exact bytes of the
request; the WebSocket login signs one fixed request with a timestamp in seconds.
"""

import base64
import hashlib
import hmac


def sign(secret_key: str, message: bytes) -> str:
    """Return the Base64 signature of ``message``."""
    return base64.b64encode(hmac.digest(secret_key.encode(), message, hashlib.sha256)).decode()


def sign_rest(secret_key: str, timestamp: str, method: str, target: bytes, body: bytes) -> str:
    """Return OK-ACCESS-SIGN.

    Args:
        timestamp: ISO 8601 UTC with milliseconds and ``Z``, as in the OK-ACCESS-TIMESTAMP header.
        method: The HTTP method in upper case.
        target: The raw path with its query string, exactly the bytes that are sent.
        body: The bytes that are sent; empty for GET, never ``{}``.
    """
    return sign(secret_key, timestamp.encode() + method.encode() + target + body)


def sign_login(secret_key: str, timestamp: str) -> str:
    """Return the ``sign`` of a WebSocket login; ``timestamp`` is Unix seconds as text, valid for 30 seconds."""
    return sign(secret_key, timestamp.encode() + b"GET/users/self/verify")
