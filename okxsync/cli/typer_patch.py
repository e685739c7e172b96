"""Typer without pydantic, where nothing is converted.

Typer 0.29 passes every value except a flag's to pydantic, also text and None. To import pydantic takes as long as all
else that a command does until it reports a mistake in ``accounts.toml``: 0.4 s of CPU time on a busy machine.
"""

from typing import Any

import typer
from typer.core import TyperOption


def skip_pydantic() -> None:
    """Take defaults and text as they are; Typer converts the other values."""
    convert = TyperOption.process_value

    def process_value(option: TyperOption, ctx: typer.Context, value: Any) -> Any:
        kind = getattr(getattr(option, "type_descriptor", None), "annotation", None)  # another Typer may lack them
        return value if value == option.default or kind in (str, list[str]) else convert(option, ctx, value)

    TyperOption.process_value = process_value  # type: ignore[method-assign, assignment]
