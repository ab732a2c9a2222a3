"""What detections get wrong: which are false, which objects are missed, of what kind the errors are, what they cost.

The metrics say how good a model is; this says where to look. Everything here is at one IoU, 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import hotcoco
import numpy as np
import numpy.typing as npt

from maskwright.errors import ConfigError
from maskwright.evaluation.comparison import IOU_TYPES, Comparison, MatchedPart
from maskwright.evaluation.streaming import indices_by_image
from maskwright.evaluation.tide import Compared, ErrorBreakdown, Found, Sought, breakdown_of, kinds_in_image

IOU = 0.5
_ALL_AREAS = [0.0, 1e10]


class Fate(IntEnum):
    """What became of a detection (right or wrong) or of an object (right: found, wrong: missed)."""

    IGNORED = -1  # crowds and what lies on them, what is beyond the limit, classes that were not searched for
    WRONG = 0
    RIGHT = 1


@dataclass(frozen=True)
class ImageCounts:
    """How many detections of an image are correct, how many are false, and how many objects are missed."""

    correct: int
    false: int
    missed: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; NaN where there is neither object nor detection."""
        total = 2 * self.correct + self.false + self.missed
        return 2 * self.correct / total if total else float("nan")


@dataclass(frozen=True, eq=False)
class Fates:
    """Which detection found which object, class by class, the best detections first, as in COCO's metrics.

    Attributes:
        scores: (N,) of the detections, in the order of the results.
        detections: (N,) a `Fate` each.
        detection_images, detection_categories: (N,) ids.
        objects: (G,) a `Fate` each, in the order of the annotations.
        object_images, object_categories: (G,) ids.
        found_at: (G,) the score of the detection that found each object; NaN where none did.
    """

    scores: npt.NDArray[np.float64]
    detections: npt.NDArray[np.int8]
    detection_images: npt.NDArray[np.int64]
    detection_categories: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int8]
    object_images: npt.NDArray[np.int64]
    object_categories: npt.NDArray[np.int64]
    found_at: npt.NDArray[np.float64]

    def best_threshold(self) -> float:
        """The score from which on detections have the highest F1; 0 where none is correct."""
        order = np.argsort(-self.scores, kind="stable")
        order = order[self.detections[order] != Fate.IGNORED]
        correct = np.cumsum(self.detections[order] == Fate.RIGHT)
        if not len(order) or correct[-1] == 0:
            return 0.0
        num_objects = int((self.objects != Fate.IGNORED).sum())
        f1 = 2 * correct / (np.arange(1, len(order) + 1) + num_objects)
        # equal scores stand or fall together
        scores = self.scores[order]
        is_last = np.append(scores[1:] < scores[:-1], True)
        return float(scores[is_last][np.argmax(f1[is_last])])

    def above(self, score: float) -> Fates:
        """As if there were no detections below a score: they are ignored, and what only they found is missed.

        The others are matched as before, since they came first.
        """
        detections = np.where(self.scores >= score, self.detections, np.int8(Fate.IGNORED))
        is_lost = (self.objects == Fate.RIGHT) & ~(self.found_at >= score)
        objects = np.where(is_lost, np.int8(Fate.WRONG), self.objects)
        return replace(self, detections=detections, objects=objects)

    def counts(self) -> ImageCounts:
        """Of all images together."""
        return _counts(self.detections, self.objects)

    def by_image(self) -> dict[int, ImageCounts]:
        """Image id → its counts; images with neither objects nor detections are not in it."""
        return self._grouped(self.detection_images, self.object_images)

    def by_category(self) -> dict[int, ImageCounts]:
        """Category id → its counts in all images; categories without objects and detections are not in it."""
        return self._grouped(self.detection_categories, self.object_categories)

    def calibration(self, num_bins: int = 10) -> list[tuple[float, float, int]]:
        """How far scores can be read as probabilities, in bins of equal width from 0 to 1.

        Returns:
            mean score, share of correct detections, and number of detections of each bin that has some.
        """
        is_counted = self.detections != Fate.IGNORED
        scores, is_correct = self.scores[is_counted], self.detections[is_counted] == Fate.RIGHT
        bins = np.clip((scores * num_bins).astype(np.int64), 0, num_bins - 1)
        chosen = [bins == index for index in range(num_bins)]
        return [
            (float(scores[some].mean()), float(is_correct[some].mean()), int(some.sum()))
            for some in chosen
            if some.any()
        ]

    def _grouped(
        self, of_detections: npt.NDArray[np.int64], of_objects: npt.NDArray[np.int64]
    ) -> dict[int, ImageCounts]:
        ids = np.unique(np.concatenate([of_detections, of_objects]))
        table = np.zeros((3, len(ids)), dtype=np.int64)
        masks = (self.detections == Fate.RIGHT, self.detections == Fate.WRONG)
        for row, mask in enumerate(masks):
            np.add.at(table[row], np.searchsorted(ids, of_detections[mask]), 1)
        np.add.at(table[2], np.searchsorted(ids, of_objects[self.objects == Fate.WRONG]), 1)
        return {int(id_): ImageCounts(*map(int, column)) for id_, column in zip(ids, table.T, strict=True)}


