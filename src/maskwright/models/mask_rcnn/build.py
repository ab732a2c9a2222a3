"""Compose the two-stage network from a recipe: the whole shape of the model on one screen."""

from __future__ import annotations

import torch

from maskwright.config.mask_rcnn import MaskRcnnRecipe
from maskwright.models.backbones.build import build_backbone
from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.mask_head import MaskHead
from maskwright.models.mask_rcnn.model import MaskRcnn, RoiPooling
from maskwright.models.mask_rcnn.rpn import Rpn, RpnHead
from maskwright.models.mask_rcnn.rules import BoxRegression, DetectionRule, MatchingRule, ProposalRule, SamplingRule
from maskwright.models.necks.fpn import Fpn, Subsampled
from maskwright.ops.anchors import cell_anchors
from maskwright.structures import Categories


def build_mask_rcnn(recipe: MaskRcnnRecipe) -> MaskRcnn:
    """The network of a resolved recipe, randomly initialised from torch's global generator."""
    categories = Categories.of([category.model_dump() for category in recipe.categories])
    backbone = build_backbone(recipe.backbone)
    fpn = Fpn(
        in_channels=backbone.channels,
        channels=recipe.fpn.channels,
        norm=recipe.fpn.norm,
        norm_eps=recipe.fpn.norm_eps,
        extra=Subsampled(),
    )
    return MaskRcnn(
        backbone=backbone,
        fpn=fpn,
        rpn=_rpn(recipe),
        box_head=_box_head(recipe, len(categories)),
        mask_head=_mask_head(recipe, len(categories)),
        pooling=RoiPooling(recipe.roi.canonical_px, recipe.roi.canonical_level, recipe.roi.samples),
        matching=MatchingRule(recipe.roi.positive_iou, recipe.roi.negative_iou, keeps_best_of_each_object=False),
        sampling=SamplingRule(recipe.roi.rois_per_image, recipe.roi.positive_share),
        train_proposals=_proposals(recipe, recipe.rpn.train_proposals_before_nms, recipe.rpn.train_proposals_after_nms),
        test_proposals=_proposals(recipe, recipe.rpn.test_proposals_before_nms, recipe.rpn.test_proposals_after_nms),
        detection=DetectionRule(
            recipe.detect.score_threshold,
            recipe.detect.nms_iou,
            recipe.detect.max_detections,
            recipe.detect.min_side_px,
        ),
        mask_threshold=recipe.mask_head.threshold,
        categories=categories,
    )


def _rpn(recipe: MaskRcnnRecipe) -> Rpn:
    anchors, rpn = recipe.anchors, recipe.rpn
    cells = torch.stack([cell_anchors(sizes, anchors.ratios, anchors.is_rounded) for sizes in anchors.sizes_px])
    return Rpn(
        head=RpnHead(channels=recipe.fpn.channels, num_convs=rpn.num_convs, anchors_per_cell=cells.shape[1]),
        cells=cells,
        matching=MatchingRule(rpn.positive_iou, rpn.negative_iou, keeps_best_of_each_object=True),
        sampling=SamplingRule(rpn.anchors_per_image, rpn.positive_share),
        regression=BoxRegression(rpn.box_weights, rpn.box_beta),
    )


def _proposals(recipe: MaskRcnnRecipe, before_nms: int, after_nms: int) -> ProposalRule:
    return ProposalRule(before_nms, after_nms, recipe.rpn.nms_iou, recipe.rpn.min_side_px)


def _box_head(recipe: MaskRcnnRecipe, num_classes: int) -> BoxHead:
    head = recipe.box_head
    return BoxHead(
        in_channels=recipe.fpn.channels,
        pool_px=head.pool_px,
        num_convs=head.num_convs,
        conv_channels=head.conv_channels,
        num_fcs=head.num_fcs,
        fc_channels=head.fc_channels,
        norm=head.norm,
        norm_eps=head.norm_eps,
        num_classes=num_classes,
        regression=BoxRegression(head.box_weights, head.box_beta),
    )


def _mask_head(recipe: MaskRcnnRecipe, num_classes: int) -> MaskHead:
    head = recipe.mask_head
    return MaskHead(
        in_channels=recipe.fpn.channels,
        pool_px=head.pool_px,
        num_convs=head.num_convs,
        channels=head.channels,
        norm=head.norm,
        norm_eps=head.norm_eps,
        num_classes=num_classes,
        rois_per_image=head.rois_per_image,
        target_samples=head.target_samples,
    )
