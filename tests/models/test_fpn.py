"""Our pyramid computes what torchvision's does from the same weights, at odd sizes too."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from maskwright.checkpoints.torchvision import from_torchvision
from maskwright.models.necks.fpn import Fpn, StridedConvolutions, Subsampled

CHANNELS = (8, 12, 16, 20)


@pytest.mark.parametrize(("norm", "norm_layer"), [("none", None), ("batch", nn.BatchNorm2d)])
@pytest.mark.parametrize("height", [64, 100])
def test_levels_equal_those_of_torchvision(norm, norm_layer, height) -> None:
    torch.manual_seed(0)
    reference = FeaturePyramidNetwork(list(CHANNELS), 6, LastLevelMaxPool(), norm_layer).eval()
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.3)
    named = from_torchvision({f"backbone.fpn.{key}": value for key, value in reference.state_dict().items()})
    ours = Fpn(in_channels=CHANNELS, channels=6, norm=norm, norm_eps=1e-5, extra=Subsampled()).eval()
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
    pyramid = Fpn(in_channels=CHANNELS, channels=6, norm="none", norm_eps=1e-5, extra=Subsampled())
    levels = pyramid([torch.randn((1, channels, 32 // 2**k, 32 // 2**k)) for k, channels in enumerate(CHANNELS)])
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])


def yolacts() -> Fpn:
    """As YOLACT has it: three stages, bilinear, with ReLU, and two levels more."""
    torch.manual_seed(0)
    return Fpn(
        in_channels=CHANNELS[1:],
        channels=6,
        norm="none",
        norm_eps=1e-5,
        extra=StridedConvolutions(channels=6, count=2),
        upsampling="bilinear",
        has_relu=True,
    )


@pytest.mark.parametrize("sides", [((8, 12), (4, 6), (2, 3)), ((69, 69), (35, 35), (18, 18)), ((5, 3), (3, 2), (2, 1))])
def test_yolacts_levels_are_what_its_paper_says(sides) -> None:
    pyramid = yolacts()
    c3, c4, c5 = (torch.randn((2, channels, *side)) for channels, side in zip(CHANNELS[1:], sides, strict=True))
    lateral3, lateral4, lateral5 = (part.conv for part in pyramid.laterals)
    output3, output4, output5 = (part.conv for part in pyramid.outputs)
    merged5 = lateral5(c5)
    merged4 = lateral4(c4) + F.interpolate(merged5, size=sides[1], mode="bilinear", align_corners=False)
    merged3 = lateral3(c3) + F.interpolate(merged4, size=sides[0], mode="bilinear", align_corners=False)
    p3, p4, p5 = F.relu(output3(merged3)), F.relu(output4(merged4)), F.relu(output5(merged5))
    p6 = pyramid.extra.convs[0](p5)
    p7 = pyramid.extra.convs[1](p6)
    for found, wanted in zip(pyramid([c3, c4, c5]), (p3, p4, p5, p6, p7), strict=True):
        torch.testing.assert_close(found, wanted)
    assert min(p6.min(), p7.min()) < 0 <= min(p3.min(), p4.min(), p5.min())  # only the first three end in a ReLU


@pytest.mark.parametrize("count", [0, 1, 4])
def test_extra_levels_are_as_many_as_asked_and_half_as_large_each(count) -> None:
    levels = StridedConvolutions(channels=6, count=count)(torch.randn((1, 6, 9, 5)))
    assert [tuple(level.shape[2:]) for level in levels] == [(5, 3), (3, 2), (2, 1), (1, 1)][:count]
