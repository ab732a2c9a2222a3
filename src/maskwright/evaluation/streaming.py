"""Curves of any number of images in the memory of a few.

A table of the IoU of all detections with all objects of an image is large where objects are many: 72 MB for 3,000. So
hotcoco sees few images at a time and keeps scores and matches only, which join to the same curves to the last bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import hotcoco

from maskwright.evaluation.coco_format import Annotation, Dataset, Image, Result

# entries of the tables of IoU at one time: 128 MB of them, or those of one image where it has more
_MOST_PAIRS = 2**24


class Part(NamedTuple):
    """Some images of a dataset, with their objects and detections.

    Attributes:
        images: entries of the dataset.
        objects, detections: in the order of the dataset and the results.
        object_indices, detection_indices: where these stand in the whole lists.
    """

    images: list[Image]
    objects: list[Annotation]
    detections: list[Result]
    object_indices: list[int]
    detection_indices: list[int]


def parts_of(
    dataset: Dataset, results: Sequence[Result], kept: Iterable[int] | None = None, most_pairs: int = _MOST_PAIRS
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
            yield _part(group, dataset, results, objects, detections)
            group, num_pairs = [], 0
        group.append(image)
        num_pairs += own
    yield _part(group, dataset, results, objects, detections)


def evaluated(
    dataset: Dataset, results: Sequence[Result], iou_type: str, params: hotcoco.Params, federated: bool
) -> hotcoco.COCOeval:
    """An evaluation of all images, accumulated, which has curves and no tables of IoU.

    Args:
        dataset: as `coco_format` reads it.
        results: with `bbox` where boxes decide about areas, without where masks do.
        iou_type: hotcoco's word for what is compared.
        params: limits, thresholds and ranges of area.
        federated: by LVIS's rules.
    """
    stream = hotcoco.StreamingEval(cast(list[dict[str, Any]], dataset["categories"]), iou_type, federated, params)
    for part in parts_of(dataset, results):
        stream.update(*(cast(list[dict[str, Any]], entries) for entries in part[:3]))
    evaluation = stream.finalize()
    evaluation.accumulate()
    return evaluation


def capped(results: Sequence[Result], limit: int) -> list[int]:
    """Indices of the results that score highest in each image, of all classes together, ascending; of equals the first.

    LVIS counts no others, before it looks at anything else.
    """
    kept: list[int] = []
    for indices in indices_by_image(results).values():
        kept += sorted(indices, key=lambda index: -results[index]["score"])[:limit]
    return sorted(kept)


def indices_by_image(
    entries: Sequence[Mapping[str, Any]], kept: Iterable[int] | None = None
) -> defaultdict[int, list[int]]:
    """Image id → where its entries, or those of them that are kept, stand in the list."""
    indices: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(entries)) if kept is None else kept:
        indices[entries[index]["image_id"]].append(index)
    return indices


def _part(
    images: list[Image],
    dataset: Dataset,
    results: Sequence[Result],
    objects: Mapping[int, list[int]],
    detections: Mapping[int, list[int]],
) -> Part:
    of_objects, of_detections = (
        [index for image in images for index in side[image["id"]]] for side in (objects, detections)
    )
    return Part(
        images,
        [dataset["annotations"][index] for index in of_objects],
        [results[index] for index in of_detections],
        of_objects,
        of_detections,
    )
