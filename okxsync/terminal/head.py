"""The line on top of the page: totals over the accounts, each part with what it leaves out. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from okxsync.mirror.screen import Daemon
from okxsync.terminal import topics
from okxsync.terminal.book import Book
from okxsync.terminal.exact import total
from okxsync.terminal.proof import Proof, Proofs

Json: TypeAlias = Mapping[str, Any]


def head(book: Book, proofs: Proofs) -> Json:
    """Return ``head`` of the heartbeat."""
    now = proofs.at
    gaps = proofs.open_gaps
    lasted_us = sum((now if gap.to_at is None else gap.to_at) - gap.from_at for gap in gaps)
    return {
        "live": proofs.connected,
        "all": proofs.connections,
        "gaps": [len(gaps), round(lasted_us / 1e6, 3), min((gap.from_at for gap in gaps), default=None)],
        "equity": totals(book, proofs, "equity"),
        "upl": totals(book, proofs, "upl"),
        "accounts": Counter(proofs.accounts[name].state for name in book.accounts),
    }


def totals(book: Book, proofs: Proofs, column: str) -> Json:
    """Return the exact sum of a column over all accounts, by the state of their channel ``account``."""
    index = topics.ACCOUNTS.columns.index(column)
    parts: dict[str, list[tuple[Proof, str]]] = defaultdict(list)
    never = 0
    for name, *_ in book[topics.ACCOUNTS].rows:
        row = book[topics.ACCOUNTS].rows[name,]
        proof = proofs.of(name, "account")
        if row[index] is None or proof.state == "never":
            never += 1
        else:
            parts[proof.state].append((proof, row[index]))
    live = parts["live"]
    return {
        "live": [len(live), total(text for _, text in live)],
        "unproved": _as_of(parts["unproved"]),
        "stale": _as_of(parts["stale"]),
        "never": never,
    }


def _as_of(part: Sequence[tuple[Proof, str]]) -> list[Any]:
    oldest = min((proof.covered_until for proof, _ in part if proof.covered_until is not None), default=None)
    return [len(part), total(text for _, text in part), oldest]


def daemon_part(daemon: Daemon) -> Json:
    """Return ``daemon`` of the heartbeat."""
    reason = daemon.trouble or daemon.not_stored
    shown = ("state", "version", "started_at", "heartbeat_at", "stopped_at", "exit", "store_lag_us")
    return {"reason": reason} | {name: getattr(daemon, name) for name in shown}
