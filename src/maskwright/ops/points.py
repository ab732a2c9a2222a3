"""Values at single points of boxes, and which points are the least certain (PointRend, Kirillov et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.ops.mask_sampling import PackedMasks, sample_points


def grid_points(side: int, device: torch.device | str = "cpu") -> Tensor:
    """(side², 2) x y of the centres of side × side cells over a box, as shares of its sides, row by row.

    >>> grid_points(2).tolist()
    [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    """
    return cell_centres(torch.arange(side * side, device=device), side)


def cell_centres(cells: Tensor, side: int) -> Tensor:
    """(…, 2) x y of the centres of cells, as shares of the box's sides.

    Args:
        cells: (…) int64 index into side × side cells, row by row.
        side: cells along each side.
    """
    return (torch.stack([cells % side, cells // side], dim=-1) + 0.5) / side


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """(P, S, 2) x y in pixels of points (P or 1, S, 2) that are shares of the sides of boxes (P, 4)."""
    return boxes[:, None, :2] + points * (boxes[:, None, 2:] - boxes[:, None, :2])


def sample_grids(grids: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of each box's own grid, whose values lie at the centres of its cells; zero beyond the grid.

    Args:
        grids: (P, C, h, w).
        points: (P, S, 2) x y as shares of the grid's sides.

    Returns:
        (P, S, C) float32.
    """
    values = F.grid_sample(grids.float(), 2 * points[:, :, None] - 1, align_corners=False)
    return values[..., 0].transpose(1, 2)


def sample_map(features: Tensor, stride_px: float, points: Sequence[Tensor]) -> Tensor:
    """Bilinear features at points of images; zero beyond the map.

    Args:
        features: (B, C, h, w).
        stride_px: of the map.
        points: (P, S, 2) x y of each image in pixels of the network input, S the same for all.

    Returns:
        (ΣP, S, C) float32, images in order.
    """
    sides = features.new_tensor([features.shape[3], features.shape[2]], dtype=torch.float32) * stride_px
    return torch.cat(
        [
            sample_grids(features[index : index + 1], (here / sides).reshape(1, -1, 2))[0].unflatten(0, here.shape[:2])
            for index, here in enumerate(points)
        ]
    )


def sample_masks(masks: PackedMasks, objects: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of masks at points, as if each were a bitmap of the whole image; zero beyond the image.

    Args:
        masks: G of them.
        objects: (P,) int64 the mask that is sampled at each row of points.
        points: (P, S, 2) x y in pixels of the image.

    Returns:
        (P, S) float32 from 0 to 1.
    """
    positions = points.flip(-1) - 0.5
    last = positions.new_tensor([masks.size[0] - 1, masks.size[1] - 1])
    beyond = (-positions).clamp(min=0) + (positions - last).clamp(min=0)
    inside = (1 - beyond).clamp(min=0).prod(dim=-1)
    values = sample_points(masks, objects.repeat_interleave(points.shape[1]), positions.flatten(0, 1))
    return values.reshape(inside.shape) * inside


def most_uncertain(logits: Tensor, count: int) -> Tensor:
    """(P, count) int64 index of the logits (P, S) nearest to zero, where object and background are equally likely.

    >>> most_uncertain(torch.tensor([[-3.0, 0.5, 2.0, -0.1]]), 2).tolist()
    [[3, 1]]
    """
    return (-logits.abs()).topk(min(count, logits.shape[1]), dim=1).indices
