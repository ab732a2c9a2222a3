"""ImageNet classifiers and the authors' backbone files fill a backbone of ours."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from maskwright.checkpoints.fitting import compare_weights, put_backbone
from maskwright.checkpoints.torchvision import from_torchvision_backbone, is_torchvision_backbone
from maskwright.checkpoints.yolact import from_yolact_backbone, is_yolact_backbone
from maskwright.config import load_recipe
from maskwright.models.build import build_model


def network(**backbone: object) -> nn.Module:
    overrides = {f"backbone.{key}": value for key, value in {"norm": "batch", **backbone}.items()}
    with torch.device("meta"):
        return build_model(load_recipe("mask_rcnn", {"categories": ["a"], **overrides}))


def assert_fills_backbone(weights: dict[str, Tensor], model: nn.Module) -> None:
    report = compare_weights(weights, model)
    assert not (report.unexpected or report.mismatched)
    assert [name for name in report.missing if name.startswith("backbone.")] == []


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
@pytest.mark.parametrize("has_counters", [True, False], ids=["today", "older"])
def test_torchvisions_classifiers_fill_a_resnet(depth, has_counters) -> None:
    with torch.device("meta"):
        state = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    state = {key: value for key, value in state.items() if has_counters or "num_batches" not in key}
    assert is_torchvision_backbone(set(state))
    assert_fills_backbone(from_torchvision_backbone(state), network(depth=depth))


def test_a_classifier_computes_the_same_features_here(tiny_network) -> None:
    torch.manual_seed(0)
    classifier = torchvision.models.resnet18().eval()
    model = build_model(
        load_recipe("mask_rcnn", {**tiny_network, "backbone.width": 64, "backbone.norm": "batch"})
    ).eval()
    put_backbone(from_torchvision_backbone(classifier.state_dict()), model, "test")
    pixels = torch.randn(1, 3, 64, 64)
    stem = classifier.maxpool(classifier.relu(classifier.bn1(classifier.conv1(pixels))))
    with torch.inference_mode():
        wanted = classifier.layer4(classifier.layer3(classifier.layer2(classifier.layer1(stem))))
        assert torch.allclose(model.backbone(pixels)[-1], wanted, atol=1e-4)


def darknet_layer(name: str, after: int, before: int, kernel: int) -> dict[str, Tensor]:
    parts = {f"1.{part}": (after,) for part in ("weight", "bias", "running_mean", "running_var")}
    shapes = {"0.weight": (after, before, kernel, kernel), "1.num_batches_tracked": (), **parts}
    return {f"{name}.{part}": torch.empty(shape, device="meta") for part, shape in shapes.items()}


def test_the_authors_darknet_file_fills_a_darknet() -> None:
    state = darknet_layer("_preconv", 32, 3, 3)
    for stage, count in enumerate((1, 2, 8, 8, 4)):
        narrow, wide = 32 * 2**stage, 64 * 2**stage
        state |= darknet_layer(f"layers.{stage}.0", wide, narrow, 3)
        for block in range(1, count + 1):
            state |= darknet_layer(f"layers.{stage}.{block}.conv1", narrow, wide, 1)
            state |= darknet_layer(f"layers.{stage}.{block}.conv2", wide, narrow, 3)
    assert is_yolact_backbone(set(state))
    assert not is_torchvision_backbone(set(state))
    assert_fills_backbone(from_yolact_backbone(state), network(kind="darknet53"))
