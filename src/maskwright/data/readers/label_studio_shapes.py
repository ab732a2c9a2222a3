"""What each kind of region covers in Label Studio, whose coordinates are percent of the image's width and height."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from math import radians
from typing import Any

from maskwright.data.checks import Problem
from maskwright.data.readers.label_studio_rle import brush_pixels
from maskwright.data.readers.shapes import (
    Region,
    bad_points,
    ellipse,
    numbers_of,
    picture_of,
    pixels_at,
    points_of,
    polygon,
    rectangle,
    turned,
)


def region_of(value: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    """What the `value` of a region covers in an image of (height, width), or what is wrong with it."""
    if "rle" in value:
        pixels = brush_pixels(value["rle"], size)
        return pixels if isinstance(pixels, Problem) else pixels_at(pixels, 0, 0, size)
    if "imageDataURL" in value:
        return _picture(value["imageDataURL"], size)
    if "points" in value:
        return _polygon(value, size)
    if "radiusX" in value:
        return _ellipse(value, size)
    if "width" in value and "height" in value:
        return _rectangle(value, size)
    kind = "key point" if "width" in value else "region of this kind"
    return Problem("shape-without-area", f"a {kind} covers no pixels; draw a polygon or a brush, or remove it")


def _picture(address: Any, size: tuple[int, int]) -> Region | Problem:
    """The newer brush: a picture of the whole image, transparent where nothing was painted, as a data: address."""
    head, _, text = address.partition(",") if isinstance(address, str) else ("", "", "")
    try:
        data = base64.b64decode(text, validate=True) if head.endswith(";base64") else b""
    except ValueError as error:
        return Problem("bad-mask", f"its imageDataURL is no picture in base64 ({error}); export it again")
    pixels = picture_of(data, size)
    if isinstance(pixels, Problem):
        return pixels
    if pixels.shape != size:
        found = f"{pixels.shape[0]} × {pixels.shape[1]}"
        return Problem("bad-mask", f"its picture is {found} pixels (height × width), its image {size[0]} × {size[1]}")
    return pixels_at(pixels, 0, 0, size)


def _polygon(value: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    points = points_of(value["points"])
    if points is None:
        return bad_points(value["points"], "points")
    if value.get("closed") is False:
        return Problem("shape-without-area", "its outline is open; close the polygon in Label Studio, or remove it")
    return polygon([(x * size[1] / 100, y * size[0] / 100) for x, y in points])


def _rectangle(value: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    """It is turned about its corner at the top left."""
    numbers = numbers_of(_with_rotation(value), ("x", "y", "width", "height", "rotation"))
    if isinstance(numbers, Problem):
        return numbers
    left, top = numbers[0] * size[1] / 100, numbers[1] * size[0] / 100
    width, height = numbers[2] * size[1] / 100, numbers[3] * size[0] / 100
    return turned(rectangle(left, top, left + width, top + height), (left, top), radians(numbers[4]))


def _ellipse(value: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    """Around its centre."""
    numbers = numbers_of(_with_rotation(value), ("x", "y", "radiusX", "radiusY", "rotation"))
    if isinstance(numbers, Problem):
        return numbers
    x, radius_x = (numbers[i] * size[1] / 100 for i in (0, 2))
    y, radius_y = (numbers[i] * size[0] / 100 for i in (1, 3))
    return ellipse(x, y, radius_x, radius_y, radians(numbers[4]))


def _with_rotation(value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, "rotation": value.get("rotation") or 0}
