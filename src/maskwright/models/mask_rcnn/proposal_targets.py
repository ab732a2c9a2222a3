"""What the second stage is trained on: a sample of proposals with the objects they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwright.models.mask_rcnn.rules import MatchingRule, SamplingRule
from maskwright.ops.matching import match_boxes
from maskwright.ops.randomness import random_generator
from maskwright.ops.sampling import sample_balanced
from maskwright.structures import Targets


@dataclass(frozen=True, eq=False)
class RoiSample:
    """The RoIs of one image that enter the losses, positives first.

    Attributes:
        rois: (R, 4) x1 y1 x2 y2 in pixels of the network input.
        labels: (R,) int64 class; `num_classes` is background.
        objects: (F,) int64 the object of each of the F positives.
    """

    rois: Tensor
    labels: Tensor
    objects: Tensor


def sample_rois(
    proposals: Sequence[Tensor],
    targets: Sequence[Targets],
    keys: Sequence[int],
    *,
    matching: MatchingRule,
    sampling: SamplingRule,
    num_classes: int,
) -> list[RoiSample]:
    """Match each image's proposals, and its objects' own boxes, to the objects; draw the sample (Fast R-CNN, 2.3)."""
    samples = []
    for image_proposals, target, key in zip(proposals, targets, keys, strict=True):
        candidates = torch.cat([image_proposals, target.boxes])
        matches = match_boxes(
            candidates,
            target.boxes,
            matching.positive_iou,
            matching.negative_iou,
            matching.keeps_best_of_each_object,
        )
        positive, negative = sample_balanced(
            matches.objects, sampling.count, sampling.positive_share, random_generator(key, "roi")
        )
        objects = matches.objects[positive]
        background = torch.full_like(negative, num_classes)
        samples.append(
            RoiSample(
                rois=candidates[torch.cat([positive, negative])],
                labels=torch.cat([target.labels[objects], background]),
                objects=objects,
            )
        )
    return samples
