"""Our pyramid computes what torchvision's does from the same weights, at odd sizes too."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from maskwright.checkpoints.torchvision import from_torchvision
from maskwright.models.necks.fpn import Fpn

CHANNELS = (8, 12, 16, 20)


@pytest.mark.parametrize(("norm", "norm_layer"), [("none", None), ("batch", nn.BatchNorm2d)])
@pytest.mark.parametrize("height", [64, 100])
def test_levels_equal_those_of_torchvision(norm, norm_layer, height) -> None:
    torch.manual_seed(0)
    reference = FeaturePyramidNetwork(list(CHANNELS), 6, LastLevelMaxPool(), norm_layer).eval()
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.3)
    named = from_torchvision({f"backbone.fpn.{key}": value for key, value in reference.state_dict().items()})
    ours = Fpn(in_channels=CHANNELS, channels=6, norm=norm, norm_eps=1e-5).eval()
    ours.load_state_dict({key.removeprefix("fpn."): value for key, value in named.items()})
    stages = [
        torch.randn((2, channels, -(-height // stride), 64 // stride))
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]
    wanted = reference(OrderedDict(enumerate(stages))).values()
    found = ours(stages)
    assert len(found) == 5
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_last_level_is_every_second_pixel_of_the_one_before() -> None:
    pyramid = Fpn(in_channels=CHANNELS, channels=6, norm="none", norm_eps=1e-5)
    levels = pyramid([torch.randn((1, channels, 32 // 2**k, 32 // 2**k)) for k, channels in enumerate(CHANNELS)])
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])
