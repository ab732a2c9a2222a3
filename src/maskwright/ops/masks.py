"""Masks between the three grids they live on: the RoI's, the object's own crop, and the image's."""

from __future__ import annotations

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
