"""detectron2's state dicts under our names, what they prove of the recipe, and the way back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from maskwright.checkpoints.architecture import architecture_of
from maskwright.checkpoints.detectron2 import (
    DETECTRON2,
    from_caffe2,
    from_detectron2,
    is_caffe2,
    is_detectron2,
    is_detectron2_backbone,
    to_detectron2,
)
from maskwright.checkpoints.fitting import compare_weights
from maskwright.config import MaskRcnnRecipe, load_recipe
from maskwright.errors import CheckpointError
from maskwright.models.build import build_model

RECORDED = {
    "mask_rcnn_R_50_FPN_3x": "detectron2/mask_rcnn_r50_fpn",
    "mask_rcnn_R_50_C4_3x": "detectron2/mask_rcnn_r50_c4",
    "mask_rcnn_R_50_FPN_3x_dconv_c3-c5": "detectron2/mask_rcnn_r50_fpn_3x_dconv",
    "panoptic_fpn_R_50_3x": "detectron2/panoptic_fpn_r50",
}
# one of every kind of network in the model zoo
ZOO = [
    *RECORDED.values(),
    "detectron2/mask_rcnn_r101_fpn",
    "detectron2/mask_rcnn_x101_fpn",
    "detectron2/mask_rcnn_r101_dc5",
    "detectron2/mask_rcnn_r50_fpn_3x_gn",
    "detectron2/mask_rcnn_r50_fpn_3x_syncbn",
    "detectron2/mask_rcnn_r50_fpn_1x_agnostic",
    "detectron2/mask_rcnn_r50_fpn_1x_lvis",
    "detectron2/mask_rcnn_r50_fpn_cityscapes",
    "detectron2/faster_rcnn_r101_c4",
    "detectron2/keypoint_rcnn_x101_fpn",
    "detectron2/cascade_mask_rcnn_r50_fpn",
    "detectron2/panoptic_fpn_r101_3x_gn_dconv_cascade",
    "detectron2/cascade_mask_rcnn_x152_fpn_gn_dconv",
    "detectron2/semantic_fpn_r50",
    "detectron2/pointrend_mask_rcnn_r50_fpn",
    "detectron2/pointrend_mask_rcnn_r101_fpn",
    "detectron2/pointrend_mask_rcnn_x101_fpn",
    "detectron2/pointrend_mask_rcnn_r50_fpn_cityscapes",
]
# PointRend's mask head of 80 classes, as its ConvFCHead and StandardPointHead name their layers
POINT_HEAD = {
    "coarse_head.reduce_spatial_dim_conv": (256, 256, 2, 2),
    "coarse_head.fc1": (1024, 256 * 7 * 7),
    "coarse_head.fc2": (1024, 1024),
    "coarse_head.prediction": (80 * 7 * 7, 1024),
    "point_head.fc1": (256, 256 + 80, 1),
    "point_head.fc2": (256, 256 + 80, 1),
    "point_head.fc3": (256, 256 + 80, 1),
    "point_head.predictor": (80, 256 + 80, 1),
}
# how its first version named them
OLD_PARTS = {"mask_head.coarse_head.fc": "mask_coarse_head.coarse_mask_fc", "mask_head.coarse_head": "mask_coarse_head"}
OLD_PARTS |= {"mask_head.point_head": "mask_point_head"}


def recognise(state: dict[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that keys and shapes prove, and the overrides."""
    recipe, implied, _ = DETECTRON2.read(state)
    assert recipe is not None
    return recipe, implied


def own_weights(recipe: Any) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build_model(recipe).state_dict()


def assert_fills(weights: dict[str, Tensor], recipe: Any) -> None:
    with torch.device("meta"):
        report = compare_weights(weights, build_model(recipe))
    assert report.is_exact, (report.missing[:5], report.unexpected[:5], report.mismatched)


@pytest.mark.parametrize(("case", "name"), RECORDED.items())
def test_recorded_models_are_recognised_and_fill_the_network(recorded, case, name) -> None:
    state = recorded(f"detectron2/{case}")
    assert is_detectron2(set(state))
    found, implied = recognise(state)
    recipe = load_recipe(found, implied)
    assert recipe.model_dump(exclude={"name", "summary", "weights", "train", "data"}) == load_recipe(name).model_dump(
        exclude={"name", "summary", "weights", "train", "data"}
    )
    weights = from_detectron2(state)
    assert len(weights) == len(state)
    assert_fills(weights, recipe)


