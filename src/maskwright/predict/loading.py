"""From a name, a recipe file or a checkpoint to a predictor that is ready."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from maskwright.checkpoints.fitting import FitReport, compare_weights, put_weights, refuse_misfit
from maskwright.checkpoints.reading import SUFFIXES, ForeignWeights, read_weights
from maskwright.config import Recipe, is_recipe_file, load_recipe, recipe_names, stored_recipe
from maskwright.errors import CheckpointError, ConfigError
from maskwright.models.build import build_model
from maskwright.predict.device import choose_device
from maskwright.predict.fetching import fetch, is_address
from maskwright.predict.precision import PrecisionName
from maskwright.predict.predictor import Predictor

_PACKAGE = "package://"
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,15}$")


def load(
    model: str | Path,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    overrides: Mapping[str, Any] | None = None,
    precision: PrecisionName = "fp32",
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

    Raises:
        ConfigError: no such recipe, weights name, key or device.
        CheckpointError: a file that cannot be fetched, is broken, unsafe, of an unknown format, or does not fit.
    """
    target = choose_device(device)
    overrides = dict(overrides or {})
    if is_checkpoint(str(model)):
        if weights is not None:
            raise ConfigError(f"{model} is a checkpoint and has its weights; leave out weights={weights!s}")
        found = read_weights(fetch(str(model)) if is_address(str(model)) else Path(model))
        return _fitted(recipe_of(found, str(model), overrides), found, str(model), target, precision)
    recipe = load_recipe(str(model), overrides)
    source = weights if weights is not None else recipe.default_weights or "random"
    if str(source) == "random":
        return Predictor(build_model(recipe), recipe, target, precision)
    path = locate_weights(recipe, str(source))
    found = read_weights(path)
    _refuse_backbone(found, f"checkpoint {path}")
    if found.lineage != "maskwright":
        recipe = named_recipe(found, str(model), overrides)
    return _fitted(recipe, found, f"checkpoint {path}", target, precision)


def locate_weights(recipe: Recipe, source: str) -> Path:
    """The file behind a weights name, a path or an address, fetched if need be.

    Raises:
        ConfigError: neither a file nor a name the recipe lists.
        CheckpointError: it cannot be fetched.
    """
    listed = recipe.weights.get(source)
    source = listed.source if listed else source
    if source.startswith(_PACKAGE):
        return Path(str(files("maskwright"))) / source.removeprefix(_PACKAGE)
    if is_address(source):
        return fetch(source, listed.sha256, listed.size, listed.md5) if listed else fetch(source)
    if Path(source).suffix not in SUFFIXES and not os.path.exists(source):  # noqa: PTH110 - as below
        names = ", ".join(["random", *recipe.weights])
        raise ConfigError(
            f"recipe {recipe.name} has no weights called {source!r}; choose one of {names}, or give a file"
        )
    return Path(source)


def is_checkpoint(model: str) -> bool:
    """Whether `model` names no recipe but a checkpoint: a file, a folder, an address, or what ends as a file does.

    Shipped recipes come first, so that a folder called `yolact` hides none.
    """
    if is_recipe_file(model) or model in recipe_names():
        return False
    is_there = os.path.exists(model)  # noqa: PTH110 - which bears names of any length
    return is_address(model) or is_there or _FILE_NAME.search(model) is not None


def recipe_of(found: ForeignWeights, source: str, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe a checkpoint brings along, or the one its keys were recognised as.

    Raises:
        CheckpointError: it is a backbone alone.
    """
    if found.recipe is not None:
        return stored_recipe(found.recipe, source, overrides)
    _refuse_backbone(found, f"checkpoint {source}")
    assert found.recipe_name is not None
    return load_recipe(found.recipe_name, {**found.implied, **overrides})


def named_recipe(found: ForeignWeights, name: str, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe that the user named for a foreign file, whose norms are those of the file.

    Depth and classes must come from the recipe.
    """
    proven = {key: value for key, value in found.implied.items() if key.startswith("backbone.norm")}
    return load_recipe(name, {**proven, **overrides})


def compare(found: ForeignWeights, recipe: Recipe) -> FitReport:
    """Hold a checkpoint's weights against a recipe's network, of which only the shapes are made."""
    with torch.device("meta"):  # a recipe in a file may ask for more memory than the machine has
        return compare_weights(found.weights, build_model(recipe))


def _refuse_backbone(found: ForeignWeights, source: str) -> None:
    if found.is_backbone:
        raise CheckpointError(
            f"{source} holds a backbone alone, no whole model; train one from it: train.initial_weights=FILE"
        )


def _fitted(recipe: Recipe, found: ForeignWeights, source: str, device: Any, precision: PrecisionName) -> Predictor:
    refuse_misfit(compare(found, recipe), source)
    model = build_model(recipe, initialise=False)
    put_weights(found.weights, model, source)
    return Predictor(model, recipe, device, precision)
