"""The result of ``okxsync verify``, as text or as JSON."""

from collections.abc import Mapping, Sequence

import msgspec

from okxsync.mirror.ledger import Difference
from okxsync.runtime.text import CONTROL_ESCAPES


def report(found: Sequence[Difference], failures: Mapping[str, str], *, as_json: bool) -> str:
    """Return the differences as one line each, or as one JSON document.

    ``failures`` has the reason for each account that could not be queried.
    """
    if as_json:
        identical = not found and not failures
        return msgspec.json.encode(
            {"identical": identical, "differences": list(found), "not_asked": dict(failures)}
        ).decode()
    lines = [f"{name}: could not query OKX: {why}" for name, why in failures.items()]
    for one in found:
        what = f"{one.account} {one.table} {one.key}"
        if one.column:
            lines.append(f"{what}: {one.column} is {one.ours or 'absent'}, expected {one.theirs or 'absent'}")
        else:
            lines.append(f"{what}: {'missing in the database' if one.theirs else 'not found at OKX'}")
    return "\n".join(line.translate(CONTROL_ESCAPES) for line in lines) or "identical"
