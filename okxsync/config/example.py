"""The commented accounts.toml that ``okxsync init`` writes."""

import os
from importlib import resources
from pathlib import Path


def example() -> str:
    """Return the text of accounts.example.toml, which is a file of this package."""
    return resources.files("okxsync").joinpath("accounts.example.toml").read_text(encoding="utf-8")


def write_example(path: Path) -> None:
    """Write the example, readable by its owner alone.

    Raises:
        FileExistsError: something with that name exists; it is left as it is.
        OSError: the file cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as opened:
        opened.write(example())
