"""From a name, a path or an address to a recipe and a network with a checkpoint's weights."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from maskwright.checkpoints.fetching import FetchProgress, fetch, is_address
from maskwright.checkpoints.fitting import FitReport, compare_weights, load_fitting, refuse_misfit
from maskwright.checkpoints.reading import SUFFIXES, ForeignWeights, read_weights
from maskwright.config import Recipe, is_recipe_file, load_recipe, recipe_names, stored_recipe
from maskwright.errors import CheckpointError, ConfigError
from maskwright.models.build import build_model
from maskwright.models.segmenter import Segmenter

_PACKAGE = "package://"
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,15}$")


def is_checkpoint(model: str) -> bool:
    """Whether `model` names no recipe but a checkpoint: a file, a folder, an address, or what ends as a file does.

    Shipped recipes come first, so that a folder called `yolact` hides none.
    """
    if is_recipe_file(model) or model in recipe_names():
        return False
    is_there = os.path.exists(model)  # noqa: PTH110 - which takes names of any length
    return is_address(model) or is_there or _FILE_NAME.search(model) is not None


def read_checkpoint(source: str, progress: FetchProgress | None = None) -> ForeignWeights:
    """The checkpoint behind a path or an address, fetched if need be.

    Raises:
        ConfigError: an address without a usable file name.
        CheckpointError: it cannot be fetched or read.
    """
    return read_weights(fetch(source, progress=progress) if is_address(source) else Path(source))


def locate_weights(recipe: Recipe, source: str, progress: FetchProgress | None = None) -> Path:
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
        sha256, size, md5 = (listed.sha256, listed.size, listed.md5) if listed else (None, None, None)
        return fetch(source, sha256, size, md5, progress)
    if Path(source).suffix not in SUFFIXES and not os.path.exists(source):  # noqa: PTH110 - as above
        names = ", ".join(["random", *recipe.weights])
        raise ConfigError(
            f"recipe {recipe.name} has no weights called {source!r}; choose one of {names}, or give a file"
        )
    return Path(source)


def recipe_of(found: ForeignWeights, source: str, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe a checkpoint brings along, or the one its keys were recognised as.

    Raises:
        CheckpointError: it holds only a backbone.
    """
    if found.recipe is not None:
        return stored_recipe(found.recipe, source, overrides)
    refuse_backbone(found, f"checkpoint {source}")
    assert found.recipe_name is not None
    return load_recipe(found.recipe_name, {**found.implied, **overrides})


def named_recipe(found: ForeignWeights, name: str, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe that the user named for a foreign file, whose norms are those of the file.

    Depth and classes must come from the recipe.
    """
    proven = {key: value for key, value in found.implied.items() if key.startswith("backbone.norm")}
    return load_recipe(name, {**proven, **overrides})


def refuse_backbone(found: ForeignWeights, source: str) -> None:
    """Insist on a whole model.

    Raises:
        CheckpointError: it holds only a backbone.
    """
    if found.is_backbone:
        raise CheckpointError(
            f"{source} holds only a backbone, no whole model; train one from it: train.initial_weights=FILE"
        )


def compare(found: ForeignWeights, recipe: Recipe) -> FitReport:
    """Compare a checkpoint's weights with a recipe's network, of which only the shapes are made."""
    with torch.device("meta"):  # a recipe in a file may ask for more memory than the machine has
        return compare_weights(found.weights, build_model(recipe))


def build_filled(recipe: Recipe, found: ForeignWeights, source: str) -> Segmenter:
    """The network of a recipe with the weights of a checkpoint.

    Raises:
        CheckpointError: they do not fit; see `refuse_misfit`.
    """
    refuse_misfit(compare(found, recipe), found.weights, source)
    model = build_model(recipe, initialise=False)
    load_fitting(found.weights, model)
    return model
