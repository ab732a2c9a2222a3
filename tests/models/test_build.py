"""A network is a function of its recipe."""

from __future__ import annotations

import pytest
import torch

from maskwright.config import load_recipe
from maskwright.errors import ConfigError
from maskwright.models.build import build_model


def weights_of(tiny_network, seed: int) -> list[torch.Tensor]:
    recipe = load_recipe("mask_rcnn", {**tiny_network, "train.seed": seed})
    return list(build_model(recipe).state_dict().values())


def test_weights_are_a_function_of_the_seed(tiny_network) -> None:
    first, again, other = (weights_of(tiny_network, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_building_neither_reads_nor_moves_the_global_generator(tiny_network) -> None:
    torch.manual_seed(5)
    before, weights = torch.get_rng_state(), weights_of(tiny_network, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert all(torch.equal(a, b) for a, b in zip(weights, weights_of(tiny_network, 1), strict=True))


def test_convolutions_are_channels_last(build) -> None:
    convolutions = [parameter for parameter in build().parameters() if parameter.ndim == 4]
    assert convolutions
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)


def test_without_categories_there_is_no_network() -> None:
    with pytest.raises(ConfigError, match="recipe mask_rcnn has no categories: give `categories`"):
        build_model(load_recipe("mask_rcnn"))


@pytest.mark.parametrize("recipe", ["mask_rcnn", "torchvision/mask_rcnn_r50_fpn", "torchvision/mask_rcnn_r50_fpn_v2"])
def test_heads_have_a_channel_for_each_category(build, recipe) -> None:
    model = build(recipe, categories=["one", "two"])
    assert tuple(model.categories) == ("one", "two")
    assert len(model.box_head.class_logits.bias) == 3  # background is the last
    assert len(model.box_head.deltas.bias) == 2 * 4
    assert len(model.mask_head.logits.bias) == 2
