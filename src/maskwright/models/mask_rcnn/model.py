"""Mask R-CNN (He et al. 2017): propose, classify and refine, segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskwright.models.backbones.backbone import Backbone
from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.mask_head import MaskHead
from maskwright.models.mask_rcnn.proposal_targets import RoiSample, sample_rois
from maskwright.models.mask_rcnn.rpn import Rpn
from maskwright.models.mask_rcnn.rules import DetectionRule, MatchingRule, ProposalRule, SamplingRule
from maskwright.models.necks.fpn import Fpn
from maskwright.ops.losses import LossSum
from maskwright.ops.randomness import random_generator
from maskwright.ops.roi_align import assign_levels, pool_rois
from maskwright.ops.sampling import choose
from maskwright.structures import Categories, ImageBatch, Instances, RoiMasks, Targets


@dataclass(frozen=True)
class RoiPooling:
    """From which level and how densely each RoI is pooled."""

    canonical_px: float
    canonical_level: int
    samples: int

    def pool(self, levels: Sequence[Tensor], strides_px: Sequence[int], rois: Sequence[Tensor], px: int) -> Tensor:
        """Pool the RoIs of each image, (P_i, 4) each, to one (ΣP, C, px, px), images in order."""
        boxes = torch.cat(list(rois))
        counts = torch.tensor([len(image_rois) for image_rois in rois], device=boxes.device)
        image_index = torch.arange(len(rois), device=boxes.device).repeat_interleave(counts)
        roi_levels = assign_levels(boxes, 2, len(levels), self.canonical_px, self.canonical_level)
        return pool_rois(levels, strides_px, boxes, image_index, roi_levels, px, self.samples)


class MaskRcnn(nn.Module):
    """The whole two-stage network. `losses` trains it, `detect` uses it; coordinates are those of the network input."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        fpn: Fpn,
        rpn: Rpn,
        box_head: BoxHead,
        mask_head: MaskHead,
        pooling: RoiPooling,
        matching: MatchingRule,
        sampling: SamplingRule,
        train_proposals: ProposalRule,
        test_proposals: ProposalRule,
        detection: DetectionRule,
        mask_threshold: float,
        categories: Categories,
    ) -> None:
        super().__init__()
        self.backbone, self.fpn, self.rpn, self.box_head, self.mask_head = backbone, fpn, rpn, box_head, mask_head
        self.pooling, self.matching, self.sampling = pooling, matching, sampling
        self.train_proposals, self.test_proposals = train_proposals, test_proposals
        self.detection, self.mask_threshold, self.categories = detection, mask_threshold, categories

    def forward(
        self, batch: ImageBatch, targets: Sequence[Targets] | None = None
    ) -> dict[str, LossSum] | list[Instances]:
        """`losses` where targets are given, else `detect`."""
        return self.detect(batch) if targets is None else self.losses(batch, targets)

    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        """The five losses of a batch: rpn_objectness, rpn_box, class, box, mask (Mask R-CNN, section 3).

        Args:
            batch: B images.
            targets: their objects in pixels of the network input; crowds are left out.
        """
        targets = [target.without_crowds().in_single_precision() for target in targets]
        levels = self._levels(batch)
        output = self.rpn(levels, batch)
        proposals = self.rpn.propose(output, batch, self.train_proposals)
        samples = sample_rois(
            proposals,
            targets,
            batch.keys,
            matching=self.matching,
            sampling=self.sampling,
            num_classes=self.box_head.num_classes,
        )
        class_logits, deltas = self.box_head(self._pool(levels, [s.rois for s in samples], self.box_head.pool_px))
        positives = [self._positives(sample, key) for sample, key in zip(samples, batch.keys, strict=True)]
        labels = torch.cat([sample.labels for sample in positives])
        mask_logits = self.mask_head(self._pool(levels, [s.rois for s in positives], self.mask_head.pool_px), labels)
        return {
            **self.rpn.losses(output, batch, targets),
            **self.box_head.losses(class_logits, deltas, samples, targets),
            **self.mask_head.losses(mask_logits, positives, targets),
        }

    def detect(
        self, batch: ImageBatch, score_threshold: float | None = None, max_detections: int | None = None
    ) -> list[Instances]:
        """Boxes first; masks only on the detections that remain (Mask R-CNN, section 3.1, inference).

        Args:
            batch: B images.
            score_threshold: instead of the recipe's.
            max_detections: per image, instead of the recipe's.
        """
        rule = self.detection.changed(score_threshold, max_detections)
        levels = self._levels(batch)
        proposals = self.rpn.propose(self.rpn(levels, batch), batch, self.test_proposals)
        class_logits, deltas = self.box_head(self._pool(levels, proposals, self.box_head.pool_px))
        counts = [len(image_proposals) for image_proposals in proposals]
        images = zip(class_logits.split(counts), deltas.split(counts), proposals, batch.sizes, strict=True)
        selected = [self.box_head.select(*image, rule) for image in images]
        boxes = [image_boxes for image_boxes, _, _ in selected]
        labels = torch.cat([image_labels for _, image_labels, _ in selected])
        pooled = self._pool(levels, boxes, self.mask_head.pool_px)
        probabilities = self.mask_head(pooled, labels).sigmoid().split([len(image_boxes) for image_boxes in boxes])
        return [
            Instances(
                size=size,
                boxes=image_boxes,
                labels=image_labels,
                scores=image_scores,
                masks=RoiMasks(size, image_probabilities, image_boxes, self.mask_threshold),
                categories=self.categories,
            )
            for (image_boxes, image_labels, image_scores), image_probabilities, size in zip(
                selected, probabilities, batch.sizes, strict=True
            )
        ]

    def _levels(self, batch: ImageBatch) -> list[Tensor]:
        levels: list[Tensor] = self.fpn(self.backbone(batch.pixels.contiguous(memory_format=torch.channels_last)))
        return levels

    def _pool(self, levels: Sequence[Tensor], rois: Sequence[Tensor], px: int) -> Tensor:
        # P6 serves the RPN alone (FPN, section 4.1)
        return self.pooling.pool(levels[:-1], self.backbone.strides_px, rois, px)

    def _positives(self, sample: RoiSample, key: int) -> RoiSample:
        """The positive RoIs, at most `mask_head.rois_per_image` of them: all masks of a dense image cost too much."""
        positive = torch.arange(len(sample.objects), device=sample.rois.device)
        if self.mask_head.rois_per_image is not None:
            positive = choose(positive, self.mask_head.rois_per_image, random_generator(key, "mask"))
        return RoiSample(sample.rois[positive], sample.labels[positive], sample.objects[positive])
