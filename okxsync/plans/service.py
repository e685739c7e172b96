"""The daemon's part in trading. It does nothing until ``[trading] enabled`` is set.

requests -> answering -> previewer: a preview is stored
                      -> lifecycle: an approved plan is executed by a PlanRunner (``desk``)
                         each send: checker -> sender
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from okxsync.config.location import Location
from okxsync.config.settings import Settings
from okxsync.plans.answering import Answering
from okxsync.plans.checker import Checker
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.dead_man import DeadMan
from okxsync.plans.desk import Desk, Receipts
from okxsync.plans.gather import Gatherer
from okxsync.plans.halt import halt_of
from okxsync.plans.lifecycle import Lifecycle
from okxsync.plans.precheck import Prechecks
from okxsync.plans.previewer import Previewer
from okxsync.plans.requests import Requests
from okxsync.plans.sender import Sender, open_sending_connections
from okxsync.plans.ways import Sockets, WsWay
from okxsync.reconcile.held import Reads
from okxsync.rest.clients import Clients
from okxsync.rest.http import Http
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import keep_running
from okxsync.store.engines import Reader

if TYPE_CHECKING:
    from okxsync.plans.running import Running


class PlanService:
    """Trading of one daemon.

    Args:
        blocked: Returns why an account must not be connected; None if it may.
        sockets: The private connections of the accounts; None: orders go over REST alone.
        threads: False does all on the event loop, as ``reconcile.held.Reads``.
    """

    def __init__(
        self,
        settings: Settings,
        database: Location,
        clients: Clients,
        http: Http,
        blocked: Callable[[str], str | None],
        send: Outbox,
        receipts: Receipts,
        sockets: Sockets | None = None,
        *,
        threads: bool = True,
    ) -> None:
        self._clients = clients
        self._http = http
        self._send = send
        self._receipts = receipts
        self._sockets = sockets
        self._running: dict[str, Running] = {}
        self._reader, self._reads = Reader(database), Reads(database, threads=threads)
        self._requested = Reads(database, threads=threads)
        self._halt = halt_of(database, followed=True)
        self._gatherer = Gatherer(http, clients)
        self._facts = CurrentFacts(
            settings, database, clients, self._gatherer, self._reader, self._reads, self._halt, blocked, self._running
        )
        self._enabled = trio.Event()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Apply a changed configuration."""
        self._facts.configure(settings)
        if settings.trading.enabled:
            self._enabled.set()

    def is_sending(self) -> bool:
        """Whether orders are being sent, in the first seconds of a plan."""
        return any(one.runner is not None and one.runner.is_sending for one in self._running.values())

    async def run(self) -> None:
        """Resume unfinished plans, and answer requests; never returns.

        Each request, plan and task of it is isolated from the others. If the rest has an internal error, all begins
        anew a minute later, as after a restart.
        """
        await self._enabled.wait()
        await keep_running(self._send, None, "trading", self._trade)

    def _ws_way(self) -> WsWay | None:
        if self._sockets is None:
            return None
        return WsWay(self._sockets, lambda: self._facts.trading.via == "ws", self._gatherer.code_of)

    async def _trade(self) -> None:
        try:
            async with open_sending_connections() as connections, trio.open_nursery() as nursery:
                await nursery.start(self._halt.follow)
                sender = Sender(connections, self._facts.trading.ip_rate, self._ws_way())
                desk = Desk(
                    self._clients,
                    self._facts.enabled_account,
                    sender,
                    self._reader,
                    self._send,
                    self._halt,
                    Checker(self._facts, self._gatherer, self._running).check,
                    self._receipts,
                )
                for plan_id in self._running:  # after an internal error
                    await desk.flush(plan_id)
                self._running.clear()
                lifecycle = Lifecycle(desk, self._facts, self._running, nursery)
                await lifecycle.resume()
                dead_man = DeadMan(desk, lifecycle.wanted_switches)
                nursery.start_soon(keep_running, self._send, None, "dead man's switches", dead_man.run)
                prechecks = Prechecks(self._http, lambda account: self._clients.clock_of(account.site))
                previewer = Previewer(
                    self._facts, self._gatherer, prechecks, sender.warm, self._reader, self._send, nursery
                )
                answering = Answering(desk, self._facts, previewer, lifecycle, self._running, nursery)
                requests = Requests(self._requested, self._send, answering.handle)
                await keep_running(self._send, None, "requests", requests.run)
        finally:
            self._reader.close()
            self._reads.close()
            self._requested.close()
