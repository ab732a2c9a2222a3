"""Which ground-truth object, if any, an anchor or a proposal is matched to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

BACKGROUND = -1
IGNORED = -2

# (objects in one piece) × (boxes); bounds the IoU table to 128 MB however many objects an image has
_TABLE_ENTRIES = 32_000_000


class Matches(NamedTuple):
    """For each of N boxes: the index of its object, or `BACKGROUND`, or `IGNORED`; and the IoU with its best object."""

    objects: Tensor
    ious: Tensor


def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    positive_iou: float,
    negative_iou: float,
    keeps_best_of_each_object: bool,
    *,
    keeps_equals: bool = True,
) -> Matches:
    """Assign each box to the object it overlaps most (Faster R-CNN, section 3.1.2).

    Args:
        boxes: (N, 4) anchors or proposals.
        gt_boxes: (G, 4) objects; G may be 0, then every box is background.
        positive_iou: at or above it a box is positive.
        negative_iou: below it a box is background; in between it is ignored.
        keeps_best_of_each_object: boxes that overlap some object more than any other box does are positive too,
            whatever their IoU; each is assigned to its own best object.
        keeps_equals: of boxes that overlap an object equally and most, all are positive, or only the first.

    Returns:
        `Matches` of (N,) int64 and (N,) float32.
    """
    best_iou = boxes.new_zeros(len(boxes))
    best_object = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    is_best_of_object = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    piece = max(1, _TABLE_ENTRIES // max(1, len(boxes)))
    for start in range(0, len(gt_boxes) if len(boxes) else 0, piece):
        ious = box_iou(gt_boxes[start : start + piece], boxes)
        piece_iou, piece_object = ious.max(dim=0)
        is_better = piece_iou > best_iou
        best_iou = torch.where(is_better, piece_iou, best_iou)
        best_object = torch.where(is_better, piece_object + start, best_object)
        if keeps_best_of_each_object and keeps_equals:
            is_best_of_object |= (ious == ious.amax(dim=1, keepdim=True)).any(dim=0)
        elif keeps_best_of_each_object:
            is_best_of_object[ious.argmax(dim=1)] = True

    objects = _assigned(best_iou, best_object, positive_iou, negative_iou)
    if len(gt_boxes) == 0:
        objects = torch.full_like(objects, BACKGROUND)
    return Matches(torch.where(is_best_of_object, best_object, objects), best_iou)


def _assigned(best_iou: Tensor, best_object: Tensor, positive_iou: float, negative_iou: float) -> Tensor:
    """(N,) int64 the best object of each box, `IGNORED` or `BACKGROUND`, as its IoU says."""
    objects = torch.where(best_iou < negative_iou, BACKGROUND, IGNORED)
    return torch.where(best_iou >= positive_iou, best_object, objects)


def match_one_for_each(boxes: Tensor, gt_boxes: Tensor, positive_iou: float, negative_iou: float) -> Matches:
    """As `match_boxes`, and every object gets one box of its own, whatever their IoU (SSD, section 2.2; YOLACT's code).

    Over all pairs of an object without a box and a box that no object has got yet, the one of largest IoU is joined,
    until every object has its box.

    Args:
        boxes: (N, 4) anchors.
        gt_boxes: (G, 4) objects; G may be 0, then every box is background. Of more than N objects, some get none.
        positive_iou: at or above it a box is matched to the object it overlaps most.
        negative_iou: below it a box is background; in between it is ignored.

    Returns:
        `Matches` of (N,) int64 and (N,) float32; its table takes G · N numbers.
    """
    table = box_iou(gt_boxes, boxes)
    if table.numel() == 0:
        nothing = boxes.new_zeros(len(boxes))
        return Matches(torch.full_like(nothing, BACKGROUND, dtype=torch.int64), nothing)
    ious, best_object = table.max(dim=0)
    objects = _assigned(ious, best_object, positive_iou, negative_iou)
    best_iou, best_box = table.max(dim=1)
    for _ in range(min(table.shape)):
        row = best_iou.argmax()
        column = best_box[row]
        objects[column] = row
        table[:, column] = -1
        best_iou[row] = -2
        # whose favourite is taken now, looks for the next
        stale = torch.nonzero((best_box == column) & (best_iou > -2)).flatten()
        best_iou[stale], best_box[stale] = table[stale].max(dim=1)
    return Matches(objects, ious)
