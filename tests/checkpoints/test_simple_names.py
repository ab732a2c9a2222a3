"""Simple Mask R-CNN's state dicts, and how its training starts from torchvision's pyramid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision

from maskwright.checkpoints.fitting import compare_weights, transfer
from maskwright.checkpoints.simple import SIMPLE, from_simple, is_simple
from maskwright.checkpoints.torchvision import from_torchvision, is_torchvision
from maskwright.config import load_recipe
from maskwright.models.build import build_model


def recognise(state: dict[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that keys and shapes prove, and the overrides."""
    recipe, implied, _ = SIMPLE.read(state)
    assert recipe is not None
    return recipe, implied


def test_the_recorded_model_is_recognised_and_fills_the_network(recorded) -> None:
    state = recorded("simple_maskrcnn/resnet50_stride32")
    assert is_simple(set(state))
    assert not is_torchvision(set(state))
    recipe = load_recipe(*recognise(state))
    assert recipe == load_recipe("simple/mask_rcnn_r50")
    weights = from_simple(state)
    assert len(weights) == len(state)
    with torch.device("meta"):
        assert compare_weights(weights, build_model(recipe)).is_exact


def test_a_key_without_a_rule_keeps_its_name() -> None:
    assert list(from_simple({"head.box_predictor.fc0.weight": torch.zeros(1)})) == ["head.box_predictor.fc0.weight"]


@pytest.fixture(scope="module")
def pyramid() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    norm = torchvision.ops.FrozenBatchNorm2d
    backbone = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=norm
    )
    return from_torchvision(torchvision.models.detection.MaskRCNN(backbone, num_classes=91).state_dict())


def test_all_of_the_pyramid_model_is_taken_but_finer_levels_and_what_counts_anchors(pyramid) -> None:
    model = build_model(load_recipe("simple/mask_rcnn_r50"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = transfer(pyramid, model, "test")
    after = model.state_dict()
    assert torch.equal(after["fpn.lateral.conv.weight"], pyramid["fpn.laterals.3.conv.weight"])
    assert torch.equal(after["fpn.output.conv.bias"], pyramid["fpn.outputs.3.conv.bias"])
    assert torch.equal(after["mask_head.logits.weight"], pyramid["mask_head.logits.weight"])
    predictors = {f"rpn.head.{part}.{kind}" for part in ("objectness", "deltas") for kind in ("weight", "bias")}
    finer = {
        f"fpn.{part}.{level}.conv.{kind}"
        for part in ("laterals", "outputs")
        for level in range(3)
        for kind in ("weight", "bias")
    }
    assert set(report.skipped) == predictors | finer
    assert set(report.untouched) == predictors
    assert report.skipped["rpn.head.objectness.bias"] == "it is (3,), the model has (9,)"
    assert report.skipped["fpn.laterals.0.conv.bias"] == "the model has no such weight"
    assert all(torch.equal(after[name], before[name]) for name in predictors)
    assert len(report.taken) == 265 + 4 + 2 + 8 + 12


def test_heads_for_other_classes_keep_their_start(pyramid) -> None:
    model = build_model(load_recipe("torchvision/mask_rcnn_r50_fpn", {"categories": ["nucleus"]}))
    report = transfer(pyramid, model, "test")
    layers = ("box_head.class_logits", "box_head.deltas", "mask_head.logits")
    assert set(report.untouched) == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert set(report.skipped) == set(report.untouched)


def test_a_layer_is_taken_whole_or_not_at_all_and_never_when_it_is_not_finite(tiny_network) -> None:
    model = build_model(load_recipe("mask_rcnn", tiny_network))
    weights = {name: value + 1 for name, value in model.state_dict().items()}
    weights["rpn.head.deltas.weight"] = torch.zeros(3)
    weights["rpn.head.objectness.bias"] = torch.full_like(weights["rpn.head.objectness.bias"], torch.nan)
    del weights["rpn.head.convs.0.weight"]
    report = transfer(weights, model, "test")
    assert report.skipped == {
        "rpn.head.deltas.weight": "it is (3,), the model has (12, 16, 1, 1)",
        "rpn.head.deltas.bias": "another part of its layer does not fit",
        "rpn.head.convs.0.bias": "another part of its layer does not fit",
        "rpn.head.objectness.weight": "another part of its layer does not fit",
        "rpn.head.objectness.bias": "its values are not finite numbers",
    }
    assert "rpn.head.deltas.weight" in report.untouched
