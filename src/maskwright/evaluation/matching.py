"""COCO's matching of detections with objects, and the precision that follows, for whatever says how well two agree.

hotcoco does this for boxes, masks and keypoints, but computes their IoU itself; here it comes from outside.

Every detection, best first, takes the object of its image and class that it agrees with most, of those that none took
before it. Images and classes do not know each other, so that the best detections of all of them choose at once, then
all the second best: as many steps as the fullest image has detections, whatever the number of images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.evaluation.curves import Curves

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# COCO's own arithmetic, to the last bit: thresholds decide ties
IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
_RECALL_LEVELS: Floats = np.linspace(0, 1, 101)
# in pixels, both ends included
_AREA_RANGES = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))


class Detections(NamedTuple):
    """D detections as they are matched, by falling score; of equal ones, by image, then in the order given.

    Attributes:
        classes: (D,) index of each one's class among C.
        ranks: (D,) how many of the same image and class come before it.
        areas: (D,) in pixels.
    """

    classes: Ints
    ranks: Ints
    areas: Floats


class Objects(NamedTuple):
    """G objects that are to be found, in the order given.

    Attributes:
        classes: (G,) index of each one's class among C.
        areas: (G,) in pixels.
        is_crowd: (G,) stands for many objects: any number of detections may match it, and none of them counts.
    """

    classes: Ints
    areas: Floats
    is_crowd: Bools


class Pairs(NamedTuple):
    """P detections and objects of the same image and class that agree enough for the lowest threshold.

    Attributes:
        detections: (P,) index among the detections.
        objects: (P,) index among the objects.
        ious: (P,) how well they agree, 0.5 to 1.
    """

    detections: Ints
    objects: Ints
    ious: Floats


def match(detections: Detections, objects: Objects, pairs: Pairs, num_classes: int) -> Curves:
    """Precision and recall at COCO's thresholds and ranges of area; an object of another range is ignored."""
    shape = len(IOU_THRESHOLDS), len(_RECALL_LEVELS), num_classes, len(_AREA_RANGES)
    curves = Curves(np.full(shape, -1.0), np.full((shape[0], *shape[2:]), -1.0))
    members = [np.flatnonzero(detections.classes == class_) for class_ in range(num_classes)]
    for area, (smallest, largest) in enumerate(_AREA_RANGES):
        is_ignored = objects.is_crowd | (objects.areas < smallest) | (objects.areas > largest)
        is_outside = (detections.areas < smallest) | (detections.areas > largest)
        taken = _taken(detections, objects, pairs, is_ignored)
        # what matched nothing is forgiven where it is of another range itself
        is_forgiven = np.where(taken < 0, is_outside, np.append(is_ignored, False)[taken])
        nums_objects = np.bincount(objects.classes[~is_ignored], minlength=num_classes)
        for index in np.flatnonzero(nums_objects):
            own = members[index]
            precision, recall = curve(taken[:, own] >= 0, is_forgiven[:, own], int(nums_objects[index]))
            curves.precision[:, :, index, area] = precision
            curves.recall[:, index, area] = recall
    return curves


def _taken(detections: Detections, objects: Objects, pairs: Pairs, is_ignored: Bools) -> Ints:
    """(10, D) which object each detection takes at each threshold, −1 for none; `is_ignored` is (G,).

    An object that counts is preferred to an ignored one, then the higher IoU, and of equal ones the later object.
    """
    ranks = detections.ranks[pairs.detections]
    order = np.lexsort((pairs.objects, pairs.ious, ~is_ignored[pairs.objects], pairs.detections, ranks))
    ranks, chooser, choice, ious = ranks[order], pairs.detections[order], pairs.objects[order], pairs.ious[order]
    is_enough = ious >= np.minimum(IOU_THRESHOLDS, 1 - 1e-10)[:, None]  # as COCO: 1 itself may be rounded down
    is_free = np.ones((len(IOU_THRESHOLDS), len(objects.classes)), dtype=bool)
    taken = np.full((len(IOU_THRESHOLDS), len(detections.classes)), -1)
    borders = np.append(np.flatnonzero(np.diff(ranks, prepend=-1)), len(ranks))
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        choices = choice[start:end]
        is_open = is_enough[:, start:end] & (is_free[:, choices] | objects.is_crowd[choices])
        firsts = np.flatnonzero(np.diff(chooser[start:end], prepend=-1))
        # the last open one of each detection is the one that it prefers
        best = np.maximum.reduceat(np.where(is_open, np.arange(end - start), -1), firsts, axis=1)
        thresholds, choosers = np.nonzero(best >= 0)
        objects_taken = choices[best[thresholds, choosers]]
        taken[thresholds, chooser[start:end][firsts][choosers]] = objects_taken
        is_free[thresholds, objects_taken] = False
    return taken


def curve(is_matched: Bools, is_forgiven: Bools, num_objects: int) -> tuple[Floats, Floats]:
    """(10, 101) precision at levels of recall, made monotone, and (10,) recall, of (10, n) detections of a class."""
    num_true = np.cumsum(is_matched & ~is_forgiven, axis=1, dtype=np.float64)
    num_false = np.cumsum(~is_matched & ~is_forgiven, axis=1, dtype=np.float64)
    recall = num_true / num_objects
    precision = num_true / (num_true + num_false + np.spacing(1))
    highest_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    highest_from_here = np.pad(highest_from_here, ((0, 0), (0, 1)))  # nothing at levels that are not reached
    indices = [np.searchsorted(row, _RECALL_LEVELS) for row in recall]
    return np.take_along_axis(highest_from_here, np.array(indices), axis=1), recall.max(axis=1, initial=0)
