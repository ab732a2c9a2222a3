"""Compose the one-stage network from a recipe: the whole shape of the model on one screen."""

from __future__ import annotations

from maskwright.config.yolact import YolactRecipe
from maskwright.models.backbones.build import build_backbone
from maskwright.models.necks.fpn import Fpn, StridedConvolutions
from maskwright.models.yolact.model import AnchorRule, Yolact
from maskwright.models.yolact.prediction_head import PredictionHead
from maskwright.models.yolact.protonet import Protonet
from maskwright.models.yolact.rescoring import Rescoring
from maskwright.models.yolact.rules import DetectionRule, LossRule, MatchingRule
from maskwright.models.yolact.semantic_head import SemanticHead
from maskwright.structures import Categories


def build_yolact(recipe: YolactRecipe) -> Yolact:
    """The network of a resolved recipe, randomly initialised from torch's global generator."""
    categories = Categories.of([category.model_dump() for category in recipe.categories])
    backbone = build_backbone(recipe.backbone, in_channels=recipe.pixels.channels)
    channels, anchors = recipe.fpn.channels, recipe.anchors
    stages = backbone.channels[1:]
    return Yolact(
        backbone=backbone,
        fpn=Fpn(
            in_channels=stages,
            channels=channels,
            norm=recipe.fpn.norm,
            norm_eps=recipe.fpn.norm_eps,
            extra=StridedConvolutions(channels=channels, count=len(anchors.sizes_px) - len(stages)),
            upsampling="bilinear",
            has_relu=True,
        ),
        protonet=Protonet(
            in_channels=channels,
            channels=recipe.protonet.channels,
            num_convs=recipe.protonet.num_convs,
            num_prototypes=recipe.protonet.num_prototypes,
        ),
        head=PredictionHead(
            in_channels=channels,
            channels=recipe.head.channels,
            num_convs=recipe.head.num_convs,
            anchors_per_cell=len(anchors.sizes_px[0]) * len(anchors.ratios),
            num_classes=len(categories),
            num_prototypes=recipe.protonet.num_prototypes,
        ),
        semantic_head=SemanticHead(in_channels=channels, num_classes=len(categories)),
        rescoring=_rescoring(recipe, len(categories)),
        anchors=AnchorRule(anchors.sizes_px, anchors.ratios, anchors.is_square),
        matching=MatchingRule(**recipe.matching.model_dump()),
        learning=LossRule(**recipe.losses.model_dump()),
        detection=_detection(recipe),
        categories=categories,
    )


def _rescoring(recipe: YolactRecipe, num_classes: int) -> Rescoring | None:
    config = recipe.rescoring
    if not config.is_on:
        return None
    return Rescoring(channels=config.channels, num_classes=num_classes, min_area=config.min_area)


def _detection(recipe: YolactRecipe) -> DetectionRule:
    config = recipe.detect
    is_cut = config.nms != "cross_class" or config.cuts_cross_class
    return DetectionRule(
        score_threshold=config.score_threshold,
        nms=config.nms,
        nms_iou=config.nms_iou,
        candidates=config.candidates,
        max_detections=config.max_detections if is_cut else None,
        mask_threshold=config.mask_threshold,
    )
