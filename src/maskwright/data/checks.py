"""What makes an object's box or mask unusable, whatever format it came in.

Datasets have a million annotations: plain Python looks at the numbers, and a polygon is rasterised only in doubt.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from math import isfinite
from operator import mul
from typing import Any, NamedTuple

import hotcoco.mask

from maskwright.structures.masks.rle import any_to_rle, polygons_to_rle, rle_counts

# annotation tools round outwards, and COCO itself has boxes that end some hundredths of a pixel beyond the border
BORDER_TOLERANCE_PX = 2.0

# of a run; numbers beyond cannot be added up
_MOST_PIXELS = 10**15
# of a text in a message; a path is seldom longer
_MOST_LETTERS = 200
# numbers of a part that is no outline: x and y of up to two points
_STRAY_LENGTHS = (0, 2, 4)


class Problem(NamedTuple):
    """A kind of defect and what was found, not yet with the annotation that has it."""

    kind: str
    message: str


def box_problem(box_xywh: Any, size: tuple[int, int]) -> Problem | None:
    """What is wrong with a box x y w h in pixels of an image of (height, width), if anything.

    >>> box_problem([10, 10, 0, 5], (20, 30))
    Problem(kind='box-without-area', message='bbox [10, 10, 0, 5] has no area; width and height must be above 0')
    """
    if not isinstance(box_xywh, Sequence) or len(box_xywh) != 4 or not _are_finite(box_xywh):
        return Problem("bad-box", f"bbox {show(box_xywh)} is not four finite numbers x, y, width, height")
    left, top, width, height = box_xywh
    if width <= 0 or height <= 0:
        return Problem("box-without-area", f"bbox {show(box_xywh)} has no area; width and height must be above 0")
    right, bottom = left + width, top + height
    beyond = max(-left, -top, right - size[1], bottom - size[0])
    if beyond > BORDER_TOLERANCE_PX or right <= 0 or bottom <= 0 or left >= size[1] or top >= size[0]:
        return Problem(
            "box-outside-image",
            f"bbox {show(box_xywh)} (x, y, width, height) reaches outside the image, which is "
            f"{size[1]} wide and {size[0]} high",
        )
    return None


def shape_problem(box_xywh: Any, segmentation: Any, size: tuple[int, int], needs_masks: bool) -> Problem | None:
    """What is wrong with the box, or else the mask, of an object in an image of (height, width), if anything.

    A box may be missing where there is a mask, and a mask where `needs_masks` is off.
    """
    has_mask = bool(segmentation) or needs_masks
    problem = None if box_xywh is None and has_mask else box_problem(box_xywh, size)
    return mask_problem(segmentation, size) if problem is None and has_mask else problem


def mask_problem(segmentation: Any, size: tuple[int, int]) -> Problem | None:
    """What is wrong with a COCO `segmentation` in an image of (height, width), if anything.

    >>> mask_problem([[1, 1, 9, 9]], (20, 30))
    Problem(kind='bad-polygon', message='a polygon has 4 numbers; it needs x and y of at least 3 points')
    """
    if not segmentation:
        return Problem("missing-mask", "has no segmentation; draw the object's mask or remove the annotation")
    if isinstance(segmentation, Mapping):
        return _rle_problem(segmentation, size)
    if isinstance(segmentation, list):
        return _polygons_problem(segmentation, size)
    return Problem("bad-polygon", f"segmentation {show(segmentation)} is neither polygons nor run lengths")


def outside_problem(segmentation: Any, size: tuple[int, int]) -> Problem | None:
    """What is to be said of sound polygons that reach outside an image of (height, width): their rest is used.

    >>> outside_problem([[1, 1, 9, 1, 50, 9]], (20, 30)).message
    'its outline reaches 20 pixels outside the image, which is 30 wide and 20 high; what is outside is cut off'
    """
    if not isinstance(segmentation, list) or not segmentation:
        return None
    ranges = [
        (min(min(polygon[k::2]) for polygon in segmentation), max(max(polygon[k::2]) for polygon in segmentation))
        for k in (0, 1)
    ]
    beyond = max(max(-low, high - side) for (low, high), side in zip(ranges, (size[1], size[0]), strict=True))
    if beyond <= BORDER_TOLERANCE_PX:
        return None
    where = f"outside the image, which is {size[1]} wide and {size[0]} high; what is outside is cut off"
    return Problem("outline-cut-off", f"its outline reaches {beyond:.0f} pixels {where}")


def keypoints_problem(keypoints: Any, names: Sequence[str]) -> Problem | None:
    """What is wrong with a COCO `keypoints` list, x y visibility of each, if anything; no list is in order.

    Args:
        keypoints: what the annotation has.
        names: of the keypoints; none: their number is not known.

    >>> keypoints_problem([3, 4, 2, 5], ["nose", "tail"])
    Problem(kind='bad-keypoints', message='keypoints has 4 numbers; x, y and visibility of 2 keypoints are 6')
    """
    if not keypoints:
        return None
    if not isinstance(keypoints, list) or not _are_finite(keypoints):
        return Problem("bad-keypoints", f"keypoints {show(keypoints)} is not a list of finite numbers x, y, visibility")
    if len(keypoints) % 3 or (names and len(keypoints) != 3 * len(names)):
        wanted = f"of {len(names)} keypoints are {3 * len(names)}" if names else "come in threes"
        return Problem("bad-keypoints", f"keypoints has {len(keypoints)} numbers; x, y and visibility {wanted}")
    if unknown := set(keypoints[2::3]) - {0, 1, 2}:
        return Problem(
            "bad-keypoints",
            f"a keypoint has visibility {min(unknown)}; it is 0 (not labelled), 1 (hidden) or 2 (visible)",
        )
    return None


class Parts(NamedTuple):
    """The parts of a mask that have an area, and what is said of those that are left out; None where all have."""

    rest: Any
    stray: Problem | None


def split_strays(segmentation: Any) -> Parts:
    """Take the parts of one or two points, which cover nothing, from the polygons of a mask.

    Without any other part, and where it has no polygons, a mask stays as it is.

    >>> split_strays([[1, 1, 9, 9, 1, 9], [4, 4]]).rest
    [[1, 1, 9, 9, 1, 9]]
    """
    if not isinstance(segmentation, list) or not all(isinstance(part, list) for part in segmentation):
        return Parts(segmentation, None)
    strays = [part for part in segmentation if len(part) in _STRAY_LENGTHS and _are_finite(part)]
    rest = [part for part in segmentation if not any(part is stray for stray in strays)]
    if not strays or not rest:
        return Parts(segmentation, None)
    count = "a part of the mask has" if len(strays) == 1 else f"{len(strays)} parts of the mask have"
    message = f"{count} fewer than 3 points, {show(strays[0])}, and no area; the rest is sound"
    return Parts(rest, Problem("stray-part", message))


def box_around(segmentation: Any, size: tuple[int, int]) -> list[float]:
    """Box x y w h in pixels of a sound mask in an image of (height, width)."""
    return [float(number) for number in hotcoco.mask.to_bbox(any_to_rle(segmentation, size))]


def show(value: Any) -> str:
    """A value from a file for a one-line message, cut short where it is long; texts, names for example, at their end.

    >>> show("a_photograph_of_some_length_taken_on_holiday.jpg"), show([1, 2, 3, 4, 5, 6, 7, 8])
    ("'a_photograph_of_some_length_taken_on_holiday.jpg'", '[1, 2, 3, 4, 5, 6, ...]')
    """
    if isinstance(value, str):
        text = repr(value[:_MOST_LETTERS])
        return text if len(value) <= _MOST_LETTERS else f"{text}…"
    return reprlib.repr(value)


def _polygons_problem(polygons: list[Any], size: tuple[int, int]) -> Problem | None:
    for polygon in polygons:
        if not isinstance(polygon, list):
            return Problem("bad-polygon", "segmentation must be a list of polygons, each a list x1, y1, x2, y2, …")
        if len(polygon) < 6 or len(polygon) % 2:
            return Problem(
                "bad-polygon", f"a polygon has {len(polygon)} numbers; it needs x and y of at least 3 points"
            )
        if not _are_finite(polygon):
            return Problem("bad-polygon", f"polygon {show(polygon)} holds something that is not a finite number")
    if any(_is_surely_filled(polygon, size) for polygon in polygons):
        return None
    return None if hotcoco.mask.area(polygons_to_rle(polygons, size)) else _empty_polygons(polygons, size)


def _is_surely_filled(polygon: list[float], size: tuple[int, int]) -> bool:
    """Whether a polygon lies in the image and is on average over 2 px thick, so that it covers a pixel's centre."""
    xs, ys = polygon[0::2], polygon[1::2]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    if left < 0 or top < 0 or right > size[1] or bottom > size[0]:
        return False
    area = abs(sum(map(mul, xs, ys[1:] + ys[:1])) - sum(map(mul, ys, xs[1:] + xs[:1]))) / 2
    return bool(area > 2 * max(right - left, bottom - top))


