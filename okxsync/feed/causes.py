"""Why a connection could not be opened, in as few words as possible."""

import os
import socket
import ssl
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def cause_of(error: OSError) -> str:
    """Return why TCP or TLS failed, without the address: whoever reports it knows that."""
    behind = error.__cause__  # of trio's "all attempts to connect failed": take the reason of the first attempt
    match first_error(behind) if isinstance(behind, BaseExceptionGroup) else error:
        case ssl.SSLCertVerificationError(verify_message=str(why)):
            return f"certificate verify failed: {why}"
        case ssl.SSLEOFError():
            return "the peer closed the connection"
        case ssl.SSLError(reason=str(why)):
            return why.replace("_", " ").lower()
        case socket.gaierror(strerror=str(why)):
            return why
        case OSError(errno=int(number)):  # trio's text repeats the address
            return os.strerror(number)
        case other:
            return str(other)


def first_error(group: BaseExceptionGroup[E]) -> E:
    """Return the first exception of a group, at any depth."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error
