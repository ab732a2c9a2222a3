"""Anchors: the reference boxes laid over every cell of every pyramid level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def cell_anchors(
    sizes_px: Sequence[float], ratios: Sequence[float], is_rounded: bool, inner: Literal["sizes", "ratios"]
) -> Tensor:
    """Anchors of one cell, centred on the origin.

    Args:
        sizes_px: square roots of the anchors' areas, in pixels of the network input.
        ratios: height ÷ width.
        is_rounded: round corners to whole pixels, ties to even (torchvision); detectron2 keeps them exact.
        inner: what varies fastest: sizes (torchvision) or ratios (detectron2, Simple Mask R-CNN).

    Returns:
        (len(sizes_px) · len(ratios), 4) x1 y1 x2 y2.

    >>> cell_anchors([32.0, 64.0], [1.0], True, "sizes").tolist()
    [[-16.0, -16.0, 16.0, 16.0], [-32.0, -32.0, 32.0, 32.0]]
    """
    stretch = torch.sqrt(torch.tensor(ratios, dtype=torch.float32))[:, None]
    sizes = torch.tensor(sizes_px, dtype=torch.float32)
    widths, heights = (1.0 / stretch) * sizes, stretch * sizes
    corners = torch.stack([-widths, -heights, widths, heights], dim=-1) / 2
    ordered = (corners if inner == "sizes" else corners.transpose(0, 1)).reshape(-1, 4)
    return ordered.round() if is_rounded else ordered


def grid_anchors(cells: Tensor, grid: tuple[int, int], strides_px: tuple[float, float]) -> Tensor:
    """Lay one cell's anchors over a feature map.

    Args:
        cells: (anchors of a cell, 4).
        grid: (rows, columns) of the feature map.
        strides_px: (vertical, horizontal) distance between cells, in pixels of the network input.

    Returns:
        (A, 4), in the order (row, column, anchor).
    """
    rows = torch.arange(grid[0], device=cells.device, dtype=torch.float32) * strides_px[0]
    columns = torch.arange(grid[1], device=cells.device, dtype=torch.float32) * strides_px[1]
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shifts + cells).reshape(-1, 4)


def relative_anchors(
    sizes_px: Sequence[float], ratios: Sequence[float], is_square: bool, grid: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Anchors centred in the cells of a feature map, as shares of the network input (YOLACT, section 4.3).

    Computed in double precision and rounded at the same steps as YOLACT's priors: which of two anchors of equal IoU
    an object gets is decided by their last digits.

    Args:
        sizes_px: square roots of the anchors' areas, in pixels of the network input.
        ratios: height ÷ width.
        is_square: the height is made equal to the width in pixels, after the ratio has changed the width.
        grid: (rows, columns) of the feature map.
        size: (H, W) of the network input.

    Returns:
        (rows · columns · len(sizes_px) · len(ratios), 4) float32 x1 y1 x2 y2 from 0 to 1, in the order (row, column,
        size, ratio); anchors reach over the border.

    >>> relative_anchors([8.0], [4.0], True, (1, 2), (8, 16))[1].tolist()
    [0.625, 0.25, 0.875, 0.75]
    """
    stretch = torch.sqrt(1 / torch.tensor(ratios, dtype=torch.float64))
    sizes = torch.tensor(sizes_px, dtype=torch.float64)[:, None]
    widths = (sizes * stretch / size[1]).flatten()
    heights = widths * (size[1] / size[0]) if is_square else (sizes / stretch / size[0]).flatten()
    y, x = torch.meshgrid(*((torch.arange(cells, dtype=torch.float64) + 0.5) / cells for cells in grid), indexing="ij")
    centres = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).float()
    half_sides = torch.stack([widths, heights], dim=1).float() / 2
    return torch.cat([centres - half_sides, centres + half_sides], dim=-1).reshape(-1, 4)
