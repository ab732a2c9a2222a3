"""Find a recipe by name or file, resolve what it is based on, and apply overrides."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskwright.config.mask_rcnn import MaskRcnnRecipe
from maskwright.config.overrides import explain, merge, nearest_names, with_overrides
from maskwright.config.renamed import with_new_names
from maskwright.config.run import Recipe
from maskwright.config.yaml_text import BadYaml, read_yaml
from maskwright.config.yolact import YolactRecipe
from maskwright.errors import ConfigError

FAMILIES: dict[str, type[Recipe]] = {"mask_rcnn": MaskRcnnRecipe, "yolact": YolactRecipe}

_SHIPPED = Path(str(files("maskwright"))) / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that ship with maskwright, sorted."""
    return sorted(path.relative_to(_SHIPPED).with_suffix("").as_posix() for path in _SHIPPED.rglob("*.yaml"))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Resolve a recipe.

    Args:
        name: a shipped recipe (`recipe_names`), or the path of a `.yaml` file. A file holds only differences from the
            recipe it names as `base`, or from its family's defaults.
        overrides: dotted keys and values, laid over the file.

    Raises:
        ConfigError: no such recipe, a file that is no YAML table, an unknown key, or a value that does not fit; the
            message names the source, the key and the nearest right name.
    """
    return recipe_from_table(_read_based(name, chain=()), name, overrides)


def recipe_from_table(table: Mapping[str, Any], source: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Check a recipe given as nested dicts (read from YAML or out of a checkpoint); `source` is named in errors."""
    table = with_overrides(table, overrides or {})
    family = table.get("family", "mask_rcnn")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ConfigError(f"{source}: no family called {family!r}; choose one of {', '.join(FAMILIES)}")
    try:
        return FAMILIES[family].model_validate(table)
    except ValidationError as error:
        raise ConfigError(explain(error, FAMILIES[family], source)) from error


def stored_recipe(table: Mapping[str, Any], source: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """As `recipe_from_table`, of a table that this package wrote, perhaps when some keys had other names."""
    return recipe_from_table(with_new_names(table), source, overrides)


def is_recipe_file(name: str) -> bool:
    """Whether `name` is the path of a recipe file rather than a recipe's name."""
    return name.endswith((".yaml", ".yml"))


def _read_based(name: str, chain: tuple[str, ...]) -> dict[str, Any]:
    """The recipe's table laid over that of its base, if it names one."""
    if name in chain:
        raise ConfigError(f"recipes are based on each other in a circle: {' → '.join((*chain, name))}")
    table = _read_table(_find(name))
    base = table.pop("base", None)
    table.setdefault("name", name)
    if base is None:
        return table
    inherited = _read_based(str(base), (*chain, name))
    return merge({**inherited, "summary": "", "weights": {}, "default_weights": None, "expected": {}}, table)


def _find(name: str) -> Path:
    if is_recipe_file(name):
        return Path(name)
    if name not in (shipped := recipe_names()):
        nearest = nearest_names(name, shipped)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`maskwright recipes` lists them"
        raise ConfigError(f"no recipe called {reprlib.repr(name)}; {hint}")
    return _SHIPPED / f"{name}.yaml"


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = read_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"recipe {path}: cannot be read ({error.strerror})") from error
    except (BadYaml, ValueError) as error:
        raise ConfigError(f"recipe {path}: not valid YAML ({error})") from error
    if not isinstance(table, dict):
        raise ConfigError(f"recipe {path}: expected a table of keys, found {type(table).__name__}")
    return table
