"""Outlines of true masks, kept beside their pixels to be drawn on the grid of each RoI (detectron2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.structures.masks.crop import Bitmap

# the parts of one object, each (V, 2) x y vertices in pixels of the image
Polygons = tuple[npt.NDArray[np.float64], ...]
# of each object of an image; None for one that never had polygons, such as a crowd given as run lengths
Outlines = tuple[Polygons | None, ...]

# detectron2 takes shorter sides of an RoI for this many pixels
_LEAST_SIDE_PX = 0.1
# numbers of a triangle; anything with fewer encloses nothing
_FEWEST_NUMBERS = 6


def read_polygons(segmentation: Any) -> Polygons | None:
    """The polygons of a COCO `segmentation` that enclose something and have whole vertices, or None without any."""
    if isinstance(segmentation, Mapping):
        return None
    flat = [np.asarray(part, dtype=np.float64) for part in segmentation]
    return tuple(part.reshape(-1, 2) for part in flat if len(part) >= _FEWEST_NUMBERS and len(part) % 2 == 0) or None


def move_outlines(
    outlines: Outlines | None, move: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> Outlines | None:
    """The outlines with every part's vertices moved."""
    if outlines is None:
        return None
    return tuple(polygons and tuple(move(part) for part in polygons) for polygons in outlines)


def choose_outlines(outlines: Outlines | None, indices: Sequence[int]) -> Outlines | None:
    """Those of some of the objects."""
    return None if outlines is None else tuple(outlines[index] for index in indices)


def draw_in_box(polygons: Polygons, box: npt.NDArray[np.float32], output_px: int) -> Bitmap:
    """An object's polygons as they look in a box that is M × M pixels, rasterised as the COCO API does.

    Args:
        polygons: of one object.
        box: (4,) x1 y1 x2 y2 in pixels of the image.
        output_px: M.

    Returns:
        (M, M) bool.
    """
    scale = output_px / np.maximum(box[2:] - box[:2], np.float32(_LEAST_SIDE_PX))
    parts = [((part - box[:2]) * scale).ravel().tolist() for part in polygons]
    drawn = hotcoco.mask.decode(hotcoco.mask.merge(hotcoco.mask.frPyObjects(parts, output_px, output_px)))
    return np.asarray(drawn, dtype=bool)
