"""Of what kind the errors are and what each kind costs: TIDE (Bolya et al., ECCV 2020), at IoU 0.5.

The rules are those of section 2.2 and of the authors' code, where they differ. hotcoco has them too, but needs the IoU
of all images at once; here each image's are looked at and let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.evaluation.matching import Bools, Floats, Ints, curve

# at least so much in common is a try at the object; less is background
_BACKGROUND_IOU = 0.1


class Kind(IntEnum):
    """What is wrong with a false detection, the first that applies of these; `NONE`: it is not false."""

    NONE = 0
    LOCATION = 1
    CLASS = 2
    DUPLICATE = 3
    BACKGROUND = 4
    BOTH = 5


_NAMES = {
    Kind.CLASS: "class",
    Kind.LOCATION: "location",
    Kind.BOTH: "both",
    Kind.DUPLICATE: "duplicate",
    Kind.BACKGROUND: "background",
}
MISSED = "missed"


@dataclass(frozen=True)
class ErrorBreakdown:
    """What kinds of errors there are and what each costs (TIDE).

    Attributes:
        ap50: the mean AP at IoU 0.5.
        counts: number of errors by kind: `class` (well placed, wrong name), `location` (right name, IoU between 0.1 and
            0.5), `both`, `duplicate` (of an object that a better detection found), `background` (on nothing), and
            `missed` (objects near which no detection is).
        lost_ap: how much higher `ap50` were if all errors of only that kind were corrected.
    """

    ap50: float
    counts: Mapping[str, int]
    lost_ap: Mapping[str, float]


class Compared(NamedTuple):
    """Detections or objects of an image.

    Attributes:
        classes: (N,) category ids.
        shapes: N boxes x y width height, or N run lengths.
    """

    classes: Ints
    shapes: Sequence[Any]


class Kinds(NamedTuple):
    """What is wrong with the false detections of an image.

    Attributes:
        kinds: (D,) a `Kind` each.
        targets: (D,) the object that each one was a try at, counted among those given; −1 where there is none.
    """

    kinds: npt.NDArray[np.int8]
    targets: Ints


class Found(NamedTuple):
    """D detections of all images, the best first, of equals those of the lower image id first.

    Attributes:
        classes: (D,) category ids.
        scores: (D,)
        is_right: (D,) the correct ones.
        is_ignored: (D,) what counts neither way.
        kinds: (D,) a `Kind` each.
        targets: (D,) the object that a false one was a try at; −1 where there is none.
    """

    classes: Ints
    scores: Floats
    is_right: Bools
    is_ignored: Bools
    kinds: npt.NDArray[np.int8]
    targets: Ints

    def of(self, chosen: Bools | Ints) -> Found:
        """Those that are chosen, or that stand at these indices."""
        columns: list[Any] = [column[chosen] for column in self]
        return Found(*columns)


class Sought(NamedTuple):
    """G objects of all images.

    Attributes:
        classes: (G,) category ids.
        is_missed: (G,) those that count and that no detection took.
        is_ignored: (G,) those that do not count.
    """

    classes: Ints
    is_missed: Bools
    is_ignored: Bools


def kinds_in_image(false: Compared, objects: Compared, is_crowd: Bools, is_found: Bools, iou: float) -> Kinds:
    """What is wrong with the false detections of an image.

    Args:
        false: its D false detections.
        objects: its G objects, of all classes.
        is_crowd: (G,) it stands for many.
        is_found: (G,) a detection took it.
        iou: from which on a detection finds an object.
    """
    order = np.lexsort((is_crowd, objects.classes))  # of equal IoUs the first counts, as in hotcoco
    ious = _ious(false.shapes, [objects.shapes[index] for index in order], is_crowd[order])
    is_same = false.classes[:, None] == objects.classes[order]
    same, own = _best(np.where(is_same, ious, 0.0))
    cross, others = _best(np.where(is_same | is_crowd[order], 0.0, ious))
    is_second = (is_same & (ious >= iou) & is_found[order]).any(axis=1)
    conditions = [
        (same >= _BACKGROUND_IOU) & (same <= iou),
        cross >= iou,
        is_second,
        cross <= _BACKGROUND_IOU,
    ]
    choices = [Kind.LOCATION, Kind.CLASS, Kind.DUPLICATE, Kind.BACKGROUND]
    kinds = np.select(conditions, choices, Kind.BOTH).astype(np.int8)
    columns = np.select([kinds == Kind.LOCATION, kinds == Kind.CLASS], [own, others], -1)
    return Kinds(kinds, np.append(order, -1)[columns])


def breakdown_of(found: Found, sought: Sought) -> ErrorBreakdown:
    """The counts of each kind, and how much better AP were without."""
    is_try = np.append(sought.is_missed, False)[found.targets]  # −1 is the last
    # an object can be found once: by the best of all that were a try at it, the others vanish
    tried, firsts = np.unique(found.targets[is_try], return_index=True)
    is_winner = np.zeros(len(is_try), dtype=bool)
    is_winner[np.flatnonzero(is_try)[firsts]] = True
    is_lost = sought.is_missed.copy()
    is_lost[tried] = False
    rows = []
    for id_ in np.unique(sought.classes[~sought.is_ignored]):
        num_objects = int(((sought.classes == id_) & ~sought.is_ignored).sum())
        num_lost = int(((sought.classes == id_) & is_lost).sum())
        is_renamed = is_winner & (found.kinds == Kind.CLASS) & (np.append(sought.classes, -1)[found.targets] == id_)
        own = found.classes == id_
        rows.append(_gains(found.of(own), is_winner[own], found.scores[is_renamed], num_objects, num_lost))
    means = np.mean(rows, axis=0) if rows else np.zeros(len(_NAMES) + 2)
    names = [*_NAMES.values(), MISSED]
    counts = [*(int((found.kinds == kind).sum()) for kind in _NAMES), int(is_lost.sum())]
    return ErrorBreakdown(
        ap50=float(means[0]),
        counts=dict(zip(names, counts, strict=True)),
        lost_ap={name: float(lost) for name, lost in zip(names, means[1:], strict=True)},
    )


def _gains(found: Found, is_winner: Bools, renamed: Floats, num_objects: int, num_lost: int) -> Floats:
    """AP of a class, then what it gains if only one kind is corrected, the missed objects last.

    `renamed` are the scores of detections of other classes that would be right ones of this class.
    """
    base = _ap(found.is_right, found.is_ignored, num_objects)
    gains = []
    for kind in _NAMES:
        is_mended = found.kinds == kind
        is_right = found.is_right | (is_mended & is_winner & (kind == Kind.LOCATION))
        is_ignored = found.is_ignored | (is_mended & ~is_right)
        if kind == Kind.CLASS:
            indices = np.searchsorted(-found.scores, -renamed, side="right")  # of equals, those of the class come first
            is_right, is_ignored = np.insert(is_right, indices, True), np.insert(is_ignored, indices, False)
        gains.append(_ap(is_right, is_ignored, num_objects) - base)
    without_lost = _ap(found.is_right, found.is_ignored, num_objects - num_lost)
    return np.array([base, *gains, without_lost - base])


def _ap(is_right: Bools, is_ignored: Bools, num_objects: int) -> float:
    if not num_objects:
        return 0.0
    precision, _ = curve(is_right[None], is_ignored[None], num_objects)
    return float(precision.mean())


def _best(ious: Floats) -> tuple[Floats, Ints]:
    """(D,) the highest of each row, and where it is; −1 where all are zero."""
    if not ious.shape[1]:
        return np.zeros(len(ious)), np.full(len(ious), -1)
    highest = ious.max(axis=1)
    return highest, np.where(highest > 0, ious.argmax(axis=1), -1)


def _ious(found: Sequence[Any], objects: Sequence[Any], is_crowd: Bools) -> Floats:
    """(D, G) IoU of masks or boxes; on a crowd, the share of the detection that lies on it."""
    if not found or not objects:
        return np.zeros((len(found), len(objects)))
    if isinstance(found[0], Mapping):
        return np.asarray(hotcoco.mask.iou(found, objects, is_crowd))
    boxes = [np.array(shapes, dtype=np.float64) for shapes in (found, objects)]
    return np.asarray(hotcoco.mask.iou(boxes[0], boxes[1], is_crowd))
