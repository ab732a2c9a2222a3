"""Our ResNet computes what torchvision's does, stage by stage, from the same weights."""

from __future__ import annotations

import pytest
import torch
import torchvision

from maskwright.checkpoints.torchvision import from_torchvision
from maskwright.models.backbones.resnet import ResNet

STAGES = ("layer1", "layer2", "layer3", "layer4")


def resnet(depth: int, **changes) -> ResNet:
    numbers = {"width": 8, "norm": "batch", "norm_eps": 1e-5, "stride_in_1x1": False}
    return ResNet(depth=depth, **{**numbers, **changes}).eval()


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_stages_equal_those_of_torchvision(depth) -> None:
    torch.manual_seed(depth)
    reference = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # such statistics as a trained network has, not 0 and 1
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)
            module.weight.data.uniform_(0.3, 0.6)
    named = from_torchvision({f"backbone.body.{key}": value for key, value in reference.state_dict().items()})
    weights = {key.removeprefix("backbone."): value for key, value in named.items() if ".body.fc." not in key}
    with torch.device("meta"):
        ours = resnet(depth, width=64)
    ours.load_state_dict(weights, assign=True)
    pixels = torch.randn((1, 3, 40, 56))
    with torch.inference_mode():
        wanted = reference.maxpool(reference.relu(reference.bn1(reference.conv1(pixels))))
        for name, found in zip(STAGES, ours(pixels), strict=True):
            wanted = getattr(reference, name)(wanted)
            assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_stages_have_the_channels_and_strides_they_say(depth, stride_in_1x1) -> None:
    network = resnet(depth, stride_in_1x1=stride_in_1x1)
    stages = network(torch.zeros((1, 3, 64, 96)))
    assert [tuple(stage.shape) for stage in stages] == [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(network.channels, network.strides_px, strict=True)
    ]


def test_stride_of_caffe_models_sits_in_the_first_convolution() -> None:
    block = resnet(50, stride_in_1x1=True).stages[1][0]
    assert (block.conv1.conv.stride, block.conv2.conv.stride) == ((2, 2), (1, 1))


@pytest.mark.parametrize("num_stages", range(6))
def test_freezing_keeps_stages_fixed_from_the_stem_on(num_stages) -> None:
    network = resnet(18)
    network.freeze(num_stages)
    is_trained = [
        all(parameter.requires_grad for parameter in part.parameters()) for part in (network.stem, *network.stages)
    ]
    assert is_trained == [False] * num_stages + [True] * (5 - num_stages)
