"""What verify has found, for people or as JSON."""

from collections.abc import Mapping, Sequence

import msgspec

from okxsync.mirror.ledger import Difference
from okxsync.runtime.text import CONTROL_ESCAPES


def report(found: Sequence[Difference], unasked: Mapping[str, str], *, as_json: bool) -> str:
    """Return the differences as one line each, or as one JSON document."""
    if as_json:
        identical = not found and not unasked
        return msgspec.json.encode(
            {"identical": identical, "differences": list(found), "not_asked": dict(unasked)}
        ).decode()
    lines = [f"{name}: could not ask: {why}" for name, why in unasked.items()]
    for one in found:
        what = f"{one.account} {one.table} {one.key}"
        if one.column:
            lines.append(f"{what}: {one.column} is {one.ours or 'absent'}, should be {one.theirs or 'absent'}")
        else:
            lines.append(f"{what}: {'is missing here' if one.theirs else 'is not at the exchange'}")
    return "\n".join(line.translate(CONTROL_ESCAPES) for line in lines) or "identical"
