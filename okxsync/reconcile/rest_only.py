"""What OKX tells over REST alone: bills, the record of closed positions, and fills where only ``fills`` is listened to,
for that channel adds several up and leaves some out (OKX docs: fills channel).

They follow from something that is pushed - cash that changed, a position that was adjusted (a record is there from the
first partial close on), a push of ``fills`` - so they are asked for when that has happened, and not otherwise. REST may
lag behind the pushes, so what is asked for begins a while earlier, and is asked for again until the change that called
for it is old enough.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import trio

from okxsync.messages import Message
from okxsync.reconcile.held import Held, last_changes
from okxsync.reconcile.pull import Puller, Window
from okxsync.rest.client import AccountClient, RestError
from okxsync.runtime.clock import now_us
from okxsync.runtime.supervise import supervised
from okxsync.store.database import CHANNEL_NAME, StoreError, keep_going

log = logging.getLogger("okxsync.rest")

POLL_S: Final = 5.0
AGAIN_S: Final = 15.0
PER_S: Final = 3.0
"""Questions per second at most; with many accounts each is asked the later."""
LAG_S: Final = 10.0
"""A change that is older than this, REST knows of."""
OVERLAP_MS: Final = 60_000
AT_ONCE: Final = 16
TRIGGERS: Final = {
    "bills": "SELECT name, (SELECT max(u_time) FROM balances WHERE account = name) FROM accounts",
    "closed positions": "SELECT name, (SELECT max(u_time) FROM positions WHERE account = name) FROM accounts",
    "fills": f"SELECT account, max(last_push_at) / 1000 FROM coverage WHERE {CHANNEL_NAME} = 'fills'"
    " AND account NOT IN (SELECT account FROM coverage WHERE channel = 'orders' AND live = 1) GROUP BY account",
}
"""By subject of ``reconcile.pull``: when what calls for it last happened (the exchange's milliseconds; ours for
fills)."""

Key = tuple[str, str]  # subject and account
Due = tuple[Key, int, float]  # what has changed, when, and the least pause between two questions about it


class RestOnlyPuller:
    """Asks for as long as it runs."""

    def __init__(
        self,
        database: Path,
        client_of: Callable[[str], AccountClient | None],
        send: trio.MemorySendChannel[Message],
    ) -> None:
        self._database = database
        self._client_of = client_of
        self._send = send
        self._known: dict[Key, int] = {}  # the change up to which all was told
        self._asked: dict[Key, int] = {}  # when, by the exchange's clock, which nobody here sets
        self._next: dict[Key, float] = {}
        self._began = 0.0
        self._polled = False
        self._due: deque[Due] = deque()  # as of the last look, what has waited longest first
        self._busy: set[Key] = set()

    async def run(self) -> None:
        self._began = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                with keep_going(log, "what is not pushed cannot be asked for"):
                    changes = {subject: last_changes(self._database, sql) for subject, sql in TRIGGERS.items()}
                    self._due = self._find_due(changes)
                    for _ in range(min(len(self._due), AT_ONCE - len(self._busy))):
                        nursery.start_soon(self._work)
                    self._polled = True
                await trio.sleep(POLL_S)

    def _find_due(self, changes: Mapping[str, Mapping[str, int]]) -> deque[Due]:
        found: list[Due] = []
        for subject, by_account in changes.items():
            due: list[Due] = []
            pause_s = max(AGAIN_S, len(by_account) / PER_S)
            for account, changed_ms in by_account.items():
                key = subject, account
                if (client := self._client_of(account)) is None or key in self._busy:
                    continue
                if key not in self._asked:
                    self._asked[key] = client.now_ms() - int((trio.current_time() - self._began) * 1000)
                    # A change that was there at the first look, gaps ask for; what comes later is an account's first.
                    self._known[key] = 0 if self._polled else changed_ms
                if changed_ms > self._known[key] and trio.current_time() >= self._next.get(key, 0.0):
                    due.append((key, changed_ms, pause_s))
            due.sort(key=self._waits_since)
            found += due[: max(1, int(PER_S * POLL_S))]  # the others at the next look
        return deque(sorted(found, key=self._waits_since))

    def _waits_since(self, due: Due) -> float:
        return self._next.get(due[0], 0.0)

    async def _work(self) -> None:
        """Ask what is due, one after the other: what is not asked yet has no task, and no window of time."""
        while self._due:
            key, changed_ms, pause_s = self._due.popleft()
            if client := self._client_of(key[1]):
                self._next[key] = trio.current_time() + pause_s
                about = f"{client.name}: asking for {key[0]}"
                await supervised(self._send, client.name, about, self._ask, client, key, changed_ms)

    async def _ask(self, client: AccountClient, key: Key, changed_ms: int) -> None:
        self._busy.add(key)
        subject, account = key
        now_ms = client.now_ms()
        puller = Puller(client, self._send, Held(self._database, account, now_us()))
        try:
            await puller.pull(subject, Window(self._asked[key] - OVERLAP_MS))
        except (RestError, StoreError) as error:
            log.warning("%s: %s cannot be asked for: %s", account, subject, error)
            return
        finally:
            self._busy.discard(key)
        self._asked[key] = now_ms
        if now_ms - changed_ms > LAG_S * 1000:
            self._known[key] = changed_ms
