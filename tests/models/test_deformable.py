"""Deformable convolutions: what their moved taps read, and the same however they are computed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.config.backbone import ResNetConfig
from maskwright.models.backbones.backbone import Backbone
from maskwright.models.backbones.build import build_backbone
from maskwright.models.backbones.deformable import DeformableConvNorm
from maskwright.models.backbones.norms import freeze_batch_norms
from maskwright.models.backbones.resnet import Bottleneck


def block(norm: str, kernel: int = 3, *, is_modulated: bool = True, **changes: Any) -> DeformableConvNorm:
    torch.manual_seed(0)
    numbers = {"has_bias": True, "norm": norm, "norm_eps": 1e-5, **changes}
    made = DeformableConvNorm(6, 8, kernel, is_modulated=is_modulated, **numbers)
    if made.conv.bias is not None:
        nn.init.normal_(made.conv.bias)
    if norm != "none":
        nn.init.normal_(made.norm.weight)
        nn.init.normal_(made.norm.bias)
    if norm in ("batch", "frozen_batch"):
        made.norm.running_mean.normal_()
        made.norm.running_var.uniform_(0.5, 2.0)
    return made


def move_taps(made: DeformableConvNorm) -> DeformableConvNorm:
    nn.init.normal_(made.offsets.weight, std=0.2)
    nn.init.normal_(made.offsets.bias)
    return made


def features(height: int = 9, width: int = 7) -> Tensor:
    return torch.randn((2, 6, height, width), generator=torch.Generator().manual_seed(1))


def sampled(made: DeformableConvNorm, given: Tensor) -> Tensor:
    """The convolution from its definition: each tap is read between pixels, weighted, and multiplied."""
    conv, kernel = made.conv, made.conv.kernel_size[0]
    offsets = made.offsets(given)
    height, width = given.shape[-2:]
    rows, columns = (torch.arange(side, dtype=torch.float32) * conv.stride[0] for side in offsets.shape[-2:])
    result = 0
    for tap in range(kernel**2):
        y = rows[:, None] + (tap // kernel - kernel // 2) * conv.dilation[0] + offsets[:, 2 * tap]
        x = columns + (tap % kernel - kernel // 2) * conv.dilation[0] + offsets[:, 2 * tap + 1]
        # from -1 to 1 between the centres of the outermost pixels; outside there are zeros
        indices = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
        read = F.grid_sample(given, indices, align_corners=True)
        if made.is_modulated:
            read = read * offsets[:, 2 * kernel**2 + tap, None].sigmoid()
        pairs = zip(read.chunk(conv.groups, 1), conv.weight.flatten(2)[..., tap].chunk(conv.groups, 0), strict=True)
        result = result + torch.cat([torch.einsum("bchw,oc->bohw", part, weight) for part, weight in pairs], 1)
    return result if conv.bias is None else result + conv.bias[:, None, None]


@pytest.mark.parametrize("norm", ["none", "frozen_batch", "group"])
@pytest.mark.parametrize("is_modulated", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{}, {"kernel": 1}, {"stride": 2, "has_bias": False}, {"dilation": 2, "groups": 2}, {"dilation": 4, "stride": 2}],
)
def test_each_tap_reads_where_it_was_moved(norm, is_modulated, changes) -> None:
    made = move_taps(block(norm, is_modulated=is_modulated, **changes)).eval()
    wanted = sampled(made, features())
    torch.testing.assert_close(
        made(features()), wanted if made.norm is None else made.norm(wanted), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("is_modulated", [True, False])
@pytest.mark.parametrize("norm", ["none", "batch", "frozen_batch", "group"])
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 1)])
def test_while_no_tap_moves_it_is_a_plain_convolution_or_one_half_of_it(is_modulated, norm, stride, kernel) -> None:
    made = block(norm, kernel, is_modulated=is_modulated, stride=stride).eval()
    plain = F.conv2d(features(), made.conv.weight, None, stride, kernel // 2)
    plain = (0.5 if is_modulated else 1) * plain + made.conv.bias[:, None, None]
    wanted = plain if made.norm is None else made.norm(plain)
    torch.testing.assert_close(made(features()), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("is_modulated", "channels"), [(True, 27), (False, 18)])
def test_a_fresh_block_moves_no_tap(is_modulated, channels) -> None:
    fresh = DeformableConvNorm(6, 8, 3, is_modulated=is_modulated, has_bias=True, norm="batch", norm_eps=1e-5)
    assert fresh.offsets(features()).shape[1] == channels
    assert fresh.offsets(features()).abs().max() == 0
    assert fresh.conv.bias.abs().max() == 0


def test_taps_that_all_move_by_whole_pixels_shift_the_features() -> None:
    made = block("none").eval()
    with torch.no_grad():  # per tap (dy, dx), then weights before the sigmoid
        made.offsets.bias.copy_(torch.tensor([1.0, -2.0] * 9 + [100.0] * 9))
    moved = F.pad(features(), (3, -1, 0, 2))  # what lies one below and two to the left, with a pixel of border around
    wanted = F.conv2d(moved, made.conv.weight, made.conv.bias)
    torch.testing.assert_close(made(features()), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_folding_the_norm_changes_nothing(norm, has_bias) -> None:
    made = move_taps(block(norm, has_bias=has_bias)).eval()
    alone = copy.deepcopy(made)
    alone.norm = nn.Identity()
    wanted = made.norm(alone(features()))
    torch.testing.assert_close(made(features()), wanted, rtol=1e-4, atol=1e-4)


def test_frozen_norms_are_folded_in_training_mode_too() -> None:
    made = move_taps(block("batch"))
    wanted = made.eval()(features())
    freeze_batch_norms(made)
    assert torch.equal(made.train()(features()), wanted)


@pytest.mark.parametrize("is_folded", [True, False])
def test_every_parameter_gets_a_gradient(is_folded) -> None:
    made = move_taps(block("batch")).train(not is_folded)
    made(features()).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad.isfinite().all() and (name == "conv.bias" or parameter.grad.abs().max() > 0), name


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("is_modulated", [True, False])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_half_precision_works_around_it(norm, is_modulated, is_training) -> None:
    made = move_taps(block(norm, is_modulated=is_modulated)).train(is_training)
    wanted = made(features())
    with torch.autocast("cpu", torch.bfloat16):
        found = made(features().bfloat16().requires_grad_())
    assert found.shape == wanted.shape
    assert (found - wanted).abs().mean() < 0.1 * wanted.abs().mean()
    found.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in made.parameters())


def test_memory_format_changes_nothing() -> None:
    made = move_taps(block("batch")).eval()
    channels_last = features().contiguous(memory_format=torch.channels_last)
    last = copy.deepcopy(made).to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(channels_last), made(features()))


def resnet(depth: int, deformable_from: int | None, deformable_every: int, **changes: Any) -> Backbone:
    fields = {"deformable_from": deformable_from, "deformable_every": deformable_every, **changes}
    return build_backbone(ResNetConfig(depth=depth, width=8, norm="batch", frozen_stages=0, **fields))


def deformable_places(network: Backbone) -> list[list[int]]:
    return [
        [index for index, one in enumerate(stage) if isinstance(one.conv2, DeformableConvNorm)]
        for stage in network.parts()[1:]
    ]


def test_deformable_blocks_sit_where_yolact_plus_has_them() -> None:
    assert deformable_places(resnet(50, 3, 1)) == [[], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 1, 2]]
    assert deformable_places(resnet(101, 3, 3)) == [[], [0, 3], [0, 3, 6, 9, 12, 15, 18, 21], [0]]
    assert deformable_places(resnet(50, None, 1)) == [[], [], [], []]


@pytest.mark.parametrize(
    ("changes", "channels", "has_bias"),
    [
        ({}, 27, True),  # YOLACT++
        ({"deformable_biases": False}, 27, False),  # detectron2, modulated
        ({"deformable_biases": False, "is_modulated": False}, 18, False),  # detectron2, plain
        ({"deformable_biases": False, "has_biases": True}, 27, True),
    ],
)
def test_each_lineage_has_its_offsets_and_biases(changes, channels, has_bias) -> None:
    conv2 = resnet(50, 3, 1, **changes).get_submodule("stages.1.0.conv2")
    assert conv2.offsets.out_channels == channels
    assert (conv2.conv.bias is not None) == has_bias


def test_a_network_with_resting_taps_gives_half_of_each_deformed_convolution() -> None:
    torch.manual_seed(0)
    with_taps, plain = resnet(50, 5, 1).eval(), resnet(50, None, 1).eval()
    weights = {name: value for name, value in with_taps.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(weights)
    for one in plain.parts()[-1]:
        assert isinstance(one, Bottleneck)
        one.conv2.conv.weight.data.mul_(0.5)
    pixels = torch.randn((1, 3, 64, 64))
    for found, wanted in zip(with_taps(pixels), plain(pixels), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
