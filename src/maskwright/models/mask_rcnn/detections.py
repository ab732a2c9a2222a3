"""From classified RoIs to the detections of one image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.rules import DetectionRule
from maskwright.models.segmenter import Selected
from maskwright.ops.box_coding import decode_boxes
from maskwright.ops.boxes import clip_to_windows, has_sides_of


class Classified(NamedTuple):
    """What the box head says of the P RoIs of one image.

    Attributes:
        rois: (P, 4) boxes that the deltas refer to.
        scores: (P, C + 1) class probabilities, background last.
        deltas: (P, C or 1, 4).
    """

    rois: Tensor
    scores: Tensor
    deltas: Tensor


def select(classified: Classified, head: BoxHead, window: Tensor, rule: DetectionRule) -> Selected:
    """Choose the detections of one image.

    Args:
        classified: its RoIs.
        head: whose deltas these are.
        window: (4,) x1 y1 x2 y2 of the image within the network input; boxes are clipped to it.
        rule: thresholds and limits.
    """
    roi, label, score = _candidates(classified.scores, rule)
    deltas = classified.deltas[roi, head.index_of(label)]
    boxes = clip_to_windows(decode_boxes(deltas, classified.rois[roi], head.regression.weights), window)
    boxes = boxes.round() if rule.rounds_boxes else boxes
    is_large = has_sides_of(boxes, rule.min_side_px)
    boxes, label, score = boxes[is_large], label[is_large], score[is_large]
    kept = rule.suppress(boxes, score, label, rule.nms_iou, len(boxes))
    if rule.max_per_class is not None:
        kept = kept[_ranks_in_class(label[kept]) < rule.max_per_class]
    kept = kept[: rule.max_detections]
    return Selected(boxes[kept], label[kept], score[kept])


def _candidates(scores: Tensor, rule: DetectionRule) -> tuple[Tensor, Tensor, Tensor]:
    """RoI, class and score of what may become a detection; else every class of every RoI is one of its own."""
    background = scores.shape[1] - 1
    if rule.best_class_only:
        best, label = scores.max(dim=1)
        roi = torch.nonzero((label < background) & (best > rule.score_threshold)).flatten()
        return roi, label[roi], best[roi]
    roi, label = torch.nonzero(scores[:, :background] > rule.score_threshold, as_tuple=True)
    return roi, label, scores[roi, label]


def _ranks_in_class(labels: Tensor) -> Tensor:
    """(N,) int64 how many of the same class stand before each."""
    order = labels.argsort(stable=True)
    grouped = labels[order]
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels), device=labels.device) - torch.searchsorted(grouped, grouped)
    return ranks
