"""How far each channel can be trusted, and why not further. Pure: what the database says, at a time."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from okxsync.feed.liveness import ANSWER_S
from okxsync.messages import MARKET
from okxsync.mirror.screen import Account, Connected, Coverage, Daemon, OpenGap
from okxsync.okx.channels import channel_of
from okxsync.reconcile.timings import TIMINGS
from okxsync.store.coverage_table import VERIFIED_OVER_REST
from okxsync.terminal.topics import STATES

BASE: Final = ("orders", "orders-algo", "positions", "account")
"""Every account has a proof of these, subscribed or not, for the page's rows hang on them."""
FEEDS: Final = {"algo-advance": "orders-algo"}
"""Channels whose rows the page shows under another channel: the worse of the two counts there."""
STAND_INS: Final = {"positions": "balance_and_position"}
"""Channels that report the same rows as another one, which an account need not subscribe to."""
_RANK: Final = {state: rank for rank, state in enumerate(STATES)}

Key: TypeAlias = tuple[str, str]  # account and channel


class Proof(NamedTuple):
    """``covered_until`` in microseconds; None: nothing was ever proved. ``reason``: why it is not live."""

    state: str
    covered_until: int | None
    reason: str | None = None


class Gaps(NamedTuple):
    opened: int = 0
    since: int | None = None


NEVER: Final = Proof("never", None, "not subscribed")
NO_GAPS: Final = Gaps()


class Evidence(NamedTuple):
    """What the database says about all channels at one moment, ``at`` in microseconds UTC."""

    at: int
    daemon: Daemon
    accounts: Sequence[Account]
    coverage: Sequence[Coverage]
    gaps: Sequence[OpenGap]
    connections: Sequence[Connected]


class Proofs:
    """The proof of every channel at one moment.

    Attributes:
        channels: By account and channel; those of one name that differ in arguments are one, as bad as the worst.
        marks: Of the mark price of each instrument.
        accounts: The worst of all channels of each account.
        gaps: The open gaps of each listener, as ``okxsync status`` counts them.
        next_attempt_at: When the lost connection of an account is tried again.
    """

    def __init__(self, found: Evidence) -> None:
        self.at: Final = found.at
        self.daemon: Final = found.daemon
        self.channels: dict[Key, Proof] = {}
        self.marks: dict[str, Proof] = {}
        self.accounts: dict[str, Proof] = {}
        self.open_gaps: Final = _all_gaps(found)
        self.gaps: Final = _by_listener(self.open_gaps)
        self.next_attempt_at: Final = {
            one.listener: one.next_attempt_at
            for one in found.connections
            if one.next_attempt_at is not None and one.phase != "live" and found.daemon.not_stored is None
        }
        alive = found.daemon.state in ("running", "not_storing")
        self.connected: Final = sum(alive and one.phase == "live" for one in found.connections)
        self.connections: Final = len(found.connections)
        self._read_channels(found)
        self._read_accounts(found)

    def of(self, account: str, channel: str) -> Proof:
        return self.channels.get((account, channel), NEVER)

    def differ(self, others: "Proofs", account: str) -> bool:
        """Whether what is said of an account is not what other proofs say."""
        return (
            self.accounts.get(account) != others.accounts.get(account)
            or self.gaps.get(account) != others.gaps.get(account)
            or self.next_attempt_at.get(account) != others.next_attempt_at.get(account)
            or any(self.of(account, channel).state != others.of(account, channel).state for channel in BASE)
        )

    def mark(self, inst_id: str) -> Proof:
        return self.marks.get(inst_id, NEVER)

    def _read_channels(self, found: Evidence) -> None:
        usual_us = _usual_us(found.coverage)
        lost = {(gap.account, gap.channel): gap.reason for gap in found.gaps if gap.to_at is None}
        parts: dict[Key, list[Proof]] = defaultdict(list)
        for one in found.coverage:
            name = channel_of(one.channel)
            proof = _proof(one, found, usual_us[name], lost.get((one.account, one.channel)))
            parts[one.account, name].append(proof)
            if name in FEEDS:
                parts[one.account, FEEDS[name]].append(proof)
            if one.account == MARKET and name == "mark-price":
                self.marks[one.channel.partition("instId=")[2]] = proof
        self.channels = {key: worst(proofs) for key, proofs in parts.items()}

    def _read_accounts(self, found: Evidence) -> None:
        errors = {one.listener: one.last_error for one in found.connections if one.last_error}
        of_account: dict[str, list[Proof]] = defaultdict(list)
        for (listener, _), proof in self.channels.items():
            of_account[listener].append(proof)
        for account in found.accounts:
            name = account.name
            nothing = Proof("never", None, errors.get(name, "not subscribed yet"))
            self.accounts[name] = worst(of_account[name]) if name in of_account else nothing
            for channel, other in STAND_INS.items():
                if self.of(name, channel).state == "never" and (name, other) in self.channels:
                    self.channels[name, channel] = self.channels[name, other]
            for channel in BASE:
                absent = NEVER if name in of_account else nothing
                self.channels.setdefault((name, channel), absent)


def worst(proofs: Iterable[Proof]) -> Proof:
    """Return the worst state, with its reason, and the earliest end of coverage."""
    proofs = list(proofs)
    if len(proofs) == 1:  # most channels, and there are thousands
        return proofs[0]
    first = max(proofs, key=lambda one: (_RANK[one.state], -(one.covered_until or 0)))
    untils = [one.covered_until for one in proofs]
    until = None if None in untils else min(one for one in untils if one is not None)
    return first._replace(covered_until=until)


def _proof(one: Coverage, found: Evidence, usual_us: float, lost: str | None) -> Proof:
    until = one.covered_until
    if not one.live and one.connection_id is None:
        return Proof("never", None, lost)
    if found.daemon.not_stored is not None:
        return Proof("stale", until, found.daemon.not_stored)
    if not one.live:
        return Proof("stale", until, lost)
    if one.unverified is not None:
        return Proof("unproved", until, one.unverified)
    if found.at - until > 2 * usual_us:
        return Proof("unproved", until, "no proof for longer than usual")
    return Proof("live", until)


def _usual_us(coverage: Iterable[Coverage]) -> Mapping[str, float]:
    """Return the usual interval between two proofs, by channel name: a ping's, or that of REST's turns."""
    live = Counter(channel_of(one.channel) for one in coverage if one.live)
    usual: dict[str, float] = defaultdict(lambda: ANSWER_S * 1e6)
    for name in VERIFIED_OVER_REST:
        usual[name] = max(TIMINGS.verify_s, live[name] / TIMINGS.verifications_per_s(name)) * 1e6
    return usual


def _all_gaps(found: Evidence) -> list[OpenGap]:
    """Return the stored open gaps, and those that are not stored yet (see ``mirror.status``)."""
    why = found.daemon.not_stored
    not_stored = [
        OpenGap(one.account, one.channel, one.covered_until, None, why or one.unverified or "")
        for one in found.coverage
        if one.live and (why is not None or one.unverified is not None)
    ]
    return [*found.gaps, *not_stored]


def _by_listener(gaps: Iterable[OpenGap]) -> dict[str, Gaps]:
    found: dict[str, Gaps] = {}
    for gap in gaps:
        before = found.get(gap.account, NO_GAPS)
        since = gap.from_at if before.since is None else min(before.since, gap.from_at)
        found[gap.account] = Gaps(before.opened + 1, since)
    return found
