"""Every recipe that ships, lineage by lineage, with its published weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from maskwright.config import Recipe, load_recipe, recipe_names

_TOP = """# Recipes

A recipe is a model with everything around it: network, image sizes, training, test settings. Its name is what `train`
and `--model` take. `maskwright recipes NAME` prints one in full, `maskwright recipes NAME --explain` with the meaning
of each key, and any key can be changed as `key=value`; {doc}`configuration` describes the keys.
"""
_OWN = "Your own images"


def recipes_page() -> str:
    """The page of all recipes."""
    names = sorted(recipe_names(), key=lambda name: ("/" in name, name))
    lines = [_TOP]
    for lineage, group in groupby(names, lambda name: name.rpartition("/")[0]):
        lines += [f"## {lineage or _OWN}", "", *_table_lines([load_recipe(name) for name in group]), ""]
    return "\n".join(lines)


def _table_lines(recipes: list[Recipe]) -> Iterator[str]:
    yield "| recipe | what it is | weights |"
    yield "|---|---|---|"
    for recipe in recipes:
        weights = "; ".join(
            f"`{name}`{' (default)' if name == recipe.default_weights else ''}: {table.licence}"
            for name, table in recipe.weights.items()
        )
        yield f"| `{recipe.name}` | {recipe.summary} | {weights} |"
