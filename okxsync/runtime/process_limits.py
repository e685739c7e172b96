"""What the machine lets a process have: open files, core files."""

import resource
from contextlib import suppress


def raise_limits() -> None:
    """Take as many files as there are to be had, and leave no core file, which would hold the secrets.

    A thousand accounts are two thousand sockets, and a shell's usual limit is 1024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # then as many as there may be
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
