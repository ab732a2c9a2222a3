"""The box, mask and keypoints of one COCO annotation: as COCO writes them, or as they can be read for sure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from maskwright.data.checks import (
    Problem,
    box_around,
    box_problem,
    keypoints_problem,
    mask_problem,
    outside_problem,
    split_strays,
)
from maskwright.data.readers.coco_agreement import compare
from maskwright.data.readers.coco_ids import as_number
from maskwright.data.readers.coco_masks import as_polygons, is_bitmap, numbers_in, read_mask

# tools round, so that a share of the image may be this much beyond 0 and 1
_SHARE_TOLERANCE = 0.01
# what tools write that have no box
_EMPTY_BOXES: Sequence[Any] = ([], [0, 0, 0, 0])


@dataclass(frozen=True)
class ShapeRules:
    """What holds for all annotations of a file.

    Attributes:
        keypoint_names: none: their number is not known.
        needs_masks: an object without a mask is a defect.
        has_polygon_shares: the points of polygons are shares of the image's sides.
        has_box_shares: so are the numbers of boxes.
    """

    keypoint_names: Sequence[str]
    needs_masks: bool
    has_polygon_shares: bool = False
    has_box_shares: bool = False

    @staticmethod
    def of(annotations: Iterable[Any], keypoint_names: Sequence[str], needs_masks: bool) -> ShapeRules:
        """From the annotations of a file, which are in pixels unless all of them lie within the first."""
        entries = [entry for entry in annotations if isinstance(entry, dict)]
        outlines = (
            numbers_in(entry["segmentation"]) for entry in entries if isinstance(entry.get("segmentation"), list)
        )
        boxes = [entry["bbox"] for entry in entries if entry.get("bbox") is not None]
        has_box_shares = bool(boxes) and all(map(_is_box_of_shares, boxes))
        return ShapeRules(keypoint_names, needs_masks, _are_all_shares(outlines), has_box_shares)


@dataclass
class Shape:
    """What was found in an annotation.

    Attributes:
        annotation: as COCO writes it.
        problems: why it cannot be used.
        stray: a part of it that is left out, while the rest is used.
        remarks: kind and message of what is written in another way.
    """

    annotation: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    stray: Problem | None = None
    remarks: list[Problem] = field(default_factory=list)


def read_shape(annotation: dict[str, Any], size: tuple[int, int], rules: ShapeRules) -> Shape:
    """Check the shape of an annotation in an image of (height, width), and read what is written in another way.

    One slip often spoils box, mask and keypoints; it is reported once.
    """
    shape = Shape(annotation)
    if rules.has_polygon_shares or rules.has_box_shares:
        _scale(shape, size, rules)
    if _has_texts(shape.annotation.get("bbox")):
        numbers = [as_number(number) for number in shape.annotation["bbox"]]
        _change(shape, "bbox", numbers, "box-as-text", "the numbers of bbox are written as text")
    if shape.annotation.get("bbox") in _EMPTY_BOXES and shape.annotation.get("segmentation"):
        _change(shape, "bbox", None, "empty-box", "bbox is empty; the box is that of the mask")
    box, has_mask = shape.annotation.get("bbox"), bool(shape.annotation.get("segmentation")) or rules.needs_masks
    problem = None if box is None and has_mask else box_problem(box, size)
    if has_mask and (problem is None or problem.kind == "box-outside-image"):
        problem = _mask_problem(shape, size, rules) or _settle_apart(shape, size, problem)
    problem = problem or keypoints_problem(annotation.get("keypoints"), rules.keypoint_names)
    if problem is not None:
        shape.problems.append(problem)
    elif (beyond := outside_problem(shape.annotation.get("segmentation"), size)) is not None:
        shape.remarks.append(beyond)
    if problem is None and shape.annotation.get("bbox") is None:
        shape.annotation = {**shape.annotation, "bbox": box_around(shape.annotation["segmentation"], size)}
    return shape


def _mask_problem(shape: Shape, size: tuple[int, int], rules: ShapeRules) -> Problem | None:
    """What is wrong with the mask, after it was read in the only way that fits, where there is one."""
    given, box = shape.annotation.get("segmentation"), shape.annotation.get("bbox")
    problem = mask_problem(given, size)
    if not given or (problem is None and not is_bitmap(given, size)):
        return problem
    if _is_box_again(given, box):
        return _left_with_box(shape, rules)
    read, parts = read_mask(given, size, box), split_strays(given)
    if read is not None:
        _change(shape, "segmentation", read.segmentation, read.kind, read.message)
    elif parts.stray is not None and mask_problem(parts.rest, size) is None:
        shape.annotation, shape.stray = {**shape.annotation, "segmentation": parts.rest}, parts.stray
    else:
        return problem
    return None


def _settle_apart(shape: Shape, size: tuple[int, int], problem: Problem | None) -> Problem | None:
    """Compare a sound mask with its box, of which a problem may be known; it is solved where the mask explains it."""
    box, mask = shape.annotation.get("bbox"), shape.annotation.get("segmentation")
    found = compare(box, mask, size) if box is not None and mask else None
    if found is None or (problem is not None and "bbox" not in found.changed):
        return problem
    shape.annotation = {**shape.annotation, **found.changed}
    shape.remarks.append(found.remark)
    return None


def _left_with_box(shape: Shape, rules: ShapeRules) -> Problem | None:
    """Take the segmentation away, which is the box again, where boxes are enough."""
    if rules.needs_masks:
        return Problem("box-as-mask", "segmentation is the box again, four numbers, and no outline; draw the outline")
    _change(shape, "segmentation", None, "box-as-mask", "segmentation is the box again; the object has only a box")
    return None


def _scale(shape: Shape, size: tuple[int, int], rules: ShapeRules) -> None:
    """Put shares of the image's sides into pixels; the box is that of the mask, where there is one."""
    height, width = size
    box = shape.annotation.get("bbox")
    outline = shape.annotation.get("segmentation")
    if is_bitmap(outline, size):
        return
    polygons = as_polygons(outline) if _is_list(outline) else []
    if polygons and rules.has_polygon_shares:
        scaled = [[number * (height if index % 2 else width) for index, number in enumerate(one)] for one in polygons]
        message = "all points of the file are between 0 and 1; they are read as shares of the image's sides"
        _change(shape, "segmentation", scaled, "polygon-in-shares", message)
    if not _is_box_of_shares(box):
        return
    message = "all boxes of the file have numbers between 0 and 1; they are read as shares of the image's sides"
    if shape.annotation.get("segmentation"):
        _change(shape, "bbox", None, "box-in-shares", message)
    elif rules.has_box_shares and _is_list(box):
        pixels = [number * (height if index % 2 else width) for index, number in enumerate(box)]
        _change(shape, "bbox", pixels, "box-in-shares", message)


