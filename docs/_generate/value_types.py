"""What a key takes, in words, and which tables it holds."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_LIMITS = {
    "gt": "above {}",
    "ge": "at least {}",
    "lt": "below {}",
    "le": "at most {}",
    "multiple_of": "a multiple of {}",
}


def tables_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The tables that an annotation allows, each with what follows the key: nothing, or `.NAME` in a dict of tables."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    elif origin is Annotated:
        yield from tables_in(arguments[0])
    elif origin in (Union, UnionType):
        seen = set()
        for argument in arguments:
            for table, suffix in tables_in(argument):
                if table not in seen:
                    seen.add(table)
                    yield table, suffix if not _is_list(argument) else ""
    elif origin is tuple:
        yield from ((table, "[]") for table, _ in tables_in(arguments[0]))
    elif origin is dict:
        yield from ((table, ".NAME") for table, _ in tables_in(arguments[1]))


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return _is_list(get_args(annotation)[0]) if origin is Annotated else origin is tuple


def described_type(field: FieldInfo) -> str:
    """The values that a key takes: `number above 0, at most 1, or none`."""
    limits = [
        _LIMITS[name].format(f"{value:,}".replace(",", " ") if isinstance(value, int) else value)
        for one in field.metadata
        for name in _LIMITS
        if (value := getattr(one, name, None)) is not None
    ]
    words = " ".join([_named(field.annotation), ", ".join(limits)]).strip()
    return f"{words}, or none" if NoneType in get_args(field.annotation) else words


def _named(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(arguments[0])
    if origin is Literal:
        return " · ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_named(one) for one in arguments if one is not NoneType)
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"list of {count}{_plural(_named(arguments[0]))}"
    if origin is dict:
        return f"table from {_named(arguments[0])} to {_named(arguments[1])}"
    return _PLAIN.get(annotation, "table")


def _plural(words: str) -> str:
    head, space, rest = words.partition(" of ")
    return f"{head}{'' if head.endswith(('text', '`')) else 's'}{space}{rest}"
