"""Every recipe that ships, lineage by lineage, with its published weights."""

from __future__ import annotations

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
        lines += [f"## {lineage or _OWN}\n", *(_entry(load_recipe(name)) for name in group)]
    return "\n".join(lines)


def _entry(recipe: Recipe) -> str:
    text = f"`{recipe.name}`\n: {recipe.summary}"
    for licence, tables in groupby(recipe.weights.items(), lambda item: item[1].licence):
        names = [f"`{name}`{' (default)' if name == recipe.default_weights else ''}" for name, _ in tables]
        text += f"\n: weights {', '.join(names)}: {licence}"
    return text + "\n"
