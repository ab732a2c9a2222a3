"""From class scores and boxes of all anchors to the few that are detections (YOLACT, section 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from maskwright.models.yolact.rules import DetectionRule
from maskwright.ops.nms import fast_nms, suppress_inclusive


class Selection(NamedTuple):
    """N chosen anchors, best first: their indices (N,), classes (N,) and scores (N,)."""

    anchors: Tensor
    labels: Tensor
    scores: Tensor


def select(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Selection:
    """The detections of one image.

    Args:
        boxes: (A, 4) x1 y1 x2 y2 of all anchors, in pixels of the network input.
        scores: (A, C) class probabilities.
        rule: thresholds and limits.
    """
    found = _SELECTIONS[rule.nms](boxes, scores, rule)
    best = found.scores.argsort(descending=True, stable=True)[: rule.max_detections]
    return Selection(*(part[best] for part in found))


def _select_fast(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Selection:
    """Each class for itself, all classes at once; of an anchor that passes, every class may be found."""
    passes = scores.amax(dim=1) > rule.score_threshold
    ranked, anchors = _best(scores.T.masked_fill(~passes, -1.0), rule.candidates)
    kept = fast_nms(boxes[anchors], rule.nms_iou) & (ranked >= 0)
    labels = torch.arange(scores.shape[1], device=scores.device)[:, None].expand_as(anchors)
    return Selection(anchors[kept], labels[kept], ranked[kept])


def _select_cross_class(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Selection:
    """Each anchor for its best class only, and boxes suppress each other whatever their classes."""
    best, labels = scores.max(dim=1)
    ranked, anchors = _best(best.masked_fill(best <= rule.score_threshold, -1.0)[None], rule.candidates)
    kept = fast_nms(boxes[anchors], rule.nms_iou) & (ranked >= 0)
    return Selection(anchors[kept], labels[anchors[kept]], ranked[kept])


def _select_traditional(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Selection:
    """Greedy suppression within each class, of all that score above the threshold."""
    anchors, labels = torch.nonzero(scores > rule.score_threshold, as_tuple=True)
    found = scores[anchors, labels]
    kept = suppress_inclusive(boxes[anchors], found, labels, rule.nms_iou, len(found))
    return Selection(anchors[kept], labels[kept], found[kept])


_SELECTIONS: dict[str, Callable[[Tensor, Tensor, DetectionRule], Selection]] = {
    "fast": _select_fast,
    "cross_class": _select_cross_class,
    "traditional": _select_traditional,
}


def _best(scores: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Of each row of (R, A) the best `limit` values and their indices."""
    return scores.topk(min(limit, scores.shape[1]), dim=1)
