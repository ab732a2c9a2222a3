"""From a name, a recipe file or a checkpoint to a predictor that is ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from maskwright.checkpoints.fetching import FetchProgress
from maskwright.checkpoints.loading import (
    build_filled,
    is_checkpoint,
    locate_weights,
    named_recipe,
    read_checkpoint,
    recipe_of,
    refuse_backbone,
)
from maskwright.checkpoints.reading import read_weights
from maskwright.config import load_recipe
from maskwright.errors import ConfigError
from maskwright.models.build import build_model
from maskwright.predict.device import choose_device
from maskwright.predict.precision import PrecisionName
from maskwright.predict.predictor import Predictor


def load(
    model: str | Path,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    overrides: Mapping[str, Any] | None = None,
    precision: PrecisionName = "fp32",
    progress: FetchProgress | None = None,
) -> Predictor:
    """A predictor from a recipe and weights.

    Args:
        model: a recipe name, a recipe file (`.yaml`), or a checkpoint in any supported format, also by its https or
            `hf://` address. From only a foreign checkpoint the recipe is recognised by its keys and shapes.
        weights: None for the recipe's own default, `"random"`, a name the recipe lists, a path, an https address, or
            `hf://owner/repo/file`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, …
        overrides: dotted recipe keys and values.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the device computes it natively, else fp32.
        progress: called while a file is fetched with (bytes that are here, bytes of the whole file); the second is
            None as long as the server does not say. Without it, nothing is shown.

    Raises:
        ConfigError: no such recipe, weights name, key or device.
        CheckpointError: a file that cannot be fetched, is broken, unsafe, of an unknown format, or does not fit.
    """
    target = choose_device(device)
    overrides = dict(overrides or {})
    if is_checkpoint(str(model)):
        if weights is not None:
            raise ConfigError(f"{model} is a checkpoint and has its weights; leave out weights={weights!s}")
        found = read_checkpoint(str(model), progress)
        recipe = recipe_of(found, str(model), overrides)
        return Predictor(build_filled(recipe, found, f"checkpoint {model}"), recipe, target, precision)
    recipe = load_recipe(str(model), overrides)
    source = str(weights if weights is not None else recipe.default_weights or "random")
    if source == "random":
        return Predictor(build_model(recipe), recipe, target, precision)
    path = locate_weights(recipe, source, progress)
    found = read_weights(path)
    refuse_backbone(found, f"checkpoint {path}")
    if found.lineage != "maskwright":
        recipe = named_recipe(found, str(model), overrides)
    return Predictor(build_filled(recipe, found, f"checkpoint {path}"), recipe, target, precision)
