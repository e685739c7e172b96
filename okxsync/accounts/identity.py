"""Which OKX account a name stands for.

Rows are stored under a name. So a name belongs to one account for the life of the database, and an account has one
name; otherwise rows of two accounts would be mixed, or all rows of one account duplicated.
"""

from collections.abc import Mapping

import msgspec

from okxsync import events
from okxsync.mirror.queries import Identity


class BlockReason(msgspec.Struct, frozen=True):
    """Why an account is not mirrored: the journal event, and one line with the reason and the remedy."""

    event: events.Event
    why: str


def find_blocked(claimed: Mapping[str, Identity], known: Mapping[str, Identity]) -> dict[str, BlockReason]:
    """Return the accounts that must not be mirrored, by name.

    Args:
        claimed: The account that the key of each name belongs to. Of two names for one account, the name with stored
            rows keeps it, else the first.
        known: The account whose rows are stored, by name.
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