def _rle_problem(rle: Mapping[str, Any], size: tuple[int, int]) -> Problem | None:
    if rle.get("size") != list(size):
        found, expected = show(rle.get("size")), list(size)
        return Problem("bad-rle", f"run lengths are for size {found}, the image is {expected} (height, width)")
    counts = rle.get("counts")
    if isinstance(counts, list):
        odd = [
            count
            for count in counts
            if not isinstance(count, int | float) or not 0 <= count < _MOST_PIXELS or count % 1
        ]
        if odd:
            return Problem("bad-rle", f"run lengths hold {show(odd[0])}; each must be a whole number, 0 or above")
        if sum(counts) != size[0] * size[1]:
            return _other_total(sum(counts), size)
    try:
        area = hotcoco.mask.area({"size": list(size), "counts": counts})
        total = size[0] * size[1] if isinstance(counts, list) else int(rle_counts(rle).sum())
    except (TypeError, ValueError) as error:
        return Problem("bad-rle", f"run lengths cannot be read: {error}")
    if total != size[0] * size[1]:
        return _other_total(total, size)
    return None if area else _empty()


def _other_total(total: float, size: tuple[int, int]) -> Problem:
    return Problem("bad-rle", f"run lengths add up to {int(total)} pixels, the image has {size[0] * size[1]}")


def _empty_polygons(polygons: list[list[float]], size: tuple[int, int]) -> Problem:
    """Why polygons cover no pixel of an image of (height, width)."""
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    if max(xs) <= 0 or max(ys) <= 0 or min(xs) >= size[1] or min(ys) >= size[0]:
        found = f"the mask covers no pixel: it lies outside the image, which is {size[1]} wide and {size[0]} high"
        return Problem("empty-mask", found)
    if all(0 <= number <= 1 for number in (*xs, *ys)) and max(*xs, *ys) > 0:
        found = "the mask covers no pixel: its points lie between 0 and 1, as shares of the image do; give pixels"
        return Problem("empty-mask", found)
    return _empty()


def _empty() -> Problem:
    return Problem("empty-mask", "the mask covers no pixel; draw it larger or remove the annotation")


def _are_finite(numbers: Sequence[Any]) -> bool:
    try:
        return all(map(isfinite, numbers))
    except (TypeError, OverflowError):
        return False
