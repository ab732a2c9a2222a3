"""Weights meet a network: exactly, or with a line that says what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from maskwright.checkpoints.fitting import compare_weights, put_backbone, put_weights
from maskwright.config import load_recipe
from maskwright.errors import CheckpointError
from maskwright.models.build import build_model


@pytest.fixture(scope="module")
def network(tiny_network) -> nn.Module:
    return build_model(load_recipe("mask_rcnn", {**tiny_network, "backbone.norm": "batch"}))


@pytest.fixture
def weights(network) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def refusal(weights, network) -> str:
    with pytest.raises(CheckpointError) as raised:
        put_weights(weights, network, "checkpoint x.pth")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_own_weights_fit_exactly(network, weights) -> None:
    report = compare_weights(weights, network)
    assert report.is_exact
    assert set(report.fitting) == {name for name in weights if not name.endswith("num_batches_tracked")}


def test_weights_arrive(network, weights) -> None:
    changed = {name: value + 1 for name, value in weights.items()}
    put_weights(changed, network, "checkpoint x.pth")
    assert all(torch.equal(value, changed[name]) for name, value in network.state_dict().items())


def test_counters_may_be_there_or_not(network, weights) -> None:
    without = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(weights)
    put_weights(without, network, "checkpoint x.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_precisions_load_into_single(network, weights, dtype) -> None:
    put_weights({name: value.to(dtype) for name, value in weights.items()}, network, "checkpoint x.pth")
    found = network.state_dict()["backbone.stem.conv.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, weights["backbone.stem.conv.weight"].to(dtype).float())


def test_another_number_of_classes_is_reported_in_classes(network, weights) -> None:
    weights["box_head.class_logits.bias"] = torch.zeros(6)
    assert refusal(weights, network).startswith(
        "checkpoint x.pth does not fit the recipe: it was trained for 5 classes, the recipe has 3 categories; "
    )


def test_missing_and_unknown_names_are_counted(network, weights) -> None:
    del weights["fpn.laterals.0.conv.weight"], weights["fpn.laterals.1.conv.weight"]
    weights["extra"] = torch.zeros(1)
    message = refusal(weights, network)
    assert "2 missing, first fpn.laterals.0.conv.weight; 1 unknown, first extra" in message


def test_other_shapes_are_reported(network, weights) -> None:
    weights["backbone.stem.conv.weight"] = torch.zeros(8, 1, 7, 7)
    assert "backbone.stem.conv.weight is (8, 1, 7, 7), expected (8, 3, 7, 7)" in refusal(weights, network)
    weights["box_head.class_logits.bias"] = torch.zeros(())
    assert "box_head.class_logits.bias is (), expected (4,)" in refusal(weights, network)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(network, weights, value) -> None:
    weights["rpn.head.objectness.bias"][0] = value
    assert "1 weights are not finite numbers, first rpn.head.objectness.bias" in refusal(weights, network)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(network, weights, dtype) -> None:
    weights["rpn.head.objectness.bias"] = weights["rpn.head.objectness.bias"].to(dtype)
    assert f"first rpn.head.objectness.bias ({dtype})" in refusal(weights, network)


def test_a_refusal_leaves_the_network_as_it_was(network, weights) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    changed = {name: value + 1 for name, value in weights.items()}
    changed["rpn.head.objectness.bias"][0] = float("nan")
    refusal(changed, network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def backbone_of(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """All that a backbone has, every number one more."""
    return {name: value + 1 for name, value in weights.items() if name.startswith("backbone.")}


def test_a_backbone_goes_into_the_backbone_and_nowhere_else(network, weights) -> None:
    put_backbone(backbone_of(weights), network, "checkpoint x.pth")
    found = network.state_dict()
    changed = {name for name, value in weights.items() if not torch.equal(value, found[name])}
    network.load_state_dict(weights)
    assert changed == {name for name in weights if name.startswith("backbone.")}


def test_a_backbone_must_fit_completely(network, weights) -> None:
    backbone = backbone_of(weights)
    del backbone["backbone.stages.3.1.conv2.conv.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing, first backbone\.stages\.3\.1\.conv2\.conv\.weight"):
        put_backbone(backbone, network, "checkpoint x.pth")


def test_batch_norms_in_a_backbone_without_are_reported(tiny_network, weights) -> None:
    grouped = build_model(load_recipe("mask_rcnn", {**tiny_network, "backbone.norm": "group"}))
    with pytest.raises(CheckpointError, match=r"its backbone has batch normalisation: set backbone\.norm=batch"):
        put_backbone(backbone_of(weights), grouped, "checkpoint x.pth")


def test_a_plain_backbone_fits_a_deformable_one_whose_taps_then_rest(tiny_network) -> None:
    overrides = {**tiny_network, "backbone.depth": 50, "backbone.norm": "batch"}
    plain = build_model(load_recipe("mask_rcnn", overrides)).state_dict()
    network = build_model(load_recipe("mask_rcnn", {**overrides, "backbone.deformable_from": 4}))
    put_backbone(backbone_of(plain), network, "checkpoint x.pth")
    found = network.state_dict()
    assert torch.equal(
        found["backbone.stages.2.1.conv2.conv.weight"], plain["backbone.stages.2.1.conv2.conv.weight"] + 1
    )
    resting = [name for name in found if name not in plain]
    assert len(resting) == 3 * (6 + 3)
    assert all(found[name].count_nonzero() == 0 for name in resting)


def test_the_last_stage_of_a_backbone_becomes_the_head_where_that_is_res5(tiny_network) -> None:
    changes = {**tiny_network, "backbone.norm": "batch"}
    backbone = backbone_of(build_model(load_recipe("mask_rcnn", {**changes, "backbone.depth": 50})).state_dict())
    c4 = {"neck": "c4", "anchors.sizes_px": [[16, 32]], "box_head.num_fcs": 0, "backbone.depth": 50}
    network = build_model(load_recipe("detectron2/mask_rcnn_r50_c4", {**changes, **c4}))
    put_backbone(backbone, network, "checkpoint x.pth")
    found = network.state_dict()
    for part in ("0.shortcut.norm.running_mean", "2.conv3.conv.weight"):
        assert torch.equal(found[f"res5.{part}"], backbone[f"backbone.stages.3.{part}"])


def test_yolacts_classes_are_counted_by_its_semantic_head() -> None:
    overrides = {"backbone.depth": 18, "backbone.width": 8, "fpn.channels": 16, "protonet.channels": 8}
    three, two = (
        build_model(
            load_recipe("yolact", {**overrides, "fpn.norm": "none", "backbone.norm": "batch", "categories": names})
        )
        for names in (["a", "b", "c"], ["a", "b"])
    )
    with pytest.raises(CheckpointError, match="trained for 3 classes, the recipe has 2 categories"):
        put_weights(three.state_dict(), two, "checkpoint x.pth")
