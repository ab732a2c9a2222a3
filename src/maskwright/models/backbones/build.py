"""Compose a backbone from its table of a recipe."""

from __future__ import annotations

from maskwright.config.backbone import BackboneConfig, DarkNetConfig, ResNetConfig, TimmConfig
from maskwright.models.backbones.backbone import Backbone
from maskwright.models.backbones.darknet import DarkNet53
from maskwright.models.backbones.resnet import ResNet
from maskwright.models.backbones.timm_features import TimmFeatures


def build_backbone(config: BackboneConfig) -> Backbone:
    """The backbone, randomly initialised, its first stages frozen as the table says."""
    if isinstance(config, ResNetConfig):
        backbone = _resnet(config)
    elif isinstance(config, DarkNetConfig):
        backbone = _darknet(config)
    else:
        backbone = _timm(config)
    backbone.freeze(config.frozen_stages)
    return backbone


def _resnet(config: ResNetConfig) -> Backbone:
    return ResNet(
        depth=config.depth,
        width=config.width,
        norm=config.norm,
        norm_eps=config.norm_eps,
        stride_in_1x1=config.stride_in_1x1,
        deformable_from=config.deformable_from,
        deformable_every=config.deformable_every,
    )


def _darknet(config: DarkNetConfig) -> Backbone:
    return DarkNet53(width=config.width, norm=config.norm, norm_eps=config.norm_eps)


def _timm(config: TimmConfig) -> Backbone:
    return TimmFeatures(name=config.name)
