"""Boxes as offsets from reference boxes: what the box branches regress (Faster R-CNN, eq. 2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = tuple[float, float, float, float]

# a regressed side may grow at most to 1000 px from a 16 px anchor; all lineages share this guard against overflow
MAX_LOG_SCALE = math.log(1000.0 / 16)


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides


def encode_boxes(boxes: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """The deltas that turn `references` into `boxes`.

    Args:
        boxes: (N, 4) x1 y1 x2 y2.
        references: (N, 4) anchors or proposals, with sides > 0.
        weights: factors of dx, dy, dw, dh.

    Returns:
        (N, 4) deltas: centre shifts in units of the reference's sides, then logs of the side ratios.
    """
    centres, sides = _centres_and_sides(boxes)
    reference_centres, reference_sides = _centres_and_sides(references)
    shifts = (centres - reference_centres) / reference_sides
    log_scales = torch.log(sides / reference_sides)
    return torch.cat([shifts, log_scales], dim=-1) * boxes.new_tensor(weights)


def decode_boxes(deltas: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """The boxes that `deltas` describe; the inverse of `encode_boxes`.

    Args:
        deltas: (..., 4) as `encode_boxes` gives them.
        references: (..., 4) anchors or proposals, broadcast against `deltas`.
        weights: factors of dx, dy, dw, dh.

    Returns:
        (..., 4) x1 y1 x2 y2, not clipped to any image.
    """
    deltas = deltas / deltas.new_tensor(weights)
    reference_centres, reference_sides = _centres_and_sides(references)
    centres = deltas[..., :2] * reference_sides + reference_centres
    half_sides = 0.5 * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE)) * reference_sides
    return torch.cat([centres - half_sides, centres + half_sides], dim=-1)
