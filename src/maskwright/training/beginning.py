"""Which weights a training starts from: those that its recipe names, COCO weights by default, or random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from maskwright.checkpoints.fetching import FetchProgress
from maskwright.checkpoints.loading import locate_weights
from maskwright.checkpoints.reading import ForeignWeights, read_weights
from maskwright.config.images import PixelsConfig
from maskwright.config.loading import load_recipe
from maskwright.config.run import Recipe
from maskwright.errors import MaskwrightError
from maskwright.training.distributed import World
from maskwright.training.initial import InitialWeights, initial_weights_of, read_initial_weights

AUTO, _COCO = "auto", "coco"
# settings of a backbone that only a deformable one looks at
_OF_DEFORMABLE = ("deformable_every", "is_modulated", "deformable_biases")
_STEM = "backbone.stem.conv.weight"


def put_initial_weights(
    model: nn.Module, recipe: Recipe, world: World, progress: FetchProgress | None = None
) -> dict[str, Any]:
    """Load the weights that `train.initial_weights` names into a model with random weights.

    While they are fetched, the main process calls `progress`.

    Returns:
        For the log, what was taken; see `InitialWeights.put_into`. `initial_weights` is None where nothing was: then
        `frozen_stages` says how many stages of the backbone will stay random, and `random_because` why none were found.

    Raises:
        ConfigError, CheckpointError: weights that the recipe names cannot be found, fetched or read, or do not fit.
    """
    source = recipe.train.initial_weights
    reason = ""
    if source == AUTO:
        found, reason = _coco_weights(recipe, world, progress)
    else:
        found = None if source is None else read_initial_weights(recipe, source, world, progress)
    if found is not None:
        return found.put_into(model)
    because = {"random_because": reason} if reason else {}
    return {"initial_weights": None, "frozen_stages": recipe.backbone.frozen_stages, **because}


def _coco_weights(recipe: Recipe, world: World, progress: FetchProgress | None) -> tuple[InitialWeights | None, str]:
    """Weights trained on COCO whose backbone is that of the recipe; or why there are none."""
    source = recipe_with_backbone_of(recipe)
    if source is None:
        return None, "no weights trained on COCO are known for this backbone"
    try:
        path = world.in_main(lambda: locate_weights(source, _COCO, progress))
        found = read_weights(path)
    except MaskwrightError as error:
        return None, str(error)
    weights = on_other_pixels(found.weights, source.pixels, recipe.pixels)
    if source.family == recipe.family:
        found = replace(found, weights=weights)
    else:  # whose other parts have the same names but another task
        backbone = {name: value for name, value in weights.items() if name.startswith("backbone.")}
        found = ForeignWeights(found.lineage, backbone, None, None, {})
    licence = source.weights[_COCO].licence
    return replace(initial_weights_of(recipe, path, found), name=f"{source.name}, trained on COCO ({licence})"), ""


def recipe_with_backbone_of(recipe: Recipe) -> Recipe | None:
    """A shipped recipe with weights trained on COCO and the same backbone; None where there is none."""
    for name in recipe.coco_sources:
        source = load_recipe(name)
        if _network_of(source) == _network_of(recipe):
            return source
    return None


def _network_of(recipe: Recipe) -> dict[str, Any]:
    """The settings that say which backbone it is."""
    table = recipe.backbone.model_dump(exclude={"frozen_stages"})
    is_deformable = table.get("deformable_from") is not None
    return {key: value for key, value in table.items() if is_deformable or key not in _OF_DEFORMABLE}


def on_other_pixels(weights: Mapping[str, Tensor], old: PixelsConfig, new: PixelsConfig) -> dict[str, Tensor]:
    """A checkpoint's weights for images with another scale or channel order; the first layer's output stays the same.

    The difference of the means, which nearly all systems have from ImageNet, is ignored.

    Args:
        weights: under our names.
        old: the pixels of three channels that they were trained on.
        new: the pixels of the new images, of any number of channels; other than three, only their order is applied.
    """
    if _STEM not in weights or weights[_STEM].shape[1] != old.channels:
        return dict(weights)
    kernels = weights[_STEM]
    kernels = kernels.flip(1) if old.is_bgr else kernels
    if new.channels == old.channels:
        kernels = kernels * (_scales(new) / _scales(old))[:, None, None]
    return {**weights, _STEM: kernels.flip(1) if new.channel_order == "bgr" else kernels}


def _scales(pixels: PixelsConfig) -> Tensor:
    """How many grey levels (0 to 255) are one unit of network input, for red, green and blue."""
    scales = torch.tensor(pixels.std or (1.0,) * pixels.channels) * pixels.divisor
    return scales.flip(0) if pixels.is_bgr else scales
