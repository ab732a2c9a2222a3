"""The only place where a recipe meets modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from maskwright.config.mask_rcnn import MaskRcnnRecipe
from maskwright.config.run import Recipe
from maskwright.config.yolact import YolactRecipe
from maskwright.errors import ConfigError
from maskwright.models.mask_rcnn.build import build_mask_rcnn
from maskwright.models.yolact.build import build_yolact
from maskwright.ops.losses import LossSum
from maskwright.ops.randomness import random_key
from maskwright.structures import Categories, ImageBatch, Instances, Targets


class Segmenter(Protocol):
    """What every family's network can do; it is an `nn.Module` too."""

    categories: Categories

    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]: ...

    def detect(
        self, batch: ImageBatch, score_threshold: float | None = None, max_detections: int | None = None
    ) -> list[Instances]: ...


def build_model(recipe: Recipe) -> nn.Module:
    """The network of a recipe, its weights a function of `train.seed` alone.

    Raises:
        ConfigError: the recipe has no categories yet, or its network does not fit into memory.
    """
    if not recipe.categories:
        raise ConfigError(
            f"recipe {recipe.name} has no categories: give `categories` (a list of names), or train it on a dataset, "
            "whose categories it then takes"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_key(recipe.train.seed, "initial weights"))
        try:
            model = _of_family(recipe)
        except RuntimeError as error:  # torch asks for memory here and for nothing else
            reason = str(error).splitlines()[0]
            raise ConfigError(f"recipe {recipe.name}: its network is too large for this machine ({reason})") from error
    return model.to(memory_format=torch.channels_last)


def _of_family(recipe: Recipe) -> nn.Module:
    if isinstance(recipe, MaskRcnnRecipe):
        return build_mask_rcnn(recipe)
    if isinstance(recipe, YolactRecipe):
        return build_yolact(recipe)
    raise ConfigError(f"no network for family {recipe.family!r}")
