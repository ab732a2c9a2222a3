"""The second stage's boxes: one head, or several behind each other (Cascade R-CNN, Cai & Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.detections import Classified, select
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample, label_rois
from maskwright.models.mask_rcnn.roi_features import RoiFeatures
from maskwright.models.mask_rcnn.rules import DetectionRule, MatchingRule
from maskwright.models.segmenter import Selected
from maskwright.ops.box_coding import decode_boxes
from maskwright.ops.boxes import has_area
from maskwright.ops.losses import LossSum


@dataclass(frozen=True, eq=False)
class BoxStages:
    """All box heads of a model, each on the boxes of the one before; with one head, all is as in Fast R-CNN.

    It is no module: the model registers the heads under the names that their weights have.

    Attributes:
        first: the head on the proposals.
        further: class-agnostic heads behind it; none of a plain model.
        matchings: the rule by which the boxes of each further head are labelled.
        pool_px: side that RoIs are pooled to.
        refines_for_heads: other heads learn on the boxes that the first head makes of the RoIs.
    """

    first: BoxHead
    further: nn.ModuleList
    matchings: tuple[MatchingRule, ...]
    pool_px: int
    refines_for_heads: bool = False

    @property
    def heads(self) -> tuple[BoxHead, ...]:
        """All of them, in order."""
        return (self.first, *cast(Iterable[BoxHead], self.further))

    def classify(self, features: RoiFeatures, proposals: Sequence[Tensor], windows: Tensor) -> list[Classified]:
        """The RoIs of each image with the scores of all heads averaged, and the last head's boxes and deltas.

        Args:
            features: of the batch.
            proposals: (P, 4) of each image.
            windows: (B, 4) images within the network input; boxes are clipped to them between the heads.
        """
        rois, scores = list(proposals), []
        class_logits, deltas = self.first(features.pool(rois, self.pool_px))
        scores.append(class_logits.softmax(dim=1))
        for previous, head in pairwise(self.heads):
            rois = _refined(previous, deltas, rois, windows)
            class_logits, deltas = head(features.pool(rois, self.pool_px))
            scores.append(class_logits.softmax(dim=1))
        counts = [len(boxes) for boxes in rois]
        parts = zip(rois, torch.stack(scores).mean(dim=0).split(counts), deltas.split(counts), strict=True)
        return [Classified(*part) for part in parts]

    def select(self, classified: Sequence[Classified], windows: Tensor, rule: DetectionRule) -> list[Selected]:
        """The detections of each image; arguments as from and of `classify`."""
        last = self.heads[-1]
        return [select(image, last, window, rule) for image, window in zip(classified, windows, strict=True)]

    def losses(
        self, features: RoiFeatures, samples: Sequence[RoiSample], truth: Sequence[TrueObjects], windows: Tensor
    ) -> tuple[dict[str, LossSum], Sequence[RoiSample]]:
        """The class and box losses of all heads, added up; arguments as of `classify`, the RoIs sampled and labelled.

        Each head passes only its share of the gradient on to the feature maps.

        Returns:
            The losses by name, and the RoIs on which the heads of masks and keypoints learn.
        """
        class_logits, deltas = self.first(self._pooled(features, samples))
        found = [self.first.losses(class_logits, deltas, samples, truth)]
        for_heads = _predicted(self.first, deltas.detach(), samples) if self.refines_for_heads else samples
        for (previous, head), matching in zip(pairwise(self.heads), self.matchings, strict=True):
            rois = _refined(previous, deltas.detach(), [sample.rois for sample in samples], windows)
            rois = [boxes[has_area(boxes)] for boxes in rois]
            samples = label_rois(rois, truth, matching=matching, num_classes=self.first.num_classes)
            class_logits, deltas = head(self._pooled(features, samples))
            found.append(head.losses(class_logits, deltas, samples, truth))
        return {name: _added([losses[name] for losses in found]) for name in found[0]}, for_heads

    def _pooled(self, features: RoiFeatures, samples: Sequence[RoiSample]) -> Tensor:
        pooled = features.pool([sample.rois for sample in samples], self.pool_px)
        if len(self.further) == 0:
            return pooled
        scaled: Tensor = _ScaledGradient.apply(pooled, 1 / len(self.heads))
        return scaled


def _refined(head: BoxHead, deltas: Tensor, rois: Sequence[Tensor], windows: Tensor) -> list[Tensor]:
    counts = [len(boxes) for boxes in rois]
    window_of_each = windows.repeat_interleave(torch.tensor(counts, device=windows.device), dim=0)
    return list(head.refined(deltas, torch.cat(list(rois)), window_of_each).split(counts))


def _predicted(head: BoxHead, deltas: Tensor, samples: Sequence[RoiSample]) -> list[RoiSample]:
    """The same samples on the boxes that a head makes of them for their class; what background gets has no meaning."""
    labels = torch.cat([sample.labels for sample in samples]).clamp(max=head.num_classes - 1)
    own = deltas[torch.arange(len(labels), device=labels.device), head.index_of(labels)]
    boxes = decode_boxes(own, torch.cat([sample.rois for sample in samples]), head.regression.weights)
    parts = boxes.split([len(sample.rois) for sample in samples])
    return [replace(sample, rois=part) for sample, part in zip(samples, parts, strict=True)]


def _added(losses: Sequence[LossSum]) -> LossSum:
    """Losses with counts of their own as one with the count of the first, whose mean is the sum of their means."""
    if len(losses) == 1:
        return losses[0]
    count = losses[0].count
    return LossSum(torch.stack([loss.mean() for loss in losses]).sum() * count, count)


class _ScaledGradient(torch.autograd.Function):
    """The same values; the gradient times a factor."""

    @staticmethod
    def forward(context: Any, values: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * context.factor, None
