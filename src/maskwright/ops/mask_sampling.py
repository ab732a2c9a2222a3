"""True masks on the grids of RoIs, read straight from packed crops: no mask ever becomes a bitmap of the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# samples looked up in one piece; bounds the scratch memory of `sample_crops` to some 100 MB
_SAMPLES_AT_ONCE = 2_000_000


class PackedMasks(NamedTuple):
    """G masks over an image, each kept as the crop around its foreground.

    Attributes:
        pixels: (T,) uint8 0 or 1, all crops behind each other, row by row.
        starts: (G,) int64 where each crop begins in `pixels`.
        corners: (G, 2) int64 top, left of each crop in the image.
        crop_sizes: (G, 2) int64 height, width of each crop.
        size: (height, width) of the image.
    """

    pixels: Tensor
    starts: Tensor
    corners: Tensor
    crop_sizes: Tensor
    size: tuple[int, int]


class _Lines(NamedTuple):
    """R positions along one axis for each of P RoIs, each a mixture of two neighbouring pixels.

    Attributes:
        lower: (P, R) int64, the first of the two pixels.
        lower_weight: (P, R) float32.
        upper_weight: (P, R) float32 of the pixel after it.
    """

    lower: Tensor
    lower_weight: Tensor
    upper_weight: Tensor


def sample_crops(
    masks: PackedMasks, rois: Tensor, objects: Tensor, output_px: int, samples: int, is_aligned: bool = False
) -> Tensor:
    """RoIAlign of true masks; equal to RoIAlign of their bitmaps.

    Args:
        masks: G of them.
        rois: (P, 4) x1 y1 x2 y2 in pixels; what lies beyond the image is background.
        objects: (P,) int64 the mask of each RoI.
        output_px: M, side of the result.
        samples: bilinear samples per output cell and axis; 0 takes ceil(side / M) of each RoI.
        is_aligned: pixels are taken at their centres, half a pixel from their corners (detectron2).

    Returns:
        (P, M, M) float32 mean foreground of each cell, from 0 to 1.
    """
    lengths = rois[:, 2:] - rois[:, :2]
    if not is_aligned:  # there, RoIs are never smaller than a pixel
        lengths = lengths.clamp(min=1)
    starts = rois[:, :2] - 0.5 if is_aligned else rois[:, :2]
    counts = torch.ceil(lengths / output_px).to(torch.int64).clamp(min=1)
    if samples:
        counts = torch.full_like(counts, samples)
    result = rois.new_zeros((len(rois), output_px, output_px), dtype=torch.float32)
    for x_count, y_count in torch.unique(counts, dim=0).tolist():
        same = torch.nonzero((counts[:, 0] == x_count) & (counts[:, 1] == y_count)).flatten()
        piece = max(1, _SAMPLES_AT_ONCE // (output_px * output_px * x_count * y_count))
        for some in torch.split(same, piece):
            columns, rows = (
                _cell_lines(starts[some, axis], lengths[some, axis], output_px, count, masks.size[1 - axis])
                for axis, count in ((0, x_count), (1, y_count))
            )
            values = _bilinear(masks, objects[some], rows, columns)
            cells = values.reshape(len(some), output_px, y_count, output_px, x_count)
            result[some] = cells.mean(dim=(2, 4))
    return result


def crop_and_resize(masks: PackedMasks, boxes: Tensor, objects: Tensor, output_px: int) -> Tensor:
    """Bilinear values at M × M points over each box, the outermost on its corners (matterport).

    Args:
        masks: G of them.
        boxes: (P, 4) x1 y1 x2 y2 as shares of the image; 0 is the centre of its first pixel, 1 that of its last. Points
            beyond these are background.
        objects: (P,) int64 the mask of each box.
        output_px: M, at least 2.

    Returns:
        (P, M, M) float32 from 0 to 1.
    """
    columns, rows = (
        _corner_lines(boxes[:, axis], boxes[:, axis + 2], output_px, masks.size[1 - axis]) for axis in (0, 1)
    )
    return _bilinear(masks, objects, rows, columns)


def sample_points(masks: PackedMasks, objects: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of masks at single points, as if each mask were a bitmap of the whole image.

    Args:
        masks: G of them.
        objects: (T,) int64 the mask that each point is looked up in.
        points: (T, 2) float row, column; 0 is the centre of the first pixel, points outside take the border's value.

    Returns:
        (T,) float32 from 0 to 1.
    """
    limits = points.new_tensor([masks.size[0] - 1, masks.size[1] - 1])
    points = torch.minimum(points.clamp(min=0), limits)
    rows, columns = (_bilinear_weights(points[:, axis, None]) for axis in (0, 1))
    return _bilinear(masks, objects, rows, columns)[:, 0, 0]


