"""A real browser for the page. The system's Chromium is used; OKXSYNC_CHROMIUM names another one."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.terminal import Clock
from tests.support.terminal_page import LIMIT_MS, ScriptedServer

REQUIRED = "OKXSYNC_REQUIRE_BROWSER"
"""Set by ``.ci/run``: without a browser the tests fail instead of being skipped."""


def find_browser() -> str | None:
    return os.environ.get("OKXSYNC_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser process for all tests of this process; each test has a context of its own."""
    path = find_browser()
    if path is None:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and there is no Chromium")
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots() -> Path | None:
    """Where OKXSYNC_SCREENSHOTS wants pictures of all views; None: nowhere."""
    folder = os.environ.get("OKXSYNC_SCREENSHOTS")
    if not folder:
        return None
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def server(browser: Browser) -> Iterator[ScriptedServer]:
    """A page of its own, with a server that the test scripts; the browser must have nothing to complain about."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    context.set_default_timeout(LIMIT_MS)
    server = ScriptedServer(context)
    yield server
    server.close()
    context.close()
    assert server.complaints == []
