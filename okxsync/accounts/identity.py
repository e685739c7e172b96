"""Which account of OKX a name of ours stands for.

Rows are stored under a name, so a name is one account and no other one's, for as long as the database lives; and one
account has one name, or everything of it would stand there twice.
"""

from collections.abc import Mapping

import msgspec

from okxsync import events
from okxsync.mirror.queries import Identity


class BlockReason(msgspec.Struct, frozen=True):
    """Why an account is not mirrored: what the journal calls it, and a line that says what is so and what to do."""

    event: events.Event
    why: str


def find_blocked(claimed: Mapping[str, Identity], known: Mapping[str, Identity]) -> dict[str, BlockReason]:
    """Return the accounts that must not be mirrored, by name.

    Args:
        claimed: Whose key each name has. Of two names for one account that holds it which has rows here, else the
            first.
        known: Whose rows are here, by name.
    """
    found = {}
    holders: dict[Identity, str] = {}
    for name in sorted(claimed, key=lambda name: name not in known):
        identity, before = claimed[name], known.get(name, claimed[name])
        if identity != before:
            why = f'key "{name}" belongs to OKX account {identity}, but the data stored as "{name}" is for {before}'
            found[name] = BlockReason(events.ACCOUNT_MISMATCH, f"{why}; use a new name")
        elif (holder := holders.setdefault(identity, name)) != name:
            why = f'"{holder}" and "{name}" are the same OKX account ({identity})'
            found[name] = BlockReason(events.DUPLICATE_ACCOUNT, f'{why}; remove one: "{name}" is not mirrored')
    return found
