"""Cases of recipes: a shipped one, damaged as a table or as text, then loaded and, where that works, built."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import yaml
from mutations import VALUES, damaged, mutated, retokened
from trial import Case

from maskwright.config import load_recipe, parse_override
from maskwright.models.build import build_model

# trained in seconds; the damage is the same in larger ones
_BASES = (
    "nuclei/mask_rcnn_small",
    "nuclei/yolact_small",
    "torchvision/mask_rcnn_r50_fpn",
    "detectron2/panoptic_fpn_r50",
)

_BOMBS = (
    "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
    "a0: &a0 {k: x}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k: *a{n - 1}, l: *a{n - 1}}}\n" for n in range(1, 30)),
    "base: " + "[" * 10_000,
    "a: " + "{a: " * 10_000,
    "- " * 10_000,
    "a: &a [*a]\n",
    "a: 2026-99-99\n",
    "a: 99999-01-01\n",
    "a: !!python/object/apply:os.system ['true']\n",
    "a: !!binary '%%%'\n",
    "a: !!timestamp x\n",
    "a: !!int 'x'\n",
    "a: !!float 'x'\n",
    "a: !!set [1]\n",
    "a: !!omap 1\n",
    "a: !!merge x\n<<: 3\n",
    f"a: {'9' * 5000}\n",
    f"a: 0b{'1' * 50_000}\n",
    f"a: {'1:' * 3000}1\n",
    "? [a]\n: 1\n",
    "? {a: 1}\n: 1\n",
    "family: [1]\n",
    "base: recipe.yaml\n",
    f"base: {'x' * 5000}\n",
    "base: ../../../../etc/passwd\n",
    "base: 'a\\0b'\n",
    "\ufeffbase: mask_rcnn\n",
    "%YAML 9.9\n---\na: 1\n",
    "a: 1\n---\nb: 2\n",
)


def cases(root: Path, seed: int, count: int) -> Iterator[Case]:
    """Recipe files and overrides."""
    for number in range(count):
        yield f"recipes {seed}:{number}", partial(_run, f"recipes {seed}:{number}", number, root)


def _run(name: str, number: int, root: Path) -> None:
    rng = Random(name)  # noqa: S311 - reproducible, not secret
    path = root / f"{name.replace(':', '-')}.yaml"
    if number < len(_BOMBS):
        path.write_text(_BOMBS[number], encoding="utf-8")
        _load(str(path), {})
        return
    way = rng.random()
    if way < 0.1:
        _load(rng.choice(("x" * 5000, "", "\x1b[31m", "\x00", "..", "a/" * 2000, "mask_rcnn.yaml", "é")), {})
    elif way < 0.3:
        _load(rng.choice(_BASES), _overrides(rng))
    else:
        path.write_bytes(_damaged_recipe(rng))
        _load(str(path), {})
    path.unlink(missing_ok=True)


def _damaged_recipe(rng: Random) -> bytes:
    base = rng.choice(_BASES)
    table = load_recipe(base).model_dump(mode="json")
    text = yaml.safe_dump(mutated(table, rng), allow_unicode=True)
    if rng.random() < 0.2:
        text = retokened(text, rng)
    data = text.encode("utf-8", "surrogatepass")
    return damaged(data, rng) if rng.random() < 0.1 else data


def _overrides(rng: Random) -> dict[str, Any]:
    table = load_recipe(rng.choice(_BASES)).model_dump(mode="json")
    keys = list(_dotted(table))
    texts = (f"{rng.choice(keys)}={rng.choice((*map(str, VALUES), *_BOMBS[:8]))}" for _ in range(rng.choice((1, 2))))
    return dict(parse_override(text) for text in texts)


def _dotted(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


def _load(name: str, overrides: dict[str, Any]) -> None:
    recipe = load_recipe(name, overrides)
    if not recipe.categories:
        recipe = load_recipe(name, {**overrides, "categories": ["a", "b"]})
    build_model(recipe, initialise=False)
