"""What the second stage is trained on: a sample of proposals with the objects they are matched to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.rules import MatchingRule, SamplingRule
from maskwright.ops.matching import BACKGROUND
from maskwright.ops.randomness import random_generator
from maskwright.ops.sampling import choose, sample_balanced


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

    def positives(self, limit: int | None = None, key: int = 0) -> RoiSample:
        """Only the positive RoIs, at most `limit` of them, drawn by the image's key."""
        chosen = torch.arange(len(self.objects), device=self.rois.device)
        if limit is not None:
            chosen = choose(chosen, limit, random_generator(key, "mask"))
        return RoiSample(self.rois[chosen], self.labels[chosen], self.objects[chosen])


def sample_rois(
    proposals: Sequence[Tensor],
    truth: Sequence[TrueObjects],
    keys: Sequence[int],
    *,
    matching: MatchingRule,
    sampling: SamplingRule,
    adds_true_boxes: bool,
    num_classes: int,
) -> list[RoiSample]:
    """Match each image's proposals, and its objects' own boxes, to the objects; draw the sample (Fast R-CNN, 2.3)."""
    samples = []
    for image_proposals, objects, key in zip(proposals, truth, keys, strict=True):
        candidates = torch.cat([image_proposals, objects.single.boxes]) if adds_true_boxes else image_proposals
        matched = objects.match(candidates, matching).objects
        sample = sample_balanced(
            matched,
            sampling.count,
            sampling.positive_share,
            random_generator(key, "roi"),
            keeps_ratio=sampling.keeps_ratio,
        )
        samples.append(_labelled(candidates, matched, *sample, objects, num_classes))
    return samples


def label_rois(
    rois: Sequence[Tensor], truth: Sequence[TrueObjects], *, matching: MatchingRule, num_classes: int
) -> list[RoiSample]:
    """As `sample_rois`, but all RoIs are taken (Cascade R-CNN, section 4.2)."""
    samples = []
    for image_rois, objects in zip(rois, truth, strict=True):
        matched = objects.match(image_rois, matching).objects
        positive, negative = torch.nonzero(matched >= 0).flatten(), torch.nonzero(matched == BACKGROUND).flatten()
        samples.append(_labelled(image_rois, matched, positive, negative, objects, num_classes))
    return samples


def _labelled(
    rois: Tensor, matched: Tensor, positive: Tensor, negative: Tensor, truth: TrueObjects, num_classes: int
) -> RoiSample:
    objects = matched[positive]
    background = torch.full_like(negative, num_classes)
    return RoiSample(
        rois=rois[torch.cat([positive, negative])],
        labels=torch.cat([truth.single.labels[objects], background]),
        objects=objects,
    )
