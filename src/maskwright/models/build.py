"""The only place where a recipe meets modules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from maskwright.config.run import Recipe
from maskwright.errors import ConfigError
from maskwright.models.mask_rcnn.build import build_mask_rcnn
from maskwright.models.segmenter import Segmenter
from maskwright.models.yolact.build import build_yolact
from maskwright.ops.randomness import random_key

# family → its recipe to its network
FAMILIES: dict[str, Callable[[Any], Segmenter]] = {"mask_rcnn": build_mask_rcnn, "yolact": build_yolact}


def build_model(recipe: Recipe, *, initialise: bool = True) -> Segmenter:
    """The network of a recipe, its weights a function only of `train.seed`.

    Args:
        recipe: of any family.
        initialise: with random weights; otherwise they are whatever lies in memory, for a checkpoint to overwrite.

    Raises:
        ConfigError: the recipe has no categories yet, or its network does not fit into memory.
    """
    _check_classes(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_key(recipe.train.seed, "initial weights"))
        try:
            with nullcontext() if initialise else _SkipRandomInit():
                model = FAMILIES[recipe.family](recipe)
        except (RuntimeError, MemoryError) as error:  # the only cause here is memory
            reason = (str(error) or "no memory is left").splitlines()[0]
            raise ConfigError(f"recipe {recipe.name}: its network is too large for this machine ({reason})") from error
    return model.to(memory_format=torch.channels_last) if initialise else _without_values(model)


def _check_classes(recipe: Recipe) -> None:
    if recipe.finds_objects and not recipe.categories:
        raise ConfigError(
            f"recipe {recipe.name} has no categories: give `categories` (a list of names), or train it on a dataset, "
            "whose categories it then takes"
        )
    semantic = recipe.semantics
    if semantic is not None and not semantic.categories:
        raise ConfigError(
            f"recipe {recipe.name} has no stuff: give `semantic_head.categories` (a list of names), or train it on "
            "panoptic annotations, whose stuff it then takes"
        )


class _SkipRandomInit(TorchFunctionMode):
    """Random fills leave their tensor as it is: drawing a ResNet-50's weights takes longer than reading them."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


_DRAWS = {
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
    nn.init.normal_,
    nn.init.uniform_,
}


def _without_values(model: Segmenter) -> Segmenter:
    """The model with its convolutions channels-last, as `Module.to` makes them, but without copying what they hold."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = torch.empty_like(parameter, memory_format=torch.channels_last)
    return model
