"""Mask R-CNN (He et al. 2017): propose, classify and refine, segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskwright.models.backbones.backbone import Backbone
from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.box_stages import Cascade
from maskwright.models.mask_rcnn.detections import Selected, select
from maskwright.models.mask_rcnn.keypoint_head import KeypointHead
from maskwright.models.mask_rcnn.mask_head import MaskHead
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample, sample_rois
from maskwright.models.mask_rcnn.roi_features import PoolingRule, RoiFeatures
from maskwright.models.mask_rcnn.rpn import Rpn
from maskwright.models.mask_rcnn.rules import DetectionRule, MatchingRule, ProposalRule, SamplingRule
from maskwright.models.mask_rcnn.semantic_head import SemanticHead
from maskwright.models.segmenter import Segmenter
from maskwright.ops.losses import LossSum
from maskwright.structures import Categories, ImageBatch, Instances, Masks, RoiMasks, SemanticMap, Targets
from maskwright.structures.roi_masks import Pasting


@dataclass(frozen=True)
class RoiRule:
    """How the second stage takes its RoIs: pooling, matching, sampling, and the side that box heads pool to."""

    pooling: PoolingRule
    matching: MatchingRule
    sampling: SamplingRule
    adds_true_boxes: bool
    box_pool_px: int


@dataclass(frozen=True)
class MaskPasting:
    """How masks come onto the image; see `structures.masks.RoiMasks`."""

    manner: Pasting
    stretches_range: bool
    threshold: float


class MaskRcnn(Segmenter):
    """The whole two-stage network. `losses` trains it, `detect` uses it; coordinates are those of the network input.

    Args:
        backbone: pixels to stages.
        fpn: stages to the feature maps of both stages; a pyramid, or a single map.
        strides_px: of the maps that RoIs are pooled from.
        rpn: maps to proposals.
        shared: layers between pooling and all heads (res5 of C4 models).
        box_head: RoIs to classes and boxes.
        cascade: further box heads, or none.
        mask_head: RoIs to masks; None: no masks.
        keypoint_head: RoIs to keypoints; None: no keypoints.
        semantic_head: maps to a class for every pixel; None: none.
        roi: how the second stage takes its RoIs.
        train_proposals: from scored anchors to proposals, in training.
        test_proposals: the same in testing.
        detection: from classified RoIs to detections.
        pasting: from RoI masks to masks of the image.
        categories: names and ids of the classes.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        fpn: nn.Module,
        strides_px: Sequence[int],
        rpn: Rpn,
        shared: nn.Module | None,
        box_head: BoxHead,
        cascade: Cascade,
        mask_head: MaskHead | None,
        keypoint_head: KeypointHead | None,
        semantic_head: SemanticHead | None,
        roi: RoiRule,
        train_proposals: ProposalRule,
        test_proposals: ProposalRule,
        detection: DetectionRule,
        pasting: MaskPasting,
        categories: Categories,
    ) -> None:
        super().__init__()
        self.backbone, self.fpn, self.rpn, self.res5 = backbone, fpn, rpn, shared
        self.box_head, self.cascade, self.mask_head = box_head, cascade, mask_head
        self.keypoint_head, self.semantic_head = keypoint_head, semantic_head
        self.strides_px, self.roi, self.pasting = tuple(strides_px), roi, pasting
        self.train_proposals, self.test_proposals, self.detection = train_proposals, test_proposals, detection
        self.categories = categories

    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        """The losses of a batch: rpn_objectness, rpn_box, class, box (Mask R-CNN, section 3), and those of its heads.

        Args:
            batch: B images.
            targets: their objects in pixels of the images at network size; crowds are no objects to be found.
        """
        truth = [TrueObjects.of(target) for target in _in_input(targets, batch)]
        levels = self.encode(batch)
        output = self.rpn(levels, batch)
        samples = sample_rois(
            self.rpn.propose(output, batch, self.train_proposals),
            truth,
            batch.keys,
            matching=self.roi.matching,
            sampling=self.roi.sampling,
            adds_true_boxes=self.roi.adds_true_boxes,
            num_classes=self.box_head.num_classes,
        )
        features = self._features(levels)
        return {
            **self.rpn.losses(output, truth, batch.keys),
            **self.cascade.losses(self.box_head, features, samples, truth, batch.windows, self.roi.box_pool_px),
            **self._mask_losses(features, samples, truth, batch.keys),
            **self._keypoint_losses(features, samples, truth),
            **self._semantic_losses(levels, targets),
        }

    def detect(
        self, batch: ImageBatch, score_threshold: float | None = None, max_detections: int | None = None
    ) -> list[Instances]:
        """Boxes first; masks and keypoints only on the detections that remain (Mask R-CNN, section 3.1, inference).

        Args:
            batch: B images.
            score_threshold: instead of the recipe's.
            max_detections: per image, instead of the recipe's.

        Returns:
            The instances of each image, in pixels of the image at network size.
        """
        levels = self.encode(batch)
        return self.complete(levels, batch, self.find(levels, batch, score_threshold, max_detections))

    def encode(self, batch: ImageBatch) -> list[Tensor]:
        """The feature maps of a batch, which `find` and `complete` work on."""
        levels: list[Tensor] = self.fpn(self.backbone(batch.pixels.contiguous(memory_format=torch.channels_last)))
        return levels

    def find(
        self,
        levels: Sequence[Tensor],
        batch: ImageBatch,
        score_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> list[Selected]:
        """The boxes of a batch; arguments as for `detect`."""
        rule = self.detection.changed(score_threshold, max_detections)
        features = self._features(levels)
        proposals = self.rpn.propose(self.rpn(levels, batch), batch, self.test_proposals)
        classified = self.cascade.classify(self.box_head, features, proposals, batch.windows, self.roi.box_pool_px)
        last = self.cascade.last(self.box_head)
        return [select(image, last, window, rule) for image, window in zip(classified, batch.windows, strict=True)]

    def complete(self, levels: Sequence[Tensor], batch: ImageBatch, selected: Sequence[Selected]) -> list[Instances]:
        """Masks, keypoints and semantic maps for boxes that `find` or anybody else found in each image."""
        features = self._features(levels)
        boxes = [found.boxes - shift for found, shift in zip(selected, batch.shifts, strict=True)]
        columns = zip(
            batch.sizes,
            boxes,
            selected,
            self.segment(levels, batch, selected),
            self._keypoints(features, selected, boxes),
            self._semantic(levels, batch),
            strict=True,
        )
        return [
            Instances(
                size=size,
                boxes=image_boxes,
                labels=found.labels,
                scores=found.scores,
                masks=masks,
                categories=self.categories,
                keypoints=keypoints,
                semantic=semantic,
            )
            for size, image_boxes, found, masks, keypoints, semantic in columns
        ]

    def segment(
        self, levels: Sequence[Tensor], batch: ImageBatch, selected: Sequence[Selected]
    ) -> Sequence[Masks | None]:
        """The masks of such boxes alone; None of a model without a mask head."""
        if self.mask_head is None:
            return [None] * len(selected)
        pooled = self._features(levels).pool([found.boxes for found in selected], self.mask_head.rule.pool_px)
        logits = self.mask_head(pooled, torch.cat([found.labels for found in selected]))
        parts = logits.sigmoid().split([len(found.boxes) for found in selected])
        pasting = self.pasting
        return [
            RoiMasks(size, part, found.boxes - shift, pasting.threshold, pasting.manner, pasting.stretches_range)
            for size, part, found, shift in zip(batch.sizes, parts, selected, batch.shifts, strict=True)
        ]

    def _features(self, levels: Sequence[Tensor]) -> RoiFeatures:
        # P6 serves the RPN alone (FPN, section 4.1)
        shared = nn.Identity() if self.res5 is None else self.res5
        return RoiFeatures(levels[: len(self.strides_px)], self.strides_px, self.roi.pooling, shared)

    def _mask_losses(
        self, features: RoiFeatures, samples: Sequence[RoiSample], truth: Sequence[TrueObjects], keys: Sequence[int]
    ) -> dict[str, LossSum]:
        if self.mask_head is None:
            return {}
        rule = self.mask_head.rule
        positives = [sample.positives(rule.rois_per_image, key) for sample, key in zip(samples, keys, strict=True)]
        pooled = features.pool([sample.rois for sample in positives], rule.pool_px)
        return self.mask_head.losses(pooled, positives, truth)

    def _keypoint_losses(
        self, features: RoiFeatures, samples: Sequence[RoiSample], truth: Sequence[TrueObjects]
    ) -> dict[str, LossSum]:
        head = self.keypoint_head
        if head is None:
            return {}
        positives = [sample.positives() for sample in samples]
        chosen = [
            head.select(sample.rois, sample.objects, objects.single)
            for sample, objects in zip(positives, truth, strict=True)
        ]
        rois, keypoints = zip(*chosen, strict=True)
        return head.losses(head(features.pool(rois, head.pool_px)), rois, keypoints)

    def _keypoints(
        self, features: RoiFeatures, selected: Sequence[Selected], boxes: Sequence[Tensor]
    ) -> Sequence[Tensor | None]:
        head = self.keypoint_head
        if head is None:
            return [None] * len(selected)
        logits = head(features.pool([found.boxes for found in selected], head.pool_px))
        parts = logits.split([len(found.boxes) for found in selected])
        return [head.detect(part, image_boxes) for part, image_boxes in zip(parts, boxes, strict=True)]

    def _semantic_losses(self, levels: Sequence[Tensor], targets: Sequence[Targets]) -> dict[str, LossSum]:
        if self.semantic_head is None:
            return {}
        return self.semantic_head.losses(self.semantic_head(levels[: len(self.strides_px)]), targets)

    def _semantic(self, levels: Sequence[Tensor], batch: ImageBatch) -> Sequence[SemanticMap | None]:
        if self.semantic_head is None:
            return [None] * len(batch)
        return self.semantic_head.maps(self.semantic_head(levels[: len(self.strides_px)]), batch.sizes)


def _in_input(targets: Sequence[Targets], batch: ImageBatch) -> Sequence[Targets]:
    """The targets in pixels of the network input, which differ where images do not lie at its top left."""
    if not batch.corners:
        return targets
    return [
        target.moved(top, left, batch.padded_size) for target, (top, left) in zip(targets, batch.corners, strict=True)
    ]
