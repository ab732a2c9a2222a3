"""Masks of COCO annotations that are written in another way than COCO's: read where they can mean one thing only."""

from __future__ import annotations

import ast
import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.data.checks import mask_problem
from maskwright.data.readers.coco_ids import as_number
from maskwright.structures.rle import Rle, rle_counts

# lists in lists: polygons of points are three deep, and a level too many is tolerated
_MOST_LEVELS = 4
# a letter of run lengths stands for 5 bits, and base64 has 4 letters for 3
_BYTES_PER_PIXEL = 2
# how far a box may be from its mask, in pixels a side; tools round
_BOX_TOLERANCE_PX = 2.0


class ReadMask(NamedTuple):
    """A `segmentation` as COCO writes it, and in which other way it was written."""

    segmentation: Any
    kind: str
    message: str


def read_mask(segmentation: Any, size: tuple[int, int], box_xywh: Any) -> ReadMask | None:
    """A mask that `mask_problem` complains of, if there is one way to read it.

    Args:
        segmentation: of the annotation.
        size: (height, width) of its image.
        box_xywh: of the annotation, where it has one; decides between readings.
    """
    found = _from_text(segmentation)
    if isinstance(found, Mapping):
        return _read_run_lengths(found, size, box_xywh)
    if isinstance(found, str):
        return _read_run_lengths({"counts": found}, size, box_xywh)
    if isinstance(found, list):
        return _read_polygons(found, size)
    return None


def _from_text(segmentation: Any) -> Any:
    """What a JSON text holds; other values as they are."""
    if isinstance(segmentation, str) and segmentation[:1] in ("[", "{"):
        try:
            return json.loads(segmentation)
        except (ValueError, RecursionError):
            return segmentation
    return segmentation


def numbers_in(segmentation: Any, level: int = 0) -> Iterator[Any]:
    """The coordinates of polygons, however deep they lie in lists and points."""
    if isinstance(segmentation, Mapping) and {"x", "y"} <= segmentation.keys():
        yield from (segmentation["x"], segmentation["y"])
    elif isinstance(segmentation, list) and level < _MOST_LEVELS:
        for part in segmentation:
            yield from numbers_in(part, level + 1)
    elif not isinstance(segmentation, list | Mapping):
        yield segmentation


def _read_polygons(segmentation: list[Any], size: tuple[int, int]) -> ReadMask | None:
    """Polygons from one flat list, from points, from texts, or from lists in one list too many."""
    polygons = as_polygons(segmentation)
    if not polygons or mask_problem(polygons, size) is not None:
        return None
    if all(_kind(part) == "number" for part in segmentation):
        return ReadMask(polygons, "flat-polygon", "segmentation is one list of numbers; read as one polygon")
    return ReadMask(polygons, "nested-polygon", "segmentation is read as polygons x1, y1, x2, y2, …")


def as_polygons(parts: list[Any]) -> list[list[Any]]:
    """Polygons as flat lists of numbers, from lists of numbers or of points; none where it is something else."""
    kinds = {_kind(part) for part in parts}
    if kinds == {"number"}:
        return [[as_number(part) for part in parts]] if len(parts) >= 6 else []
    if kinds == {"point"}:
        return [[as_number(number) for part in parts for number in numbers_in(part)]] if len(parts) >= 3 else []
    if kinds == {"list"}:
        polygons: list[list[Any]] = []
        for part in parts:
            if not (found := as_polygons(part)):
                return []
            polygons += found
        return polygons
    return []


def _kind(part: Any) -> str:
    if isinstance(as_number(part), int | float):
        return "number"
    if isinstance(part, Mapping):
        return "point" if {"x", "y"} <= part.keys() else ""
    if not isinstance(part, list):
        return ""
    is_point = len(part) == 2 and all(isinstance(as_number(number), int | float) for number in part)
    return "point" if is_point else "list"


