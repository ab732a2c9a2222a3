"""Compose a backbone from its table of a recipe."""

from __future__ import annotations

from functools import partial

from torch import nn

from maskwright.config.backbone import BackboneConfig, DarkNetConfig, ResNetConfig, TimmConfig
from maskwright.errors import ConfigError
from maskwright.models.backbones.backbone import Backbone, freeze_part
from maskwright.models.backbones.darknet import DarkNet53
from maskwright.models.backbones.deformable import DeformableConvNorm
from maskwright.models.backbones.norms import ConvNorm
from maskwright.models.backbones.resnet import (
    EXPANSION,
    FIRST_BOTTLENECKS,
    NUM_BLOCKS,
    STEM_STRIDE_PX,
    BasicBlock,
    Bottleneck,
    ReluConvNorm,
    ResNet,
    SamePooling,
    initialise_convolutions,
)
from maskwright.models.backbones.timm_features import TimmFeatures

_RES5 = 5


def build_backbone(config: BackboneConfig, num_stages: int = 4, in_channels: int = 3) -> Backbone:
    """The backbone, randomly initialised, its first stages frozen as the table says.

    Args:
        config: its table.
        num_stages: how many of C2, C3, C4 and C5 it gives; a C4 model's RoIs take the last in their head.
        in_channels: of the images.

    Raises:
        ConfigError: the table's numbers do not go together, or a network other than a ResNet is to end early.
    """
    if isinstance(config, ResNetConfig):
        backbone = _resnet(config, num_stages, in_channels)
    elif num_stages != len(Backbone.strides_px):
        raise ConfigError(f"backbone.kind: only a resnet can end before C5, which a {config.kind} cannot; use resnet")
    elif isinstance(config, DarkNetConfig):
        backbone = _darknet(config, in_channels)
    else:
        backbone = _timm(config, in_channels)
    backbone.freeze(config.frozen_stages)
    return backbone


def build_res5(config: ResNetConfig) -> nn.Sequential:
    """Only the fifth stage, from the channels of C4 to `resnet_channels(config, 5)`: the RoIs' head of C4 models."""
    _refuse_unfitting(config)
    res5 = _stage(config, _RES5)
    initialise_convolutions(res5)
    if config.frozen_stages >= _RES5:
        freeze_part(res5)
    return res5


def resnet_channels(config: ResNetConfig, stage: int) -> int:
    """Channels that a ResNet's stage gives: 2 to 5 for res2 to res5, 1 for the stem."""
    if stage == 1:
        return config.stem_channels or config.width
    return _doubled(config.width, stage) * (EXPANSION if _has_bottlenecks(config) else 1)


def _resnet(config: ResNetConfig, num_stages: int, in_channels: int) -> Backbone:
    _refuse_unfitting(config)
    numbers = range(2, 2 + num_stages)
    strides_px, stride_px = [], STEM_STRIDE_PX
    for stage in numbers:
        stride_px *= _stride(config, stage)
        strides_px.append(stride_px)
    return ResNet(
        stem=_stem(config, in_channels),
        pooling=SamePooling() if config.stem_pool_padding == "end" else nn.MaxPool2d(3, stride=2, padding=1),
        stages=[_stage(config, stage) for stage in numbers],
        channels=[resnet_channels(config, stage) for stage in numbers],
        strides_px=strides_px,
    )


def _stem(config: ResNetConfig, in_channels: int) -> nn.Module:
    channels = resnet_channels(config, 1)
    convolution = partial(ReluConvNorm, norm=config.norm, norm_eps=config.norm_eps, has_bias=config.has_biases)
    if config.stem == "basic":
        return convolution(in_channels, channels, 7, stride=2)
    half = channels // 2
    return nn.Sequential(
        convolution(in_channels, half, 3, stride=2), convolution(half, half, 3), convolution(half, channels, 3)
    )