@dataclass(frozen=True, eq=False)
class Analysis:
    """Fates of all detections and objects, and the kinds of errors, None for keypoints, which TIDE does not know."""

    fates: Fates
    breakdown: ErrorBreakdown | None


def analyse_errors(comparison: Comparison, kind: str) -> Analysis:
    """Look at what is wrong with results.

    Args:
        comparison: of the results with annotations. By LVIS's rules where these are federated.
        kind: `box`, `mask` or `keypoints`, which both sides must have.

    Raises:
        ConfigError: there is no such kind.
        DataError: results or annotations do not have it.
    """
    if kind not in IOU_TYPES:
        raise ConfigError(f"there are no errors of {kind!r}; take {', '.join(IOU_TYPES)}")
    comparison.refuse_without(kind, "so there are no errors in them to look at")
    return _Sheet(comparison, kind).filled()


class _Sheet:
    """What becomes of every detection and every object, filled in for few images at a time.

    Attributes:
        scores: (N,) what ranks the detections.
        fates, object_fates: (N,) and (G,), in the order of the results and of the annotations.
        found_at: (G,) the score of the detection that found each object.
        is_found: (G,) some detection took it, even where that counts for nothing.
        kinds: (N,) a `tide.Kind` each.
        targets: (N,) the object that a false detection was a try at; −1 where there is none.
    """

    def __init__(self, comparison: Comparison, kind: str) -> None:
        self.comparison, self.kind = comparison, kind
        self.scores = np.array(comparison.scores(kind), dtype=np.float64)
        self.fates = np.full(len(self.scores), Fate.IGNORED, dtype=np.int8)
        self.object_fates = np.full(len(comparison.dataset["annotations"]), Fate.IGNORED, dtype=np.int8)
        self.found_at = np.full(len(self.object_fates), np.nan)
        self.is_found = np.zeros(len(self.object_fates), dtype=bool)
        self.kinds = np.zeros(len(self.scores), dtype=np.int8)
        self.targets = np.full(len(self.scores), -1, dtype=np.int64)

    def filled(self) -> Analysis:
        """The analysis of all images."""
        has_kinds = self.kind != "keypoints"
        shapes = self.comparison.shapes(self.kind) if has_kinds else ([], [])
        for part in self.comparison.parts(self.kind):
            self._add_fates(part, _evaluate(part, self.comparison, self.kind))
            if has_kinds:
                self._add_kinds(part, *shapes)
        fates = self._all_fates()
        return Analysis(fates, self._breakdown(fates) if has_kinds else None)

    def _add_fates(self, part: MatchedPart, groups: Sequence[dict[str, Any] | None]) -> None:
        """Fates from hotcoco's groups of one image and class; ids count from 1, those of objects over all parts."""
        for group in filter(None, groups):
            own = np.array([part.detection_indices[number - 1] for number in group["dtIds"]], dtype=np.int64)
            matched, ignored = np.array(group["dtMatched"][0], bool), np.array(group["dtIgnore"][0], bool)
            self.fates[own] = np.where(ignored, Fate.IGNORED, matched)
            columns = (group["gtIds"], group["gtMatched"][0], group["gtMatches"][0], group["gtIgnore"])
            for number, is_matched, finder, is_ignored in zip(*columns, strict=True):
                self.is_found[number - 1] = bool(is_matched)
                self.object_fates[number - 1] = Fate.IGNORED if is_ignored else int(is_matched)
                if is_matched and not is_ignored:
                    self.found_at[number - 1] = self.scores[part.detection_indices[finder - 1]]

    def _add_kinds(self, part: MatchedPart, shapes: Sequence[Any], object_shapes: Sequence[Any]) -> None:
        """`shapes` are boxes or run lengths of all detections, `object_shapes` those of all objects."""
        results, annotations = self.comparison.results, self.comparison.dataset["annotations"]
        objects, found = indices_by_image(part.objects), indices_by_image(part.detections)
        for image in part.images:
            theirs = np.array([part.object_indices[index] for index in objects[image["id"]]], dtype=np.int64)
            own = np.array([part.detection_indices[index] for index in found[image["id"]]], dtype=np.int64)
            own = own[self.fates[own] == Fate.WRONG]
            kinds, targets = kinds_in_image(
                Compared(_column([results[index] for index in own], "category_id"), [shapes[index] for index in own]),
                Compared(
                    _column([annotations[index] for index in theirs], "category_id"),
                    [object_shapes[index] for index in theirs],
                ),
                np.array([bool(annotations[index].get("iscrowd")) for index in theirs], dtype=bool),
                self.is_found[theirs],
                IOU,
            )
            self.kinds[own] = kinds
            self.targets[own] = np.append(theirs, -1)[targets]

    def _all_fates(self) -> Fates:
        results, annotations = self.comparison.results, self.comparison.dataset["annotations"]
        return Fates(
            scores=self.scores,
            detections=self.fates,
            detection_images=_column(results, "image_id"),
            detection_categories=_column(results, "category_id"),
            objects=self.object_fates,
            object_images=_column(annotations, "image_id"),
            object_categories=_column(annotations, "category_id"),
            found_at=self.found_at,
        )

    def _breakdown(self, fates: Fates) -> ErrorBreakdown:
        order = np.lexsort((fates.detection_images, -self.scores))
        found = Found(
            fates.detection_categories,
            self.scores,
            self.fates == Fate.RIGHT,
            self.fates == Fate.IGNORED,
            self.kinds,
            self.targets,
        ).of(order)
        is_missed, is_ignored = self.object_fates == Fate.WRONG, self.object_fates == Fate.IGNORED
        return breakdown_of(found, Sought(fates.object_categories, is_missed, is_ignored))


