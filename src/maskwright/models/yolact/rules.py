"""The numbers by which YOLACT matches, learns and detects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from maskwright.models.segmenter import Limits

# factors of dx, dy, dw, dh: SSD's variances 0.1 and 0.2, inverted
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@dataclass(frozen=True)
class MatchingRule:
    """From IoU with the objects, and from the share inside crowds, to positive, background and ignored anchors."""

    positive_iou: float
    negative_iou: float
    crowd_share: float


@dataclass(frozen=True)
class LossRule:
    """Factors of the losses, and how much of an image enters them."""

    box_factor: float
    class_factor: float
    mask_factor: float
    semantic_factor: float
    mask_iou_factor: float
    negatives_per_positive: int
    masks_per_image: int
    keeps_thin: bool


@dataclass(frozen=True)
class DetectionRule:
    """From anchor scores to detections.

    Attributes:
        score_threshold: an anchor of which no class scores above it is dropped.
        nms: which suppression.
        nms_iou: boxes that overlap more suppress each other.
        candidates: best-scored boxes that enter fast NMS, per class or, for `cross_class`, in all.
        max_detections: best-scored boxes kept; None keeps all.
        mask_threshold: a pixel above this probability belongs to the object.
    """

    score_threshold: float
    nms: Literal["fast", "cross_class", "traditional"]
    nms_iou: float
    candidates: int
    max_detections: int | None
    mask_threshold: float

    def within(self, limits: Limits) -> DetectionRule:
        """The same rule with other limits, where they are given."""
        return replace(
            self,
            score_threshold=limits.score_or(self.score_threshold),
            max_detections=limits.count_or(self.max_detections),
        )
