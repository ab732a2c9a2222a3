"""What the shapes that annotation tools draw cover: outlines with continuous coordinates, as in COCO, and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from math import ceil, cos, isfinite, pi, sin
from typing import Any

import hotcoco.mask
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from maskwright.data.checks import Problem, mask_problem, show
from maskwright.data.record import Remark
from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.rle import Rle, any_to_rle, as_text, crop_to_rle

# polygons, or run lengths of the whole image
Region = list[list[float]] | Rle
Points = list[tuple[float, float]]

# a polygon stays this near to the curve that it stands for
_CURVE_TOLERANCE_PX = 0.05
_FEWEST_CURVE_POINTS, _MOST_CURVE_POINTS = 24, 4096


def finite(value: Any) -> float | None:
    """A number, or the text of one; None where it is anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def numbers_of(values: Any, keys: Sequence[str]) -> list[float] | Problem:
    """The numbers of an object's keys, or which is none.

    >>> numbers_of({"x": 1, "y": "2.5"}, ["x", "y"])
    [1.0, 2.5]
    """
    found = [finite(values.get(key)) if isinstance(values, dict) else None for key in keys]
    for key, number in zip(keys, found, strict=True):
        if number is None:
            value = show(values.get(key)) if isinstance(values, dict) else show(values)
            return Problem("bad-shape", f"its {key!r} is {value}; it needs a finite number")
    return [number for number in found if number is not None]


def points_of(points: Any) -> Points | None:
    """A list of pairs x, y; None where it is anything else."""
    if not isinstance(points, list):
        return None
    pairs = []
    for pair in points:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return None
        x, y = finite(pair[0]), finite(pair[1])
        if x is None or y is None:
            return None
        pairs.append((x, y))
    return pairs


def bad_points(value: Any, key: str) -> Problem:
    """What to say where `points_of` finds no points."""
    return Problem("bad-shape", f"{key} {show(value)} is not a list of finite pairs x, y")


def polygon(points: Points) -> Region | Problem:
    """The inside of an outline."""
    if len(points) < 3:
        return Problem("bad-polygon", f"a polygon has {len(points)} points; it needs at least 3")
    return [[number for point in points for number in point]]


def rectangle(left: float, top: float, right: float, bottom: float) -> Region:
    """An upright rectangle; its corners may be exchanged."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def turned(region: Region, about: tuple[float, float], radians: float) -> Region:
    """Polygons turned about a point, clockwise on the screen."""
    if not radians or isinstance(region, dict):
        return region
    (x, y), cosine, sine = about, cos(radians), sin(radians)
    turned_parts = []
    for part in region:
        offsets = [(part[i] - x, part[i + 1] - y) for i in range(0, len(part), 2)]
        corners = [(x + dx * cosine - dy * sine, y + dx * sine + dy * cosine) for dx, dy in offsets]
        turned_parts.append([number for corner in corners for number in corner])
    return turned_parts


def ellipse(x: float, y: float, radius_x: float, radius_y: float, radians: float = 0.0) -> Region:
    """An ellipse around its centre as a polygon, turned clockwise on the screen."""
    radius = min(max(abs(radius_x), abs(radius_y), 1e-6), 1e9)
    # a chord of angle a lies r a² / 8 inside its arc
    wanted = 2 * pi / (8 * _CURVE_TOLERANCE_PX / radius) ** 0.5
    num_points = ceil(min(max(wanted, _FEWEST_CURVE_POINTS), _MOST_CURVE_POINTS))
    angles = np.arange(num_points) * (2 * pi / num_points)
    with np.errstate(all="ignore"):  # absurd numbers become infinite, and a defect
        curve = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)
    outline: list[float] = curve.ravel().tolist()
    return turned([outline], (x, y), radians)


def with_holes(outline: Region, holes: Sequence[Region], size: tuple[int, int]) -> Region | Problem:
    """A region without other ones that lie in it."""
    if not holes:
        return outline
    problem = mask_problem(outline, size)
    if problem is not None:
        return problem
    pixels = bitmap_of(outline, size)
    for hole in holes:
        pixels &= ~bitmap_of(hole, size)
    return crop_to_rle(Crop(pixels), size)


def even_odd(outlines: Sequence[Region], size: tuple[int, int]) -> Region | Problem:
    """What an odd number of outlines surrounds: a hole in a part, a part in a hole."""
    if len(outlines) == 1:
        return outlines[0]
    problem = next(filter(None, (mask_problem(outline, size) for outline in outlines)), None)
    if problem is not None:
        return problem
    pixels = np.zeros(size, dtype=bool)
    for outline in outlines:
        pixels ^= bitmap_of(outline, size)
    return crop_to_rle(Crop(pixels), size)


def bitmap_of(region: Region, size: tuple[int, int]) -> Bitmap:
    """(H, W) what a sound region covers."""
    pixels: Bitmap = hotcoco.mask.decode(any_to_rle(region, size)).astype(bool)
    return pixels


def union(regions: Sequence[Region], size: tuple[int, int]) -> Region:
    """All parts of an object together: polygons as long as all are."""
    if len(regions) == 1:
        return regions[0]
    polygons = [region for region in regions if isinstance(region, list)]
    if len(polygons) == len(regions):
        return [polygon for region in polygons for polygon in region]
    return as_text(hotcoco.mask.merge([any_to_rle(region, size) for region in regions]))


def pixels_at(pixels: npt.NDArray[Any], left: int, top: int, size: tuple[int, int]) -> Region | Problem:
    """A piece of a mask, (h, w), whose first pixel lies at a column and row of an image of (height, width)."""
    height, width = pixels.shape
    if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
        reach = f"from column {left} and row {top} its {width} × {height} pixels (width × height)"
        return Problem("bad-mask", f"{reach} reach outside the image, which is {size[1]} wide and {size[0]} high")
    return crop_to_rle(Crop(pixels.astype(bool), top, left), size)


def picture_of(data: bytes, size: tuple[int, int]) -> Bitmap | Problem:
    """(h, w) where a small picture file shows something: what is not transparent, or else not black.

    Args:
        data: of the file.
        size: (height, width) of the image, which no piece of a mask exceeds.
    """
    try:
        with Image.open(BytesIO(data)) as picture:
            if picture.height > size[0] or picture.width > size[1]:
                found = f"its picture is {picture.width} × {picture.height} pixels (width × height)"
                return Problem("bad-mask", f"{found}, the image {size[1]} × {size[0]}; export the annotations again")
            bands = np.array(picture.convert("RGBA") if "transparency" in picture.info else picture)
    except (ValueError, UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        return Problem("bad-mask", f"its picture cannot be read ({error}); export the annotations again")
    if bands.ndim == 2:
        return np.asarray(bands != 0)
    return np.asarray(bands[..., -1] != 0) if bands.shape[2] in (2, 4) else np.asarray(bands.any(axis=2))


def box_as_mask(where: str, name: str) -> Remark:
    """What to remark on a rectangle that is taken for the mask of its object."""
    message = f"a {name} is taken for the whole mask of its object, which it fits only roughly"
    return Remark("box-as-mask", where, message, None)
