"""Which object each anchor is to find."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskwright.models.yolact.rules import MatchingRule
from maskwright.ops.boxes import share_inside
from maskwright.ops.matching import IGNORED, match_one_for_each
from maskwright.structures import CropMasks, Targets


@dataclass(frozen=True, eq=False)
class AnchorTargets:
    """One image's anchors and single objects; crowds are not among these.

    Attributes:
        objects: (A,) int64 index of the object of each anchor, or `BACKGROUND`, or `IGNORED`.
        boxes: (G, 4) x1 y1 x2 y2 of the objects as shares of the network input.
        labels: (G,) int64.
        masks: G masks over the whole network input, its padding included.
    """

    objects: Tensor
    boxes: Tensor
    labels: Tensor
    masks: CropMasks

    def positives(self) -> Tensor:
        """(P,) int64 the anchors with an object."""
        return torch.nonzero(self.objects >= 0).flatten()

    def anchor_labels(self, background: int) -> Tensor:
        """(A,) int64 class of each anchor, `background` where it has no object."""
        labels = torch.full_like(self.objects, background)
        positive = self.positives()
        labels[positive] = self.labels[self.objects[positive]]
        return labels


@torch.no_grad()
def match_anchors(anchors: Tensor, target: Targets, size: tuple[int, int], rule: MatchingRule) -> AnchorTargets:
    """Match the anchors of an image with its objects.

    Every object gets one anchor at least. An anchor without one that lies inside a crowd is ignored, since
    its class is unknown (YOLACT, as released). Objects whose box has no area are left out: their deltas would be
    infinite.

    Args:
        anchors: (A, 4) as shares of the network input.
        target: objects in pixels of the network input.
        size: (H, W) of the network input, padding included.
        rule: thresholds.
    """
    boxes = (target.boxes / target.boxes.new_tensor([size[1], size[0], size[1], size[0]])).to(anchors.dtype)
    is_single = ~target.is_crowd & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    single = target if is_single.all() else target[is_single]
    objects = match_one_for_each(anchors, boxes[is_single], rule.positive_iou, rule.negative_iou).objects
    in_crowd = share_inside(anchors, boxes[target.is_crowd]) > rule.crowd_share
    objects = torch.where((objects < 0) & in_crowd, IGNORED, objects)
    # padding lies right and below, so crops keep their position
    return AnchorTargets(objects, boxes[is_single], single.labels, replace(single.masks, size=size))
