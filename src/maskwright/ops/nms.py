"""Non-maximum suppression within groups (classes or pyramid levels)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from maskwright.ops.boxes import pairwise_iou


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, limit: int) -> Tensor:
    """Greedy suppression: walk down the scores, drop what overlaps a kept box of its own group by more than `iou`.

    Args:
        boxes: (N, 4) x1 y1 x2 y2.
        scores: (N,) float.
        groups: (N,) int64; boxes of different groups never suppress each other.
        iou: overlaps strictly above it are dropped.
        limit: the most boxes to keep over all groups.

    Returns:
        (M,) int64 indices of the kept boxes, scores descending.
    """
    kept: Tensor = batched_nms(boxes.float(), scores.float(), groups, iou)
    return kept[:limit]


def suppress_inclusive(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, limit: int) -> Tensor:
    """As `suppress`, but with whole-pixel boxes, both ends inclusive, and overlaps of exactly `iou` dropped too.

    So did the compiled suppression of Fast R-CNN, which YOLACT's traditional NMS is. Each group is a call of its own:
    `suppress` moves groups apart by the largest coordinate, which costs digits and mixes boxes that begin outside.
    """
    inclusive = boxes.float() + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    kept = [torch.zeros(0, dtype=torch.int64, device=boxes.device)]
    for group in groups.unique():
        members = torch.nonzero(groups == group).flatten()
        kept.append(members[nms(inclusive[members], scores[members].float(), _just_below(iou))])
    indices = torch.cat(kept)
    return indices[scores[indices].argsort(descending=True, stable=True)][:limit]


def _just_below(threshold: float) -> float:
    """The largest single-precision number below it: overlaps above that one are those of `threshold` and more."""
    single = torch.tensor(threshold)
    return (single if single.item() < threshold else single.nextafter(torch.tensor(-1.0))).item()


# by the names of `config.mask_rcnn.MaskRcnnRecipe.suppression`
SUPPRESSIONS = {"plain": suppress, "inclusive": suppress_inclusive}


def fast_nms(boxes: Tensor, iou: float) -> Tensor:
    """Fast NMS (YOLACT, section 5, eq. 2): a box goes if any better one of its group overlaps it, kept or not.

    Args:
        boxes: (G, N, 4) x1 y1 x2 y2 in G groups, best-scored first in each.
        iou: overlaps strictly above it are dropped.

    Returns:
        (G, N) bool, which boxes stay.
    """
    overlaps = pairwise_iou(boxes).triu_(diagonal=1)
    return overlaps.amax(dim=1) <= iou
