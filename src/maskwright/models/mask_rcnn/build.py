"""Compose the two-stage network from a recipe: the whole shape of the model on one screen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from maskwright.config.backbone import ResNetConfig
from maskwright.config.mask_rcnn import MaskRcnnRecipe
from maskwright.config.rpn import BoxWeights
from maskwright.models.backbones.backbone import Backbone
from maskwright.models.backbones.build import build_backbone, build_res5
from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.box_stages import BoxStages
from maskwright.models.mask_rcnn.keypoint_head import KeypointHead
from maskwright.models.mask_rcnn.mask_head import Competition, FcnMaskHead, MaskPasting, MaskRule, MlpMaskHead
from maskwright.models.mask_rcnn.mask_targets import MaskTargets
from maskwright.models.mask_rcnn.model import MaskRcnn, RoiRule
from maskwright.models.mask_rcnn.point_head import PointMaskHead, PointRule
from maskwright.models.mask_rcnn.roi_features import PoolingRule
from maskwright.models.mask_rcnn.roi_head import RoiHead
from maskwright.models.mask_rcnn.rpn import Rpn, RpnHead
from maskwright.models.mask_rcnn.rules import BoxRegression, DetectionRule, MatchingRule, ProposalRule, SamplingRule
from maskwright.models.mask_rcnn.semantic_fpn import SemanticFpn
from maskwright.models.mask_rcnn.semantic_head import SemanticHead
from maskwright.models.necks.fpn import Fpn, Subsampled
from maskwright.models.necks.single_level import ConvolvedStage, LastStage
from maskwright.ops.anchors import cell_anchors
from maskwright.ops.nms import SUPPRESSIONS
from maskwright.structures import Categories
from maskwright.structures.semantic_map import PanopticRule

Neck = Fpn | LastStage | ConvolvedStage


def build_mask_rcnn(recipe: MaskRcnnRecipe) -> MaskRcnn | SemanticFpn:
    """The network of a resolved recipe, randomly initialised from torch's global generator."""
    num_stages = 3 if recipe.neck == "c4" else 4
    backbone = build_backbone(recipe.backbone, num_stages, recipe.pixels.channels)
    neck = _neck(recipe, backbone)
    return _mask_rcnn(recipe, backbone, neck) if recipe.rpn.is_on else _semantic_fpn(recipe, backbone, neck)


def _semantic_fpn(recipe: MaskRcnnRecipe, backbone: Backbone, neck: Neck) -> SemanticFpn:
    return SemanticFpn(
        backbone=backbone,
        fpn=neck,
        semantic_head=_semantic_head(recipe, neck.channels, backbone.strides_px),
        categories=_categories(recipe),
    )


def _mask_rcnn(recipe: MaskRcnnRecipe, backbone: Backbone, neck: Neck) -> MaskRcnn:
    categories = _categories(recipe)
    strides_px = backbone.strides_px if recipe.neck == "fpn" else backbone.strides_px[-1:]
    shared = _res5(recipe)
    in_channels = neck.channels if shared is None else 2 * neck.channels  # every stage of a ResNet doubles them
    num_classes = len(categories)
    return MaskRcnn(
        backbone=backbone,
        fpn=neck,
        strides_px=strides_px,
        rpn=_rpn(recipe, neck.channels, strides_px),
        shared=shared,
        boxes=_boxes(recipe, in_channels, num_classes),
        heads={
            name: build(recipe, in_channels, num_classes)
            for name, build in _ROI_HEADS.items()
            if name in recipe.roi_heads
        },
        semantic_head=_semantic_head(recipe, neck.channels, strides_px) if recipe.semantic_head.is_on else None,
        roi=_roi(recipe),
        train_proposals=_proposals(recipe, recipe.rpn.train_proposals_before_nms, recipe.rpn.train_proposals_after_nms),
        test_proposals=_proposals(recipe, recipe.rpn.test_proposals_before_nms, recipe.rpn.test_proposals_after_nms),
        detection=_detection(recipe),
        categories=categories,
    )


def _categories(recipe: MaskRcnnRecipe) -> Categories:
    return Categories.of([category.model_dump() for category in recipe.categories])


def _neck(recipe: MaskRcnnRecipe, backbone: Backbone) -> Neck:
    if recipe.neck == "fpn":
        return Fpn(
            in_channels=backbone.channels,
            channels=recipe.fpn.channels,
            norm=recipe.fpn.norm,
            norm_eps=recipe.fpn.norm_eps,
            extra=Subsampled(),
        )
    if recipe.neck == "c5_conv":
        return ConvolvedStage(in_channels=backbone.channels[-1], channels=recipe.fpn.channels)
    return LastStage(channels=backbone.channels[-1])


