"""What each kind of LabelMe shape covers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from math import ceil, hypot, isfinite, pi
from typing import Any

import hotcoco.mask
import numpy as np
from PIL import Image, UnidentifiedImageError

from maskwright.data.checks import Problem, show
from maskwright.structures.rle import Crop, Rle, any_to_rle, as_text, crop_to_rle

# polygons, or run lengths of the whole image
Region = list[list[float]] | Rle
Points = list[tuple[float, float]]

# a polygon stays this near to the circle that it stands for
_CIRCLE_TOLERANCE_PX = 0.05
_FEWEST_CIRCLE_POINTS = 24


def read_shape(shape: Any, size: tuple[int, int]) -> Region | Problem:
    """What a shape of a file covers in an image of (height, width), or what is wrong with it."""
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"]:
        return Problem("bad-shape", f"{show(shape)} has no 'label'; give every shape one")
    kind = shape.get("shape_type") or "polygon"
    points = _points(shape.get("points"))
    if points is None:
        return Problem("bad-shape", f"points {show(shape.get('points'))} is not a list of finite pairs x, y")
    if kind == "mask":
        return _mask(shape.get("mask"), points, size)
    if kind not in _OUTLINES:
        known = ", ".join((*_OUTLINES, "mask"))
        return Problem("shape-without-area", f"a {kind} covers no pixels; draw one of {known}, or remove it")
    return _OUTLINES[kind](points)


def union(regions: Sequence[Region], size: tuple[int, int]) -> Region:
    """All parts of an object together: polygons as long as all are."""
    if len(regions) == 1:
        return regions[0]
    polygons = [region for region in regions if isinstance(region, list)]
    if len(polygons) == len(regions):
        return [polygon for region in polygons for polygon in region]
    return as_text(hotcoco.mask.merge([any_to_rle(region, size) for region in regions]))


def _points(points: Any) -> Points | None:
    if not isinstance(points, list):
        return None
    try:
        pairs = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        return None
    return pairs if all(isfinite(x) and isfinite(y) for x, y in pairs) else None


def _polygon(points: Points) -> Region | Problem:
    if len(points) < 3:
        return Problem("bad-polygon", f"a polygon has {len(points)} points; it needs at least 3")
    return [[number for point in points for number in point]]


def _rectangle(points: Points) -> Region | Problem:
    if len(points) != 2:
        return _polygon(points)  # newer files list all four corners
    (x1, y1), (x2, y2) = points
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def _circle(points: Points) -> Region | Problem:
    """From its centre and a point on it."""
    if len(points) != 2:
        return Problem("bad-shape", f"a circle has {len(points)} points; it needs its centre and one on its line")
    (x, y), (x2, y2) = points
    radius = hypot(x2 - x, y2 - y)
    # a chord of angle a lies r a² / 8 inside its arc
    num_points = max(_FEWEST_CIRCLE_POINTS, ceil(2 * pi / (8 * _CIRCLE_TOLERANCE_PX / max(radius, 1e-6)) ** 0.5))
    angles = np.arange(num_points) * (2 * pi / num_points)
    circle = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    outline: list[float] = circle.ravel().tolist()
    return [outline]


def _mask(text: Any, points: Points, size: tuple[int, int]) -> Region | Problem:
    """From a PNG as text and the first and last pixel of its box, both inside."""
    if len(points) != 2:
        return Problem(
            "bad-mask", f"a mask has {len(points)} points; it needs the first and the last corner of its box"
        )
    try:
        with Image.open(BytesIO(base64.b64decode(text, validate=True))) as picture:
            pixels = np.array(picture) != 0
    except (TypeError, ValueError, binascii.Error, UnidentifiedImageError, OSError, SyntaxError) as error:
        return Problem("bad-mask", f"its 'mask' is no PNG file in base64 ({error}); save the file again from LabelMe")
    if pixels.ndim == 3:
        pixels = pixels.any(axis=2)
    (left, top), (right, bottom) = [(round(x), round(y)) for x, y in points]
    height, width = bottom - top + 1, right - left + 1
    if pixels.shape != (height, width):
        found = f"{pixels.shape[0]} × {pixels.shape[1]}"
        return Problem("bad-mask", f"its PNG is {found} pixels (height × width), its points span {height} × {width}")
    if left < 0 or top < 0 or right >= size[1] or bottom >= size[0]:
        return Problem("bad-mask", f"reaches outside the image, which is {size[1]} wide and {size[0]} high")
    return crop_to_rle(Crop(pixels, top, left), size)


_OUTLINES: Mapping[str, Callable[[Points], Region | Problem]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _polygon,
    "circle": _circle,
}
