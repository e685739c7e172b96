"""Limits of the process, on Linux and as macOS has them."""

import resource

import pytest

from okxsync.runtime.process_limits import MACOS_FILES, raise_limits


def test_a_system_that_rejects_its_own_hard_limit_gets_the_highest_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {resource.RLIMIT_NOFILE: (256, resource.RLIM_INFINITY), resource.RLIMIT_CORE: (5, 5)}

    def setrlimit(which: int, new: tuple[int, int]) -> None:
        if which == resource.RLIMIT_NOFILE and not 0 <= new[0] <= MACOS_FILES:
            raise ValueError("current limit exceeds maximum limit")
        limits[which] = new

    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    raise_limits()
    assert limits == {resource.RLIMIT_NOFILE: (MACOS_FILES, resource.RLIM_INFINITY), resource.RLIMIT_CORE: (0, 5)}
