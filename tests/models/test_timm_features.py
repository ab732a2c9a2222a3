"""timm's networks as backbones: which serve, and what is said of those that do not."""

from __future__ import annotations

import sys

import pytest
import torch

from maskwright.errors import ConfigError, MissingDependency
from maskwright.models.backbones.timm_features import TimmFeatures

timm = pytest.importorskip("timm")

# with patches; with windows, its size made free, channels last; channels last; plain; few channels
NAMES = ["test_convnext", "swin_tiny_patch4_window7_224", "mambaout_femto", "test_resnet", "mobilenetv3_small_050"]


def network(name: str, seed: int = 0) -> TimmFeatures:
    torch.manual_seed(seed)
    return TimmFeatures(name=name, in_channels=3).eval()


@pytest.mark.parametrize("name", NAMES)
def test_an_incomplete_cell_counts_as_one(name) -> None:
    backbone = network(name)
    for height, width in [(64, 96), (70, 33), (1, 550)]:
        with torch.inference_mode():
            stages = backbone(torch.randn((2, 3, height, width)))
        assert [tuple(stage.shape) for stage in stages] == [
            (2, channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(backbone.channels, backbone.strides_px, strict=True)
        ]


def test_stages_are_those_of_timm() -> None:
    backbone = network("test_resnet")
    reference = timm.create_model("test_resnet", features_only=True).eval()
    reference.load_state_dict(backbone.network.state_dict())
    pixels = torch.randn((1, 3, 64, 96))
    with torch.inference_mode():
        for found, wanted in zip(backbone(pixels), reference(pixels)[1:], strict=True):
            assert torch.equal(found, wanted)


def test_weights_are_drawn_from_the_global_generator() -> None:
    first, again, other = (next(network("test_convnext", seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_weight_serves_the_stages() -> None:
    for name in ("test_resnet", "mobilenetv3_small_050", "test_convnext"):
        backbone = network(name)
        torch.stack([stage.square().mean() for stage in backbone(torch.randn((1, 3, 64, 64)))]).sum().backward()
        assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet_18", r"timm [\d.]+ has no network called 'resnet_18'; near it are resnet18, "),
        ("hf-hub:timm/resnet18", r"has no network called 'hf-hub:timm/resnet18'"),  # would be fetched
        ("resnet18.nowhere", r"'resnet18\.nowhere' does not .*Invalid pretrained tag \(nowhere\)"),
        ("vit_tiny_patch16_224", r"'vit_tiny_patch16_224' does not .*any size: timm says that it is made for one size"),
        ("halonet26t", r"'halonet26t' does not give feature maps for images of any size: AssertionError;"),
        ("convmixer_768_32", r"makes feature maps of .* from an image of 96 × 160, where strides 4, 8, 16 and 32 have"),
        ("levit_conv_128s", r"'levit_conv_128s' does not .*made for one size; choose another, for example convnext"),
        ("inception_v3", r"feature maps of .*45 × 77.* from an image of 96 × 160"),
    ],
)
def test_others_are_refused_in_one_line(name, reason) -> None:
    with pytest.raises(ConfigError, match=rf"^backbone\.name: .*{reason}") as caught:
        TimmFeatures(name=name, in_channels=3)
    assert "\n" not in str(caught.value)


def test_without_timm_its_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependency, match=r"'timm'; install it with: pip install 'maskwright\[timm\]'"):
        TimmFeatures(name="test_resnet", in_channels=3)
