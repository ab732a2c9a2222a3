"""The numbers by which the two stages match, sample and select boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from maskwright.models.segmenter import Limits

Weights = tuple[float, float, float, float]
# boxes, scores, groups, IoU, limit → indices of the kept; see `ops.nms.suppress`
Suppression = Callable[[Tensor, Tensor, Tensor, float, int], Tensor]


@dataclass(frozen=True)
class MatchingRule:
    """From IoU with the ground truth to foreground or background; in between a box is ignored.

    Attributes:
        positive_iou: foreground at or above it.
        negative_iou: background below it.
        crowd_iou: background that overlaps a crowd by this IoU or more is ignored; None: crowds play no part.
        keeps_best_of_each_object: the boxes that overlap an object most are foreground whatever their IoU.
        keeps_equals: where several do so equally, all are, or only the first.
    """

    positive_iou: float
    negative_iou: float
    crowd_iou: float | None
    keeps_best_of_each_object: bool
    keeps_equals: bool = True


@dataclass(frozen=True)
class SamplingRule:
    """How many boxes of an image enter a loss, and the largest share of positives among them.

    Attributes:
        count: boxes of an image.
        positive_share: largest share of positives.
        keeps_ratio: negatives only as many as keep the positives' share where there are fewer positives than allowed.
    """

    count: int
    positive_share: float
    keeps_ratio: bool = False


@dataclass(frozen=True)
class BoxRegression:
    """Factors of the deltas, and where their loss turns from quadratic to linear."""

    weights: Weights
    beta: float


@dataclass(frozen=True)
class ProposalRule:
    """From scored anchors to proposals: best per level, suppression, best over all.

    Attributes:
        before_nms: best-scored of each level, or of all levels together.
        after_nms: kept of an image.
        nms_iou: overlaps above it are dropped.
        min_side_px: shorter ones are dropped.
        levels_apart: levels are ranked and suppressed one by one.
        clips_to_input: proposals end where the padded input does, not where the image does.
        suppress: the suppression.
    """

    before_nms: int
    after_nms: int
    nms_iou: float
    min_side_px: float
    levels_apart: bool
    clips_to_input: bool
    suppress: Suppression


@dataclass(frozen=True)
class DetectionRule:
    """From classified RoIs to detections; see `config.mask_rcnn.MaskRcnnDetectConfig`."""

    score_threshold: float
    nms_iou: float
    max_detections: int | None
    max_per_class: int | None
    min_side_px: float
    best_class_only: bool
    rounds_boxes: bool
    suppress: Suppression

    def within(self, limits: Limits) -> DetectionRule:
        """The same rule with other limits, where they are given."""
        return replace(
            self,
            score_threshold=limits.score_or(self.score_threshold),
            max_detections=limits.count_or(self.max_detections),
        )


# what losses are divided by; see `normalizer` and `box_normalizer` in the recipe's tables
RpnNormalizer = Literal["sampled_anchors", "anchors_per_image", "box_positives"]
BoxNormalizer = Literal["sampled_rois", "positive_rois"]
