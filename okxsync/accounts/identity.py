"""Which account of OKX a name of ours stands for.

Rows are stored under a name, so a name is one account and no other one's, for as long as the database lives; and one
account has one name, or everything of it would stand there twice.
"""

from collections.abc import Mapping

import msgspec

from okxsync.mirror.queries import Identity


class BlockReason(msgspec.Struct, frozen=True):
    """Why an account is not mirrored: what the journal calls it, and a line that says what is so and what to do."""

    event: str
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
            why = f'the key of "{name}" is of another account of OKX ({identity}) than its rows here ({before})'
            found[name] = BlockReason("other-uid", f"{why}; give that account a name of its own")
        elif (holder := holders.setdefault(identity, name)) != name:
            why = f'"{holder}" and "{name}" are one account of OKX ({identity})'
            found[name] = BlockReason("same-uid", f'{why}; keep one of them: "{name}" is not mirrored')
    return found