def _read_run_lengths(rle: Mapping[str, Any], size: tuple[int, int], box_xywh: Any) -> ReadMask | None:
    """Run lengths whose counts or size are written in another way, but fit the image exactly."""
    counts = _plain_counts(rle.get("counts"), size)
    if counts is None:
        return None
    read: Rle = {"size": list(size), "counts": counts.value}
    told = counts.message
    given = rle.get("size")
    sides = [as_number(side) for side in given] if isinstance(given, list | tuple) else given
    if sides is None:
        told = "run lengths have no size; they fit the image"
    elif sides == [size[1], size[0]] and size[0] != size[1]:
        told = "run lengths have their size as width, height; read as height, width"
        if mask_problem(read, size) is not None or not _goes_down_columns(read, size, box_xywh):
            return None
    elif sides != list(size):
        return None
    if mask_problem(read, size) is not None:
        return None
    return ReadMask(read, "odd-run-lengths", told)


class _Counts(NamedTuple):
    """Counts as COCO writes them, and what was odd, if anything."""

    value: str | list[int]
    message: str


def _plain_counts(counts: Any, size: tuple[int, int]) -> _Counts | None:
    """Counts that add up to an image of (height, width); None where there is no way to read them so."""
    num_pixels = size[0] * size[1]
    if isinstance(counts, list):
        numbers = [as_number(count) for count in counts]
        if not all(isinstance(number, int | float) and number in range(num_pixels + 1) for number in numbers):
            return None
        return _Counts([int(number) for number in numbers], "run lengths are not written as whole numbers")
    if isinstance(counts, str):
        for text, message in _texts_of(counts, num_pixels):
            if _num_pixels(text) == num_pixels:
                return _Counts(text, message)
    return None


def _texts_of(counts: str, num_pixels: int) -> Iterator[tuple[str, str]]:
    """What a text of counts may stand for, the likeliest first, and how it is then written."""
    yield counts, ""
    if counts[:2] in ("b'", 'b"'):
        try:
            value = ast.literal_eval(counts)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return
        if isinstance(value, bytes):
            yield value.decode("latin-1"), "run lengths are written as Python shows bytes, b'…'"
        return
    try:
        packed = base64.b64decode(counts, validate=True)
    except (binascii.Error, ValueError):
        return
    yield packed.decode("latin-1"), "run lengths are in base64"
    try:
        unpacked = zlib.decompressobj().decompress(packed, max(1024, _BYTES_PER_PIXEL * num_pixels))
        yield unpacked.decode("latin-1"), "run lengths are packed by zlib, in base64"
    except zlib.error:
        return


def _num_pixels(counts: str) -> int:
    """The sum of packed counts; −1 where they cannot be unpacked."""
    try:
        lengths = rle_counts({"counts": counts})
    except (ValueError, IndexError, UnicodeEncodeError):
        return -1
    return int(lengths.sum()) if len(lengths) and lengths.min() >= 0 else -1


def _goes_down_columns(rle: Rle, size: tuple[int, int], box_xywh: Any) -> bool:
    """Whether runs that could go down the columns of an image or along its rows do the former, as COCO's do."""
    height, width = size
    columns = hotcoco.mask.decode(rle)
    rows = hotcoco.mask.decode({**rle, "size": [width, height]}).T
    if isinstance(box_xywh, list) and len(box_xywh) == 4:
        box = [as_number(number) for number in box_xywh]
        return _fits(columns, box) and not _fits(rows, box)
    return _num_borders(columns) < _num_borders(rows)


def _fits(bitmap: npt.NDArray[np.uint8], box_xywh: list[Any]) -> bool:
    """Whether a box lies around what is drawn in (H, W) pixels, not counting how tools round."""
    xs, ys = np.flatnonzero(bitmap.any(axis=0)), np.flatnonzero(bitmap.any(axis=1))
    edges = (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1)
    try:
        left, top, width, height = map(float, box_xywh)
    except (TypeError, ValueError):
        return False
    given = (left, top, left + width, top + height)
    return all(abs(edge - other) <= _BOX_TOLERANCE_PX for edge, other in zip(edges, given, strict=True))


def _num_borders(bitmap: npt.NDArray[np.uint8]) -> int:
    """Length in pixels of the outlines in a bitmap: a mask read in the wrong direction falls apart."""
    return int((bitmap[1:] != bitmap[:-1]).sum() + (bitmap[:, 1:] != bitmap[:, :-1]).sum())
