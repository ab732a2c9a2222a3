"""What detections get wrong: which are false, which objects are missed, of what kind the errors are, what they cost.

The metrics say how good a model is; this says where to look. Everything here is at one IoU, 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, cast

import hotcoco
import numpy as np
import numpy.typing as npt

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation.coco import IOU_TYPES
from maskwright.evaluation.coco_format import (
    Dataset,
    Result,
    checked_limit,
    comparable_kinds,
    is_federated,
    num_keypoints,
    read_dataset,
    read_results,
    scores_of,
)
from maskwright.evaluation.streaming import Part, capped, indices_by_image, parts_of
from maskwright.evaluation.tide import ErrorBreakdown, Found, Sought, breakdown_of, kinds_in_image

IOU = 0.5
_WORDS = {"box": "boxes", "mask": "masks", "keypoints": "keypoints"}
_ALL_AREAS = [0.0, 1e10]


class Fate(IntEnum):
    """What became of a detection (right or wrong) or of an object (right: found, wrong: missed)."""

    IGNORED = -1  # crowds and what lies on them, what is beyond the limit, what nobody looked for
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
class Matches:
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

    def above(self, score: float) -> Matches:
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
        is_judged = self.detections != Fate.IGNORED
        scores, is_correct = self.scores[is_judged], self.detections[is_judged] == Fate.RIGHT
        bins = np.clip((scores * num_bins).astype(np.int64), 0, num_bins - 1)
        chosen = [bins == place for place in range(num_bins)]
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
    """Matches of all detections and objects, and the kinds of errors, None for keypoints, which TIDE does not know."""

    matches: Matches
    breakdown: ErrorBreakdown | None


def analyse_errors(
    results: Sequence[Mapping[str, Any]], annotations: Mapping[str, Any], kind: str, max_detections: int = 100
) -> Analysis:
    """Look at what is wrong in a COCO results list.

    Args:
        results: a COCO results list; masks are ranked by `mask_score` where they have one.
        annotations: a COCO dataset. By LVIS's rules where its images say what they were searched for.
        kind: `box`, `mask` or `keypoints`, which both sides must have.
        max_detections: as in `evaluate_results`.

    Raises:
        ConfigError: there is no such kind, or `max_detections` is below one.
        DataError: results or annotations do not fit; see `coco_format`.
    """
    max_detections = checked_limit(max_detections)
    if kind not in IOU_TYPES:
        raise ConfigError(f"there are no errors of {kind!r}; take {', '.join(IOU_TYPES)}")
    dataset = read_dataset(annotations)
    detections = read_results(results, dataset)
    if kind not in comparable_kinds(detections, "results", dataset, "annotations"):
        raise DataError(f"results or annotations have no {_WORDS[kind]}, so there are no errors in them to look at")
    scores = np.array(scores_of(detections, kind), dtype=np.float64)
    return _Sheet(dataset, detections, scores, kind).filled(max_detections)


class _Sheet:
    """What becomes of every detection and every object, filled in for few images at a time.

    Attributes:
        fates, object_fates: (N,) and (G,), in the order of the results and of the annotations.
        found_at: (G,) the score of the detection that found each object.
        is_found: (G,) some detection took it, even where that counts for nothing.
        kinds: (N,) a `tide.Kind` each.
        targets: (N,) the object that a false detection was a try at; −1 where there is none.
    """

    def __init__(
        self, dataset: Dataset, detections: Sequence[Result], scores: npt.NDArray[np.float64], kind: str
    ) -> None:
        self.dataset, self.detections, self.scores, self.kind = dataset, detections, scores, kind
        self.fates = np.full(len(detections), Fate.IGNORED, dtype=np.int8)
        self.object_fates = np.full(len(dataset["annotations"]), Fate.IGNORED, dtype=np.int8)
        self.found_at = np.full(len(self.object_fates), np.nan)
        self.is_found = np.zeros(len(self.object_fates), dtype=bool)
        self.kinds = np.zeros(len(detections), dtype=np.int8)
        self.targets = np.full(len(detections), -1, dtype=np.int64)

    def filled(self, max_detections: int) -> Analysis:
        """The analysis of all images."""
        federated = is_federated(self.dataset) and self.kind != "keypoints"
        ranked = _ranked(self.detections, self.scores)
        kept = capped(ranked, max_detections) if federated else range(len(ranked))
        for part in parts_of(self.dataset, ranked, kept):
            self._add_matches(part, _evaluate(part, self.dataset, self.kind, max_detections, federated))
            if self.kind != "keypoints":
                self._add_kinds(part)
        matches = self._matches()
        return Analysis(matches, None if self.kind == "keypoints" else self._breakdown(matches))

    def _add_matches(self, part: Part, groups: Sequence[dict[str, Any] | None]) -> None:
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

    def _add_kinds(self, part: Part) -> None:
        objects, found = indices_by_image(part.objects), indices_by_image(part.detections)
        for image in part.images:
            theirs = np.array([part.object_indices[index] for index in objects[image["id"]]], dtype=np.int64)
            own = np.array([part.detection_indices[index] for index in found[image["id"]]], dtype=np.int64)
            own = own[self.fates[own] == Fate.WRONG]
            false = [self.detections[index] for index in own]
            annotations = [self.dataset["annotations"][index] for index in theirs]
            size = (image.get("height", 0), image.get("width", 0)) if self.kind == "mask" else None
            kinds, targets = kinds_in_image(false, annotations, self.is_found[theirs], IOU, size)
            self.kinds[own] = kinds
            self.targets[own] = np.append(theirs, -1)[targets]

    def _matches(self) -> Matches:
        annotations = self.dataset["annotations"]
        return Matches(
            scores=self.scores,
            detections=self.fates,
            detection_images=_column(self.detections, "image_id"),
            detection_categories=_column(self.detections, "category_id"),
            objects=self.object_fates,
            object_images=_column(annotations, "image_id"),
            object_categories=_column(annotations, "category_id"),
            found_at=self.found_at,
        )

    def _breakdown(self, matches: Matches) -> ErrorBreakdown:
        order = np.lexsort((matches.detection_images, -self.scores))
        found = Found(
            matches.detection_categories,
            self.scores,
            self.fates == Fate.RIGHT,
            self.fates == Fate.IGNORED,
            self.kinds,
            self.targets,
        ).of(order)
        is_missed, is_ignored = self.object_fates == Fate.WRONG, self.object_fates == Fate.IGNORED
        return breakdown_of(found, Sought(matches.object_categories, is_missed, is_ignored))


def _evaluate(
    part: Part, dataset: Dataset, kind: str, max_detections: int, federated: bool
) -> Sequence[dict[str, Any] | None]:
    """Groups of one image and class, at one IoU and in one range of areas: a tenth of the time of the whole metric."""
    images: dict[str, Any] = {"images": part.images, "annotations": part.objects}
    truth = hotcoco.COCO({**images, "categories": dataset["categories"]})
    detected = truth.load_res(cast(list[dict[str, Any]], part.detections))
    evaluation = hotcoco.COCOeval(truth, detected, IOU_TYPES[kind], lvis_style=federated)
    if kind == "keypoints":
        known, count = evaluation.params.kpt_oks_sigmas, num_keypoints(dataset)
        evaluation.params.kpt_oks_sigmas = known if count == len(known) else [sum(known) / len(known)] * count
    evaluation.params.max_dets = [max_detections]
    evaluation.params.iou_thrs = [IOU]
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [_ALL_AREAS], ["all"]
    evaluation.evaluate()
    return evaluation.eval_imgs


def _ranked(detections: Sequence[Result], scores: npt.NDArray[np.float64]) -> list[Result]:
    return [{**entry, "score": score} for entry, score in zip(detections, scores.tolist(), strict=True)]


def _column(entries: Sequence[Any], key: str) -> npt.NDArray[np.int64]:
    return np.array([entry[key] for entry in entries], dtype=np.int64)


def _counts(detections: npt.NDArray[np.int8], objects: npt.NDArray[np.int8]) -> ImageCounts:
    correct, false = int((detections == Fate.RIGHT).sum()), int((detections == Fate.WRONG).sum())
    return ImageCounts(correct, false, int((objects == Fate.WRONG).sum()))
