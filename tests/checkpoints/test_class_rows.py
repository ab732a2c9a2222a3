"""Rows of predictors follow the names of classes, in every family and head."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maskwright.checkpoints.class_rows import match_names, match_rows
from maskwright.config import Recipe, load_recipe
from maskwright.models.build import build_model

HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "a mask and a box of each class": ("mask_rcnn", {}),
    "one box and one mask for all": (
        "mask_rcnn",
        {"box_head.is_class_agnostic": True, "mask_head.is_class_agnostic": True},
    ),
    "masks that compete": ("mask_rcnn", {"mask_head.is_softmax": True}),
    "masks from fully connected layers": ("mask_rcnn", {"mask_head.kind": "mlp", "mask_head.norm": "none"}),
    "masks of points": ("mask_rcnn", {"mask_head.kind": "point"}),
    "a cascade": ("mask_rcnn", {"cascade.is_on": True, "box_head.is_class_agnostic": True}),
    "matterport's": ("matterport/mask_rcnn_r50", {}),
    "YOLACT": ("yolact/r50", {}),
    "YOLACT++": ("yolact/plus_r50", {"backbone.deformable_from": None}),
}


def recipe_with(base: str, changes: dict[str, Any], request: pytest.FixtureRequest, **more: Any) -> Recipe:
    tiny = dict(request.getfixturevalue("tiny_yolact" if "yolact" in base else "tiny_network"))
    if "plus" in base:
        tiny["anchors.sizes_px"] = [[8, 10], [16, 20], [32, 40], [48, 50], [64, 70]]
    return load_recipe(base, {**tiny, **changes, **more})


def weights_of(recipe: Recipe) -> dict[str, torch.Tensor]:
    """Random weights, none of them equal."""
    state = build_model(recipe).state_dict()
    generator = torch.Generator().manual_seed(recipe.train.seed)
    return {name: torch.randn(value.shape, generator=generator) for name, value in state.items()}


def class_layers(recipe: Recipe, others: Recipe) -> list[str]:
    """The weights whose shape depends on the number of classes."""
    with torch.device("meta"):
        shapes, other = (build_model(each).state_dict() for each in (recipe, others))
    return [name for name, value in shapes.items() if value.shape != other[name].shape]


@pytest.mark.parametrize("head", HEADS)
def test_an_added_class_keeps_the_rows_of_the_old_ones_in_any_order(head: str, request: pytest.FixtureRequest) -> None:
    old = recipe_with(*HEADS[head], request, categories=["cat", "dog", "person"])
    new = recipe_with(*HEADS[head], request, categories=["dog", "person", "hen", "cat"])
    weights, model = weights_of(old), build_model(new)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    rows = match_rows(weights, model, old, new)
    layers = class_layers(old, new)
    assert layers and not rows.dropped
    for name in layers:
        if name.startswith("mask_head.point."):  # it has inputs of classes too, and a test of its own
            continue
        before, after, fresh = weights[name], rows.weights[name], own[name]
        repeats = len(new.anchors.sizes_px[0]) * 3 if name.startswith("head.") else 1  # type: ignore[attr-defined]
        has_background = "class_logits" in name or (head == "masks that compete" and "mask_head" in name)
        groups = [
            tensor.unflatten(0, (repeats, count + has_background, -1))
            for tensor, count in ((before, 3), (after, 4), (fresh, 4))
        ]
        before, after, fresh = groups
        for to, of in enumerate([1, 2, None, 0]):
            expected = fresh[:, to] if of is None else before[:, of]
            assert torch.equal(after[:, to], expected), (name, to)
        if has_background:
            assert torch.equal(after[:, 4], before[:, 3]), name
    others = weights.keys() - set(layers)
    assert all(rows.weights[name] is weights[name] for name in others)


@pytest.mark.parametrize("head", HEADS)
def test_another_order_and_back_gives_the_same_weights(head: str, request: pytest.FixtureRequest) -> None:
    old = recipe_with(*HEADS[head], request, categories=["cat", "dog", "person"])
    new = recipe_with(*HEADS[head], request, categories=["person", "cat", "dog"])
    weights = weights_of(old)
    there = match_rows(weights, build_model(new), old, new).weights
    back = match_rows(there, build_model(old), new, old).weights
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], value) for name, value in weights.items())
    changed = {name for name, value in there.items() if not torch.equal(value, weights[name])}
    assert changed == set(class_layers(old, recipe_with(*HEADS[head], request, categories=["x"])))


def test_points_see_the_logits_of_a_class_as_before_and_those_of_a_fresh_class_not_at_first(
    request: pytest.FixtureRequest,
) -> None:
    old = recipe_with(*HEADS["masks of points"], request, categories=["cat", "dog", "person"])
    new = recipe_with(*HEADS["masks of points"], request, categories=["dog", "hen", "cat"])
    weights, model = weights_of(old), build_model(new)
    rows = match_rows(weights, model, old, new)
    width = {"fcs.0": 16, "fcs.1": 256, "logits": 256}  # of the map, and of the layers
    for layer, fine in width.items():
        before, after = (each[f"mask_head.point.{layer}.weight"] for each in (weights, rows.weights))
        kept = {0: 1, 2: 0} if layer == "logits" else {row: row for row in range(256)}
        for to, of in kept.items():
            assert torch.equal(after[to, :fine], before[of, :fine])
            assert torch.equal(after[to, fine:], torch.stack([before[of, fine + 1], torch.zeros(1), before[of, fine]]))
    assert torch.equal(rows.weights["mask_head.point.logits.weight"][1], model.mask_head.point.logits.weight[1])
    assert all(value.shape == rows.weights[name].shape for name, value in model.state_dict().items())


def test_as_many_other_classes_get_no_row_of_the_old_ones(request: pytest.FixtureRequest) -> None:
    old = recipe_with("mask_rcnn", {}, request, categories=["cat", "dog"])
    new = recipe_with("mask_rcnn", {}, request, categories=["hen", "Dog"])
    weights, model = weights_of(old), build_model(new)
    rows = match_rows(weights, model, old, new)
    own = model.state_dict()
    for name in ("box_head.deltas.weight", "mask_head.logits.bias"):
        assert torch.equal(rows.weights[name], own[name])
    assert torch.equal(rows.weights["box_head.class_logits.weight"][:2], own["box_head.class_logits.weight"][:2])
    match = rows.matches["class"]
    assert (match.kept, match.moved, match.fresh, match.unused) == ((), {}, ("hen", "Dog"), ("cat", "dog"))
    assert match.near == {"Dog": "dog"}


def test_rows_of_stuff_and_keypoints_follow_their_names_too(request: pytest.FixtureRequest) -> None:
    heads = {"semantic_head.is_on": True, "keypoint_head.is_on": True, "keypoint_head.channels": 16}
    heads |= {"keypoint_head.num_convs": 1, "semantic_head.channels": 32}
    recipes = [
        recipe_with(
            "mask_rcnn", heads, request, **{"semantic_head.categories": stuff, "keypoint_head.names": keypoints}
        )
        for stuff, keypoints in ((["sky", "sea"], ["nose", "tail"]), (["sea", "road"], ["tail", "left_ear", "nose"]))
    ]
    old, new = recipes
    weights, model = weights_of(old), build_model(new)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    rows = match_rows(weights, model, old, new)
    name = "semantic_head.logits.weight"
    found = rows.weights[name]
    assert torch.equal(found[0], weights[name][0])  # all things
    assert torch.equal(found[1], weights[name][2]) and torch.equal(found[2], own[name][2])
    name = "keypoint_head.upsample.weight"
    found = rows.weights[name]
    assert torch.equal(found[:, [2, 0]], weights[name]) and torch.equal(found[:, 1], own[name][:, 1])
    assert rows.matches["stuff"].fresh == ("road",) and rows.matches["keypoint"].fresh == ("left_ear",)


def test_unused_channels_match_only_at_their_own_index() -> None:
    holes = ["person", "N/A", "dog", "N/A"]
    assert match_names(holes, holes).fresh == ()
    assert match_names(holes, [*holes, "hen"]).fresh == ("hen",)
    match = match_names(holes, ["dog", "N/A", "N/A", "person"])
    assert (match.kept, match.moved) == (("N/A",), {"dog": (2, 0), "person": (0, 3)})
    assert match.fresh == ("N/A",) and match.near == {}


def test_a_name_given_twice_matches_nothing_elsewhere() -> None:
    match = match_names(["dog", "cat"], ["cat", "hen", "cat"])
    assert (match.kept, match.moved, match.fresh) == ((), {}, ("cat", "hen", "cat"))


def test_rows_that_are_not_those_of_the_named_classes_are_not_taken(request: pytest.FixtureRequest) -> None:
    old = recipe_with("mask_rcnn", {}, request, categories=["cat", "dog", "hen", "cow"])
    new = recipe_with("mask_rcnn", {}, request, categories=["cat", "cow"])
    rows = match_rows(weights_of(new), build_model(new), old, new)  # a file of two classes that names four
    assert "box_head.class_logits.weight" not in rows.weights
    assert "not those of the classes" in rows.dropped["box_head.class_logits.weight"]
