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
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import Rle, as_text, rle_counts

# lists in lists: polygons of points are three deep, and a level too many is tolerated
_MOST_LEVELS = 4
# a letter of run lengths stands for 5 bits, and base64 has 4 letters for 3
_BYTES_PER_PIXEL = 2
_MOST_DIGITS = 12
# how far a box may be from its mask, in pixels a side; tools round
BOX_TOLERANCE_PX = 2.0


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
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], Mapping) and "counts" in found[0]:
        read = _read_run_lengths(found[0], size, box_xywh)
        return read and read._replace(message=read.message or "run lengths are in a list")
    if isinstance(found, Mapping):
        return _read_run_lengths(found, size, box_xywh)
    if isinstance(found, str):
        return _read_run_lengths({"counts": found}, size, box_xywh)
    if isinstance(found, list):
        return _read_bitmap(found) if is_bitmap(found, size) else _read_polygons(found, size)
    return None


def is_bitmap(segmentation: Any, size: tuple[int, int]) -> bool:
    """Whether lists have a value for every pixel of an image of (height, width), all of them 0 or one other value."""
    if not isinstance(segmentation, list) or len(segmentation) != size[0]:
        return False
    if not all(isinstance(row, list) and len(row) == size[1] for row in segmentation):
        return False
    values = [value for row in segmentation for value in row]
    return all(map(_is_whole, values)) and len({0, *values}) == 2


def _is_whole(value: Any) -> bool:
    return isinstance(value, int)


def _read_bitmap(rows: list[list[int]]) -> ReadMask:
    pixels = np.asfortranarray(np.array(rows) != 0, dtype=np.uint8)
    rle = as_text(hotcoco.mask.encode(pixels))
    return ReadMask(rle, "bitmap-as-lists", "segmentation has a value for every pixel; read as the mask")


def _from_text(segmentation: Any) -> Any:
    """What a text holds, in JSON or as Python shows it; other values as they are."""
    if not isinstance(segmentation, str) or segmentation[:1] not in ("[", "{"):
        return segmentation
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(segmentation)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
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
    message = counts.message
    given = rle.get("size")
    sides = [as_number(side) for side in given] if isinstance(given, list | tuple) else given
    if sides is None:
        message = "run lengths have no size; they fit the image"
    elif sides == list(size) and not all(map(_is_whole, given or ())):
        message = message or "the size of run lengths is not written as whole numbers"
    elif sides == [size[1], size[0]] and size[0] != size[1]:
        message = "run lengths have their size as width, height; read as height, width"
        if mask_problem(read, size) is not None or not _goes_down_columns(read, size, box_xywh):
            return None
    elif sides != list(size):
        return None
    if mask_problem(read, size) is not None:
        return None
    return ReadMask(read, "odd-run-lengths", message)


class _Counts(NamedTuple):
    """Counts as COCO writes them, and what was odd, if anything."""

    value: str | list[int]
    message: str


def _plain_counts(counts: Any, size: tuple[int, int]) -> _Counts | None:
    """Counts that add up to an image of (height, width); None where there is no way to read them so."""
    num_pixels = size[0] * size[1]
    if isinstance(counts, list):
        return _counts_in_list(counts, num_pixels)
    if isinstance(counts, bytes):
        texts = iter([(counts.decode("latin-1"), "run lengths are written as Python shows bytes, b'…'")])
    elif not isinstance(counts, str):
        return None
    elif sum(numbers := _numbers_in_text(counts)) == num_pixels:
        return _Counts(numbers, "run lengths are numbers in a text")
    else:
        texts = _texts_of(counts, num_pixels)
    return next((_Counts(text, message) for text, message in texts if _num_pixels(text) == num_pixels), None)


def _counts_in_list(counts: list[Any], num_pixels: int) -> _Counts | None:
    if (text := _letters(counts)) and _num_pixels(text) == num_pixels:
        return _Counts(text, "run lengths are written as the numbers of their letters")
    numbers = [as_number(count) for count in counts]
    if not all(isinstance(number, int | float) and number in range(num_pixels + 1) for number in numbers):
        return None
    is_odd = not all(map(_is_whole, counts))
    return _Counts(
        [int(number) for number in numbers], "run lengths are not written as whole numbers" if is_odd else ""
    )


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


def _numbers_in_text(counts: str) -> list[int]:
    """The whole numbers of `[12, 3]` or `12 3`; none where there is anything else."""
    words = counts.strip("[] ").replace(",", " ").split()
    is_list = len(words) > 1 and all(word.isdecimal() and len(word) < _MOST_DIGITS for word in words)
    return list(map(int, words)) if is_list else []


def _letters(counts: list[Any]) -> str:
    """The text whose letters have these numbers in ASCII, as a list of bytes; empty where they have none."""
    are_letters = all(_is_whole(count) and 48 <= count < 112 for count in counts)
    return bytes(counts).decode("ascii") if are_letters else ""


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
    crop = Crop(bitmap.astype(bool)).tight()
    edges = (crop.left, crop.top, crop.right, crop.bottom)
    try:
        left, top, width, height = map(float, box_xywh)
    except (TypeError, ValueError):
        return False
    given = (left, top, left + width, top + height)
    return all(abs(edge - other) <= BOX_TOLERANCE_PX for edge, other in zip(edges, given, strict=True))


def _num_borders(bitmap: npt.NDArray[np.uint8]) -> int:
    """Length in pixels of the outlines in a bitmap: a mask read in the wrong direction falls apart."""
    return int((bitmap[1:] != bitmap[:-1]).sum() + (bitmap[:, 1:] != bitmap[:, :-1]).sum())
