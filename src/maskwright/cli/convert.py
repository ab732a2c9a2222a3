"""`maskwright convert`: any supported checkpoint as ours, or ours as another program's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.options import SetOption, read_overrides
from maskwright.cli.terminal import say, warn
from maskwright.errors import ConfigError

if TYPE_CHECKING:
    from maskwright.checkpoints.reading import ForeignWeights
    from maskwright.config import Recipe

_OURS, _THEIRS = ".safetensors", (".pth", ".pkl")
# tables whose settings change what a network gives, but for these keys, which only training looks at
_NETWORK = ("pixels", "backbone", "anchors", "roi", "box_head", "mask_head")
_TRAINING_KEYS = {"frozen_stages", "box_beta", "targets", "target_samples"}
_TRAINING_KEYS |= {"positive_iou", "negative_iou", "rois_per_image"}
_MOST_KEYS = 5


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A file of any known format, known by its content.")],
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="A .safetensors file of ours; or .pth or .pkl, with --format.")
    ],
    recipe_name: Annotated[
        str | None,
        typer.Option("--recipe", metavar="R", help="Recipe of a foreign model; by default it is recognised."),
    ] = None,
    changes: SetOption = None,
    lineage: Annotated[
        str | None,
        typer.Option("--format", metavar="F", help="Whose state dict a .pth or .pkl becomes: torchvision, detectron2."),
    ] = None,
) -> None:
    """Write a model in another format: ours, with recipe and categories inside, or another program's state dict."""
    from maskwright.checkpoints.fitting import refuse_misfit
    from maskwright.checkpoints.loading import compare
    from maskwright.checkpoints.reading import read_weights

    _check_target(target, lineage, source)
    found = read_weights(source)
    recipe = _recipe(found, source, recipe_name, read_overrides(changes))
    refuse_misfit(compare(found, recipe), found.weights, f"checkpoint {source}")
    say(f"source        {source}, {found.lineage}")
    say(f"recipe        {recipe.name}, {len(recipe.categories)} categories")
    num_weights = _write(target, found, recipe, lineage)
    size = target.stat().st_size / 1e6
    say(f"written       {target}, {lineage or 'maskwright'}, {num_weights} tensors, {size:.1f} MB")
    if lineage is not None and (differing := _lost_settings(found, recipe, lineage)):
        some = ", ".join(differing[:_MOST_KEYS]) + (", …" if len(differing) > _MOST_KEYS else "")
        warn(
            f"names and numbers carry no settings, and {lineage} has others by default ({some}); set them there as "
            "this recipe has them, or its predictions will be wrong"
        )


def _lost_settings(found: ForeignWeights, recipe: Recipe, lineage: str) -> list[str]:
    """Dotted settings of the network for which the file's own program has another default."""
    from maskwright.checkpoints.writing import recipe_without_settings

    ours, theirs = (one.model_dump() for one in (recipe, recipe_without_settings(found.weights, lineage)))
    return [
        f"{table}.{key}"
        for table in _NETWORK
        for key, value in ours[table].items()
        if value != theirs[table].get(key) and key not in _TRAINING_KEYS
    ]


def _check_target(target: Path, lineage: str | None, source: Path) -> None:
    if target.exists() and source.exists() and target.samefile(source):
        # which may hold more than weights: a run's state, a better precision
        raise ConfigError(f"target {target} is the source itself, which would be lost: give another file")
    if target.suffix == _OURS and lineage is None:
        return
    if target.suffix not in _THEIRS:
        raise ConfigError(f"target {target}: give a {_OURS} file, or {' or '.join(_THEIRS)} with --format")
    if lineage is None:
        raise ConfigError(f"target {target}: say whose state dict it becomes, with --format torchvision or detectron2")


def _recipe(found: ForeignWeights, source: Path, name: str | None, overrides: dict[str, object]) -> Recipe:
    from maskwright.checkpoints.loading import named_recipe, recipe_of

    if name is None or found.is_backbone:
        return recipe_of(found, str(source), overrides)
    if found.recipe is not None:
        raise ConfigError(f"{source} has its recipe inside: leave out --recipe {name}, and change keys with --set")
    return named_recipe(found, name, overrides)


def _write(target: Path, found: ForeignWeights, recipe: Recipe, lineage: str | None) -> int:
    """Write the file; returns how many tensors it has."""
    from maskwright.checkpoints.native import NativeCheckpoint, write_native
    from maskwright.checkpoints.writing import write_foreign

    if lineage is not None:
        return write_foreign(target, found.weights, lineage)
    write_native(target, NativeCheckpoint(found.weights, recipe.model_dump(mode="json"), {}, {}))
    return len(found.weights)
