"""What a recipe leaves open until the data and the machine are known: the length of the run and its precision."""

from __future__ import annotations

import math
from typing import Any

import torch

from maskwright.config.run import Recipe
from maskwright.predict.precision import PRECISIONS, choose_precision
from maskwright.training.distributed import World
from maskwright.training.folder import RunFolder


def with_length(recipe: Recipe, num_images: int) -> Recipe:
    """The recipe with `train.iterations` computed from `train.epochs`, if it has these.

    Args:
        recipe: any.
        num_images: that are trained on; the last pass over them may be cut short or filled up by less than a step.
    """
    if recipe.train.epochs is None:
        return recipe
    steps = max(1, math.ceil(recipe.train.epochs * num_images / recipe.train.batch_size))
    return _changed(recipe, {"iterations": steps, "epochs": None})


def with_precision(
    recipe: Recipe, device: torch.device, begun: RunFolder | None, world: World
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with a definite precision: the one that a resumed run started with, else the fast one of the device.

    Args:
        recipe: any.
        device: of this process.
        begun: folder of the run that is resumed, if there is one; it keeps its precision on any device.
        world: all of its processes compute in the precision of the main one.

    Returns:
        The recipe, and for the log `precision` and, where it was chosen, `precision_reason`.
    """
    name = recipe.train.precision
    stored = _stored_precision(begun) if name == "auto" else None
    if stored is not None:
        return _changed(recipe, {"precision": stored}), {"precision": stored, "precision_reason": "as the run began"}
    chosen = world.from_main(choose_precision(name, device))
    reason = {"precision_reason": chosen.reason} if chosen.reason else {}
    return _changed(recipe, {"precision": chosen.precision}), {"precision": chosen.precision, **reason}


def _stored_precision(begun: RunFolder | None) -> str | None:
    table = None if begun is None else begun.begun_with()
    train = table.get("train") if table is not None else None
    stored = train.get("precision") if isinstance(train, dict) else None
    return stored if stored in PRECISIONS and stored != "auto" else None


def _changed(recipe: Recipe, train: dict[str, Any]) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})
