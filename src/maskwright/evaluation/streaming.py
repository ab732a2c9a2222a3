"""Images in parts, so that any number of them is matched in the memory of a few.

A table of the IoU of all detections with all objects of an image is large where objects are many: 72 MB for 3,000. So
hotcoco sees few images at a time and keeps scores and matches only, which join to the same curves to the last bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.evaluation.coco_format import CocoDict, Image, Result

Ints = npt.NDArray[np.int64]
Group = tuple[int, int]  # image id, category id

# entries of the tables of IoU at one time: 128 MB of them, or those of one image where it has more
_MOST_PAIRS = 2**24


class Part(NamedTuple):
    """Some images of a dataset, with the indices of their objects and detections in the whole lists."""

    images: list[Image]
    objects: list[int]
    detections: list[int]


def parts_of(
    dataset: CocoDict, results: Sequence[Result], kept: Iterable[int] | None = None, most_pairs: int = _MOST_PAIRS
) -> Iterator[Part]:
    """All images of a dataset, in parts with few pairs of a detection and an object of the same image.

    Args:
        dataset: whose images are wanted.
        results: detections in them.
        kept: indices of those results that count; None: all.
        most_pairs: in a part, unless a single image has more.
    """
    objects = indices_by_image(dataset["annotations"])
    detections = indices_by_image(results, kept)
    group: list[Image] = []
    num_pairs = 0
    for image in dataset["images"]:
        own = len(objects[image["id"]]) * len(detections[image["id"]])
        if group and num_pairs + own > most_pairs:
            yield _part(group, objects, detections)
            group, num_pairs = [], 0
        group.append(image)
        num_pairs += own
    yield _part(group, objects, detections)


def capped(results: Sequence[Result], scores: Sequence[float], limit: int) -> list[int]:
    """Indices of the results that score highest in each image, of all classes together, ascending; of equals the first.

    LVIS counts no others, before it looks at anything else.
    """
    kept: list[int] = []
    for indices in indices_by_image(results).values():
        kept += sorted(indices, key=lambda index: -scores[index])[:limit]
    return sorted(kept)


def indices_by_image(
    entries: Sequence[Mapping[str, Any]], kept: Iterable[int] | None = None
) -> defaultdict[int, list[int]]:
    """Image id → where its entries, or those of them that are kept, stand in the list."""
    indices: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(entries)) if kept is None else kept:
        indices[entries[index]["image_id"]].append(index)
    return indices


def indices_by_group(entries: Sequence[Any], kept: Iterable[int] | None = None) -> dict[Group, Ints]:
    """Image and category id → where its entries, or those of them that are kept, stand in the list, in this order."""
    indices: dict[Group, list[int]] = defaultdict(list)
    for index in range(len(entries)) if kept is None else kept:
        indices[entries[index]["image_id"], entries[index]["category_id"]].append(index)
    return {group: np.array(some, dtype=np.int64) for group, some in indices.items()}


def _part(images: list[Image], objects: Mapping[int, list[int]], detections: Mapping[int, list[int]]) -> Part:
    sides = ([index for image in images for index in side[image["id"]]] for side in (objects, detections))
    return Part(images, *sides)