@pytest.mark.parametrize("case", RECORDED)
def test_recorded_names_come_back(recorded, case) -> None:
    state = recorded(f"detectron2/{case}")
    back = to_detectron2(from_detectron2(state))
    assert set(back) == set(state)
    assert all(back[key] is state[key] for key in state)


@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo_goes_there_and_back_and_is_recognised(name) -> None:
    recipe = load_recipe(name)
    weights = own_weights(recipe)
    state = to_detectron2(weights)
    assert not set(state) & set(weights)
    back = from_detectron2(state)
    assert set(back) == set(weights)
    assert all(back[key] is weights[key] for key in weights)
    found = load_recipe(*recognise(state))
    tables = (
        "backbone",
        "neck",
        "fpn",
        "anchors",
        "rpn",
        "box_head",
        "cascade",
        "mask_head",
        "keypoint_head",
        "pixels",
    )
    for table in (*tables, "categories", "semantic_head", "resize", "detect"):
        assert getattr(found, table) == getattr(recipe, table), table


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ("mask_rcnn_r50_fpn", {"rpn.num_convs": 2, "fpn.channels": 128}),
        ("mask_rcnn_r50_fpn", {"backbone.stem": "deep", "backbone.stem_channels": 128, "backbone.norm": "batch"}),
        ("mask_rcnn_r50_fpn", {"backbone.deformable_from": 4, "backbone.is_modulated": True}),
        ("mask_rcnn_r50_fpn", {"backbone.groups": 32, "backbone.width_per_group": 4}),
        ("faster_rcnn_r50_dc5", {"backbone.depth": 101}),
        ("mask_rcnn_r50_c4", {"box_head.is_class_agnostic": True, "categories": ["a", "b", "c"]}),
        ("keypoint_rcnn_r50_fpn", {"keypoint_head.names": ["tip", "base"], "keypoint_head.num_convs": 4}),
        (
            "pointrend_mask_rcnn_r50_fpn",
            {
                "categories": ["x"],
                "fpn.channels": 128,
                "mask_head.pool_px": 12,
                "mask_head.points.coarse_px": 8,
                "mask_head.points.num_coarse_fcs": 1,
                "mask_head.points.coarse_fc_channels": 256,
                "mask_head.points.num_fcs": 2,
                "mask_head.points.fc_channels": 64,
            },
        ),
        ("panoptic_fpn_r50", {"semantic_head.categories": ["sky", "sea"], "categories": ["boat"]}),
        ("semantic_fpn_r50", {"backbone.depth": 101, "semantic_head.channels": 64, "fpn.norm": "group"}),
        (
            "semantic_fpn_r50",
            {"semantic_head.categories": ["sky", "sea"], "semantic_head.has_things": False, "categories": []},
        ),
    ],
)
def test_what_the_zoo_has_not_is_the_nearest_recipe_with_overrides(base, changes) -> None:
    recipe = load_recipe(f"detectron2/{base}", changes)
    state = to_detectron2(own_weights(recipe))
    found = load_recipe(*recognise(state))
    assert isinstance(found, MaskRcnnRecipe)
    assert found.neck == recipe.neck
    assert_fills(from_detectron2(state), found)
    assert len(found.categories) == len(recipe.categories)


def pointrend_state() -> dict[str, Tensor]:
    """A PointRend model's state dict: detectron2's Mask R-CNN with the other mask head."""
    state = to_detectron2(own_weights(load_recipe("detectron2/mask_rcnn_r50_fpn")))
    state = {name: value for name, value in state.items() if not name.startswith("roi_heads.mask_head.")}
    for layer, shape in POINT_HEAD.items():
        state[f"roi_heads.mask_head.{layer}.weight"] = torch.empty(shape, device="meta")
        state[f"roi_heads.mask_head.{layer}.bias"] = torch.empty(shape[0], device="meta")
    return state


def in_old_names(name: str) -> str:
    part = next((part for part in OLD_PARTS if part in name), None)
    return name.replace(part, OLD_PARTS[part]) if part else name


