"""torchvision's state dicts under our names: today's, and those of older published files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from maskwright.checkpoints.torchvision import TORCHVISION, from_torchvision, is_torchvision, to_torchvision
from maskwright.config import load_recipe
from maskwright.errors import CheckpointError
from maskwright.models.build import build_model

Shapes = dict[str, tuple[int, ...]]


def recognise(state: dict[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that keys and shapes prove, and the overrides."""
    recipe, implied, _ = TORCHVISION.read(state)
    assert recipe is not None
    return recipe, implied


def reference_state(name: str, **changes) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, **changes)
    return network.state_dict()


def shapes_of(state: dict[str, Tensor]) -> Shapes:
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}


def our_shapes(state: dict[str, Tensor]) -> Shapes:
    recipe, implied = recognise(state)
    with torch.device("meta"):
        return shapes_of(build_model(load_recipe(recipe, implied)).state_dict())


def as_first_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The key names of the first release: no nested `.0` after a convolution, and frozen norms without counters."""
    renamed = {}
    for key, value in state.items():
        for block in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                key = key.replace(f"fpn.{block}.{level}.0.", f"fpn.{block}.{level}.")
        key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for place in range(4):
            key = key.replace(f"mask_head.{place}.0.", f"mask_head.mask_fcn{place + 1}.")
        if not key.endswith("num_batches_tracked"):
            renamed[key] = value
    return renamed


@pytest.mark.parametrize("change", [dict, as_first_published])
def test_version_1_fills_the_network(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    state = change(reference_state("maskrcnn_resnet50_fpn"))
    assert is_torchvision(set(state))
    assert recognise(state)[0] == "torchvision/mask_rcnn_r50_fpn"
    assert shapes_of(from_torchvision(state)) == our_shapes(state)


def test_first_published_names_are_those_people_have() -> None:
    keys = set(as_first_published(reference_state("maskrcnn_resnet50_fpn")))
    assert {
        "rpn.head.conv.weight",
        "roi_heads.mask_head.mask_fcn1.weight",
        "roi_heads.mask_head.mask_fcn4.bias",
        "backbone.fpn.inner_blocks.0.weight",
        "backbone.fpn.layer_blocks.3.bias",
    } <= keys


def test_version_2_fills_the_network() -> None:
    state = reference_state("maskrcnn_resnet50_fpn_v2")
    assert recognise(state)[0] == "torchvision/mask_rcnn_r50_fpn_v2"
    assert shapes_of(from_torchvision(state)) == our_shapes(state)


@pytest.mark.parametrize("depth", [18, 34, 101])
def test_other_depths_are_recognised_by_their_blocks(depth) -> None:
    with torch.device("meta"):
        backbone = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
            backbone_name=f"resnet{depth}", weights=None
        )
        network = torchvision.models.detection.MaskRCNN(backbone, num_classes=91)
    state = network.state_dict()
    assert recognise(state)[1]["backbone.depth"] == depth
    assert shapes_of(from_torchvision(state)) == our_shapes(state)


def test_counters_prove_batch_norm_and_their_absence_keeps_the_recipes_norm() -> None:
    today = reference_state("maskrcnn_resnet50_fpn")
    _, implied = recognise(today)
    assert (implied["backbone.norm"], implied["backbone.norm_eps"]) == ("batch", 1e-5)
    name, implied = recognise(as_first_published(today))
    assert not any(key.startswith("backbone.norm") for key in implied)
    backbone = load_recipe(name, implied).backbone
    assert (backbone.norm, backbone.norm_eps) == ("frozen_batch", 0.0)


def test_frozen_norms_of_depths_never_published_have_their_usual_epsilon() -> None:
    with torch.device("meta"):
        backbone = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
            backbone_name="resnet18", weights=None
        )
        network = torchvision.models.detection.MaskRCNN(backbone, num_classes=91)
    epsilons = {module.eps for module in network.modules() if isinstance(module, torchvision.ops.FrozenBatchNorm2d)}
    name, implied = recognise(network.state_dict())
    backbone = load_recipe(name, implied).backbone
    assert backbone.norm == "frozen_batch"
    assert {backbone.norm_eps} == epsilons == {1e-5}


def test_another_number_of_classes_gets_numbered_names() -> None:
    _, implied = recognise(reference_state("maskrcnn_resnet50_fpn", num_classes=3))
    assert implied["categories"] == ["class 1", "class 2"]
    assert recognise(reference_state("maskrcnn_resnet50_fpn"))[1]["categories"] == "coco_with_holes"


def test_background_goes_from_the_first_channel_to_the_last() -> None:
    state = {
        "roi_heads.box_predictor.cls_score.bias": torch.arange(3.0),
        "roi_heads.box_predictor.bbox_pred.bias": torch.arange(12.0),
        "roi_heads.mask_predictor.mask_fcn_logits.bias": torch.arange(3.0),
    }
    named = from_torchvision(state)
    assert named["box_head.class_logits.bias"].tolist() == [1, 2, 0]
    assert named["box_head.deltas.bias"].tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert named["mask_head.logits.bias"].tolist() == [1, 2]


def test_a_key_without_a_rule_keeps_its_name() -> None:
    assert list(from_torchvision({"roi_heads.keypoint_head.1.weight": torch.zeros(1)})) == [
        "roi_heads.keypoint_head.1.weight"
    ]


@pytest.mark.parametrize(
    "model", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"]
)
def test_detectors_without_masks_fill_their_networks(model) -> None:
    state = reference_state(model)
    assert is_torchvision(set(state))
    name = model.replace("rcnn_resnet50", "_rcnn_r50")
    assert recognise(state)[0] == f"torchvision/{name}"
    assert shapes_of(from_torchvision(state)) == our_shapes(state)


def test_an_only_class_with_keypoints_is_a_person() -> None:
    assert recognise(reference_state("keypointrcnn_resnet50_fpn"))[1]["categories"] == ["person"]
    other = reference_state("keypointrcnn_resnet50_fpn", num_keypoints=3)
    assert recognise(other)[1]["keypoint_head.names"] == ["keypoint 1", "keypoint 2", "keypoint 3"]


MODELS = [f"{kind}rcnn_resnet50_fpn{v}" for kind in ("mask", "faster") for v in ("", "_v2")] + [
    "keypointrcnn_resnet50_fpn"
]


@pytest.mark.parametrize("model", MODELS)
def test_what_comes_back_is_loaded_by_torchvision_itself(model) -> None:
    state = reference_state(model)
    back = to_torchvision(from_torchvision(state))
    assert {key: value.shape for key, value in back.items()} == {key: value.shape for key, value in state.items()}


def test_there_and_back_every_number_is_the_same_but_for_what_background_never_uses() -> None:
    network = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    ours = from_torchvision(network.state_dict())
    back = to_torchvision(ours)
    network.load_state_dict(back)
    again = from_torchvision(back)
    assert all(torch.equal(again[name], ours[name]) for name in ours)
    deltas = back["roi_heads.box_predictor.bbox_pred.bias"]
    assert deltas[:4].count_nonzero() == 0
    assert torch.equal(deltas[4:], ours["box_head.deltas.bias"])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("detectron2/mask_rcnn_r50_c4", "only for models with a pyramid, this one has neck=c4"),
        ("detectron2/mask_rcnn_r50_fpn_3x_dconv", "no place for .* weights, first backbone.stages.1.0.conv2.offsets"),
        ("detectron2/cascade_mask_rcnn_r50_fpn", "cannot have box_head.is_class_agnostic"),
        ("detectron2/panoptic_fpn_r50", "no place for .* weights, first semantic_head"),
        ("detectron2/semantic_fpn_r50", "no place for .* weights, first semantic_head"),
        ("matterport/mask_rcnn_r50", "one objectness score for each anchor, this RPN has 6 for 3"),
        ("simple/mask_rcnn_r50", "only for models with a pyramid, this one has neck=c5_conv"),
        ("detectron2/mask_rcnn_r50_dc5", "only for models with a pyramid, this one has neck=c5;"),
    ],
)
def test_what_torchvision_does_not_have_is_refused(recipe, message) -> None:
    with torch.device("meta"):
        weights = build_model(load_recipe(recipe)).state_dict()
    with pytest.raises(CheckpointError, match=message):
        to_torchvision(weights)


def test_a_state_dict_without_class_scores_is_refused() -> None:
    state = reference_state("maskrcnn_resnet50_fpn")
    del state["roi_heads.box_predictor.cls_score.bias"]
    with pytest.raises(CheckpointError, match="number of classes is not known"):
        recognise(state)
