"""Whether the box and the mask of a COCO annotation lie at the same position, which shows how each is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import hotcoco.mask
import numpy as np

from maskwright.data.checks import Problem, box_around, show
from maskwright.data.readers.coco_masks import BOX_TOLERANCE_PX
from maskwright.structures.masks.rle import Rle, any_to_rle, as_text

# box and mask of one object share more of their area, however roughly they are drawn
_LEAST_IOU = 0.5

Corners = tuple[float, float, float, float]


class Agreement(NamedTuple):
    """What is to be said of a box and a mask that lie apart, and what replaces one of them.

    Attributes:
        remark: kind and message.
        changed: `bbox` or `segmentation`, and its value; nothing where it is unknown which of them is wrong.
    """

    remark: Problem
    changed: Mapping[str, Any]


def compare(box_xywh: Sequence[float], segmentation: Any, size: tuple[int, int]) -> Agreement | None:
    """What a sound mask says of the four numbers of a box, and the other way round; None where they agree.

    Args:
        box_xywh: four finite numbers.
        segmentation: polygons or run lengths that cover something.
        size: (height, width) of the image.
    """
    box = _corners(box_xywh)
    left, top, right, bottom = around = _bounds(segmentation, size)
    if _is_near(around, box):
        return None
    if isinstance(segmentation, Mapping) and (rows := _read_by_rows(segmentation, size, box)) is not None:
        message = (
            "bbox shows that run lengths go along the rows of the image, not down its columns; they are read along rows"
        )
        return Agreement(Problem("odd-run-lengths", message), {"segmentation": rows})
    as_xywh = [round(number, 2) for number in (left, top, right - left, bottom - top)]
    if _is_near(around, (box_xywh[0], box_xywh[1], box_xywh[2], box_xywh[3])):
        message = (
            f"bbox {show(list(box_xywh))} is two corners of the mask, not x, y, width, height; it is read as corners"
        )
        return Agreement(Problem("box-as-corners", message), {"bbox": as_xywh})
    if _iou(around, box) >= _LEAST_IOU:
        return None
    message = f"bbox {show(list(box_xywh))} is not around its mask, which is in {show(as_xywh)}; one of them is wrong"
    return Agreement(Problem("box-beside-mask", message), {})


def _corners(box_xywh: Sequence[float]) -> Corners:
    left, top, width, height = box_xywh
    return left, top, left + width, top + height


def _bounds(segmentation: Any, size: tuple[int, int]) -> Corners:
    """Corners of the box around a mask, as far as it lies in the image; of polygons without rasterising them."""
    if isinstance(segmentation, Mapping):
        return _corners(box_around(segmentation, size))
    xs = [min(max(x, 0), size[1]) for polygon in segmentation for x in polygon[0::2]]
    ys = [min(max(y, 0), size[0]) for polygon in segmentation for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _is_near(some: Corners, others: Corners) -> bool:
    return all(abs(edge - other) <= BOX_TOLERANCE_PX for edge, other in zip(some, others, strict=True))


def _iou(some: Corners, others: Corners) -> float:
    sides = [min(some[k + 2], others[k + 2]) - max(some[k], others[k]) for k in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (some, others)]
    return shared / max(sum(areas) - shared, 1e-9)


def _read_by_rows(rle: Mapping[str, Any], size: tuple[int, int], box: Corners) -> Rle | None:
    """The mask whose rows, one after the other, have these runs, if it lies in the box."""
    height, width = size
    turned = {**any_to_rle(rle, size), "size": [width, height]}
    bitmap = np.asfortranarray(hotcoco.mask.decode(turned).T)
    rows = as_text(hotcoco.mask.encode(bitmap))
    return rows if _is_near(_corners(box_around(rows, size)), box) else None