def _stage(config: ResNetConfig, stage: int) -> nn.Sequential:
    """The blocks of res2 to res5, by number."""
    convolution = partial(ConvNorm, norm=config.norm, norm_eps=config.norm_eps, has_bias=config.has_biases)
    in_channels, out_channels = resnet_channels(config, stage - 1), resnet_channels(config, stage)
    stride = _stride(config, stage)
    blocks = nn.Sequential()
    for index, dilation in enumerate(_dilations(config, stage)):
        if _has_bottlenecks(config):
            block: nn.Module = Bottleneck(
                in_channels,
                _doubled(config.groups * _channels_per_group(config), stage),
                out_channels,
                stride=stride,
                stride_in_1x1=config.stride_in_1x1,
                dilation=dilation,
                convolution=convolution,
                middle=partial(
                    _deformable(config) if _is_deformable(config, stage, index) else convolution, groups=config.groups
                ),
            )
        else:
            block = BasicBlock(in_channels, out_channels, stride=stride, dilation=dilation, convolution=convolution)
        blocks.append(block)
        in_channels, stride = out_channels, 1
    return blocks


def _has_bottlenecks(config: ResNetConfig) -> bool:
    return config.depth >= FIRST_BOTTLENECKS


def _doubled(channels: int, stage: int) -> int:
    """What res2 has as a later stage has it: twice the channels with every stage."""
    return channels << (stage - 2)


def _channels_per_group(config: ResNetConfig) -> int:
    return config.width_per_group or config.width // config.groups


def _dilation(config: ResNetConfig, stage: int) -> int:
    return {4: config.res4_dilation, _RES5: config.res5_dilation}.get(stage, 1)


def _stride(config: ResNetConfig, stage: int) -> int:
    """Of a stage's first block: none where the stem has done it, or where dilation takes its place."""
    return 1 if stage == 2 or _dilation(config, stage) > 1 else 2


def _dilations(config: ResNetConfig, stage: int) -> list[int]:
    """Of a stage's blocks, the first included, as in detectron2."""
    num_blocks = NUM_BLOCKS[config.depth][stage - 2]
    factors = config.res5_multi_grid if stage == _RES5 and config.res5_multi_grid else (1,) * num_blocks
    return [_dilation(config, stage) * factor for factor in factors]


def _is_deformable(config: ResNetConfig, stage: int, block: int) -> bool:
    start = config.deformable_from
    return start is not None and stage >= start and block % config.deformable_every == 0


def _deformable(config: ResNetConfig) -> partial[DeformableConvNorm]:
    return partial(
        DeformableConvNorm,
        is_modulated=config.is_modulated,
        norm=config.norm,
        norm_eps=config.norm_eps,
        has_bias=config.deformable_biases or config.has_biases,
    )


def _refuse_unfitting(config: ResNetConfig) -> None:
    if not _has_bottlenecks(config):
        _refuse_bottleneck_fields(config)
    if config.width_per_group is None and config.width % config.groups:
        raise ConfigError(
            f"backbone.groups: {config.width} channels do not divide into {config.groups} groups; "
            "set backbone.width_per_group"
        )
    if config.stem == "deep" and resnet_channels(config, 1) % 2:
        raise ConfigError("backbone.stem_channels must be even for a deep stem, whose first convolutions give half")


def _refuse_bottleneck_fields(config: ResNetConfig) -> None:
    fields = {
        "deformable_from": config.deformable_from is not None,
        "groups": config.groups > 1,
        "width_per_group": config.width_per_group is not None,
    }
    for field, is_set in fields.items():
        if is_set:
            raise ConfigError(
                f"backbone.{field} needs bottleneck blocks, which a ResNet-{config.depth} has not: use 50"
            )
    num_blocks = NUM_BLOCKS[config.depth][-1]
    if config.res5_multi_grid is not None and len(config.res5_multi_grid) != num_blocks:
        raise ConfigError(
            f"backbone.res5_multi_grid has {len(config.res5_multi_grid)} factors, but res5 of a "
            f"ResNet-{config.depth} has {num_blocks} blocks: use 50"
        )


def _darknet(config: DarkNetConfig, in_channels: int) -> Backbone:
    return DarkNet53(in_channels=in_channels, width=config.width, norm=config.norm, norm_eps=config.norm_eps)


def _timm(config: TimmConfig, in_channels: int) -> Backbone:
    return TimmFeatures(name=config.name, in_channels=in_channels)
