"""RoIAlign over a feature pyramid: fixed-size features for boxes of any size (Mask R-CNN, section 3; FPN, eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align


def assign_levels(
    rois: Tensor, finest_level: int, num_levels: int, canonical_px: float, canonical_level: int
) -> Tensor:
    """The pyramid level each RoI is pooled from: k = floor(k0 + log2(sqrt(area) / canonical size)) (FPN, eq. 1).

    Args:
        rois: (P, 4) x1 y1 x2 y2 in pixels of the network input.
        finest_level: number of the first level at hand (2 for P2, stride 4).
        num_levels: how many levels there are.
        canonical_px: side of a square RoI that belongs to `canonical_level`.
        canonical_level: k0 of the formula.

    Returns:
        (P,) int64, 0 for the finest level.
    """
    sides = torch.sqrt((rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1]))
    # torchvision adds the guard against rounding after the logarithm
    levels = torch.floor(canonical_level + torch.log2(sides / canonical_px) + 1e-6)
    return levels.clamp(finest_level, finest_level + num_levels - 1).to(torch.int64) - finest_level


def pool_rois(
    levels: Sequence[Tensor],
    strides_px: Sequence[float],
    rois: Tensor,
    image_index: Tensor,
    roi_levels: Tensor,
    output_px: int,
    samples: int,
) -> Tensor:
    """RoIAlign each RoI from its own level.

    Args:
        levels: L feature maps (B, C, H, W), finest first.
        strides_px: of each level.
        rois: (P, 4) x1 y1 x2 y2 in pixels of the network input.
        image_index: (P,) int64 image of the batch.
        roi_levels: (P,) int64 index into `levels`.
        output_px: side of the pooled square.
        samples: bilinear samples per output cell and axis; 0 takes as many as the RoI is large.

    Returns:
        (P, C, output_px, output_px), rows in the order of `rois`.
    """
    rows = torch.cat([image_index[:, None].to(rois), rois], dim=1)
    pooled = rois.new_zeros((len(rois), levels[0].shape[1], output_px, output_px), dtype=levels[0].dtype)
    for level, (features, stride_px) in enumerate(zip(levels, strides_px, strict=True)):
        here = torch.nonzero(roi_levels == level).flatten()
        values = roi_align(features, rows[here].to(features), output_px, 1.0 / stride_px, samples, aligned=False)
        pooled = pooled.index_copy(0, here, values.to(pooled))
    return pooled
