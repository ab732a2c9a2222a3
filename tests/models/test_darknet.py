"""DarkNet-53 is the table of its paper, and computes what timm's does from the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.darknet import DarkNet53
from maskwright.models.backbones.norms import ConvNorm

BLOCKS = (1, 2, 8, 8, 4)


def darknet(width: int = 8, norm: str = "batch") -> DarkNet53:
    torch.manual_seed(width)
    return DarkNet53(in_channels=3, width=width, norm=norm, norm_eps=1e-5).eval()


def as_if_trained(network: nn.Module) -> None:
    """Such statistics as a trained network has, not 0 and 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)
            module.weight.data.uniform_(0.5, 1.0)
            module.bias.data.normal_(std=0.1)


def assert_close(found: Tensor, wanted: Tensor) -> None:
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


def test_stages_equal_those_of_timm() -> None:
    timm = pytest.importorskip("timm")
    reference = timm.create_model("darknet53", features_only=True, out_indices=(2, 3, 4, 5)).eval()
    as_if_trained(reference)
    for module in reference.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.1  # the original's; timm's is 0.01
    with torch.device("meta"):
        ours = darknet(width=32)
    assert len(ours.state_dict()) == len(reference.state_dict())
    ours.load_state_dict(dict(zip(ours.state_dict(), reference.state_dict().values(), strict=True)), assign=True)
    pixels = torch.randn((1, 3, 70, 96))
    with torch.inference_mode():
        for found, wanted in zip(ours(pixels), reference(pixels), strict=True):
            assert_close(found, wanted)


def test_folded_norms_compute_what_the_layers_do_one_after_the_other() -> None:
    network = darknet()
    as_if_trained(network)

    def layer(module: ConvNorm, features: Tensor) -> Tensor:
        return F.leaky_relu(module.norm(module.conv(features)), 0.1)

    pixels = torch.randn((2, 3, 64, 96))
    with torch.no_grad():
        features = layer(network.stem, pixels)
        wanted = []
        for halving, *blocks in network.stages:
            features = layer(halving, features)
            for block in blocks:
                features = features + layer(block.conv2, layer(block.conv1, features))
            wanted.append(features)
        for found, stage in zip(network(pixels), wanted[1:], strict=True):
            assert_close(found, stage)


def test_channels_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        assert darknet(width=32).channels == (128, 256, 512, 1024)


def test_it_has_52_convolutions_and_no_bias_before_a_norm() -> None:
    convolutions = [module for module in darknet().modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 52  # the 53rd layer of the paper is the classifier
    assert all(convolution.bias is None for convolution in convolutions)


def test_names_of_the_weights() -> None:
    layers = ["stem"]
    for stage, count in enumerate(BLOCKS):
        layers.append(f"stages.{stage}.0")
        layers += [f"stages.{stage}.{block}.conv{index}" for block in range(1, count + 1) for index in (1, 2)]
    entries = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = [name for layer in layers for name in (f"{layer}.conv.weight", *(f"{layer}.norm.{e}" for e in entries))]
    assert list(darknet().state_dict()) == expected


def test_signals_neither_vanish_nor_explode_before_training() -> None:
    with torch.no_grad():
        stages = darknet().train()(torch.randn((4, 3, 96, 96)))
    assert all(0.3 < stage.std().item() < 10 for stage in stages)
