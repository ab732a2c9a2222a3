"""Masks assembled from prototypes and coefficients, compared with the true ones (YOLACT, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.models.yolact.anchor_targets import AnchorTargets
from maskwright.models.yolact.rules import LossRule
from maskwright.ops.boxes import scale_boxes
from maskwright.ops.losses import LossSum, loss_sum
from maskwright.ops.masks import cells_of, crop_cells
from maskwright.ops.randomness import random_generator
from maskwright.ops.sampling import choose

# sides of true boxes count as this many prototype cells at least: one pixel of the network input
_SMALLEST_SIDE = 0.25
# what a true pixel outside the crop costs: -log 0 as torch's cross-entropy limits it
_COST_OF_MISSED = 100.0


@dataclass(frozen=True, eq=False)
class AssembledMasks:
    """The positives of one image that enter the mask loss, on the grid of the prototypes.

    Attributes:
        logits: (P, h, w).
        true: (P, h, w) bool.
        boxes: (P, 4) of the true objects, in cells of the grid.
        labels: (P,) int64.
        share: positives of the image for each one that was drawn.
    """

    logits: Tensor
    true: Tensor
    boxes: Tensor
    labels: Tensor
    share: float


def assemble_positives(
    prototypes: Tensor, coefficients: Tensor, target: AnchorTargets, key: int, rule: LossRule
) -> AssembledMasks:
    """Masks of the positive anchors of an image, drawn at random above the rule's limit.

    Args:
        prototypes: (k, h, w).
        coefficients: (A, k).
        target: the objects of the anchors.
        key: of the draw.
        rule: `masks_per_image`, and whether thin objects are kept.
    """
    grid = (prototypes.shape[-2], prototypes.shape[-1])
    positives = target.positives()
    chosen = choose(positives, rule.masks_per_image, random_generator(key, "mask"))
    objects = target.objects[chosen]
    with torch.autocast(prototypes.device.type, enabled=False):  # sums of k products that nearly cancel
        logits = (coefficients[chosen] @ prototypes.flatten(1)).unflatten(1, grid)
    return AssembledMasks(
        logits=logits,
        true=target.masks.shrunk(grid, rule.keeps_thin)[objects],
        boxes=scale_boxes(target.boxes[objects], (1, 1), grid),
        labels=target.labels[objects],
        share=len(positives) / max(len(chosen), 1),
    )


def mask_losses(masks: Sequence[AssembledMasks], num_positives: int, rule: LossRule) -> dict[str, LossSum]:
    """Cross-entropy inside the true box, divided by the box's area, over the positives of the batch."""
    total = torch.stack([image.share * _cropped_cross_entropy(image) for image in masks]).sum()
    return {"mask": loss_sum(rule.mask_factor * total, num_positives)}


def _cropped_cross_entropy(masks: AssembledMasks) -> Tensor:
    """() the sum over the masks; only cells inside a box are computed, so that small objects cost little.

    The original divides by the box's area however small it is, which makes the loss of empty boxes infinite.
    """
    size = (masks.logits.shape[-2], masks.logits.shape[-1])
    index, rows, columns = cells_of(crop_cells(masks.boxes, size))
    wanted = masks.true[index, rows, columns].float()
    with torch.autocast(masks.logits.device.type, enabled=False):  # which refuses this function
        shares = masks.logits[index, rows, columns].sigmoid()
        # torch's cross-entropy refuses NaN; added afterwards, NaN reaches the loss, where it is reported
        cells = F.binary_cross_entropy(shares.nan_to_num(0.5), wanted, reduction="none") + (shares - shares)
    num_true = masks.true.sum(dim=(1, 2))
    inside = torch.zeros_like(masks.boxes[:, 0]).index_add(0, index, cells)
    missed = num_true - torch.zeros_like(inside).index_add(0, index, wanted)
    areas = (masks.boxes[:, 2:] - masks.boxes[:, :2]).clamp(min=_SMALLEST_SIDE).prod(dim=1)
    return ((inside + _COST_OF_MISSED * missed) / areas).sum()
