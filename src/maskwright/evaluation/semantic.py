"""How well the class of every pixel was found: mean IoU and its relatives, as detectron2's SemSegEvaluator has them.

Classes that the ground truth lacks are where libraries differ. Here such a class has neither IoU nor accuracy and
enters no mean; that it was predicted shows in the IoU of the classes whose pixels it took. mmsegmentation, torchmetrics
and hotcoco give it an IoU of 0 and count that in mIoU, as detectron2 itself did before 2022. Where every class occurs,
as in the usual validation sets, all of them agree.

Source: facebookresearch/detectron2, `evaluation/sem_seg_evaluation.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import hotcoco.metrics
import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError
from maskwright.evaluation.metrics import Metrics
from maskwright.structures.label_map import IGNORED


class SemanticTally:
    """Pixels counted by true and found class: one small table, whatever the number of images.

    A tally can be pickled, and the tallies of several processes merge to that of all their images.

    Attributes:
        names: of the C classes.
        confusion: (C, C) uint64 pixels of each true class (row) that were found to be of each class (column).
        num_images: how many were added.

    >>> tally = SemanticTally(["sky", "sea"])
    >>> tally.add(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]]))
    >>> tally.metrics()["mIoU"], tally.metrics().lookup("per_category.sea.accuracy")
    (0.5, 1.0)
    """

    def __init__(self, names: Sequence[str]) -> None:
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"the class {repeated[0]!r} occurs twice; every class needs a name of its own")
        self.names = tuple(names)
        self.confusion: npt.NDArray[np.uint64] = np.zeros((len(self.names),) * 2, dtype=np.uint64)
        self.num_images = 0

    def add(self, true: npt.NDArray[np.integer], found: npt.NDArray[np.integer]) -> None:
        """Count the pixels of an image.

        Args:
            true: (H, W) class of each pixel, 255 = ignored.
            found: (H, W) class of each pixel.

        Raises:
            DataError: two sizes, or a value that is no class; nothing is counted then.
        """
        if true.shape != found.shape or true.ndim != 2:
            raise DataError(
                f"the true classes are of shape {true.shape}, the found ones {found.shape}; give two (H, W)"
            )
        num_classes = len(self.names)
        for side, values in (("true", true), ("found", found[true != IGNORED])):
            unknown = values[((values < 0) | (values >= num_classes)) & ((values != IGNORED) | (side == "found"))]
            if unknown.size:
                raise DataError(f"a pixel is {side} to be of class {unknown[0]}; there are 0 to {num_classes - 1}")
        self.confusion += hotcoco.metrics.pixel_confusion(true, found, num_classes, ignore_index=IGNORED)
        self.num_images += 1

    def merge(self, other: SemanticTally) -> None:
        """Add what another process counted.

        Raises:
            DataError: it counted other classes.
        """
        if self.names != other.names:
            raise DataError(f"tallies of {len(self.names)} and of {len(other.names)} other classes cannot be merged")
        self.confusion += other.confusion
        self.num_images += other.num_images

    def metrics(self) -> Metrics:
        """What was counted, as fractions of one.

        Returns:
            `mIoU` and `mACC`, the means over classes; `fwIoU`, the mean weighted by true pixels; `pACC`, the share of
            pixels whose class was found; `per_category` with IoU and accuracy by name; `images`. NaN without ground
            truth.
        """
        counts = self.confusion.astype(np.float64)
        correct, true, found = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
        is_there = true > 0
        ious = np.full(len(self.names), np.nan)
        accuracies = ious.copy()
        np.divide(correct, true + found - correct, out=ious, where=is_there)
        np.divide(correct, true, out=accuracies, where=is_there)
        return Metrics(
            {
                "mIoU": _mean(ious[is_there]),
                "fwIoU": _mean(ious[is_there], true[is_there]),
                "mACC": _mean(accuracies[is_there]),
                "pACC": _mean(accuracies[is_there], true[is_there]),
                "per_category": {
                    name: {"IoU": float(iou), "accuracy": float(accuracy)}
                    for name, iou, accuracy in zip(self.names, ious, accuracies, strict=True)
                },
                "images": self.num_images,
            }
        )


def _mean(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None = None) -> float:
    return float(np.average(values, weights=weights)) if values.size else float("nan")