def _res5(recipe: MaskRcnnRecipe) -> nn.Module | None:
    """The fifth stage, which a C4 model runs on every RoI (Mask R-CNN, fig. 4 left)."""
    if recipe.neck != "c4":
        return None
    assert isinstance(recipe.backbone, ResNetConfig)  # checked by the recipe
    return build_res5(recipe.backbone)


def _rpn(recipe: MaskRcnnRecipe, in_channels: int, strides_px: tuple[int, ...]) -> Rpn:
    anchors, rpn = recipe.anchors, recipe.rpn
    cells = [cell_anchors(sizes, anchors.ratios, anchors.is_rounded, anchors.inner) for sizes in anchors.sizes_px]
    all_strides = (*strides_px, 2 * strides_px[-1]) if recipe.neck == "fpn" else strides_px
    return Rpn(
        head=RpnHead(
            in_channels=in_channels,
            channels=rpn.channels or in_channels,
            num_convs=rpn.num_convs,
            anchors_per_cell=len(cells[0]),
            is_softmax=rpn.is_softmax,
        ),
        cells=torch.stack(cells),
        strides_px=all_strides if anchors.spacing == "nominal" else None,
        matching=MatchingRule(
            rpn.positive_iou,
            rpn.negative_iou,
            rpn.crowd_iou,
            keeps_best_of_each_object=True,
            keeps_equals=rpn.keeps_equals,
        ),
        sampling=SamplingRule(rpn.anchors_per_image, rpn.positive_share),
        regression=BoxRegression(rpn.box_weights, rpn.box_beta),
        normalizer=rpn.normalizer,
    )


def _proposals(recipe: MaskRcnnRecipe, before_nms: int, after_nms: int) -> ProposalRule:
    rpn = recipe.rpn
    return ProposalRule(
        before_nms=before_nms,
        after_nms=after_nms,
        nms_iou=rpn.nms_iou,
        min_side_px=rpn.min_side_px,
        levels_apart=not rpn.ranks_levels_together,
        clips_to_input=rpn.clips_to_input,
        suppress=SUPPRESSIONS[recipe.suppression],
    )


def _roi(recipe: MaskRcnnRecipe) -> RoiRule:
    roi = recipe.roi
    return RoiRule(
        pooling=PoolingRule(
            roi.canonical_px, roi.canonical_level, roi.level_rounding, roi.pooling, roi.samples, roi.is_aligned
        ),
        matching=_roi_matching(recipe, roi.positive_iou, roi.negative_iou),
        sampling=SamplingRule(roi.rois_per_image, roi.positive_share, roi.balances_negatives),
        adds_true_boxes=roi.adds_true_boxes,
    )


def _roi_matching(recipe: MaskRcnnRecipe, positive_iou: float, negative_iou: float) -> MatchingRule:
    return MatchingRule(positive_iou, negative_iou, recipe.roi.crowd_iou, keeps_best_of_each_object=False)


def _detection(recipe: MaskRcnnRecipe) -> DetectionRule:
    detect = recipe.detect
    return DetectionRule(
        score_threshold=detect.score_threshold,
        nms_iou=detect.nms_iou,
        max_detections=detect.max_detections,
        max_per_class=detect.max_per_class,
        min_side_px=detect.min_side_px,
        best_class_only=detect.best_class_only,
        rounds_boxes=detect.rounds_boxes,
        suppress=SUPPRESSIONS[recipe.suppression],
    )


def _box_head(recipe: MaskRcnnRecipe, in_channels: int, num_classes: int, weights: BoxWeights) -> BoxHead:
    head = recipe.box_head
    return BoxHead(
        in_channels=in_channels,
        cells_px=head.pool_px,
        num_convs=head.num_convs,
        conv_channels=head.conv_channels,
        norm=head.norm,
        num_fcs=head.num_fcs,
        fc_channels=head.fc_channels,
        fc_norm=head.fc_norm,
        norm_eps=head.norm_eps,
        has_biases=head.has_biases,
        num_classes=num_classes,
        is_class_agnostic=head.is_class_agnostic,
        regression=BoxRegression(weights, head.box_beta),
        normalizer=head.box_normalizer,
    )


