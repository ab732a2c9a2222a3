"""`maskwright recipes`: which recipes there are, and what one says in full."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.cli.options import OverridesArgument, read_overrides
from maskwright.cli.terminal import say

if TYPE_CHECKING:
    from pydantic import BaseModel


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Recipe name or recipe file (.yaml).")] = None,
    changes: OverridesArgument = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each key means.")] = False,
) -> None:
    """List the recipes, or print one fully resolved, as YAML that can be a recipe file itself."""
    from maskwright.config import load_recipe

    lines = _list_lines() if name is None else yaml_lines(load_recipe(name, read_overrides(changes)), explain=explain)
    for line in lines:
        say(line)


def yaml_lines(table: BaseModel, *, explain: bool, indent: str = "") -> Iterator[str]:
    """A table of a recipe as YAML, each value on one line; on request with the meaning of each key above it."""
    from pydantic import BaseModel

    plain = table.model_dump(mode="json")
    for key, field in type(table).model_fields.items():
        value = getattr(table, key)
        if isinstance(value, BaseModel):
            if explain:
                yield from _comment(type(value).__doc__, indent)
            yield f"{indent}{key}:"
            yield from yaml_lines(value, explain=explain, indent=indent + "  ")
        else:
            if explain:
                yield from _comment(field.description, indent)
            yield f"{indent}{key}: {_inline(plain[key])}"


def _list_lines() -> Iterator[str]:
    """Those for the user's own images, then lineage by lineage, an empty line between."""
    from maskwright.config import load_recipe, recipe_names

    lineages = groupby(sorted(recipe_names(), key=lambda name: ("/" in name, name)), _lineage)
    for number, (_, group) in enumerate(lineages):
        names = list(group)
        width = max(map(len, names))
        if number:
            yield ""
        yield from (f"{name:{width}}  {load_recipe(name).summary}" for name in names)


def _lineage(name: str) -> str:
    return name.rpartition("/")[0]


def _comment(text: str | None, indent: str) -> Iterator[str]:
    for line in cleandoc(text).splitlines() if text else ():
        yield f"{indent}# {line}".rstrip()


def _inline(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()
