"""Anchors: the reference boxes laid over every cell of every pyramid level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_anchors(sizes_px: Sequence[float], ratios: Sequence[float], is_rounded: bool) -> Tensor:
    """Anchors of one cell, centred on the origin.

    Args:
        sizes_px: square roots of the anchors' areas, in pixels of the network input.
        ratios: height ÷ width.
        is_rounded: round corners to whole pixels, ties to even (torchvision); detectron2 keeps them exact.

    Returns:
        (len(ratios) · len(sizes_px), 4) x1 y1 x2 y2, ratios outermost.

    >>> cell_anchors([32.0], [1.0], True).tolist()
    [[-16.0, -16.0, 16.0, 16.0]]
    """
    stretch = torch.sqrt(torch.tensor(ratios, dtype=torch.float32))
    sizes = torch.tensor(sizes_px, dtype=torch.float32)
    widths = ((1.0 / stretch)[:, None] * sizes[None, :]).flatten()
    heights = (stretch[:, None] * sizes[None, :]).flatten()
    corners = torch.stack([-widths, -heights, widths, heights], dim=1) / 2
    return corners.round() if is_rounded else corners


def grid_anchors(cells: Tensor, grid: tuple[int, int], strides_px: tuple[float, float]) -> Tensor:
    """Lay one cell's anchors over a feature map.

    Args:
        cells: (K, 4) anchors of one cell.
        grid: (rows, columns) of the feature map.
        strides_px: (vertical, horizontal) distance between cells, in pixels of the network input.

    Returns:
        (rows · columns · K, 4), in the order (row, column, anchor).
    """
    rows = torch.arange(grid[0], device=cells.device, dtype=torch.float32) * strides_px[0]
    columns = torch.arange(grid[1], device=cells.device, dtype=torch.float32) * strides_px[1]
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shifts + cells).reshape(-1, 4)
