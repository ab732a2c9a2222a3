"""Masks on a grid over the image: which cells a box holds, and how a piece of the grid is stretched over the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def cells_of(rectangles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All cells of R whole-cell rectangles, one rectangle after the other, row by row.

    Args:
        rectangles: (R, 4) int64 first column, first row, end column, end row; the ends are not in it.

    Returns:
        Three (T,) int64 tensors: the rectangle of each cell, its row, its column.

    >>> [part.tolist() for part in cells_of(torch.tensor([[3, 5, 5, 6], [0, 0, 0, 9]]))]
    [[0, 0], [5, 5], [3, 4]]
    """
    sides = (rectangles[:, 2:] - rectangles[:, :2]).clamp(min=0)
    counts = sides.prod(dim=1)
    index = torch.repeat_interleave(torch.arange(len(rectangles), device=rectangles.device), counts)
    offset = torch.arange(len(index), device=index.device) - (counts.cumsum(0) - counts)[index]
    widths = sides[index, 0]
    return index, rectangles[index, 1] + offset // widths, rectangles[index, 0] + offset % widths


def crop_cells(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """The cells that a mask may fill: those of its box, grown by one cell on each side (YOLACT, as released).

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in cells, not rounded.
        grid: (rows, columns).

    Returns:
        (N, 4) int64 first column, first row, end column, end row, inside the grid; the ends are not in it.
    """
    low, high = torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])
    limits = torch.tensor([grid[1], grid[0]], device=boxes.device)
    first = (low - 1).ceil().to(torch.int64).clamp(min=0)
    end = torch.minimum((high + 1).ceil().to(torch.int64), limits)
    return torch.cat([first, torch.maximum(first, end)], dim=1)


def inside_cells(rectangles: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, h, w) bool which cells of a grid each rectangle of `crop_cells` holds."""
    rows = torch.arange(grid[0], device=rectangles.device)[:, None]
    columns = torch.arange(grid[1], device=rectangles.device)
    left, top, right, bottom = (side[:, None, None] for side in rectangles.unbind(dim=1))
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


class Stretch(NamedTuple):
    """One axis of a grid along one of an image: for each pixel two neighbouring cells and the second one's weight.

    Attributes:
        lower: (pixels,) int64, never falling.
        upper: (pixels,) int64, the next cell, or the last one again.
        weight: (pixels,) float32 from 0 to 1.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor


def stretch(cells: int, extent: float, pixels: int, device: torch.device) -> Stretch:
    """Bilinear interpolation along one axis, with half-pixel centres.

    Args:
        cells: of the grid.
        extent: cells that the image takes; the rest is padding.
        pixels: of the image.
        device: of the result.
    """
    positions = ((torch.arange(pixels, device=device) + 0.5) * (extent / pixels) - 0.5).clamp(min=0, max=cells - 1)
    lower = positions.floor().to(torch.int64)
    return Stretch(lower, (lower + 1).clamp(max=cells - 1), (positions - lower).to(torch.float32))


def enlarge_cells(cells: Tensor, corner: tuple[int, int], rows: Stretch, columns: Stretch) -> tuple[Tensor, int, int]:
    """Stretch a grid that is zero outside a piece over an image, and give the part that the piece reaches.

    Equal to bilinear interpolation of the whole grid, without making it.

    Args:
        cells: (h, w) the piece.
        corner: row and column of its first cell.
        rows: of the grid along the image's height.
        columns: of the grid along the image's width.

    Returns:
        (h', w') values, and the row and the column of their first pixel in the image.
    """
    first_row, own_rows = _reached(rows, corner[0], cells.shape[0])
    first_column, own_columns = _reached(columns, corner[1], cells.shape[1])
    bordered = F.pad(cells, (1, 1, 1, 1))
    across = _lerp(bordered.T, own_columns).T
    return _lerp(across, own_rows), first_row, first_column


def _reached(axis: Stretch, start: int, length: int) -> tuple[int, Stretch]:
    """The first pixel that a piece of the axis reaches, and the pixels' neighbours in the piece with its border."""
    first = int(torch.searchsorted(axis.upper, start))
    end = max(first, int(torch.searchsorted(axis.lower, start + length)))
    lower, upper, weight = (part[first:end] for part in axis)
    lower, upper = (side.sub(start - 1).clamp_(min=0, max=length + 1) for side in (lower, upper))
    return first, Stretch(lower, upper, weight)


def _lerp(lines: Tensor, axis: Stretch) -> Tensor:
    """(lines, n) → (pixels, n) mixtures of two of them each."""
    return torch.lerp(lines[axis.lower], lines[axis.upper], axis.weight[:, None])
