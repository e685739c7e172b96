"""Check what a TOML file holds against a msgspec type, with errors that a user of the file understands.

msgspec stops at the first error, and describes it in terms of Python and JSON types. Here each mistake is one message.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from msgspec import inspect

Keys: TypeAlias = tuple[str | int, ...]
"""Where a value stands: keys of tables and indexes of lists, from the outside in."""

_PLAIN: Final[dict[type[inspect.Type], tuple[type, str]]] = {
    inspect.StrType: (str, "a string"),
    inspect.BoolType: (bool, "true or false"),
    inspect.IntType: (int, "a whole number"),
    inspect.ListType: (list, "a list"),
    inspect.DictType: (dict, "a table"),
    inspect.StructType: (dict, "a table"),
}
_NAMES: Final = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def mistakes(value: object, expected: inspect.Type, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Yield each mistake: where it is, and what is wrong. If there is none, ``msgspec.convert`` succeeds.

    Args:
        value: As ``tomllib`` returns it.
        expected: As ``msgspec.inspect.type_info`` returns it.
        keys: Where ``value`` stands.
    """
    choices = expected.types if isinstance(expected, inspect.UnionType) else (expected,)
    fitting = next((one for one in choices if _fits(value, one)), None)
    match fitting:
        case None:
            wanted = [_describe(one, inline=len(choices) > 1) for one in choices if type(one) in _PLAIN]
            got = _NAMES.get(type(value), "a date or time")
            if isinstance(value, float) and any(isinstance(one, inspect.StrType) for one in choices):
                got += " with a decimal point; write it in quotes, so that it is exact"
            yield keys, f"expected {' or '.join(sorted(wanted))}, got {got}"
        case inspect.StructType(fields=fields):
            assert isinstance(value, dict)
            names = [field.name for field in fields]
            for key in value:
                if key not in names:
                    yield keys, f'unknown key "{key}"{_suggest(key, names)}'
            for field in fields:
                if field.name in value:
                    yield from mistakes(value[field.name], field.type, (*keys, field.name))
                elif field.required:
                    yield keys, f'missing key "{field.name}"'
        case inspect.DictType(value_type=of):
            assert isinstance(value, dict)
            for key, one in value.items():
                yield from mistakes(one, of, (*keys, key))
        case inspect.ListType(item_type=of):
            assert isinstance(value, list)
            for number, one in enumerate(value):
                yield from mistakes(one, of, (*keys, number))


def _fits(value: object, expected: inspect.Type) -> bool:
    """Whether the outermost type is right."""
    if isinstance(expected, inspect.AnyType):
        return True
    return type(expected) in _PLAIN and type(value) is _PLAIN[type(expected)][0]


def _describe(expected: inspect.Type, *, inline: bool) -> str:
    if inline and isinstance(expected, inspect.StructType):
        return f"{{ {expected.fields[0].name} = ... }}"
    return _PLAIN[type(expected)][1]


def _suggest(key: str, names: list[str]) -> str:
    return did_you_mean(key, names) or "; known keys: " + ", ".join(names)


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """Return ``; did you mean "name"?`` for the name that is nearest to ``text``; ``""`` if none is near."""
    near = difflib.get_close_matches(text, list(names), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
