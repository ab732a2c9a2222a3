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
    columns = crop.pixels.T
    if not columns.any():
        return _pack([height * width], size)
    # where a column's foreground begins and ends, as indices down the columns of the whole image
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
    crop = Crop(columns.T, 0, left).tight()
    return crop._replace(pixels=np.ascontiguousarray(crop.pixels))


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
    """Unpack compressed counts. From the third on, each is written as the difference to the one two before."""
    values, _ = _written_numbers(_text(rle["counts"]))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def packed_lengths(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """(N,) how many pixels each of N texts of compressed counts covers, all at once.

    >>> packed_lengths(["66", "", "55212"])
    array([12,  0, 22])
    """
    lengths = np.zeros(len(texts), dtype=np.int64)
    values, ends = _written_numbers("".join(texts))
    if not len(values):
        return lengths
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])[ends]
    nums = np.bincount(owners, minlength=len(texts))
    firsts = np.cumsum(nums) - nums
    indices = np.arange(len(values)) - firsts[owners]
    # a difference is part of every later count of its parity, and the first count of none but itself
    weights = np.where(indices == 0, 1, 1 + (nums[owners] - 1 - indices) // 2)
    np.add.at(lengths, owners, values * weights)
    return lengths


def _written_numbers(text: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The numbers of a compressed text and the index of each one's last character.

    A character holds 5 bits, the lowest first; its sixth bit says that more follow.

    Raises:
        ValueError: the text ends within a number, or has other characters than ASCII.
    """
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 0x20) == 0)
    if not len(codes):
        return codes, ends
    if codes[-1] & 0x20:
        raise ValueError("the run lengths end within a number")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends + 1 - starts
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 0x1F) << shifts, starts)
    is_negative = (codes[ends] & 0x10) != 0
    return np.where(is_negative, values - (1 << (5 * lengths)), values), ends


def as_text(rle: Mapping[str, Any]) -> Rle:
    """The same run lengths with `counts` as str, as JSON needs it."""
    return {"size": [int(side) for side in rle["size"]], "counts": _text(rle["counts"])}


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def _pack(counts: list[int], size: tuple[int, int]) -> Rle:
    return as_text(hotcoco.mask.frPyObjects({"size": list(size), "counts": counts}, *size))
