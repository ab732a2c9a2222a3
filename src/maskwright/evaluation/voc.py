"""Average precision by the rule of the Pascal VOC devkit, which SBD's benchmark applies to masks.

Detections of a class are gone through over all images, best score first. Each is compared with the one object of its
class and image that it overlaps most, found already or not:

- If the overlap reaches the threshold, the first detection of an object is correct and every further one is false. One
  of a difficult object is neither, and a difficult object need not be found.
- If it does not, the detection is false.

The area under the curve of precision over recall, made monotone, is the AP of 2010 and later (`AP50`); that of 2007
(`AP50_07`) is the mean precision at eleven levels of recall. All detections count, however many there are.

The devkit's boxes include the pixels of both their corners, so they are x2 - x1 + 1 wide. Ours have continuous edges:
the same box is read from x1 - 1 to x2 (VOC counts from one), is as wide, and overlaps others by exactly the same share.

Where implementations differ, this is the devkit's own (VOCevaldet.m): an overlap of the threshold itself is enough;
py-faster-rcnn and detectron2 ask for more. They also round what they write to files before they evaluate it, scores to
thousandths and corners to tenths of a pixel; nothing is rounded here, and equal scores rank in the order given.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective" (2015), and the devkit; for
masks Hariharan et al., "Simultaneous Detection and Segmentation" (2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.evaluation.comparison import Comparison
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.streaming import indices_by_group

# boxes are compared at VOC's threshold, masks at SBD's two
THRESHOLDS = {"box": (0.5,), "mask": (0.5, 0.7)}

# as the devkit counts them, in steps of 0.1; those of .3, .6 and .7 lie a rounding error higher, so that a recall of
# three in ten does not reach the first
_RECALL_LEVELS = np.arange(11) * 0.1

Floats = npt.NDArray[np.float64]


class Nearest(NamedTuple):
    """The object that each of N detections overlaps most, of its class and image.

    Attributes:
        objects: (N,) its index among all annotations; -1 where there is none.
        ious: (N,) the overlap; 0 where there is none.
    """

    objects: npt.NDArray[np.int64]
    ious: Floats


def evaluate_voc(comparison: Comparison) -> Metrics:
    """Compare results with annotations by VOC's rule; see above.

    Args:
        comparison: of results, whose masks are ranked by `mask_score` where they have one, with annotations, where an
            object may be `difficult`. COCO's crowds, which VOC does not know, count as difficult.

    Returns:
        `box` with AP50 and AP50_07, `mask` with these and, as SBD's tables have it, AP70 and AP70_07, each where both
        sides carry them: means over the classes that have an object to be found. The same in `per_category` by name,
        NaN where a class has none; and `images`.
    """
    tables = {kind: _table(comparison, kind) for kind in comparison.kinds if kind in THRESHOLDS}
    return Metrics(
        {
            **{kind: _mean_row(list(rows.values())) for kind, rows in tables.items()},
            "per_category": {
                name: {kind: rows[category_id] for kind, rows in tables.items()}
                for category_id, name in comparison.category_names.items()
            },
            "images": len(comparison.dataset["images"]),
        }
    )


def _table(comparison: Comparison, kind: str) -> dict[int, dict[str, float]]:
    """The numbers of each category by its id."""
    annotations = comparison.dataset["annotations"]
    nearest = _nearest(comparison, kind)
    ranked = np.argsort(-np.array(comparison.scores(kind)), kind="stable")
    is_optional = np.array([bool(a.get("difficult") or a["iscrowd"]) for a in annotations], dtype=bool)
    object_classes = np.array([annotation["category_id"] for annotation in annotations], dtype=np.int64)
    ranked_classes = np.array([detection["category_id"] for detection in comparison.results], dtype=np.int64)[ranked]
    rows = {}
    for category in comparison.dataset["categories"]:
        num_gt = int((~is_optional[object_classes == category["id"]]).sum())
        chosen = ranked[ranked_classes == category["id"]]
        found = Nearest(nearest.objects[chosen], nearest.ious[chosen])
        rows[category["id"]] = _row(found, is_optional, num_gt, THRESHOLDS[kind])
    return rows


def _nearest(comparison: Comparison, kind: str) -> Nearest:
    own_groups = indices_by_group(comparison.results)
    their_groups = indices_by_group(comparison.dataset["annotations"])
    nearest = Nearest(np.full(len(comparison.results), -1, dtype=np.int64), np.zeros(len(comparison.results)))
    shapes, gt_shapes = comparison.shapes(kind)
    for group in own_groups.keys() & their_groups.keys():
        own, theirs = own_groups[group], their_groups[group]
        ious = hotcoco.mask.iou([shapes[n] for n in own], [gt_shapes[n] for n in theirs], [False] * len(theirs))
        nearest.objects[own] = theirs[ious.argmax(axis=1)]
        nearest.ious[own] = ious.max(axis=1)
    return nearest


def _row(
    nearest: Nearest, is_optional: npt.NDArray[np.bool_], num_gt: int, thresholds: Sequence[float]
) -> dict[str, float]:
    """AP of one class at each threshold by both rules; `nearest` is of its detections, best first."""
    row = {}
    for threshold in thresholds:
        precision, recall = _precision_recall(nearest, is_optional, num_gt, threshold)
        name = f"AP{100 * threshold:.0f}"
        row[name] = _area(precision, recall) if num_gt else float("nan")
        row[f"{name}_07"] = _mean_at_eleven(precision, recall) if num_gt else float("nan")
    return row


def _precision_recall(
    nearest: Nearest, is_optional: npt.NDArray[np.bool_], num_gt: int, threshold: float
) -> tuple[Floats, Floats]:
    """(N,) each, after every detection; precision is the highest from there on."""
    is_hit = (nearest.objects >= 0) & (nearest.ious >= threshold)
    is_void = np.zeros_like(is_hit)
    is_void[is_hit] = is_optional[nearest.objects[is_hit]]
    is_correct = np.zeros_like(is_hit)
    counted = np.flatnonzero(is_hit & ~is_void)
    is_correct[counted[np.unique(nearest.objects[counted], return_index=True)[1]]] = True
    num_correct, num_counted = np.cumsum(is_correct), np.cumsum(~is_void)
    precision = num_correct / np.maximum(num_counted, 1)
    return np.maximum.accumulate(precision[::-1])[::-1], num_correct / max(num_gt, 1)


def _area(precision: Floats, recall: Floats) -> float:
    return float(np.diff(recall, prepend=0.0) @ precision)


def _mean_at_eleven(precision: Floats, recall: Floats) -> float:
    """Zero at the levels that are not reached."""
    return float(np.append(precision, 0.0)[np.searchsorted(recall, _RECALL_LEVELS)].mean())


def _mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    means = {}
    for name in rows[0] if rows else ():
        numbers = np.array([row[name] for row in rows])
        known = numbers[~np.isnan(numbers)]
        means[name] = float(known.mean()) if known.size else float("nan")
    return means
