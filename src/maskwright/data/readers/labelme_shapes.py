"""What each kind of LabelMe shape covers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from math import hypot
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.shapes import (
    Points,
    Region,
    bad_points,
    ellipse,
    picture_of,
    pixels_at,
    points_of,
    polygon,
    rectangle,
)


def read_shape(shape: Any, size: tuple[int, int]) -> Region | Problem:
    """What a shape of a file covers in an image of (height, width), or what is wrong with it."""
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str | int) or shape["label"] == "":
        return Problem("bad-shape", f"{show(shape)} has no 'label'; give every shape one")
    kind = shape.get("shape_type") or "polygon"
    points = points_of(shape.get("points"))
    if points is None:
        return bad_points(shape.get("points"), "points")
    if kind == "mask":
        return _mask(shape.get("mask"), points, size)
    if not isinstance(kind, str) or kind not in _OUTLINES:
        known = ", ".join((*_OUTLINES, "mask"))
        name = kind if isinstance(kind, str) else show(kind)
        return Problem("shape-without-area", f"a {name[:40]} covers no pixels; draw one of {known}, or remove it")
    return _OUTLINES[kind](points)


def _rectangle(points: Points) -> Region | Problem:
    if len(points) != 2:
        return polygon(points)  # newer files list all four corners
    (x1, y1), (x2, y2) = points
    return rectangle(x1, y1, x2, y2)


def _circle(points: Points) -> Region | Problem:
    """From its centre and a point on it."""
    if len(points) != 2:
        return Problem("bad-shape", f"a circle has {len(points)} points; it needs its centre and one on its line")
    (x, y), (x2, y2) = points
    radius = hypot(x2 - x, y2 - y)
    return ellipse(x, y, radius, radius)


def _mask(text: Any, points: Points, size: tuple[int, int]) -> Region | Problem:
    """From a PNG as text and the first and last pixel of its box, both inside."""
    if len(points) != 2:
        return Problem(
            "bad-mask", f"a mask has {len(points)} points; it needs the first and the last corner of its box"
        )
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        return Problem("bad-mask", f"its 'mask' is no PNG file in base64 ({error}); save the file again from LabelMe")
    pixels = picture_of(data, size)
    if isinstance(pixels, Problem):
        return pixels
    (left, top), (right, bottom) = [(round(x), round(y)) for x, y in points]
    height, width = bottom - top + 1, right - left + 1
    if pixels.shape != (height, width):
        found = f"{pixels.shape[0]} × {pixels.shape[1]}"
        return Problem("bad-mask", f"its PNG is {found} pixels (height × width), its points span {height} × {width}")
    return pixels_at(pixels, left, top, size)


# the last three are X-AnyLabeling's: all corners of a rectangle that may be turned, and of any outline
_OUTLINES: Mapping[str, Callable[[Points], Region | Problem]] = {
    "polygon": polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": polygon,
    "circle": _circle,
    "rotation": polygon,
    "rotated_rectangle": polygon,
    "quadrilateral": polygon,
}
