"""Average precision of masks by the rule of Cityscapes' own evaluation.

A detection and an object of its class match where their IoU is above the threshold (.50, .55 … .95); since objects do
not overlap each other, a detection matches one at most. What the rule makes of that:

- Of the detections that match an object, the one with the highest score is correct and the others are false.
- Objects under 100 pixels and groups (regions whose objects have no labels of their own) need not be found. A
  detection that matches one is neither correct nor false.
- A detection that matches nothing is false, unless more of its pixels than the threshold says lie on void, on a group
  or on a small object of its class; a small group counts twice.
- An AP is the mean of precision over recall by trapezoids: every point of the curve counts with half the distance
  between its neighbours, from recall 0, where precision is 1, to the highest that was reached.

A class without objects to be found has no AP, and the means leave it out. All detections count but those without pixels
and those of other classes. Where all detections of a class are ignored and none of its objects is found, its AP is 0;
there the official scripts fail.

Source: cityscapesscripts 2.3, evalInstanceLevelSemanticLabeling.py. It writes and reads a picture for every detection,
goes through the image once for each pair of detection and object, and does not run with NumPy 2.4; this is its rule on
run lengths.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.config.cityscapes_labels import INSTANCES_PER_CLASS, LABELS, THINGS
from maskwright.errors import DataError
from maskwright.evaluation.coco_format import CocoDict, Result, carry, name_of, read_results, scores_of
from maskwright.evaluation.metrics import Metrics
from maskwright.images.ids import read_ids
from maskwright.images.read import image_size
from maskwright.structures.masks.rle import rle_to_crop

# strictly to be exceeded, so the last digit matters: as the official scripts make them
THRESHOLDS = np.arange(0.5, 1.0, 0.05)
SMALLEST_AREA_PX = 100

_VOID_IDS = [label.id for label in LABELS if label.ignored_in_evaluation]

Path = str | os.PathLike[str]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Picture(NamedTuple):
    """The V different values of a picture of instances, and where they are.

    Attributes:
        values: (V,) ascending.
        areas: (V,) pixels of each.
        indices: (H, W) index among the values.
    """

    values: Ints
    areas: Ints
    indices: Ints


class Compared(NamedTuple):
    """N detections and G regions (objects, and groups of them) of one class in one image.

    Attributes:
        scores: (N,)
        ious: (N, G)
        ignored_shares: (N,) of a detection's pixels on void and on regions that need not be found.
        is_optional: (G,) whether a region is a group or small.
    """

    scores: Floats
    ious: Floats
    ignored_shares: Floats
    is_optional: npt.NDArray[np.bool_]


def evaluate_cityscapes(
    results: Path | Sequence[Mapping[str, Any]],
    instance_pictures: Mapping[int, Path],
) -> Metrics:
    """Compare a COCO results list with Cityscapes' pictures of instances by Cityscapes' rule; see above.

    Args:
        results: a results file, or its list of detections with masks, whose `category_id` is the id of a Cityscapes
            label (24 person … 33 bicycle); other labels are left out. Masks are ranked by `mask_score` where they have
            one.
        instance_pictures: image id → its `…_gtFine_instanceIds.png`. These images are evaluated.

    Returns:
        `mask` with AP and AP50, means over the classes that have objects; the same in `per_category` by name, NaN where
        a class has none; and `images`.

    Raises:
        DataError: a file that cannot be read, a picture with a value of no class, a detection without a mask, of an
            unknown image or class, or of another size than its image.
    """
    detections = _read(results, instance_pictures)
    compared = [
        _compare(detections.get(image_id, ()), _picture(read_id_picture(path)))
        for image_id, path in instance_pictures.items()
    ]
    table = np.array([_average_precisions([image[label.id] for image in compared]) for label in THINGS])
    known = table[~np.isnan(table[:, 0])]
    means = known.mean(axis=0) if len(known) else np.full(len(THRESHOLDS), np.nan)
    return Metrics(
        {
            "mask": _summary(means),
            "per_category": {label.name: {"mask": _summary(row)} for label, row in zip(THINGS, table, strict=True)},
            "images": len(instance_pictures),
        }
    )


def read_id_picture(path: Path) -> npt.NDArray[np.int64]:
    """(H, W) the one whole number of every pixel of a picture of labels or instances.

    Raises:
        DataError: it cannot be read, has several channels, or a value of no Cityscapes class.
    """
    ids = read_ids(path).astype(np.int64)
    highest = max(label.id for label in LABELS)
    if ids.size and (ids.min() < 0 or label_of(ids.max()) > highest):
        raise DataError(f"picture {path} has the value {ids.max()}, but Cityscapes' labels are 0 to {highest}")
    return ids


def label_of(instance_ids: Any) -> Any:
    """Id of the label of a number, or of each, in a picture of instances."""
    return np.where(instance_ids < INSTANCES_PER_CLASS, instance_ids, instance_ids // INSTANCES_PER_CLASS)


def _read(results: Path | Sequence[Mapping[str, Any]], pictures: Mapping[int, Path]) -> dict[int, list[Result]]:
    """The detections of each image that has some."""
    sizes = {image_id: image_size(os.fspath(path)) for image_id, path in pictures.items()}
    images: Any = [{"id": id_, "height": size[0], "width": size[1]} for id_, size in sizes.items()]
    classes: Any = [{"id": label.id, "name": label.name} for label in LABELS if label.id >= 0]
    dataset: CocoDict = {"images": images, "annotations": [], "categories": classes}
    found = read_results(results, dataset)
    where = name_of(results, "results")
    if not carry(found, "segmentation", where):
        raise DataError(f"{where}: has no masks ('segmentation'); Cityscapes compares nothing else")
    detections: dict[int, list[Result]] = {}
    for detection in found:
        detections.setdefault(detection["image_id"], []).append(detection)
    return detections


def _picture(ids: Ints) -> Picture:
    areas = np.bincount(ids.ravel())
    values = np.flatnonzero(areas)
    indices = np.zeros(len(areas), dtype=np.int64)
    indices[values] = np.arange(len(values))
    return Picture(values, areas[values], indices[ids])


def _compare(detections: Sequence[Result], picture: Picture) -> dict[int, Compared]:
    """Detections of an image with its regions, by class."""
    return {
        label.id: _compare_class([found for found in detections if found["category_id"] == label.id], picture, label.id)
        for label in THINGS
    }


def _compare_class(detections: Sequence[Result], picture: Picture, class_id: int) -> Compared:
    # (N, V): how many pixels of every value of the picture lie under each detection
    under = np.array([_count_under(detection, picture) for detection in detections], dtype=np.int64)
    under = under.reshape(len(detections), len(picture.values))
    sizes = under.sum(axis=1)
    has_pixels = sizes > 0
    under, sizes = under[has_pixels], sizes[has_pixels]
    is_region = label_of(picture.values) == class_id
    shared, areas = under[:, is_region], picture.areas[is_region]
    is_group, is_small = picture.values[is_region] < INSTANCES_PER_CLASS, areas < SMALLEST_AREA_PX
    ignored = under[:, np.isin(picture.values, _VOID_IDS)].sum(axis=1) + shared @ (is_group.astype(int) + is_small)
    return Compared(
        scores=np.array(scores_of(detections, "mask"))[has_pixels],
        ious=shared / (sizes[:, None] + areas - shared),
        ignored_shares=ignored / sizes,
        is_optional=is_group | is_small,
    )


def _count_under(detection: Result, picture: Picture) -> Ints:
    crop = rle_to_crop(detection["segmentation"])
    return np.bincount(picture.indices[crop.window][crop.pixels], minlength=len(picture.values))


def _average_precisions(compared: Sequence[Compared]) -> Floats:
    """(10,) AP of a class at each threshold; NaN where it has no object to be found."""
    num_required = sum(int((~image.is_optional).sum()) for image in compared)
    if not num_required:
        return np.full(len(THRESHOLDS), np.nan)
    return np.array([_average_precision(compared, threshold, num_required) for threshold in THRESHOLDS])


def _average_precision(compared: Sequence[Compared], threshold: float, num_required: int) -> float:
    verdicts = [_verdicts(image, threshold) for image in compared]
    correct = np.sort(np.concatenate([scores for scores, _ in verdicts]))
    false = np.sort(np.concatenate([scores for _, scores in verdicts]))
    scores = np.unique(np.concatenate([correct, false]))  # ascending, so recall falls
    num_correct = len(correct) - np.searchsorted(correct, scores)
    num_false = len(false) - np.searchsorted(false, scores)
    precision = np.append(num_correct / (num_correct + num_false), 1.0)
    recall = np.append(num_correct / num_required, 0.0)
    neighbours = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (neighbours[:-2] - neighbours[2:]) / 2)


def _verdicts(image: Compared, threshold: float) -> tuple[Floats, Floats]:
    """The scores of correct and of false detections."""
    is_match = image.ious > threshold
    is_claim = is_match & ~image.is_optional
    claimed = is_claim.any(axis=0)
    is_correct = np.zeros(len(image.scores), dtype=bool)
    if claimed.any():
        is_correct[np.where(is_claim, image.scores[:, None], -np.inf).argmax(axis=0)[claimed]] = True
    is_second = is_claim.any(axis=1) & ~is_correct
    is_stray = ~is_match.any(axis=1) & (image.ignored_shares <= threshold)
    return image.scores[is_correct], image.scores[is_second | is_stray]


def _summary(precisions: Floats) -> dict[str, float]:
    return {"AP": float(precisions.mean()), "AP50": float(precisions[0])}
