"""YAML from other people's files, with a budget: a small text can expand to a table that fills the memory.

A file may refer to its own parts (`&name`, `*name`), and nest without end; both are counted before anything is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

_MOST_BYTES = 4 * 2**20
_MOST_DEPTH = 50
# lists, tables and values, each as often as it is referred to
_MOST_NODES = 200_000
# larger whole numbers are no settings, and Python takes long to print them
_MOST_BITS = 128

# what PyYAML ends in, beside its own errors, where a tag or a date does not fit its value
_FAILURES = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


class BadYaml(ValueError):
    """Why a text cannot be read, in one line."""


def read_yaml(text: str, *, as_typed: bool = False) -> Any:
    """What a YAML text holds: tables, lists, texts, numbers, dates.

    Args:
        text: of a file.
        as_typed: every value and key is the text that stands there, so that a class called `no` is not False.

    Raises:
        BadYaml: it is no YAML, or beyond the budget.
    """
    if len(text) > _MOST_BYTES:
        raise BadYaml(f"it has {len(text)} letters, more than a file of settings can need")
    try:
        _count(text)
        return yaml.load(text, yaml.BaseLoader if as_typed else _Loader)  # noqa: S506 - both are safe ones
    except BadYaml:
        raise
    except yaml.YAMLError as error:
        raise BadYaml(_in_words(error)) from None
    except _FAILURES as error:
        raise BadYaml(f"a value does not fit its tag or its kind: {error}") from None


class _Loader(yaml.SafeLoader):
    """Of safe types, and without huge numbers."""


def _bounded(construct: Callable[[Any, yaml.ScalarNode], int]) -> Callable[[Any, yaml.ScalarNode], int]:
    def bounded(loader: Any, node: yaml.ScalarNode) -> int:
        number = construct(loader, node)
        if number.bit_length() > _MOST_BITS:
            raise BadYaml(f"{_line(node)}a whole number of {number.bit_length()} bits")
        return number

    return bounded


_Loader.add_constructor("tag:yaml.org,2002:int", _bounded(yaml.SafeLoader.construct_yaml_int))


def _count(text: str) -> None:
    """Go on only if the text is not nested too deeply, and not too long with all that it refers to written out.

    Raises:
        BadYaml: it is.
        yaml.YAMLError: it is no YAML.
    """
    sizes: dict[str, int] = {}
    open_ones: list[tuple[str | None, int]] = []  # anchor of each list or table that is open, and nodes before it
    total = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_ones):
                raise BadYaml(f"{_line(event)}*{event.anchor} refers to a value that contains it")
            total += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_ones.append((event.anchor, total - 1))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        if len(open_ones) > _MOST_DEPTH:
            raise BadYaml(f"{_line(event)}lists and tables are nested over {_MOST_DEPTH} deep")
        if total > _MOST_NODES:
            raise BadYaml(f"with all that it refers to it has over {_MOST_NODES} values")


def _line(part: yaml.Event | yaml.Node) -> str:
    return "" if part.start_mark is None else f"line {part.start_mark.line + 1}: "


def _in_words(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None)
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{problem}{where}" if problem else " ".join(str(error).split())