def _evaluate(part: MatchedPart, comparison: Comparison, kind: str) -> Sequence[dict[str, Any] | None]:
    """Groups of one image and class, at one IoU and in one range of areas: a tenth of the time of the whole metric.

    All of them at once would be forty times as many.
    """
    images: dict[str, Any] = {"images": part.images, "annotations": part.objects}
    truth = hotcoco.COCO({**images, "categories": comparison.dataset["categories"]})
    evaluation = hotcoco.COCOeval(
        truth, truth.load_res(part.detections), IOU_TYPES[kind], lvis_style=comparison.by_lvis(kind)
    )
    if kind == "keypoints":
        evaluation.params.kpt_oks_sigmas = comparison.sigmas
    evaluation.params.max_dets = [comparison.max_detections]
    evaluation.params.iou_thrs = [IOU]
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [_ALL_AREAS], ["all"]
    evaluation.evaluate()
    return evaluation.eval_imgs


def _column(entries: Sequence[Any], key: str) -> npt.NDArray[np.int64]:
    return np.array([entry[key] for entry in entries], dtype=np.int64)


def _counts(detections: npt.NDArray[np.int8], objects: npt.NDArray[np.int8]) -> ImageCounts:
    correct, false = int((detections == Fate.RIGHT).sum()), int((detections == Fate.WRONG).sum())
    return ImageCounts(correct, false, int((objects == Fate.WRONG).sum()))