def _boxes(recipe: MaskRcnnRecipe, in_channels: int, num_classes: int) -> BoxStages:
    stages = list(zip(recipe.cascade.ious, recipe.cascade.box_weights, strict=True)) if recipe.cascade.is_on else []
    return BoxStages(
        first=_box_head(recipe, in_channels, num_classes, recipe.box_head.box_weights),
        further=nn.ModuleList(_box_head(recipe, in_channels, num_classes, weights) for _, weights in stages),
        matchings=tuple(_roi_matching(recipe, iou, iou) for iou, _ in stages),
        pool_px=recipe.box_head.pool_px,
        refines_for_heads=recipe.roi.refines_for_heads,
    )


def _mask_head(recipe: MaskRcnnRecipe, in_channels: int, num_classes: int) -> RoiHead:
    head = recipe.mask_head
    competition: Competition = "agnostic" if head.is_class_agnostic else "softmax" if head.is_softmax else "per_class"
    rule = MaskRule(
        pool_px=head.pool_px,
        mask_px=recipe.mask_px,
        num_classes=num_classes,
        competition=competition,
        targets=MaskTargets(head.targets, head.target_samples, head.mini_mask_px, head.stretches_range),
        rois_per_image=head.rois_per_image,
        pasting=MaskPasting(head.pasting, head.stretches_range, head.threshold),
    )
    return _MASK_HEADS[head.kind](recipe, in_channels, rule)


def _fcn_mask_head(recipe: MaskRcnnRecipe, in_channels: int, rule: MaskRule) -> FcnMaskHead:
    head = recipe.mask_head
    return FcnMaskHead(
        in_channels=in_channels,
        num_convs=head.num_convs,
        width=head.channels,
        norm=head.norm,
        norm_eps=head.norm_eps,
        has_biases=head.has_biases,
        rule=rule,
    )


def _mlp_mask_head(recipe: MaskRcnnRecipe, in_channels: int, rule: MaskRule) -> MlpMaskHead:
    return MlpMaskHead(
        in_channels=in_channels, cells_px=recipe.mask_px // 2, width=recipe.box_head.fc_channels, rule=rule
    )


def _point_mask_head(recipe: MaskRcnnRecipe, in_channels: int, rule: MaskRule) -> PointMaskHead:
    table = recipe.mask_head.points
    return PointMaskHead(
        in_channels=in_channels,
        width=recipe.mask_head.channels,
        coarse_px=table.coarse_px,
        num_coarse_fcs=table.num_coarse_fcs,
        coarse_fc_channels=table.coarse_fc_channels,
        num_fcs=table.num_fcs,
        fc_channels=table.fc_channels,
        rule=rule,
        points=PointRule(
            table.points_per_roi, table.oversampling, table.uncertain_share, table.subdivisions, table.points_per_step
        ),
    )


_MASK_HEADS: dict[str, Callable[[MaskRcnnRecipe, int, MaskRule], RoiHead]] = {
    "fcn": _fcn_mask_head,
    "mlp": _mlp_mask_head,
    "point": _point_mask_head,
}


def _keypoint_head(recipe: MaskRcnnRecipe, in_channels: int, _: int) -> KeypointHead:
    head, roi = recipe.keypoint_head, recipe.roi
    return KeypointHead(
        in_channels=in_channels,
        pool_px=head.pool_px,
        num_convs=head.num_convs,
        channels=head.channels,
        num_keypoints=len(head.names),
        score=head.score,
        planned_rois=roi.rois_per_image * roi.positive_share if head.normalizer == "possible_keypoints" else None,
    )


# from a recipe, the channels of pooled features and the number of classes to the head whose table and whose weights
# have this name; losses come in this order
_ROI_HEADS: dict[str, Callable[[MaskRcnnRecipe, int, int], RoiHead]] = {
    "mask_head": _mask_head,
    "keypoint_head": _keypoint_head,
}


def _semantic_head(recipe: MaskRcnnRecipe, in_channels: int, strides_px: tuple[int, ...]) -> SemanticHead:
    head, panoptic = recipe.semantic_head, recipe.panoptic
    return SemanticHead(
        in_channels=in_channels,
        strides_px=strides_px,
        channels=head.channels,
        norm=head.norm,
        norm_eps=head.norm_eps,
        stuff=Categories.of([category.model_dump() for category in head.categories]),
        has_things=head.has_things,
        rule=PanopticRule(panoptic.score_threshold, panoptic.overlap_share, panoptic.min_stuff_px),
        loss_weight=head.loss_weight,
    )
