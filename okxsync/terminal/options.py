"""Checks what ``okxsync terminal`` was given. A ``ValueError`` says in one line what is wrong and what to do."""

import ipaddress
import os
import ssl
import stat
from pathlib import Path
from typing import Final

SHORTEST_TOKEN: Final = 22
"""Characters: 128 bits in base 64."""


def refuse_host(host: str, tls: ssl.SSLContext | None) -> None:
    """Refuse an address that is none, and plain HTTP on an address that is not this machine's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        is_loopback = host == "localhost"
    else:
        is_loopback = address.is_loopback
        if address.is_unspecified:
            raise ValueError(f"--host {host}: give the name or address by which browsers call this machine")
    if not is_loopback and tls is None:
        raise ValueError(
            f"--host {host}: plain HTTP does not leave this machine; give --tls-cert and --tls-key, or use"
            " `ssh -L 8790:127.0.0.1:8790`"
        )


def read_tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ValueError("--tls-cert and --tls-key belong together")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"--tls-cert {cert}, --tls-key {key}: {error.strerror or error}") from None
    return context


def _no_password() -> str:
    raise OSError("the key has a password")


def read_token(path: str) -> str:
    """Return the token in a file that only its owner can read."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(4096).strip()
    except OSError as error:
        raise ValueError(f"--token-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--token-file {path}: not a text file") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ValueError(f"--token-file {path}: others can read it; `chmod 600 {path}`")
    if len(token) < SHORTEST_TOKEN or len(token.split()) != 1:
        raise ValueError(
            f"--token-file {path}: expected one word of {SHORTEST_TOKEN} characters or more;"
            f" `openssl rand -hex 16 > {path}` makes one"
        )
    return token
