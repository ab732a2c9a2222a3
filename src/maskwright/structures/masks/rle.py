"""COCO run-length encoding between an object's own crop and the whole image, without a bitmap of the image.

A run-length mask is a dict {"size": [height, width], "counts": str}: lengths of alternating background and foreground
runs down the columns, packed as the COCO API packs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.structures.masks.crop import Crop

Rle = dict[str, Any]


def crop_to_rle(crop: Crop, size: tuple[int, int]) -> Rle:
    """Encode a crop that lies inside an image of (height, width)."""
    height, width = size
    crop = crop.tight()
    columns = crop.pixels.T
    if not columns.size:
        return _pack([height * width], size)
    # where a column's foreground begins and ends, as places down the columns of the whole image
    edges = np.diff(np.pad(columns, ((0, 0), (1, 1))).view(np.int8), axis=1)
    first = (crop.left + np.arange(len(columns)))[:, None] * height + crop.top + np.arange(edges.shape[1])
    starts, ends = first[edges == 1], first[edges == -1]
    # a run that reaches the image's lower border goes on at the top of the next column
    is_joined = starts[1:] == ends[:-1]
    starts, ends = starts[np.concatenate([[True], ~is_joined])], ends[np.concatenate([~is_joined, [True]])]
    borders = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    counts = np.diff(borders)
    return _pack(counts[:-1].tolist() if counts[-1] == 0 else counts.tolist(), size)


def rle_to_crop(rle: Mapping[str, Any]) -> Crop:
    """Decode to the tight crop around the foreground; (0, 0) pixels where there is none."""
    height = int(rle["size"][0])
    borders = np.cumsum(rle_counts(rle))
    starts, ends = borders[0:-1:2], borders[1::2]
    has_length = ends > starts
    starts, ends = starts[has_length], ends[has_length]
    if len(starts) == 0:
        return Crop(np.zeros((0, 0), dtype=bool))
    left, right = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    lengths = np.diff(np.concatenate([[left * height], np.stack([starts, ends], axis=1).ravel(), [right * height]]))
    is_foreground = np.arange(len(lengths)) % 2 == 1
    columns = np.repeat(is_foreground, lengths).reshape(right - left, height)
    tight = Crop(columns.T, 0, left).tight()
    return tight._replace(pixels=np.ascontiguousarray(tight.pixels))


def polygons_to_rle(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Rle:
    """The union of flat polygons x1 y1 x2 y2 …, rasterised as the COCO API does."""
    parts = hotcoco.mask.frPyObjects([list(polygon) for polygon in polygons], *size)
    return as_text(hotcoco.mask.merge(parts))


def any_to_rle(segmentation: Any, size: tuple[int, int]) -> Rle:
    """A COCO `segmentation` (polygons, compressed or uncompressed run lengths) as compressed run lengths."""
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        return _pack(list(counts), size) if isinstance(counts, list) else {"size": list(size), "counts": _text(counts)}
    return polygons_to_rle(segmentation, size)


def rle_counts(rle: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Unpack compressed counts: 5 bits a character, the sixth tells of more to come, values relative to two before."""
    codes = np.frombuffer(_text(rle["counts"]).encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    is_last = (codes & 0x20) == 0
    ends = np.flatnonzero(is_last) + 1
    starts = np.concatenate([[0], ends[:-1]])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts)
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts) if len(codes) else np.zeros(0, dtype=np.int64)
    is_negative = (codes[ends - 1] & 0x10) != 0
    values = np.where(is_negative, values - (1 << (5 * (ends - starts))), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def as_text(rle: Mapping[str, Any]) -> Rle:
    """The same run lengths with `counts` as str, as JSON needs it."""
    return {"size": [int(side) for side in rle["size"]], "counts": _text(rle["counts"])}


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def _pack(counts: list[int], size: tuple[int, int]) -> Rle:
    return as_text(hotcoco.mask.frPyObjects({"size": list(size), "counts": counts}, *size))
