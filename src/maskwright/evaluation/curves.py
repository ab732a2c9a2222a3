"""Precision-recall curves, and their means, which COCO and LVIS call AP, AP50, APs and so on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# indices into the arrays below: of the IoU thresholds among 0.50, 0.55 … 0.95, and of the ranges of area, which meet at
# 32² and 96² pixels; COCO has no small objects with keypoints
IOU_50, IOU_75 = 0, 5
ALL = 0
AREAS = {"APs": 1, "APm": 2, "APl": 3}
KEYPOINT_AREAS = {"APm": 1, "APl": 2}

# LVIS's groups of classes: in fewer than 10 images of its training set, in fewer than 100, in more
FREQUENCIES = {"APr": "r", "APc": "c", "APf": "f"}


class Curves(NamedTuple):
    """What matching gives; −1 where a class has no ground truth.

    Attributes:
        precision: (10, 101, C, 4) at IoU thresholds .50, .55 … .95, recall levels 0, .01 … 1, classes by ascending id,
            area ranges (all, small, medium, large); of keypoints (10, 101, C, 3), with object keypoint similarity for
            IoU and without small.
        recall: (10, C, 4) or (10, C, 3), the highest reached.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def summary_of(kind: str, curves: Curves, frequencies: Sequence[str | None] = ()) -> dict[str, float]:
    """AP, AP50, AP75, APs, APm, APl and AR of a kind: the means of its curves over what has ground truth.

    Args:
        kind: `box`, `mask`, `boundary` or `keypoints`; the last has no APs.
        curves: of its C classes.
        frequencies: r, c or f of each class, which adds APr, APc and APf (LVIS); none where they are unknown.
    """
    precision, recall = curves
    areas = KEYPOINT_AREAS if kind == "keypoints" else AREAS
    return {
        "AP": _mean(precision[..., ALL]),
        "AP50": _mean(precision[IOU_50, ..., ALL]),
        "AP75": _mean(precision[IOU_75, ..., ALL]),
        **{name: _mean(precision[..., index]) for name, index in areas.items()},
        **_by_frequency(precision[..., ALL], frequencies),
        "AR": _mean(recall[..., ALL]),
    }


def _by_frequency(precision: npt.NDArray[np.float64], frequencies: Sequence[str | None]) -> dict[str, float]:
    """AP of the rare, the common and the frequent classes; nothing where the dataset does not say."""
    if not set(frequencies) & set(FREQUENCIES.values()):
        return {}
    return {
        name: _mean(precision[..., [frequency == letter for frequency in frequencies]])
        for name, letter in FREQUENCIES.items()
    }


def _mean(values: npt.NDArray[np.float64]) -> float:
    """The mean over what has ground truth; NaN where nothing has."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


def summaries_by_category(curves: Mapping[str, Curves], names: Iterable[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Name of each of the C classes → kind → its numbers."""
    return {
        name: {
            kind: summary_of(kind, Curves(curve.precision[:, :, [index]], curve.recall[:, [index]]))
            for kind, curve in curves.items()
        }
        for index, name in enumerate(names)
    }
