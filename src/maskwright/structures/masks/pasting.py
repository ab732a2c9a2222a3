"""From a mask on its RoI's grid to the pixels of the image: each original has its own way of stretching.

No function makes more than the part of the image that the box reaches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Piece(NamedTuple):
    """The part of an image that a mask reaches; outside of it there is nothing.

    Attributes:
        values: (h, w) float32 foreground probability of its pixels.
        top: row of its first pixel in the image.
        left: column of its first pixel.
    """

    values: Tensor
    top: int
    left: int


def paste_bordered(probabilities: Tensor, box: Tensor, size: tuple[int, int], *, is_inclusive: bool) -> Piece:
    """Stretch a mask and a border of zeros around it over whole pixels (torchvision).

    The border is one cell wide, so the box grows by (M + 2) / M about its centre; corners are then cut to whole
    pixels, towards zero.

    Args:
        probabilities: (M, M) foreground probability on the RoI grid.
        box: (4,) x1 y1 x2 y2 in pixels of the image.
        size: (height, width) of the image.
        is_inclusive: the pixels at x2 and y2 belong to it (torchvision), or are the first beyond (Simple Mask R-CNN).
    """
    mask_px = probabilities.shape[-1]
    centre, half_sides = (box[2:] + box[:2]) * 0.5, (box[2:] - box[:2]) * 0.5 * ((mask_px + 2) / mask_px)
    corners = torch.cat([centre - half_sides, centre + half_sides]).to(torch.int64)
    corners[2:] += int(is_inclusive)
    left, top, right, bottom = corners.tolist()
    stretched = F.interpolate(
        F.pad(probabilities.float(), (1, 1, 1, 1))[None, None],
        size=(max(bottom - top, 1), max(right - left, 1)),
        mode="bilinear",
        align_corners=False,
    )
    return _visible(stretched[0, 0], (left, top, right, bottom), size)


def paste_at_centres(probabilities: Tensor, box: Tensor, size: tuple[int, int]) -> Piece:
    """Ask a mask at the centre of each pixel, wherever in the box that lies (detectron2).

    A mask falls from its outermost cells to half their strength on the box's edge, and on to zero in another half cell;
    what lies a pixel and more beyond the box is cut off.

    Args:
        probabilities, box, size: as in `paste_bordered`.
    """
    height, width = size
    low, high = (box[:2].floor() - 1).to(torch.int64).tolist(), (box[2:].ceil() + 1).to(torch.int64).tolist()
    left, top, right, bottom = max(low[0], 0), max(low[1], 0), min(high[0], width), min(high[1], height)
    if left >= right or top >= bottom or not bool((box[2:] > box[:2]).all()):
        return Piece(probabilities.new_zeros((0, 0)), 0, 0)
    # the order of operations is detectron2's, since the last digit decides about pixels near the threshold
    columns, rows = (
        (torch.arange(start, end, device=box.device, dtype=torch.float32) + 0.5 - box[axis])
        / (box[axis + 2] - box[axis])
        * 2
        - 1
        for axis, start, end in ((0, left, right), (1, top, bottom))
    )
    points = torch.stack(torch.broadcast_tensors(columns[None, :], rows[:, None]), dim=-1)
    values = F.grid_sample(probabilities.float()[None, None], points[None], align_corners=False)
    return Piece(values[0, 0], top, left)


def paste_bytes(probabilities: Tensor, box: Tensor, size: tuple[int, int], *, stretches_range: bool) -> Piece:
    """Stretch a mask as an 8-bit picture over whole pixels, without a border (matterport).

    Args:
        probabilities, box, size: as in `paste_bordered`; the box's corners are cut to whole pixels, towards zero.
        stretches_range: as in `to_bytes`.
    """
    left, top, right, bottom = box.to(torch.int64).tolist()
    if left >= right or top >= bottom:
        return Piece(probabilities.new_zeros((0, 0)), 0, 0)
    picture = resize_bytes(to_bytes(probabilities.float(), stretches_range), (bottom - top, right - left))
    return _visible(picture.float() / 255, (left, top, right, bottom), size)


def to_bytes(values: Tensor, stretches_range: bool) -> Tensor:
    """Floats as bytes, halves rounded up.

    Args:
        values: of any shape, from 0 to 1.
        stretches_range: the smallest value becomes 0 and the largest 255 (SciPy's `imresize` does so unasked); values
            that are all equal become 0.

    >>> to_bytes(torch.tensor([0.25, 0.5, 0.75]), True).tolist(), to_bytes(torch.tensor([0.2, 0.4]), False).tolist()
    ([0, 128, 255], [51, 102])
    """
    low, high = (values.min(), values.max()) if stretches_range else (values.new_zeros(()), values.new_ones(()))
    extent = torch.where(high > low, high - low, 1.0)
    return (((values - low) * (255 / extent)).clamp(0, 255) + 0.5).to(torch.uint8)


def resize_bytes(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """An (h, w) uint8 picture at another (height, width), by Pillow's bilinear filter, which smooths when shrinking."""
    from PIL import Image

    resized = Image.fromarray(picture.cpu().numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).to(picture.device)


def _visible(values: Tensor, rectangle: tuple[int, int, int, int], size: tuple[int, int]) -> Piece:
    """What of a rectangle's values lies inside the image; its third and fourth number are the first pixels beyond."""
    left, top, right, bottom = rectangle
    rows = slice(max(0, -top), max(0, min(bottom, size[0]) - top))
    columns = slice(max(0, -left), max(0, min(right, size[1]) - left))
    return Piece(values[rows, columns], max(0, top), max(0, left))