def _cell_lines(start: Tensor, length: Tensor, output_px: int, samples: int, limit: int) -> _Lines:
    """Along one axis of (P,) RoIs: `samples` positions in each of M cells; none beyond the outermost pixels by one."""
    steps = (torch.arange(output_px * samples, device=start.device) + 0.5) / samples
    positions = start[:, None] + steps[None, :] * (length / output_px)[:, None]
    is_inside = (positions >= -1) & (positions <= limit)
    return _bilinear_weights(positions.clamp(min=0, max=limit - 1), is_inside)


def _corner_lines(start: Tensor, end: Tensor, output_px: int, limit: int) -> _Lines:
    """Along one axis of (P,) boxes in shares: M positions from corner to corner; none beyond the outermost pixels."""
    step = (end - start) * (limit - 1) / (output_px - 1)
    positions = start[:, None] * (limit - 1) + torch.arange(output_px, device=start.device) * step[:, None]
    is_inside = (positions >= 0) & (positions <= limit - 1)
    return _bilinear_weights(positions.clamp(min=0, max=limit - 1), is_inside)


def _bilinear_weights(positions: Tensor, is_inside: Tensor | None = None) -> _Lines:
    """(P, R) positions on or between pixels; those not inside weigh nothing."""
    lower = positions.floor()
    upper_weight = positions - lower
    lower_weight = 1 - upper_weight
    if is_inside is not None:
        lower_weight, upper_weight = lower_weight * is_inside, upper_weight * is_inside
    return _Lines(lower.to(torch.int64), lower_weight, upper_weight)


def _bilinear(masks: PackedMasks, objects: Tensor, rows: _Lines, columns: _Lines) -> Tensor:
    """(P, R, C) values at the crossings of each RoI's rows and columns; zero outside the crop."""
    starts, corners, crop_sizes = masks.starts[objects], masks.corners[objects], masks.crop_sizes[objects]

    def line(lower: Tensor, step: int, axis: int) -> tuple[Tensor, Tensor]:
        index = (lower + step).clamp(max=masks.size[axis] - 1) - corners[:, axis, None]
        return index, (index >= 0) & (index < crop_sizes[:, axis, None])

    total = torch.zeros((), device=masks.pixels.device)
    pixels = masks.pixels if len(masks.pixels) else masks.pixels.new_zeros(1)  # where all crops are empty
    for y_step, y_weight in enumerate((rows.lower_weight, rows.upper_weight)):
        y_index, y_inside = line(rows.lower, y_step, 0)
        row_start = starts[:, None] + y_index * crop_sizes[:, 1, None]
        for x_step, x_weight in enumerate((columns.lower_weight, columns.upper_weight)):
            x_index, x_inside = line(columns.lower, x_step, 1)
            inside = y_inside[:, :, None] & x_inside[:, None, :]
            address = torch.where(inside, row_start[:, :, None] + x_index[:, None, :], 0)
            values = torch.where(inside, pixels[address].float(), 0.0)
            total = total + values * (y_weight[:, :, None] * x_weight[:, None, :])
    return total