@pytest.mark.parametrize("is_old", [False, True])
def test_pointrends_weights_are_recognised_and_fill_the_network(is_old) -> None:
    new = pointrend_state()
    state = {in_old_names(name): value for name, value in new.items()} if is_old else new
    assert ("roi_heads.mask_coarse_head.coarse_mask_fc2.bias" in state) == is_old
    assert ("roi_heads.mask_point_head.fc3.weight" in state) == is_old
    assert is_detectron2(set(state))
    name, implied = recognise(state)
    assert name == "detectron2/pointrend_mask_rcnn_r50_fpn"
    recipe = load_recipe(name, implied)
    assert recipe.mask_head == load_recipe(name).mask_head
    weights = from_detectron2(state)
    assert_fills(weights, recipe)
    assert set(to_detectron2(weights)) == set(new)


def test_classes_of_no_known_list_get_numbered_names() -> None:
    recipe = load_recipe("detectron2/mask_rcnn_r50_fpn", {"categories": ["x", "y"]})
    _, implied = recognise(to_detectron2(own_weights(recipe)))
    assert implied["categories"] == ["class 1", "class 2"]


@pytest.mark.parametrize(
    ("num_outputs", "num_things", "has_things", "first"),
    [(54, 80, True, "banner"), (53, 0, False, "banner"), (3, 0, False, "class 1")],
)
def test_outputs_of_a_semantic_fpn_are_taken_for_cocos_where_there_are_as_many(
    num_outputs, num_things, has_things, first
) -> None:
    changes = {"semantic_head.categories": [f"stuff {number}" for number in range(num_outputs - 1)]}
    recipe = load_recipe("detectron2/semantic_fpn_r50", changes)
    name, implied = recognise(to_detectron2(own_weights(recipe)))
    found = load_recipe(name, implied)
    assert name == "detectron2/semantic_fpn_r50"
    assert isinstance(found, MaskRcnnRecipe)
    assert (len(found.categories), found.semantic_head.has_things) == (num_things, has_things)
    assert found.semantic_head.categories[0].name == first


@pytest.mark.parametrize("shape", [(), (0,), (54, 1)])
def test_biases_that_tell_no_number_of_stuff_classes_leave_the_recipes_own(recorded, shape) -> None:
    state = recorded("detectron2/panoptic_fpn_R_50_3x")
    name, implied = recognise({**state, "sem_seg_head.predictor.bias": torch.empty(shape, device="meta")})
    assert name == "detectron2/panoptic_fpn_r50"
    assert "semantic_head.categories" not in implied


def test_semantic_heads_of_other_kinds_are_not_taken_for_a_semantic_fpn() -> None:
    assert not is_detectron2({"sem_seg_head.predictor.weight", "sem_seg_head.decoder.res2.project_conv.weight"})
    assert not is_detectron2({"sem_seg_head.coarse_sem_seg_head.p2.0.weight", "sem_seg_head.point_head.fc1.weight"})


def test_constants_of_input_and_anchors_are_left_out(recorded) -> None:
    state = recorded("detectron2/mask_rcnn_R_50_FPN_3x")
    more = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    more |= {f"proposal_generator.anchor_generator.cell_anchors.{level}": torch.zeros(3, 4) for level in range(5)}
    assert set(from_detectron2({**state, **more})) == set(from_detectron2(state))


def test_deformable_convolutions_of_several_groups_are_refused(recorded) -> None:
    state = recorded("detectron2/mask_rcnn_R_50_FPN_3x_dconv_c3-c5")
    key = "backbone.bottom_up.res3.0.conv2_offset.weight"
    with pytest.raises(CheckpointError, match=r"has 36 channels; .* have 18 or 27"):
        recognise({**state, key: torch.empty(36, 128, 3, 3, device="meta")})


def test_a_model_without_class_scores_is_refused(recorded) -> None:
    state = recorded("detectron2/mask_rcnn_R_50_FPN_3x")
    del state["roi_heads.box_predictor.cls_score.bias"]
    with pytest.raises(CheckpointError, match="number of classes is not known"):
        recognise(state)


@pytest.mark.parametrize("key", ["roi_heads.mask_head.coarse_head.fc.weight", "backbone.bottom_up.res6.0.se.weight"])
def test_a_key_without_a_rule_keeps_its_name(key) -> None:
    assert list(from_detectron2({key: torch.zeros(1)})) == [key]


@pytest.mark.parametrize("name", ["matterport/mask_rcnn_r50", "simple/mask_rcnn_r50"])
def test_what_detectron2_does_not_have_is_refused(name) -> None:
    with pytest.raises(CheckpointError, match=r"detectron2 has (no place for|one objectness).*keep the model as"):
        to_detectron2(own_weights(load_recipe(name)))


