"""The semantic head's table: what it can stand beside, and what a semantic FPN does without."""

from __future__ import annotations

from typing import Any

import pytest

from maskwright.config import MaskRcnnRecipe, load_recipe
from maskwright.errors import ConfigError
from maskwright.models.build import build_model

SEMANTIC_FPN = {"rpn.is_on": False, "mask_head.is_on": False, "semantic_head.is_on": True}


def test_a_recipe_finds_objects_unless_it_has_no_rpn() -> None:
    assert load_recipe("mask_rcnn").finds_objects
    assert load_recipe("yolact").finds_objects
    assert load_recipe("detectron2/panoptic_fpn_r50").finds_objects
    assert not load_recipe("mask_rcnn", SEMANTIC_FPN).finds_objects


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"semantic_head.is_on": False}, r"leaves a semantic FPN; set semantic_head\.is_on=true"),
        ({"mask_head.is_on": True}, r"no objects for other heads; set mask_head\.is_on=false$"),
        (
            {"mask_head.is_on": True, "keypoint_head.is_on": True},
            r"set mask_head\.is_on=false and keypoint_head\.is_on=false$",
        ),
        ({"cascade.is_on": True, "box_head.is_class_agnostic": True}, r"set cascade\.is_on=false$"),
        ({"train.patience": 3}, r"train\.patience .* leave it out"),
    ],
)
def test_a_semantic_fpn_with_what_needs_objects_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("mask_rcnn", {**SEMANTIC_FPN, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neck": "c5", "anchors.sizes_px": [[32]]}, "set neck=fpn"),
        ({"resize.is_centred": True}, r"set resize\.is_centred=false"),
        ({"resize.pad_multiple": 16}, r"set resize\.pad_multiple to a multiple of 32, not 16"),
    ],
)
def test_a_semantic_head_in_an_input_that_it_cannot_join_is_refused(changes: dict[str, Any], message: str) -> None:
    assert load_recipe("mask_rcnn", changes)
    with pytest.raises(ConfigError, match=message):
        load_recipe("mask_rcnn", {"semantic_head.is_on": True, **changes})


def test_a_semantic_head_has_an_output_for_each_class_and_one_for_things() -> None:
    recipe = load_recipe("mask_rcnn", {"semantic_head.is_on": True, "semantic_head.categories": ["sky", "sea"]})
    head = recipe.semantics
    assert head is not None and head.num_outputs == 3
    assert load_recipe("mask_rcnn").semantics is None
    assert load_recipe("yolact").semantics is None


def test_a_network_whose_stuff_nobody_has_named_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has no stuff: give `semantic_head\.categories`"):
        build_model(load_recipe("mask_rcnn", {**SEMANTIC_FPN, "categories": ["brick"]}))


def test_the_shipped_semantic_fpn_has_detectron2s_numbers() -> None:
    recipe = load_recipe("detectron2/semantic_fpn_r50")
    assert isinstance(recipe, MaskRcnnRecipe)
    head = recipe.semantic_head
    assert (head.num_outputs, head.has_things, head.channels, head.norm, head.loss_weight) == (
        54,
        True,
        128,
        "group",
        1,
    )
    assert (recipe.train.batch_size, recipe.train.learning_rate) == (16, 0.02)
    assert (recipe.train.iterations, recipe.train.steps) == (90_000, (60_000, 80_000))
    assert recipe.data.augment.short_sides == (640, 672, 704, 736, 768, 800)
    assert (recipe.resize.short_side, recipe.resize.long_side) == (800, 1333)
    assert recipe.data.uses_empty_images
    assert list(recipe.weights) == ["imagenet"]
