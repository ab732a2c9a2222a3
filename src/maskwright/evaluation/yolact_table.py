"""The AP table of YOLACT's own evaluation, which its published numbers come from, beside COCO's.

Like COCO's it is the mean precision at 101 levels of recall, at IoU thresholds .50, .55 … .95. It differs in this:

- A match needs an IoU strictly above the threshold, where COCO is content with the threshold itself.
- All detections count, where COCO stops at 100 of a class in an image.
- A class that was only detected, never annotated, counts with AP 0, where COCO leaves it out of the mean.
- An object no wider than 4/550 of its image, or no higher, is dropped when ground truth is loaded; what finds it is
  a false detection.
- Crowds lose their class when they are loaded, so the rule that would forgive detections on a crowd never applies:
  these are false, too.
- An image without any annotation is not visited, and what is found in it does not count.

Source: dbolya/yolact, `eval.py` and `data/coco.py`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError
from maskwright.evaluation.coco_format import (
    Annotation,
    Dataset,
    Result,
    comparable_kinds,
    name_of,
    read_dataset,
    read_results,
    scores_of,
)
from maskwright.evaluation.metrics import Metrics
from maskwright.structures.masks.rle import any_to_rle

THRESHOLDS = np.arange(50, 100, 5) / 100
_RECALL_LEVELS = np.arange(101) / 100
# of the image's width and of its height
_SMALLEST_SIDE = 4 / 550

ResultsSource = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
AnnotationsSource = str | os.PathLike[str] | Mapping[str, Any]
Group = tuple[int, int]  # image id, category id


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """What became of the n detections of one class, in the order of their scores, at each threshold.

    Attributes:
        num_gt: objects that were to be found.
        is_correct: (10, n) bool, by threshold and detection.
    """

    num_gt: int
    is_correct: npt.NDArray[np.bool_]

    def true_positives(self) -> npt.NDArray[np.int64]:
        """(10,) correct detections at each threshold."""
        return np.asarray(self.is_correct.sum(axis=1))

    def average_precisions(self) -> npt.NDArray[np.float64]:
        """(10,) AP at each threshold; 0 where there was nothing to find or nothing was found."""
        return np.array([_average_precision(row, self.num_gt) for row in self.is_correct])


def yolact_table(results: ResultsSource, annotations: AnnotationsSource) -> Metrics:
    """The table of a COCO results list; see above for how it differs from COCO's.

    Args:
        results: a results file, or its list of detections, of which boxes are ranked by `score` and masks by
            `mask_score` where they have one. Equal scores rank in the order given.
        annotations: an annotation file, or its dict.

    Returns:
        `box` and `mask`, each where both sides carry them: AP by threshold in percent, `50`, `55` … `95`, and `all`,
        their mean. Fractions of one.

    Raises:
        DataError: a file that cannot be read or does not fit; an image without height and width.
    """
    return Metrics({kind: _row(matches) for kind, matches in match_classes(results, annotations).items()})


def match_classes(results: ResultsSource, annotations: AnnotationsSource) -> dict[str, dict[int, ClassMatches]]:
    """What the table is computed from: for `box` and `mask` the matches of each class, by category id.

    Classes that are neither annotated nor detected are left out. Arguments and errors are those of `yolact_table`.
    """
    dataset = read_dataset(annotations)
    dataset_name = name_of(annotations, "annotations")
    detections = read_results(results, dataset)
    kinds = comparable_kinds(detections, name_of(results, "results"), dataset, dataset_name)
    visited = {annotation["image_id"] for annotation in dataset["annotations"]}
    detections = [detection for detection in detections if detection["image_id"] in visited]
    objects = _grouped_objects(dataset, dataset_name)
    return {kind: _match_kind(detections, objects, kind) for kind in kinds}


def _grouped_objects(dataset: Dataset, dataset_name: str) -> dict[Group, list[Annotation]]:
    """The objects to be found, masks as run lengths."""
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in dataset["images"]}
    objects: dict[Group, list[Annotation]] = defaultdict(list)
    for annotation in dataset["annotations"]:
        image_id = annotation["image_id"]
        height, width = sizes[image_id]
        if height is None or width is None:
            raise DataError(
                f"{dataset_name}: image {image_id} has no height and width, by which small objects are told"
            )
        box_xywh = annotation.get("bbox") or (0.0, 0.0, 0.0, 0.0)
        share = min(box_xywh[2] / width, box_xywh[3] / height)
        if share > _SMALLEST_SIDE and not annotation.get("iscrowd"):
            segmentation = annotation.get("segmentation")
            rle: Any = any_to_rle(segmentation, (height, width)) if segmentation else None
            objects[image_id, annotation["category_id"]].append({**annotation, "segmentation": rle})
    return objects


def _match_kind(
    detections: Sequence[Result], objects: Mapping[Group, Sequence[Annotation]], kind: str
) -> dict[int, ClassMatches]:
    order = _ranked(detections, kind)
    places: dict[Group, list[int]] = defaultdict(list)
    for place in order:
        places[detections[place]["image_id"], detections[place]["category_id"]].append(place)
    is_correct = np.zeros((len(THRESHOLDS), len(detections)), dtype=bool)
    for group in places.keys() & objects.keys():
        found = [detections[place] for place in places[group]]
        is_correct[:, places[group]] = _matched(_ious(found, objects[group], kind))
    ranked_classes = np.array([detections[place]["category_id"] for place in order], dtype=np.int64)
    num_gt: dict[int, int] = defaultdict(int)
    for (_, category_id), some in objects.items():
        num_gt[category_id] += len(some)
    return {
        category_id: ClassMatches(num_gt[category_id], is_correct[:, order[ranked_classes == category_id]])
        for category_id in sorted({*num_gt, *ranked_classes.tolist()})
    }


def _ranked(detections: Sequence[Result], kind: str) -> npt.NDArray[np.int64]:
    """Places of the detections by falling score; of equal ones by image as given, then by the score of the box."""
    place_of = {image_id: place for place, image_id in enumerate(dict.fromkeys(d["image_id"] for d in detections))}
    images = np.array([place_of[detection["image_id"]] for detection in detections])
    box_scores, scores = np.array(scores_of(detections, "box")), np.array(scores_of(detections, kind))
    return np.asarray(np.lexsort((-box_scores, images, -scores)))


def _ious(found: Sequence[Result], objects: Sequence[Annotation], kind: str) -> npt.NDArray[np.float64]:
    """(D, G) IoU of D detections with G objects of an image; in float32 precision, as the original compares them."""
    key = "bbox" if kind == "box" else "segmentation"
    found_shapes, object_shapes = ([entry[key] for entry in cast(list[Any], side)] for side in (found, objects))
    ious = hotcoco.mask.iou(found_shapes, object_shapes, [False] * len(objects))
    return np.asarray(ious).astype(np.float32).astype(np.float64)


def _matched(ious: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(10, D) bool which detections, best first, get an object of their own at each threshold; `ious` is (D, G)."""
    rows = np.arange(len(THRESHOLDS))
    is_free = np.ones((len(THRESHOLDS), ious.shape[1]), dtype=bool)
    is_correct = np.zeros((len(THRESHOLDS), len(ious)), dtype=bool)
    for place in np.flatnonzero((ious > THRESHOLDS[0]).any(axis=1)):
        reachable = np.where(is_free & (ious[place] > THRESHOLDS[:, None]), ious[place], 0)
        best = reachable.argmax(axis=1)
        is_correct[:, place] = reachable[rows, best] > 0
        is_free[rows, best] &= ~is_correct[:, place]
    return is_correct


def _average_precision(is_correct: npt.NDArray[np.bool_], num_gt: int) -> float:
    """Mean precision at 101 levels of recall, made monotone; 0 at levels that are not reached."""
    if num_gt == 0:
        return 0.0
    num_correct = np.cumsum(is_correct)
    precision = num_correct / np.arange(1, len(is_correct) + 1)
    highest_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(num_correct / num_gt, _RECALL_LEVELS)
    return float(np.append(highest_from_here, 0.0)[places].mean())


def _row(matches: Mapping[int, ClassMatches]) -> dict[str, float]:
    """The mean over classes at each threshold; 0 without classes, as in the original."""
    precisions = [some.average_precisions() for some in matches.values()] or [np.zeros(len(THRESHOLDS))]
    means = np.mean(precisions, axis=0)
    by_threshold = {f"{100 * threshold:.0f}": float(mean) for threshold, mean in zip(THRESHOLDS, means, strict=True)}
    return {"all": float(means.mean()), **by_threshold}
