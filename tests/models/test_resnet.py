"""Our ResNets compute what torchvision's do, and what convolutions one after the other give where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.checkpoints.torchvision import from_torchvision
from maskwright.config.backbone import ResNetConfig
from maskwright.errors import ConfigError
from maskwright.models.backbones.build import build_backbone, build_res5, resnet_channels
from maskwright.models.backbones.resnet import ResNet, SamePooling

STAGES = ("layer1", "layer2", "layer3", "layer4")
GROUPED = {"groups": 4, "width_per_group": 4}
DEEP = {"stem": "deep", "stem_channels": 12}
EPS = 1e-3


def resnet(depth: int = 50, num_stages: int = 4, **fields: Any) -> ResNet:
    torch.manual_seed(depth)
    table = {"depth": depth, "width": 8, "norm": "batch", "norm_eps": EPS, "frozen_stages": 0, **fields}
    network = build_backbone(ResNetConfig(**table), num_stages).eval()
    assert isinstance(network, ResNet)
    return network


def as_if_trained(network: nn.Module) -> nn.Module:
    """With such statistics and biases as a trained network has, not 0 and 1, and with taps that move."""
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.8, 1.2)
        elif name.endswith(("norm.weight", "bn1.weight", "bn2.weight", "bn3.weight")):
            value.uniform_(0.3, 0.6)
        elif name.endswith(("bias", "running_mean", "offsets.weight")):
            value.normal_(std=0.1)
    return network


def assert_close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"])
def test_stages_equal_those_of_torchvision(name) -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        fields = {"groups": 32, "width_per_group": 4} if "x4d" in name else {}
        depth = int("".join(filter(str.isdigit, name.partition("_")[0])))
        ours = resnet(depth, width=64, norm_eps=1e-5, **fields)
    reference = as_if_trained(getattr(torchvision.models, name)(weights=None).eval())
    named = from_torchvision({f"backbone.body.{key}": value for key, value in reference.state_dict().items()})
    weights = {key.removeprefix("backbone."): value for key, value in named.items() if ".body.fc." not in key}
    ours.load_state_dict(weights, assign=True)
    pixels = torch.randn((1, 3, 40, 56))
    with torch.inference_mode():
        wanted = reference.maxpool(reference.relu(reference.bn1(reference.conv1(pixels))))
        for stage, found in zip(STAGES, ours(pixels), strict=True):
            wanted = getattr(reference, stage)(wanted)
            assert_close(found, wanted)


class Oracle:
    """Bottlenecks computed with nothing but plain convolutions: the taps of a dilated kernel stand apart, groups are
    convolutions of their own, and norms and biases follow as steps.
    """

    def __init__(self, network: nn.Module, *, groups: int = 1, stride_in_1x1: bool = False) -> None:
        self.weights, self.groups, self.stride_in_1x1 = network.state_dict(), groups, stride_in_1x1

    def conv_norm(self, name: str, features: Tensor, stride: int = 1, dilation: int = 1, groups: int = 1) -> Tensor:
        weight = self.weights[f"{name}.conv.weight"]
        if f"{name}.offsets.weight" in self.weights:
            result = self.deformed(name, features, stride, dilation)
        else:
            kernel = weight.new_zeros((*weight.shape[:2], *[dilation * (weight.shape[-1] - 1) + 1] * 2))
            kernel[..., ::dilation, ::dilation] = weight
            pairs = zip(features.chunk(groups, 1), kernel.chunk(groups, 0), strict=True)
            parts = [F.conv2d(part, taps, stride=stride, padding=kernel.shape[-1] // 2) for part, taps in pairs]
            result = torch.cat(parts, 1)
        bias = self.weights.get(f"{name}.conv.bias")
        return self.norm(f"{name}.norm", result if bias is None else result + bias[:, None, None])

    def deformed(self, name: str, features: Tensor, stride: int, dilation: int) -> Tensor:
        weight, offsets = self.weights[f"{name}.conv.weight"], self.weights[f"{name}.offsets.weight"]
        settings = {"stride": stride, "padding": dilation, "dilation": dilation}
        given = F.conv2d(features, offsets, self.weights[f"{name}.offsets.bias"], **settings)
        mask = given[:, 18:].sigmoid() if given.shape[1] == 27 else None
        return torchvision.ops.deform_conv2d(features, given[:, :18], weight, mask=mask, **settings)

    def norm(self, name: str, features: Tensor) -> Tensor:
        weight, bias = (self.weights[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        if f"{name}.running_mean" in self.weights:
            mean, variance = (self.weights[f"{name}.running_{part}"][:, None, None] for part in ("mean", "var"))
        else:
            grouped = features.unflatten(1, (min(32, len(weight) // 2), -1))
            variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
            variance, mean = (value.expand_as(grouped).flatten(1, 2) for value in (variance, mean))
        return (features - mean) / (variance + EPS).sqrt() * weight + bias

    def stem(self, pixels: Tensor) -> Tensor:
        if "stem.conv.weight" in self.weights:
            features = self.conv_norm("stem", pixels, 2).relu()
        else:
            features = self.conv_norm("stem.0", pixels, 2).relu()
            features = self.conv_norm("stem.1", features).relu()
            features = self.conv_norm("stem.2", features).relu()
        return F.max_pool2d(features, 3, stride=2, padding=1)

    def stage(self, name: str, features: Tensor, stride: int, dilations: Sequence[int]) -> Tensor:
        for index, dilation in enumerate(dilations):
            block, step = f"{name}{index}", stride if index == 0 else 1
            first, second = (step, 1) if self.stride_in_1x1 else (1, step)
            residual = self.conv_norm(f"{block}.conv1", features, first).relu()
            residual = self.conv_norm(f"{block}.conv2", residual, second, dilation, self.groups).relu()
            residual = self.conv_norm(f"{block}.conv3", residual)
            shortcut = features if index else self.conv_norm(f"{block}.shortcut", features, step)
            features = (residual + shortcut).relu()
        return features

    def stages(self, pixels: Tensor, strides: Sequence[int], dilations: Sequence[Sequence[int]]) -> list[Tensor]:
        found = [self.stem(pixels)]
        for index, (stride, per_block) in enumerate(zip(strides, dilations, strict=True)):
            found.append(self.stage(f"stages.{index}.", found[-1], stride, per_block))
        return found[1:]


PLAIN, OS16, OS8 = (1, 2, 2, 2), (1, 2, 2, 1), (1, 2, 1, 1)  # strides of the stages
DILATED_RES5 = {"res5_dilation": 2}
DILATED_BOTH = {"res4_dilation": 2, "res5_dilation": 4}


# fields, strides of the stages, dilations of the blocks of res4 and of res5, where they begin the table anew
@pytest.mark.parametrize("stride_in_1x1", [True, False])
@pytest.mark.parametrize(
    ("fields", "strides", "res4", "res5"),
    [
        ({}, PLAIN, 1, (1, 1, 1)),
        ({"norm": "frozen_batch", "has_biases": True}, PLAIN, 1, (1, 1, 1)),
        ({"norm": "group", "has_biases": True, **DILATED_RES5}, OS16, 1, (2, 2, 2)),
        ({**DEEP, **DILATED_RES5, "res5_multi_grid": (1, 2, 4)}, OS16, 1, (2, 4, 8)),
        ({**DEEP, **DILATED_BOTH, "norm": "group", "res5_multi_grid": (1, 2, 1)}, OS8, 2, (4, 8, 4)),
        ({"stem_channels": 6, **GROUPED, **DILATED_BOTH}, OS8, 2, (4, 4, 4)),
        ({"groups": 2, "res5_multi_grid": (3, 1, 2)}, PLAIN, 1, (3, 1, 2)),
        ({"deformable_from": 3, "is_modulated": False, "deformable_biases": False}, PLAIN, 1, (1, 1, 1)),
        ({"deformable_from": 4, "deformable_every": 2, **GROUPED, **DILATED_RES5}, OS16, 1, (2, 2, 2)),
        ({"deformable_from": 5, "is_modulated": False, "has_biases": True, **DILATED_BOTH}, OS8, 2, (4, 4, 4)),
    ],
)
def test_stages_are_plain_convolutions_one_after_the_other(fields, strides, res4, res5, stride_in_1x1) -> None:
    network = as_if_trained(resnet(stride_in_1x1=stride_in_1x1, **fields))
    oracle = Oracle(network, groups=fields.get("groups", 1), stride_in_1x1=stride_in_1x1)
    pixels = torch.randn((2, 3, 67, 50))
    with torch.inference_mode():
        wanted = oracle.stages(pixels, strides, [(1,) * 3, (1,) * 4, (res4,) * 6, res5])
        for found, one in zip(network(pixels), wanted, strict=True):
            assert_close(found, one)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stride_in_1x1", [True, False])
@pytest.mark.parametrize(
    ("fields", "strides_px"),
    [
        ({}, (4, 8, 16, 32)),
        (DILATED_RES5, (4, 8, 16, 16)),
        (DILATED_BOTH, (4, 8, 8, 8)),
        ({**DEEP, "stem_pool_padding": "end", "has_biases": True}, (4, 8, 16, 32)),
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (65, 47), (70, 33)])
def test_stages_have_the_channels_and_strides_they_say(depth, stride_in_1x1, fields, strides_px, size) -> None:
    network = resnet(depth, stride_in_1x1=stride_in_1x1, **fields)
    assert network.strides_px == strides_px
    with torch.inference_mode():
        stages = network(torch.zeros((1, 3, *size)))
    assert [tuple(stage.shape) for stage in stages] == [
        (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(network.channels, strides_px, strict=True)
    ]


def test_resnext_101_has_the_channels_of_its_paper() -> None:
    with torch.device("meta"):
        network = resnet(101, width=64, groups=32, width_per_group=8)
    assert network.channels == (256, 512, 1024, 2048)
    assert [stage[0].conv1.conv.out_channels for stage in network.stages] == [256, 512, 1024, 2048]
    assert [tuple(stage[1].conv2.conv.weight.shape) for stage in network.stages] == [
        (256, 8, 3, 3), (512, 16, 3, 3), (1024, 32, 3, 3), (2048, 64, 3, 3)
    ]  # fmt: skip


def test_stride_of_caffe_models_sits_in_the_first_convolution() -> None:
    block = resnet(50, stride_in_1x1=True).stages[1][0]
    assert (block.conv1.conv.stride, block.conv2.conv.stride) == ((2, 2), (1, 1))


@pytest.mark.parametrize("num_stages", range(6))
@pytest.mark.parametrize("fields", [{"depth": 18}, DEEP])
def test_freezing_keeps_stages_fixed_from_the_stem_on(num_stages, fields) -> None:
    network = resnet(**fields)
    network.freeze(num_stages)
    is_trained = [
        all(parameter.requires_grad for parameter in part.parameters()) for part in (network.stem, *network.stages)
    ]
    assert is_trained == [False] * num_stages + [True] * (5 - num_stages)


@pytest.mark.parametrize("fields", [{}, {**GROUPED, "stride_in_1x1": True}, {"depth": 18}, {"has_biases": True}])
def test_a_network_that_ends_at_c4_and_its_fifth_stage_are_the_whole_network(fields) -> None:
    whole, first = as_if_trained(resnet(**fields)), resnet(num_stages=3, **fields)
    assert (first.channels, first.strides_px) == (whole.channels[:3], (4, 8, 16))
    weights = whole.state_dict()
    first.load_state_dict({name: value for name, value in weights.items() if not name.startswith("stages.3.")})
    config = ResNetConfig(**{"depth": 50, "width": 8, "norm": "batch", "norm_eps": EPS, **fields})
    res5 = build_res5(config).eval()
    res5.load_state_dict(whole.stages[3].state_dict())
    assert resnet_channels(config, 5) == whole.channels[3]
    pixels = torch.randn((1, 3, 64, 96))
    with torch.inference_mode():
        stages = first(pixels)
        for found, wanted in zip([*stages, res5(stages[-1])], whole(pixels), strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("frozen_stages", [4, 5])
def test_a_fifth_stage_alone_is_frozen_as_the_fifth(frozen_stages) -> None:
    res5 = build_res5(ResNetConfig(width=8, norm="batch", frozen_stages=frozen_stages)).train()
    assert all(parameter.requires_grad == (frozen_stages < 5) for parameter in res5.parameters())
    assert res5[0].conv1.norm.training == (frozen_stages < 5)


def test_a_fifth_stage_alone_is_initialised_as_in_the_network() -> None:
    res5, whole = build_res5(ResNetConfig(width=16, has_biases=True)), resnet(width=16, has_biases=True)
    for name, value in res5.named_parameters():
        wanted = whole.stages[3].get_parameter(name)
        assert (value.std() - wanted.std()).abs() < 0.1 * wanted.std() or (name.endswith("bias") and not value.any())


@given(height=st.integers(1, 12), width=st.integers(1, 12))
def test_pooling_of_keras_pads_right_and_below_to_full_windows(height, width) -> None:
    features = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(height + 13 * width))
    missing = [max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in (width, height)]  # TensorFlow's "SAME"
    padding = [pixels for total in missing for pixels in (total // 2, total - total // 2)]
    assert torch.equal(SamePooling()(features), F.max_pool2d(F.pad(features, padding), 3, stride=2))


def test_pooling_of_an_even_side_adds_nothing_before_it() -> None:
    row = torch.tensor([[[[5.0, 1, 2, 3, 4, 6]]]])
    assert SamePooling()(row).tolist() == [[[[5.0, 4, 6]]]]
    assert F.max_pool2d(row, 3, stride=2, padding=1).tolist() == [[[[5.0, 3, 6]]]]


def test_biases_stand_beside_every_norm_and_start_at_zero() -> None:
    names = {name for name, _ in resnet(has_biases=True).named_parameters()}
    without = {name for name, _ in resnet().named_parameters()}
    convolutions = {name for name in without if name.endswith("conv.weight")}
    assert names - without == {name.replace("weight", "bias") for name in convolutions}
    fresh = resnet(has_biases=True).state_dict()
    assert not any(value.any() for name, value in fresh.items() if name.endswith("conv.bias"))


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "frozen_batch", "has_biases": True},
        {"norm": "group", "width": 32, **DILATED_BOTH},  # in groups of two channels the noise would grow
        {"norm": "frozen_batch", "deformable_from": 3, "is_modulated": False, "deformable_biases": False, **GROUPED},
    ],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_half_precision_gives_nearly_the_same(fields, is_training) -> None:
    network = as_if_trained(resnet(**fields)).train(is_training)
    pixels = torch.randn((1, 3, 64, 64))
    wanted = network(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(pixels)
    for half, full in zip(found, wanted, strict=True):
        assert (half.float() - full).abs().mean() < 0.1 * full.abs().mean()
    torch.stack([stage.float().sum() for stage in found]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 18, "deformable_from": 3}, r"deformable_from needs bottleneck blocks, which a ResNet-18 has not"),
        ({"depth": 34, "groups": 2}, r"groups needs bottleneck blocks, which a ResNet-34 has not"),
        ({"depth": 18, "width_per_group": 4}, r"width_per_group needs bottleneck blocks"),
        ({"depth": 18, "res5_multi_grid": (1, 2, 4)}, r"res5_multi_grid has 3 factors, but res5 of a .* 2 blocks"),
        ({"groups": 3}, r"groups: 8 channels do not divide into 3 groups; set backbone\.width_per_group"),
        ({"stem": "deep", "stem_channels": 5}, r"stem_channels must be even"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(fields, message) -> None:
    with pytest.raises(ConfigError, match=rf"backbone\.{message}"):
        resnet(**fields)
    with pytest.raises(ConfigError, match=rf"backbone\.{message}"):
        build_res5(ResNetConfig(**{"width": 8, **fields}))
