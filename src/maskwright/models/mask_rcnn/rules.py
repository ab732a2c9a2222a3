"""The numbers by which the two stages match, sample and select boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace

Weights = tuple[float, float, float, float]


@dataclass(frozen=True)
class MatchingRule:
    """From IoU with the ground truth to foreground or background; in between a box is ignored."""

    positive_iou: float
    negative_iou: float
    keeps_best_of_each_object: bool


@dataclass(frozen=True)
class SamplingRule:
    """How many boxes of an image enter a loss, and the largest share of positives among them."""

    count: int
    positive_share: float


@dataclass(frozen=True)
class BoxRegression:
    """Factors of the deltas, and where their loss turns from quadratic to linear."""

    weights: Weights
    beta: float


@dataclass(frozen=True)
class ProposalRule:
    """From scored anchors to proposals: best per level, suppression, best over all."""

    before_nms: int
    after_nms: int
    nms_iou: float
    min_side_px: float


@dataclass(frozen=True)
class DetectionRule:
    """From classified RoIs to detections."""

    score_threshold: float
    nms_iou: float
    max_detections: int
    min_side_px: float

    def changed(self, score_threshold: float | None, max_detections: int | None) -> DetectionRule:
        """The same rule with another threshold or limit, where one is given."""
        return replace(
            self,
            score_threshold=self.score_threshold if score_threshold is None else score_threshold,
            max_detections=self.max_detections if max_detections is None else max_detections,
        )
