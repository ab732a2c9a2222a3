"""Which object an anchor or a proposal is matched to, by the rule of its stage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from maskwright.models.mask_rcnn.rules import MatchingRule
from maskwright.ops.matching import BACKGROUND, IGNORED, Matches, match_boxes
from maskwright.structures import Targets


@dataclass(frozen=True, eq=False)
class TrueObjects:
    """The ground truth of one image in pixels of the network input, single objects and crowds apart.

    Attributes:
        single: G objects.
        crowds: (R, 4) boxes of regions of many objects.
    """

    single: Targets
    crowds: Tensor

    @staticmethod
    def of(targets: Targets) -> TrueObjects:
        """Split the targets of an image; boxes become float32."""
        targets = targets.in_single_precision()
        return TrueObjects(targets.without_crowds(), targets.boxes[targets.is_crowd])

    def match(self, boxes: Tensor, rule: MatchingRule) -> Matches:
        """For each of (N, 4) boxes the index of its single object, or background, or ignored."""
        matches = match_boxes(
            boxes,
            self.single.boxes,
            rule.positive_iou,
            rule.negative_iou,
            rule.keeps_best_of_each_object,
            keeps_equals=rule.keeps_equals,
        )
        if rule.crowd_iou is None or len(self.crowds) == 0:
            return matches
        is_crowded = box_iou(boxes, self.crowds).amax(dim=1) >= rule.crowd_iou
        return Matches(
            torch.where(is_crowded & (matches.objects == BACKGROUND), IGNORED, matches.objects), matches.ious
        )