def _change(shape: Shape, key: str, value: Any, kind: str, message: str) -> None:
    shape.annotation = {**shape.annotation, key: value}
    shape.remarks.append(Problem(kind, message))


def _is_box_again(segmentation: Any, box: Any) -> bool:
    """Whether a segmentation is the annotation's box, as x y w h or as two corners."""
    while _is_list(segmentation) and len(segmentation) == 1:
        segmentation = segmentation[0]
    if not _is_list(segmentation) or len(segmentation) != 4 or not all(map(_is_number, segmentation)):
        return False
    if not _is_list(box) or len(box) != 4 or not all(map(_is_number, box)):
        return False
    left, top, width, height = box
    return any(
        all(abs(number - other) < 1 for number, other in zip(segmentation, form, strict=True))
        for form in ((left, top, width, height), (left, top, left + width, top + height))
    )


def _are_all_shares(lists: Iterable[Iterable[Any]]) -> bool:
    """Whether there are numbers, and all lie between 0 and 1; ends at the first that does not."""
    has_some = False
    for numbers in lists:
        for number in map(as_number, numbers):
            if not _is_number(number) or not -_SHARE_TOLERANCE <= number <= 1 + _SHARE_TOLERANCE:
                return False
            has_some = True
    return has_some


def _is_box_of_shares(box: Any) -> bool:
    """Whether x y w h have an area, and lie between 0 and 1 as their sums do."""
    if not _is_list(box) or len(box) != 4 or not all(map(_is_number, box)):
        return False
    left, top, width, height = box
    return width > 0 and height > 0 and _are_all_shares([(left, top, left + width, top + height)])


def _has_texts(box: Any) -> bool:
    return _is_list(box) and any(isinstance(number, str) and _is_number(as_number(number)) for number in box)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
