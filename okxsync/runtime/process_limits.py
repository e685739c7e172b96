"""Limits of the process: open files and core files."""

import resource
from contextlib import suppress
from typing import Final

MACOS_FILES: Final = 10_240
"""OPEN_MAX: macOS reports no hard limit, and rejects a soft limit above this one (setrlimit(2))."""


def raise_limits() -> None:
    """Allow as many open files as possible, and no core file, which would contain the secrets.

    A thousand accounts need two thousand sockets, and a shell's usual limit is 1024, on macOS 256.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for files in (most, MACOS_FILES):
        with suppress(ValueError, OSError):  # rejected: keep the limit as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
            break
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
