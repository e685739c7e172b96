"""Sizes of accounts from a CSV file: a line for each, ``account,size``. No I/O.

The first line may be the header ``account,size``. A plan is stored with the sizes, and not with the name of the file.
"""

import csv
from decimal import Decimal

from okxsync.config.units import number

HEADER = "account"
MAX_BYTES = 1_000_000


def read_sizes(text: str) -> dict[str, Decimal]:
    """Return the sizes by account.

    Raises:
        ValueError: the text is something else; the message is one line.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"the file is longer than {MAX_BYTES} bytes")
    rows = csv.reader(text.removeprefix("\ufeff").splitlines(), skipinitialspace=True)
    found: dict[str, Decimal] = {}
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells) or (not found and cells[0].casefold() == HEADER):
                continue
            if len(cells) != 2 or not all(cells):
                raise ValueError("expected account,size")
            name, size = cells
            if name in found:
                raise ValueError(f'"{name}" is listed twice')
            found[name] = number(size)
            if found[name] < 0:
                raise ValueError(f"{size}: must be 0 or above")
    except (ValueError, csv.Error) as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None
    if not found:
        raise ValueError("it lists no account")
    return found
