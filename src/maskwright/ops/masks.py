"""Masks between the three grids they live on: the RoI's, the object's own crop, and the image's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# samples looked up in one piece; bounds the scratch memory of `sample_crops` to some 100 MB
_SAMPLES_AT_ONCE = 2_000_000


def paste_boxes(boxes: Tensor, mask_px: int) -> Tensor:
    """The whole-pixel rectangles onto which RoI masks are stretched, in the manner of torchvision.

    The mask gets a border of one zero cell, so its box grows by (M + 2) / M about its centre; corners are then cut to
    whole pixels, towards zero.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the image.
        mask_px: M, side of the mask without its border.

    Returns:
        (N, 4) int64 first column, first row, last column, last row, both ends inclusive.
    """
    centres = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    half_sides = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((mask_px + 2) / mask_px)
    return torch.cat([centres - half_sides, centres + half_sides], dim=1).to(torch.int64)


def paste_mask(probabilities: Tensor, rectangle: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Stretch one RoI mask over its rectangle and keep what lies inside the image.

    Args:
        probabilities: (M, M) foreground probability on the RoI grid.
        rectangle: a row of `paste_boxes`.
        size: (height, width) of the image.

    Returns:
        (h, w) float probabilities of the visible part, whose first pixel is the rectangle's, or the image's where
        the rectangle starts outside.
    """
    x1, y1, x2, y2 = rectangle
    height, width = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    bordered = F.pad(probabilities, (1, 1, 1, 1))[None, None]
    stretched = F.interpolate(bordered, size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    return stretched[max(0, -y1) : max(0, size[0] - y1), max(0, -x1) : max(0, size[1] - x1)]


def _axis_samples(start: Tensor, length: Tensor, output_px: int, samples: int, limit: int) -> tuple[Tensor, Tensor]:
    """Along one axis of (P,) RoIs: lower pixel (P, M·s) int64 and weight of the next pixel (P, M·s)."""
    steps = (torch.arange(output_px * samples, device=start.device) + 0.5) / samples
    positions = start[:, None] + steps[None, :] * (length.clamp(min=1) / output_px)[:, None]
    positions = positions.clamp(min=0, max=limit - 1)
    lower = positions.floor()
    return lower.to(torch.int64), positions - lower


def sample_crops(
    pixels: Tensor,
    starts: Tensor,
    corners: Tensor,
    crop_sizes: Tensor,
    size: tuple[int, int],
    rois: Tensor,
    objects: Tensor,
    output_px: int,
    samples: int,
) -> Tensor:
    """RoIAlign of ground-truth masks straight from their packed crops; equal to RoIAlign of the full bitmaps.

    Args:
        pixels: (T,) uint8, all crops behind each other, row by row.
        starts: (G,) int64 where each crop begins in `pixels`.
        corners: (G, 2) int64 top, left of each crop in the image.
        crop_sizes: (G, 2) int64 height, width of each crop.
        size: (height, width) of the image.
        rois: (P, 4) x1 y1 x2 y2 inside the image.
        objects: (P,) int64 the object of each RoI.
        output_px: M, side of the result.
        samples: bilinear samples per output cell and axis; 0 takes ceil(side / M) of each RoI.

    Returns:
        (P, M, M) float32 mean foreground of each cell, from 0 to 1.
    """
    lengths = rois[:, 2:] - rois[:, :2]
    counts = (
        torch.ceil(lengths.clamp(min=1) / output_px).to(torch.int64)
        if samples == 0
        else lengths.new_full(lengths.shape, samples, dtype=torch.int64)
    )
    result = rois.new_zeros((len(rois), output_px, output_px), dtype=torch.float32)
    for x_count, y_count in torch.unique(counts, dim=0).tolist():
        same = torch.nonzero((counts[:, 0] == x_count) & (counts[:, 1] == y_count)).flatten()
        piece = max(1, _SAMPLES_AT_ONCE // (output_px * output_px * x_count * y_count))
        for some in torch.split(same, piece):
            x, x_weight = _axis_samples(rois[some, 0], lengths[some, 0], output_px, x_count, size[1])
            y, y_weight = _axis_samples(rois[some, 1], lengths[some, 1], output_px, y_count, size[0])
            crop = objects[some]
            values = _bilinear(
                pixels, starts[crop], corners[crop], crop_sizes[crop], size, (y, y_weight), (x, x_weight)
            )
            cells = values.reshape(len(some), output_px, y_count, output_px, x_count)
            result[some] = cells.mean(dim=(2, 4))
    return result


def _bilinear(
    pixels: Tensor,
    starts: Tensor,
    corners: Tensor,
    crop_sizes: Tensor,
    size: tuple[int, int],
    rows: tuple[Tensor, Tensor],
    columns: tuple[Tensor, Tensor],
) -> Tensor:
    """(P, R, C) values at the crossings of each RoI's rows and columns; zero outside the crop."""
    (y, y_weight), (x, x_weight) = rows, columns

    def line(low: Tensor, step: int, axis: int) -> tuple[Tensor, Tensor]:
        index = (low + step).clamp(max=size[axis] - 1) - corners[:, axis, None]
        return index, (index >= 0) & (index < crop_sizes[:, axis, None])

    total = torch.zeros((), device=pixels.device)
    pixels = pixels if len(pixels) else pixels.new_zeros(1)  # something to look up where all crops are empty
    for y_step, y_share in ((0, 1 - y_weight), (1, y_weight)):
        y_index, y_inside = line(y, y_step, 0)
        row_start = starts[:, None] + y_index * crop_sizes[:, 1, None]
        for x_step, x_share in ((0, 1 - x_weight), (1, x_weight)):
            x_index, x_inside = line(x, x_step, 1)
            inside = y_inside[:, :, None] & x_inside[:, None, :]
            address = torch.where(inside, row_start[:, :, None] + x_index[:, None, :], 0)
            values = torch.where(inside, pixels[address].float(), 0.0)
            total = total + values * (y_share[:, :, None] * x_share[:, None, :])
    return total


def sample_points(
    pixels: Tensor,
    starts: Tensor,
    corners: Tensor,
    crop_sizes: Tensor,
    size: tuple[int, int],
    objects: Tensor,
    points: Tensor,
) -> Tensor:
    """Bilinear values of packed masks at single points, as if each mask were a bitmap of the whole image.

    Args:
        pixels, starts, corners, crop_sizes, size: as in `sample_crops`.
        objects: (T,) int64 the mask that each point asks.
        points: (T, 2) float row, column; 0 is the centre of the first pixel, points outside take the border's value.

    Returns:
        (T,) float32 from 0 to 1.
    """
    limits = points.new_tensor([size[0] - 1, size[1] - 1])
    points = torch.minimum(points.clamp(min=0), limits)
    lower = points.floor()
    rows, columns = ((lower[:, axis, None].to(torch.int64), (points - lower)[:, axis, None]) for axis in (0, 1))
    values = _bilinear(pixels, starts[objects], corners[objects], crop_sizes[objects], size, rows, columns)
    return values[:, 0, 0]


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
    place = torch.arange(len(index), device=index.device) - (counts.cumsum(0) - counts)[index]
    widths = sides[index, 0]
    return index, rectangles[index, 1] + place // widths, rectangles[index, 0] + place % widths


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
    """One axis of a grid along one of an image: of each of P pixels two neighbouring cells and the second one's weight.

    Attributes:
        lower: (P,) int64, never falling.
        upper: (P,) int64, the next cell, or the last one again.
        weight: (P,) float32 from 0 to 1.
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
    places = ((torch.arange(pixels, device=device) + 0.5) * (extent / pixels) - 0.5).clamp(min=0, max=cells - 1)
    lower = places.floor().to(torch.int64)
    return Stretch(lower, (lower + 1).clamp(max=cells - 1), (places - lower).to(torch.float32))


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
    """(L, n) lines → (P, n) mixtures of two of them each."""
    return torch.lerp(lines[axis.lower], lines[axis.upper], axis.weight[:, None])
