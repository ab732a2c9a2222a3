"""Non-maximum suppression within groups (classes or pyramid levels)."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import batched_nms


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
