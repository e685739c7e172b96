"""What all browsers share: the rings, the heartbeat, and who is connected."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import trio

from okxsync.terminal import topics
from okxsync.terminal.pointer import Pointer
from okxsync.terminal.reader import Look, Update
from okxsync.terminal.ring import Ring

SILENT_S: Final = 2.5
"""The reader looks twice a second. If it says nothing for so long, the database does not answer."""
CUT_S: Final = 30.0
GRACE_S: Final = 2.0
"""What cannot be ended politely is cut so much later."""


class Browser:
    """One browser: its pointer, and a signal that there may be something for it.

    Attributes:
        scope: Ends its connection when it is cancelled, unless a send does not return.
        cut: Ends its connection in any case.
        is_hidden: Whether the page says that nobody sees it.
        plan: The plan whose orders it shows.
    """

    def __init__(self, hub: "Hub", cut: Callable[[], None]) -> None:
        self.pointer: Final = Pointer(hub.rings)
        self.scope: Final = trio.CancelScope()
        self.cut: Final = cut
        self.is_hidden = False
        self.plan: str | None = None
        self._hub = hub
        self._news = trio.Event()
        self._sending_since_s: float | None = None

    def wake(self) -> None:
        self._news.set()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """A message is being sent in the block: a page that does not read makes that last."""
        self._sending_since_s = trio.current_time()
        yield
        self._sending_since_s = None

    async def next(self) -> str:
        """Wait for the next message."""
        while (message := self.pointer.next(self._hub.heartbeat, trio.current_time())) is None:
            await self._news.wait()
            self._news = trio.Event()
        return message

    def screen_us(self) -> int | None:
        """Return how long the page takes to paint what it is sent, in microseconds; None while nobody sees it."""
        return None if self.is_hidden else round(max(self.lag_s(), self.pointer.took_s) * 1e6)

    def lag_s(self) -> float:
        """Return for how long the page has not read or not acknowledged."""
        now_s = trio.current_time()
        sending_s = 0.0 if self._sending_since_s is None else now_s - self._sending_since_s
        return max(sending_s, self.pointer.lag_s(now_s))


class Hub:
    """Takes the reader's updates, and wakes the browsers.

    Args:
        epoch: Another one with each start.
        now_us: This process's clock, microseconds UTC.
        cut_s: For how long a browser may acknowledge nothing.
        halted: Returns whether trading is halted.

    Attributes:
        followed: The plans whose orders any browser shows; the reader's thread reads it.
        is_watched: Whether any page is visible; the reader's thread reads it.
        trade: What the heartbeat says of trading from the page; None: nothing can be traded.
    """

    def __init__(
        self,
        epoch: str,
        now_us: Callable[[], int],
        cut_s: float = CUT_S,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.epoch: Final = epoch
        self.rings: Final = {name: Ring(topic) for name, topic in topics.TOPICS.items()}
        self.browsers: Final[set[Browser]] = set()
        self.heartbeat: tuple[int, str] | None = None
        self.followed: frozenset[str] = frozenset()
        self.trade: dict[str, Any] | None = None
        self.is_watched = False
        self._halted = halted
        self._now_us = now_us
        self._cut_s = cut_s
        self._look: Look | None = None
        self._read_s = trio.current_time()
        self._error: dict[str, Any] | None = None

    @contextmanager
    def joined(self, cut: Callable[[], None]) -> Iterator[Browser]:
        """Keep a browser informed while the block runs."""
        browser = Browser(self, cut)
        self.browsers.add(browser)
        self._update_watched()
        try:
            yield browser
        finally:
            self.browsers.discard(browser)
            self._update_watched()
            self.follow(browser, None)

    def hide(self, browser: Browser, is_hidden: bool) -> None:
        """Note whether a page is hidden."""
        browser.is_hidden = is_hidden
        self._update_watched()

    def _update_watched(self) -> None:
        self.is_watched = any(not one.is_hidden for one in self.browsers)

    def follow(self, browser: Browser, plan: str | None) -> None:
        """Show a browser the orders of a plan; None: of none."""
        browser.plan = plan
        self.followed = frozenset(one.plan for one in self.browsers if one.plan)

    def cut_silent(self) -> None:
        """End the connections of the browsers that do not acknowledge."""
        for browser in self.browsers:
            if (lag_s := browser.lag_s()) > self._cut_s:
                browser.scope.cancel(reason="the page acknowledges nothing")
            if lag_s > self._cut_s + GRACE_S:  # a send does not return, which cannot be cancelled
                browser.cut()

    def publish(self, update: Update) -> None:
        """Take what the reader has found."""
        self._read_s = trio.current_time()
        before = self._state
        for diff in update.diffs:
            self.rings[diff.topic.name].add(diff)
        if update.error is not None:
            self._fail(update.error)
        elif update.look:
            self._look, self._error = update.look, None
        if self._state != before:  # it does not wait for the next heartbeat
            self.beat()
        self._wake()

    @property
    def _state(self) -> tuple[bool, object]:
        """Whether the database can be read, and what the daemon does."""
        return self._error is None, self._look and self._look.daemon["state"]

    def beat(self) -> None:
        """Make the next heartbeat."""
        silent_s = trio.current_time() - self._read_s
        if silent_s > SILENT_S:
            self._fail("the database does not answer", silent_s)
        number = self.heartbeat[0] + 1 if self.heartbeat else 1
        part = {
            "t": "now",
            "n": number,
            "at": self._at(),
            "epoch": self.epoch,
            "error": self._error,
            "daemon": self._look and self._look.daemon,
            "head": self._look and self._look.head,
            "health": self._look and self._look.health,
            "rows": {name: ring.count for name, ring in self.rings.items() if ring.number},
            "trade": self.trade,
            "halted": self._halted(),
            "screens": [browser.screen_us() for browser in self.browsers],
        }
        self.heartbeat = number, msgspec.json.encode(part).decode()
        self._wake()

    def _at(self) -> int:
        return self._now_us() + (self._look.ahead_us if self._look else 0)

    def _fail(self, text: str, since_s: float = 0.0) -> None:
        if self._error is None or self._error["text"] != text:
            since = self._error["since"] if self._error else self._at() - round(since_s * 1e6)
            self._error = {"text": text, "since": since}

    def _wake(self) -> None:
        for browser in self.browsers:
            browser.wake()
