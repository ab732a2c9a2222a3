"""Whether the masks of COCO entries can be what they say: of their image's size, in run lengths that fill it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import hotcoco.mask

from maskwright.errors import DataError
from maskwright.structures.masks.rle import packed_lengths

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
