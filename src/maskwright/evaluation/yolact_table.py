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

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError
from maskwright.evaluation.coco_format import sizes_of
from maskwright.evaluation.comparison import Comparison
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.streaming import indices_by_group

THRESHOLDS = np.arange(50, 100, 5) / 100
_RECALL_LEVELS = np.arange(101) / 100
_KINDS = ("box", "mask")
# of the image's width and of its height
_SMALLEST_SIDE = 4 / 550


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


def yolact_table(comparison: Comparison) -> Metrics:
    """The table of results; see above for how it differs from COCO's.

    Args:
        comparison: of results with annotations. Boxes are ranked by `score` and masks by `mask_score` where they have
            one. Equal scores rank in the order given.

    Returns:
        `box` and `mask`, each where both sides carry them: AP by threshold in percent, `50`, `55` … `95`, and `all`,
        their mean. Fractions of one.

    Raises:
        DataError: an image without height and width.
    """
    return Metrics({kind: _row(matches) for kind, matches in match_classes(comparison).items()})


def match_classes(comparison: Comparison) -> dict[str, dict[int, ClassMatches]]:
    """What the table is computed from: for `box` and `mask` the matches of each class, by category id.

    Classes that are neither annotated nor detected are left out. Argument and errors are those of `yolact_table`.
    """
    is_required = _is_required(comparison)
    visited = {annotation["image_id"] for annotation in comparison.dataset["annotations"]}
    counted = [index for index, detection in enumerate(comparison.results) if detection["image_id"] in visited]
    return {kind: _match_kind(comparison, counted, is_required, kind) for kind in comparison.kinds if kind in _KINDS}


def _is_required(comparison: Comparison) -> npt.NDArray[np.bool_]:
    """(G,) whether an object is to be found."""
    sizes = sizes_of(comparison.dataset)
    is_required = []
    for annotation in comparison.dataset["annotations"]:
        height, width = sizes[annotation["image_id"]]
        if height is None or width is None:
            raise DataError(
                f"{comparison.names[1]}: image {annotation['image_id']} has no height and width, by which small "
                "objects are recognised"
            )
        box_xywh = annotation.get("bbox") or (0.0, 0.0, 0.0, 0.0)
        share = min(box_xywh[2] / width, box_xywh[3] / height)
        is_required.append(share > _SMALLEST_SIDE and not annotation.get("iscrowd"))
    return np.array(is_required, dtype=bool)


def _match_kind(
    comparison: Comparison, counted: Sequence[int], is_required: npt.NDArray[np.bool_], kind: str
) -> dict[int, ClassMatches]:
    """Matches of each class; `counted` are the indices of the results in images that are visited."""
    results, annotations = comparison.results, comparison.dataset["annotations"]
    order = _ranked(comparison, counted, kind)
    found = indices_by_group(results, order.tolist())
    objects = indices_by_group(annotations, np.flatnonzero(is_required).tolist())
    shapes = comparison.shapes(kind)
    is_correct = np.zeros((len(THRESHOLDS), len(results)), dtype=bool)
    for group in found.keys() & objects.keys():
        both = [shapes[0][index] for index in found[group]], [shapes[1][index] for index in objects[group]]
        is_correct[:, found[group]] = _matched(_ious(*both))
    ranked_classes = np.array([results[index]["category_id"] for index in order], dtype=np.int64)
    num_gt: dict[int, int] = defaultdict(int)
    for (_, category_id), some in objects.items():
        num_gt[category_id] += len(some)
    return {
        category_id: ClassMatches(num_gt[category_id], is_correct[:, order[ranked_classes == category_id]])
        for category_id in sorted({*num_gt, *ranked_classes.tolist()})
    }


def _ranked(comparison: Comparison, counted: Sequence[int], kind: str) -> npt.NDArray[np.int64]:
    """Indices of the results by falling score; of equal ones by image as given, then by the score of the box."""
    chosen = np.array(counted, dtype=np.int64)
    image_ids = [comparison.results[index]["image_id"] for index in counted]
    index_of = {image_id: index for index, image_id in enumerate(dict.fromkeys(image_ids))}
    images = np.array([index_of[image_id] for image_id in image_ids])
    box_scores, scores = (np.array(comparison.scores(one))[chosen] for one in ("box", kind))
    return chosen[np.lexsort((-box_scores, images, -scores))]


def _ious(found: Sequence[Any], objects: Sequence[Any]) -> npt.NDArray[np.float64]:
    """(D, G) IoU of D detections with G objects of an image; in float32 precision, as the original compares them."""
    ious = hotcoco.mask.iou(found, objects, [False] * len(objects))
    return np.asarray(ious).astype(np.float32).astype(np.float64)


def _matched(ious: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(10, D) bool which detections, best first, get an object of their own at each threshold; `ious` is (D, G)."""
    thresholds = np.arange(len(THRESHOLDS))
    is_free = np.ones((len(THRESHOLDS), ious.shape[1]), dtype=bool)
    is_correct = np.zeros((len(THRESHOLDS), len(ious)), dtype=bool)
    for row in np.flatnonzero((ious > THRESHOLDS[0]).any(axis=1)):
        reachable = np.where(is_free & (ious[row] > THRESHOLDS[:, None]), ious[row], 0)
        best = reachable.argmax(axis=1)
        is_correct[:, row] = reachable[thresholds, best] > 0
        is_free[thresholds, best] &= ~is_correct[:, row]
    return is_correct


def _average_precision(is_correct: npt.NDArray[np.bool_], num_gt: int) -> float:
    """Mean precision at 101 levels of recall, made monotone; 0 at levels that are not reached."""
    if num_gt == 0:
        return 0.0
    num_correct = np.cumsum(is_correct)
    precision = num_correct / np.arange(1, len(is_correct) + 1)
    highest_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    indices = np.searchsorted(num_correct / num_gt, _RECALL_LEVELS)
    return float(np.append(highest_from_here, 0.0)[indices].mean())


def _row(matches: Mapping[int, ClassMatches]) -> dict[str, float]:
    """The mean over classes at each threshold; 0 without classes, as in the original."""
    precisions = [some.average_precisions() for some in matches.values()] or [np.zeros(len(THRESHOLDS))]
    means = np.mean(precisions, axis=0)
    by_threshold = {f"{100 * threshold:.0f}": float(mean) for threshold, mean in zip(THRESHOLDS, means, strict=True)}
    return {"all": float(means.mean()), **by_threshold}
