"""One socket from its opening to its end: log in, subscribe, stay live.

Order matters and is kept: nothing is subscribed before the login is acknowledged, and nothing counts as live before
its own acknowledgement. Every frame but ``pong`` goes into the channel before it is acted upon, so what was covered and
what was stored cannot disagree.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from okxsync.feed.plan import Clock, Ended, Keys, Plan
from okxsync.feed.socket import Socket
from okxsync.okx.channels import Subscription
from okxsync.okx.errors import Action, meaning_of
from okxsync.okx.frames import PING, PONG, Event, SubscribeRequest, login_frame, read_event, subscribe_requests
from okxsync.okx.limits import RequestBudget
from okxsync.store.batch import Frames, Lost, Message, Note, Pong, Subscribed

LOGIN_S: Final = 10.0
SUBSCRIBE_S: Final = 10.0
PING_S: Final = 15.0
"""The beat of pings; OKX closes after 30 s of silence (OKX docs: overview-websocket-connect)."""
ANSWER_S: Final = 10.0
"""Some frame must come this soon after a ping, or the connection is dead."""


def now_us() -> int:
    """Return the local time in microseconds UTC."""
    return time.time_ns() // 1000


class Session:
    """A logged-in life of one connection. ``run`` raises Ended or SocketError, and never returns."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        socket: Socket,
        send: trio.MemorySendChannel[Message],
        clock: Clock,
        enter: Callable[[str], Awaitable[None]],
    ) -> None:
        self._id = number
        self._plan = plan
        self._socket = socket
        self._send = send
        self._clock = clock
        self._enter = enter
        self._budget = RequestBudget()
        self.conn_id: str | None = None
        self.live: list[str] = []  # keys of the channels that are acknowledged and not known to be dead
        self.live_since: float | None = None  # trio's clock
        self._pinged_us = 0
        self._heard = trio.Event()  # since the last ping
        self._pushing_back = False  # our own channel is full: then silence is not the peer's

    async def run(self) -> None:
        if self._plan.keys:
            await self._enter("logging_in")
            await self._log_in(self._plan.keys)
        await self._enter("subscribing")
        await self._subscribe()
        self.live_since = trio.current_time()
        await self._enter("live")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            while True:
                if event := await self._read():
                    await self._heed(event)

    async def _read(self) -> Event | None:
        """Receive one frame, pass it on, and return it if it is a control frame."""
        frame = await self._socket.receive()
        at = now_us()
        self._heard.set()
        if frame == PONG:
            await self._pass_on(Pong(self._id, self._plan.listener, at, at - self._pinged_us))
            return None
        await self._pass_on(Frames(self._id, self._plan.listener, [(at, frame)]))
        if frame == PING:
            await self._socket.send(PONG)
        return read_event(frame)

    async def _pass_on(self, message: Message) -> None:
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            self._pushing_back = True
            await self._send.send(message)
            self._pushing_back = False

    async def _request(self, frame: str) -> None:
        await trio.sleep_until(self._budget.opens_at(trio.current_time()))
        self._budget.take(trio.current_time())
        await self._socket.send(frame)

    async def _log_in(self, keys: Keys) -> None:
        timestamp = int(self._clock.now_s())
        frame = login_frame(keys.api_key.reveal(), keys.passphrase.reveal(), keys.secret_key.reveal(), timestamp)
        with trio.move_on_after(LOGIN_S):
            await self._request(frame)
            while True:
                match await self._read():
                    case Event(event="login", code=code) as event if str(code or "0") == "0":
                        self.conn_id = event.conn_id
                        return
                    case Event(event="login" | "error") as event:
                        raise _refused("login", event)
        raise Ended(f"login: no answer within {LOGIN_S:.0f} s")

    async def _subscribe(self) -> None:
        for request in subscribe_requests(self._plan.subscriptions):
            unanswered = list(request.subscriptions)
            refusals: list[Event] = []
            with trio.move_on_after(SUBSCRIBE_S):
                await self._request(request.frame)
                while len(unanswered) > len(refusals):
                    await self._await_answer(request, unanswered, refusals)
            if len(unanswered) > len(refusals):
                missing = ", ".join(subscription.key for subscription in unanswered)
                raise Ended(f"subscribe: no acknowledgement within {SUBSCRIBE_S:.0f} s for {missing}")
            for subscription, refusal in _pair(unanswered, refusals):
                await self._do_without(subscription, refusal)
        if not self.live:
            raise Ended("every channel was refused", Action.FIX)

    async def _await_answer(
        self, request: SubscribeRequest, unanswered: list[Subscription], refusals: list[Event]
    ) -> None:
        """Read one frame; an acknowledgement strikes its subscription off, an error counts against the request."""
        match await self._read():
            case Event(event="subscribe") as event:
                self.conn_id = event.conn_id or self.conn_id
                for subscription in [one for one in unanswered if event.names(one)]:
                    unanswered.remove(subscription)
                    self.live.append(subscription.key)
                    await self._pass_on(Subscribed(self._id, self._plan.listener, [subscription.key], now_us()))
            case Event(event="error", id=id) as event if id in (request.id, None, ""):
                refusals.append(event)
            case Event() as event:
                await self._heed(event)

    async def _do_without(self, subscription: Subscription, refusal: Event) -> None:
        """Go on without a channel that this account cannot have; anything that may pass ends the session instead."""
        refused = _refused(f"subscribe {subscription.key}", refusal)
        if refused.action is not Action.FIX:
            raise refused
        await self._note("error", "channel-refused", str(refused))

    async def _heed(self, event: Event) -> None:
        """Act on a control frame outside of login and subscribe."""
        match event:
            case Event(event="error"):
                refused = _refused("error frame", event)
                if refused.action is not Action.IGNORE:
                    # A request of ours was fine when it was made: what is wrong now, the next subscribe will tell.
                    raise Ended(str(refused), Action.RETRY if refused.action is Action.FIX else refused.action)
            case Event(event="channel-conn-count", channel=channel, conn_count=count) if str(count) != "1":
                await self._note(
                    "warning", "channel-shared", f"{channel} is held by {count} connections of this account"
                )
            case Event(event="channel-conn-count-error", channel=channel, conn_count=count):
                dead = [key for key in self.live if key.partition(":")[0] == channel]
                self.live = [key for key in self.live if key not in dead]
                reason = f"{channel}: too many connections ({count}) hold this channel of the account"
                await self._pass_on(Lost(self._id, self._plan.listener, dead, now_us(), reason))
                raise Ended(reason, Action.SLOW)
            case Event(event="notice"):
                await self._note("warning", "notice", f"{event.code}: {event.msg}")
            case Event(event="unsubscribe"):
                raise Ended("the exchange ended a subscription")
            case Event(event="login" | "subscribe" | "channel-conn-count"):
                pass
            case _:
                await self._note("warning", "unknown-event", f"{event.event}: {event.msg or ''}")

    async def _keep_alive(self) -> None:
        """Ping on a fixed beat, whatever else is sent; some frame must follow each ping."""
        while True:
            beat = trio.current_time() + PING_S
            self._heard = trio.Event()
            with trio.move_on_after(ANSWER_S) as waiting:
                self._pinged_us = now_us()
                await self._socket.send(PING)
                await self._heard.wait()
            if waiting.cancelled_caught and not self._pushing_back:
                raise Ended(f"silent: no frame within {ANSWER_S:.0f} s after a ping")
            await trio.sleep_until(beat)

    async def _note(self, level: str, event: str, detail: str) -> None:
        await self._pass_on(Note(now_us(), level, self._plan.account, event, f"{self._plan.endpoint}: {detail}"))


def _refused(what: str, event: Event) -> Ended:
    meaning = meaning_of(event.code)
    hint = f"; {meaning.hint}" if meaning.hint else ""
    return Ended(f"{what}: {event.code} {meaning.text} ({(event.msg or '')[:200]}){hint}", meaning.action)


def _pair(unanswered: list[Subscription], refusals: list[Event]) -> list[tuple[Subscription, Event]]:
    """Find out which refusal is whose: live error frames name no argument, but their text names the channel."""
    pairs, left = [], list(refusals)
    for subscription in sorted(unanswered, key=lambda one: -len(one.channel)):
        named = [refusal for refusal in left if subscription.channel in (refusal.msg or "")]
        refusal = (named or left)[0]
        left.remove(refusal)
        pairs.append((subscription, refusal))
    return pairs
