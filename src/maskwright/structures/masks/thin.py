"""Objects that become thinner than a pixel in a smaller image (wires, cracks, roots) do not break up or vanish."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from maskwright.structures.masks.crop import Bitmap, Crop

Size = tuple[int, int]
Shares = npt.NDArray[np.float64]
AnyValue = TypeVar("AnyValue", np.bool_, np.float64)

# only objects whose mean thickness is below this many new pixels are looked at
_THIN_PX = 1.0
# an object of so few pixels along its longer side is no line that can break
_COMPACT_PX = 3
# an object that loses less than this share of its area is left as it is
_LOST_SHARE = 0.1


def keep_thin(old: Crop, new: Crop, old_size: Size, new_size: Size) -> Crop:
    """The mask of an object in a resized image, with the pixels that it covers most where the rest would be lost.

    Args:
        old: in the image before.
        new: in the resized image, by the usual rule.
        old_size: (height, width) of the image before.
        new_size: (height, width) of the resized image.

    Returns:
        `new`, unless the object is thin and more than a tenth of its area lies where `new` has lost it: no pixel of
        `new` is beside, or a line across a long object has none. There the pixels are added that the object covers
        most.
    """
    scale = max(new_size[0] / old_size[0], new_size[1] / old_size[1])
    if scale >= 1 or _thickness(old) * scale >= _THIN_PX:
        return new
    covered = coverage(old, old_size, new_size)
    shares, kept = covered.shares, np.zeros(covered.shares.shape, dtype=bool)
    height, width = shares.shape
    new.cut(covered.top, covered.left, height, width).moved(-covered.top, -covered.left).paste_into(kept, True)
    is_far = ~_largest_beside(kept)
    is_gap, most_across = _gaps(kept, shares)
    if shares[is_far | is_gap].sum() <= _LOST_SHARE * shares.sum():
        return new
    kept |= is_far & (shares > _largest_beside(shares) / 2) | is_gap & (shares > most_across / 2)
    return Crop(kept, covered.top, covered.left)


def _gaps(kept: Bitmap, shares: Shares) -> tuple[Bitmap, Shares]:
    """Pixels of the lines across a long object that have no pixel of it left, and the largest share on each line."""
    across = int(shares.shape[1] < shares.shape[0])  # rows of an upright object, else columns
    is_long = max(shares.shape, default=0) > _COMPACT_PX
    is_gap = ~kept.any(axis=across, keepdims=True) & is_long
    return np.broadcast_to(is_gap, kept.shape), shares.max(axis=across, keepdims=True, initial=0)


class Covered(NamedTuple):
    """The share of each pixel of a resized image that an object covers; 0 outside this piece.

    Attributes:
        shares: (h, w) from 0 to 1.
        top: row of the first.
        left: column of the first.
    """

    shares: Shares
    top: int
    left: int


def coverage(crop: Crop, old_size: Size, new_size: Size) -> Covered:
    """How much of each pixel of a resized image an object covers, exactly."""
    height, width = crop.pixels.shape
    rows, top = _overlaps(crop.top, height, old_size[0], new_size[0])
    columns, left = _overlaps(crop.left, width, old_size[1], new_size[1])
    return Covered(rows @ crop.pixels.astype(np.float64) @ columns.T, top, left)


def _overlaps(start: int, length: int, old: int, new: int) -> tuple[Shares, int]:
    """(new lines, old lines of a crop) share of each new line that an old one fills; and the first of the new lines."""
    scale = new / old
    first, end = int(np.floor(start * scale)), min(int(np.ceil((start + length) * scale)), new)
    borders = np.arange(start, start + length + 1) * scale
    lines = np.arange(first, end)[:, None]
    inside = np.minimum(borders[1:], lines + 1) - np.maximum(borders[:-1], lines)
    return inside.clip(min=0), first


def _thickness(crop: Crop) -> float:
    """Mean thickness of a mask in pixels: that of a long ribbon with its area and outline."""
    return 2 * crop.area / max(crop.perimeter, 1)


def _largest_beside(values: npt.NDArray[AnyValue]) -> npt.NDArray[AnyValue]:
    """The largest of each pixel and the eight beside it."""
    bordered = np.pad(values, 1)
    rows = np.maximum(np.maximum(bordered[:-2], bordered[1:-1]), bordered[2:])
    return np.asarray(np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))
