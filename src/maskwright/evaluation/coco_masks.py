"""Whether the masks of COCO entries can be what they say: of their image's size, in run lengths that fill it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError

# what run lengths can count
_MOST_PIXELS = 2**32

Size = tuple[int | None, int | None]


def refuse_bad_masks(entries: Sequence[Mapping[str, Any]], sizes: Mapping[int, Size], where: str) -> None:
    """Go on only if every `segmentation` fits its image.

    Args:
        entries: annotations or results; those without a mask are passed over.
        sizes: image id → (height, width), where they are known.
        where: how messages call the entries.

    Raises:
        DataError: an image with a mask has no size, run lengths are of another size, broken, or do not add up to it.
    """
    masked = {index: entry for index, entry in enumerate(entries) if entry.get("segmentation")}
    for index, entry in masked.items():
        size, segmentation = sizes[entry["image_id"]], entry["segmentation"]
        if None in size:
            raise DataError(f"{where}: entry {index}: has a mask, but image {entry['image_id']} no height and width")
        if math.prod(side for side in size if side) >= _MOST_PIXELS:
            raise DataError(f"{where}: entry {index}: its image of {size[0]} × {size[1]} pixels is too large for masks")
        if isinstance(segmentation, Mapping) and segmentation["size"] != size:
            raise DataError(
                f"{where}: entry {index}: 'segmentation' has size {list(segmentation['size'])}, but image "
                f"{entry['image_id']} is {list(size)} (height, width)"
            )
    rles = {index: entry["segmentation"] for index, entry in masked.items() if "counts" in entry["segmentation"]}
    if _problem_of(list(rles.values())) is None:  # all at once is fast; one by one only to find the culprit
        return
    index, problem = next((index, problem) for index, rle in rles.items() if (problem := _problem_of([rle])))
    raise DataError(f"{where}: entry {index}: 'segmentation': {problem}")


def _problem_of(rles: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the first bad one; None where all are good."""
    plain = [rle for rle in rles if not isinstance(rle["counts"], str)]
    if any(min(rle["counts"], default=0) < 0 for rle in plain):
        return "a run length is negative"
    if any(max(rle["counts"], default=0) >= _MOST_PIXELS for rle in plain):
        return "a run length is larger than an image can be"
    packed = [rle for rle in rles if isinstance(rle["counts"], str)]
    try:
        hotcoco.mask.area([dict(rle) for rle in rles])
        lengths = [sum(rle["counts"]) for rle in plain] + packed_lengths([rle["counts"] for rle in packed]).tolist()
    except (ValueError, OverflowError) as error:
        return str(error)
    for rle, length in zip([*plain, *packed], lengths, strict=True):
        height, width = rle["size"]
        if length != height * width:
            return f"the run lengths cover {length} pixels, but {height} x {width} are {height * width}"
    return None


def packed_lengths(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """(N,) how many pixels each of N texts of packed run lengths covers, all at once.

    >>> packed_lengths(["66", "", "55212"])
    array([12,  0, 22])
    """
    lengths = np.zeros(len(texts), dtype=np.int64)
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    if not len(owners):
        return lengths
    codes = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 0x20) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes))))
    values = np.add.reduceat((codes & 0x1F) << shifts, starts)
    values -= np.where((codes[ends] & 0x10) != 0, 1 << (shifts[ends] + 5), 0)
    # from the fourth on, each is written as the difference to the one before the last, so the sum has it in every
    # later one of its parity; the first stands alone
    owners = owners[ends]
    nums = np.bincount(owners, minlength=len(texts))
    firsts = np.cumsum(nums) - nums
    places = np.arange(len(values)) - firsts[owners]
    weights = np.where(places == 0, 1, 1 + (nums[owners] - 1 - places) // 2)
    np.add.at(lengths, owners, values * weights)
    return lengths
