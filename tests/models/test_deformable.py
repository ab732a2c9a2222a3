"""Deformable convolutions: plain ones while no tap moves, and the same however they are computed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.errors import ConfigError
from maskwright.models.backbones.deformable import DeformableConvNorm
from maskwright.models.backbones.norms import freeze_batch_norms
from maskwright.models.backbones.resnet import Bottleneck, ResNet


def block(norm: str, stride: int = 1, kernel: int = 3) -> DeformableConvNorm:
    torch.manual_seed(0)
    made = DeformableConvNorm(6, 8, kernel, stride=stride, norm=norm, norm_eps=1e-5)
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


@pytest.mark.parametrize("norm", ["none", "batch", "frozen_batch", "group"])
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 1)])
def test_while_no_tap_moves_it_is_one_half_of_a_plain_convolution(norm, stride, kernel) -> None:
    made = block(norm, stride, kernel).eval()
    plain = 0.5 * F.conv2d(features(), made.conv.weight, None, stride, kernel // 2) + made.conv.bias[:, None, None]
    wanted = plain if made.norm is None else made.norm(plain)
    torch.testing.assert_close(made(features()), wanted, rtol=1e-4, atol=1e-4)


def test_a_fresh_block_moves_no_tap() -> None:
    fresh = DeformableConvNorm(6, 8, 3, norm="batch", norm_eps=1e-5)
    assert fresh.offsets(features()).abs().max() == 0
    assert fresh.conv.bias.abs().max() == 0


def test_taps_that_all_move_by_whole_pixels_shift_the_features() -> None:
    made = block("none").eval()
    with torch.no_grad():  # per tap (dy, dx), then weights before the sigmoid
        made.offsets.bias.copy_(torch.tensor([1.0, -2.0] * 9 + [100.0] * 9))
    moved = F.pad(features(), (3, -1, 0, 2))  # what lies one below and two to the left, with a pixel of border around
    wanted = F.conv2d(moved, made.conv.weight, made.conv.bias)
    torch.testing.assert_close(made(features()), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_folding_the_norm_changes_nothing(norm) -> None:
    made = move_taps(block(norm)).eval()
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
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_half_precision_works_around_it(norm, is_training) -> None:
    made = move_taps(block(norm)).train(is_training)
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


def deformable_places(network: ResNet) -> list[list[int]]:
    return [
        [place for place, one in enumerate(stage) if isinstance(one.conv2, DeformableConvNorm)]
        for stage in network.stages
    ]


def resnet(depth: int, deformable_from: int | None, deformable_every: int) -> ResNet:
    return ResNet(
        depth=depth,
        width=8,
        norm="batch",
        norm_eps=1e-5,
        stride_in_1x1=False,
        deformable_from=deformable_from,
        deformable_every=deformable_every,
    )


def test_deformable_blocks_sit_where_yolact_plus_has_them() -> None:
    assert deformable_places(resnet(50, 3, 1)) == [[], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 1, 2]]
    assert deformable_places(resnet(101, 3, 3)) == [[], [0, 3], [0, 3, 6, 9, 12, 15, 18, 21], [0]]
    assert deformable_places(resnet(50, None, 1)) == [[], [], [], []]


def test_a_network_with_resting_taps_gives_half_of_each_deformed_convolution() -> None:
    torch.manual_seed(0)
    with_taps, plain = resnet(50, 5, 1).eval(), resnet(50, None, 1).eval()
    weights = {name: value for name, value in with_taps.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(weights)
    for one in plain.stages[3]:
        assert isinstance(one, Bottleneck)
        one.conv2.conv.weight.data.mul_(0.5)
    pixels = torch.randn((1, 3, 64, 64))
    for found, wanted in zip(with_taps(pixels), plain(pixels), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_basic_blocks_cannot_be_deformable() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.deformable_from needs bottleneck blocks, which a ResNet-18"):
        resnet(18, 3, 1)
