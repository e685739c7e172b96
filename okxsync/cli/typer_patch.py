"""Typer without pydantic, where nothing is converted.

Typer 0.29 passes every value except a flag's to pydantic, also text and None. To import pydantic takes as long as all
else that a command does until it reports a mistake in ``accounts.toml``: 0.4 s of CPU time on a busy machine.
"""

from typing import Any

import typer
from typer.core import TyperArgument, TyperOption


def skip_pydantic() -> None:
    """Take defaults and text as they are; Typer converts the other values."""
    for parameter in (TyperOption, TyperArgument):
        _skip_pydantic(parameter)


def _skip_pydantic(parameter: type[TyperOption] | type[TyperArgument]) -> None:
    convert: Any = parameter.process_value

    def process_value(given: Any, ctx: typer.Context, value: Any) -> Any:
        kind = getattr(getattr(given, "type_descriptor", None), "annotation", None)  # another Typer may lack them
        is_default = value == given.default and not given.required
        is_text = value is not None and kind in (str, list[str])
        return value if is_default or is_text else convert(given, ctx, value)

    parameter.process_value = process_value  # type: ignore[method-assign, assignment]
