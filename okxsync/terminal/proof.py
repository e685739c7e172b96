"""How far each channel can be trusted, and why not further. Pure: what the database says, at a time."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import inf
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
PINGED_US: Final = ANSWER_S * 1e6
"""The usual interval between two proofs of the other channels: that of pings."""
_name: Final = lru_cache(4096)(channel_of)
"""Few names among thousands of channels."""
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


class _Judged(NamedTuple):
    """What is said of one listener, and for how long the same evidence says it.

    Attributes:
        evidence: What it was made of: the same evidence until ``until`` says the same.
        channels: By name; those of one name that differ in arguments are one, as bad as the worst.
        account: The worst of all channels; None for a listener that is no account.
        opened: Gaps that are not stored yet (see ``mirror.status``).
        until: Microseconds; then a channel is not proved any more by what was known.
    """

    evidence: tuple[object, ...]
    channels: Mapping[str, Proof]
    account: Proof | None
    marks: Mapping[str, Proof]
    opened: Sequence[OpenGap]
    until: float


class Proofs:
    """The proof of every channel at one moment.

    What is said of an account is made anew only if something of its evidence has changed: there are thousands of
    channels, and this is asked for twice a second.

    Args:
        before: The proofs of an earlier moment of the same database.

    Attributes:
        changed: The listeners of which something else is said than before, or may be.
        gone: The listeners of which nothing is said any more.
        accounts: The worst of all channels of each account.
        gaps: The open gaps of each listener, as ``okxsync status`` counts them.
        next_attempt_at: When the lost connection of an account is tried again.
    """

    def __init__(self, found: Evidence, before: "Proofs | None" = None) -> None:
        self.at: Final = found.at
        self.daemon: Final = found.daemon
        self._judged: Final = self._judge(found, before)
        earlier = before._judged if before else {}
        self.changed: Final = {name for name, one in self._judged.items() if one is not earlier.get(name)}
        self.gone: Final = earlier.keys() - self._judged.keys()
        self.accounts: Final = {
            one.name: proof for one in found.accounts if (proof := self._judged[one.name].account) is not None
        }
        market = self._judged.get(MARKET)
        self._marks: Final[Mapping[str, Proof]] = market.marks if market else {}
        self.open_gaps: Final = [*found.gaps, *(gap for one in self._judged.values() for gap in one.opened)]
        self.gaps: Final = _by_listener(self.open_gaps)
        self.next_attempt_at: Final = {
            one.listener: one.next_attempt_at
            for one in found.connections
            if one.next_attempt_at is not None and one.phase != "live" and found.daemon.not_stored is None
        }
        alive = found.daemon.state in ("running", "not_storing")
        self.connected: Final = sum(alive and one.phase == "live" for one in found.connections)
        self.connections: Final = len(found.connections)

    def of(self, account: str, channel: str) -> Proof:
        judged = self._judged.get(account)
        return judged.channels.get(channel, NEVER) if judged else NEVER

    def channels(self, listener: str) -> Mapping[str, Proof]:
        """Return the proof of each channel of a listener."""
        judged = self._judged.get(listener)
        return judged.channels if judged else {}

    def differ(self, others: "Proofs", account: str) -> bool:
        """Whether what is said of an account is not what other proofs say."""
        return (
            self.gaps.get(account) != others.gaps.get(account)
            or self.next_attempt_at.get(account) != others.next_attempt_at.get(account)
            or self.accounts.get(account) != others.accounts.get(account)
            or (
                self._judged.get(account) is not others._judged.get(account)
                and any(self.of(account, channel).state != others.of(account, channel).state for channel in BASE)
            )
        )

    def mark(self, inst_id: str) -> Proof:
        return self._marks.get(inst_id, NEVER)

    @staticmethod
    def _judge(found: Evidence, before: "Proofs | None") -> dict[str, _Judged]:
        rows: dict[str, list[Coverage]] = {one.name: [] for one in found.accounts}
        for one in found.coverage:
            rows.setdefault(one.account, []).append(one)
        lost: dict[str, dict[str, str]] = defaultdict(dict)
        for gap in found.gaps:
            if gap.to_at is None:
                lost[gap.account][gap.channel] = gap.reason
        errors = {one.listener: one.last_error for one in found.connections if one.last_error}
        usual_us = _usual_us(found.coverage)
        accounts = {one.name for one in found.accounts}
        judged = {}
        for name, of_listener in rows.items():
            why = found.daemon.not_stored
            evidence = (of_listener, lost.get(name), errors.get(name), name in accounts, why, usual_us)
            known = before._judged.get(name) if before else None
            if known and before and before.at <= found.at < known.until and known.evidence == evidence:
                judged[name] = known
            else:
                judged[name] = _judge(found, evidence, of_listener, lost.get(name, {}), errors.get(name), usual_us,
                                      is_account=name in accounts)  # fmt: skip
        return judged


def _judge(
    found: Evidence,
    evidence: tuple[object, ...],
    rows: Sequence[Coverage],
    lost: Mapping[str, str],
    error: str | None,
    usual_us: Mapping[str, float],
    *,
    is_account: bool,
) -> _Judged:
    parts: dict[str, list[Proof]] = defaultdict(list)
    marks: dict[str, Proof] = {}
    opened: list[OpenGap] = []
    until = inf
    why = found.daemon.not_stored
    for one in rows:
        name = _name(one.channel)
        proof = _proof(one, found, usual_us.get(name, PINGED_US), lost.get(one.channel))
        if proof.state == "live":
            until = min(until, one.covered_until + 2 * usual_us.get(name, PINGED_US) + 1)
        parts[name].append(proof)
        if name in FEEDS:
            parts[FEEDS[name]].append(proof)
        if name == "mark-price":
            marks[one.channel.partition("instId=")[2]] = proof
        if one.live and (why is not None or one.unverified is not None):
            opened.append(OpenGap(one.account, one.channel, one.covered_until, None, why or one.unverified or ""))
    channels = {name: worst(proofs) for name, proofs in parts.items()}
    if not is_account:
        return _Judged(evidence, channels, None, marks, opened, until)
    nothing = Proof("never", None, error or "not subscribed yet")
    account = worst(channels.values()) if channels else nothing
    absent = NEVER if channels else nothing
    for channel, other in STAND_INS.items():
        if channels.get(channel, NEVER).state == "never" and other in channels:
            channels[channel] = channels[other]
    for channel in BASE:
        channels.setdefault(channel, absent)
    return _Judged(evidence, channels, account, marks, opened, until)


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
    """Return the usual interval between two proofs of the channels that REST verifies in turns."""
    live = Counter(_name(one.channel) for one in coverage if one.live)
    return {
        name: max(TIMINGS.verify_s, live[name] / TIMINGS.verifications_per_s(name)) * 1e6 for name in VERIFIED_OVER_REST
    }


def _by_listener(gaps: Iterable[OpenGap]) -> dict[str, Gaps]:
    found: dict[str, Gaps] = {}
    for gap in gaps:
        before = found.get(gap.account, NO_GAPS)
        since = gap.from_at if before.since is None else min(before.since, gap.from_at)
        found[gap.account] = Gaps(before.opened + 1, since)
    return found
