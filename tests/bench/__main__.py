"""All benchmarks in one table, or the parts that are named.

uv run --group bench python -m tests.bench [PART ...] [--no-tls] [--rounds N] [--quick]
"""

import argparse
from collections.abc import Callable, Iterator

from tests.bench import backfill, burst, connect, flood, help, idle, log, measure, memory, paced, plans, terminal
from tests.bench.measure import Row

PARTS: dict[str, Callable[[int, bool], Iterator[Row]]] = {
    "flood": flood.rows,
    "paced": paced.rows,
    "burst": burst.rows,
    "idle": idle.rows,
    "memory": memory.rows,
    "log": log.rows,
    "connect": connect.rows,
    "help": help.rows,
    "backfill": backfill.rows,
    "plans": plans.rows,
    "terminal": terminal.rows,
}
HEAD = Row("what", "okxsync", "baseline", "ratio", "lowest-highest of both", "to reach (aim)")
WIDTHS = (42, 24, 52, 6, 24, 20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="okxsync beside its baselines.")
    parser.add_argument("part", nargs="*", help=f"any of {', '.join(PARTS)}; without: all")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison, taking turns")
    parser.add_argument(
        "--tls", action=argparse.BooleanOptionalAction, default=True, help="connect over TLS, as to OKX"
    )
    parser.add_argument("--quick", action="store_true", help="fewer frames and accounts: does it work at all?")
    chosen = parser.parse_args()
    if unknown := [part for part in chosen.part if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    measure.tls = chosen.tls
    rounds = 1 if chosen.quick else chosen.rounds
    print(line(HEAD))
    print("|" + "|".join("-" * (width + 2) for width in WIDTHS) + "|", flush=True)
    for part in chosen.part or PARTS:
        for row in PARTS[part](rounds, chosen.quick):
            print(line(row), flush=True)


def line(row: Row) -> str:
    """Return a line of a table in Markdown, aligned for a terminal; printed when it is known, as some take minutes."""
    cells = [row.name, row.ours, row.baseline, row.ratio, row.spread, row.reach]
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)) + " |"


if __name__ == "__main__":
    main()