def test_the_deeplab_backbone_fills_one_of_ours(recorded) -> None:
    state = recorded("detectron2/deeplab_resnet50_backbone")
    assert is_detectron2_backbone(set(state))
    weights = from_detectron2(state)
    changes = {"backbone.stem": "deep", "backbone.stem_channels": 128, "backbone.norm": "batch"}
    ours = own_weights(load_recipe("detectron2/mask_rcnn_r50_fpn", changes))
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in ours.items() if name.startswith("backbone.")
    }


def test_torchvisions_classifier_as_detectron2_converts_it_is_a_backbone(recorded) -> None:
    state = recorded("detectron2/mask_rcnn_R_50_FPN_3x")
    start = "backbone.bottom_up."
    bare = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
    weights = from_detectron2({**bare, "stem.fc.weight": torch.zeros(9), "stem.fc.bias": torch.zeros(9)})
    whole = from_detectron2(state)
    assert set(weights) == {name for name in whole if name.startswith("backbone.")}


def caffe2_name(name: str, norm: str) -> str:
    """MSRA's spelling of a bare backbone's name in detectron2."""
    for ours, theirs in (("shortcut", "branch1"), ("conv1", "branch2a"), ("conv2", "branch2b"), ("conv3", "branch2c")):
        name = name.replace(f".{ours}.", f".{theirs}.") if not name.startswith("stem") else name
    name = name.replace("stem.conv1.norm", f"res.conv1.{norm}" if norm == "bn" else f"conv1.{norm}")
    name = name.replace("stem.conv1", "conv1").replace(".norm.weight", f".{norm}.s").replace(".norm.", f".{norm}.")
    name = name.replace(f"{norm}.weight", f"{norm}.s").replace("bias", "b").replace(".weight", ".w")
    return name.replace(".", "_").replace("running_mean", "rm").replace("running_var", "riv")


@pytest.fixture
def bare(recorded) -> dict[str, Tensor]:
    start = "backbone.bottom_up."
    state = recorded("detectron2/mask_rcnn_R_50_FPN_3x")
    return {key.removeprefix(start): torch.full(value.shape, 2.0) for key, value in state.items() if start in key}


@pytest.mark.parametrize("has_statistics", [True, False])
def test_msras_files_are_the_same_backbone(bare, has_statistics) -> None:
    old = {caffe2_name(key, "bn"): value for key, value in bare.items() if has_statistics or "running" not in key}
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch2a_w", "res2_0_branch1_bn_b", "res4_5_branch2c_bn_s"} <= set(old)
    momenta = {"conv1_w_momentum": torch.zeros(1), "fc1000_w": torch.zeros(1), "conv1_b": torch.zeros(64)}
    assert is_caffe2(set(old))
    named = from_caffe2({**old, **momenta})
    assert set(named) == set(bare)
    assert all(torch.equal(named[key], bare[key]) for key in bare if has_statistics or "running" not in key)


def test_norms_without_statistics_change_nothing_but_by_scale_and_bias(bare) -> None:
    named = from_caffe2({caffe2_name(key, "bn"): value for key, value in bare.items() if "running" not in key})
    mean, var = (named[f"res3.1.conv2.norm.running_{part}"] for part in ("mean", "var"))
    assert mean.count_nonzero() == 0
    assert torch.equal((var + 1e-5).rsqrt(), torch.ones_like(var))


def test_group_norms_of_that_time_have_no_statistics(bare) -> None:
    wanted = {key for key in bare if "running" not in key}
    named = from_caffe2({caffe2_name(key, "gn"): bare[key] for key in wanted})
    assert set(named) == wanted


def test_whole_models_of_that_time_are_not_taken_for_backbones() -> None:
    assert not is_caffe2({"conv1_w", "res2_0_branch2a_w", "conv_rpn_fpn2_w"})


def test_the_architecture_is_read_off_names_only(tiny_network) -> None:
    model = build_model(load_recipe("mask_rcnn", tiny_network))
    facts = architecture_of(model.state_dict())
    assert facts["backbone.depth"] == 18
    assert facts["backbone.width"] == 8
    assert facts["mask_head.num_convs"] == 2
    assert_fills(model.state_dict(), load_recipe("mask_rcnn", {**tiny_network, **facts}))
