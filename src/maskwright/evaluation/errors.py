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

IOU = 0.5
IOU_TYPES = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}
_WORDS = {"box": "boxes", "mask": "masks", "keypoints": "keypoints"}
# kinds of error of TIDE (Bolya et al. 2020, section 2.2), by hotcoco's names
ERRORS = {"Cls": "class", "Loc": "location", "Both": "both", "Dupe": "duplicate", "Bkg": "background", "Miss": "missed"}
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


@dataclass(frozen=True)
class ErrorBreakdown:
    """What kinds of errors there are and what each costs (TIDE).

    Attributes:
        ap50: the mean AP at IoU 0.5.
        counts: number of errors by kind: `class` (well placed, wrong name), `location` (right name, IoU between 0.1 and
            0.5), `both`, `duplicate` (of an object that a better detection found), `background` (on nothing), and
            `missed` (objects near which no detection is).
        lost_ap: how much higher `ap50` were if all errors of that kind alone were put right.
    """

    ap50: float
    counts: Mapping[str, int]
    lost_ap: Mapping[str, float]


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
    scores = scores_of(detections, kind)
    evaluation = _evaluate(dataset, detections, scores, kind, max_detections)
    matches = _matches(dataset, detections, scores, evaluation.eval_imgs)
    return Analysis(matches, None if kind == "keypoints" else _breakdown(evaluation.tide_errors(pos_thr=IOU)))


def _evaluate(
    dataset: Dataset, detections: Sequence[Result], scores: Sequence[float], kind: str, max_detections: int
) -> hotcoco.COCOeval:
    """One IoU and one range of areas only: a tenth of the time and the memory of the whole metric."""
    truth = hotcoco.COCO(cast(dict[str, Any], dataset))
    ranked = [{**entry, "score": score} for entry, score in zip(detections, scores, strict=True)]
    detected = truth.load_res(cast(list[dict[str, Any]], ranked))
    federated = is_federated(dataset) and kind != "keypoints"
    if federated:
        detected = detected.cap_detections_per_image(max_detections)
    evaluation = hotcoco.COCOeval(truth, detected, IOU_TYPES[kind], lvis_style=federated)
    if kind == "keypoints":
        known, count = evaluation.params.kpt_oks_sigmas, num_keypoints(dataset)
        evaluation.params.kpt_oks_sigmas = known if count == len(known) else [sum(known) / len(known)] * count
    evaluation.params.max_dets = [max_detections]
    evaluation.params.iou_thrs = [IOU]
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [_ALL_AREAS], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _matches(
    dataset: Dataset, detections: Sequence[Result], scores: Sequence[float], groups: Sequence[dict[str, Any] | None]
) -> Matches:
    """Fates by place, from hotcoco's groups of one image and class, whose ids count both sides from 1."""
    of_detections = np.full(len(detections), Fate.IGNORED, dtype=np.int8)
    of_objects = np.full(len(dataset["annotations"]), Fate.IGNORED, dtype=np.int8)
    found_at = np.full(len(of_objects), np.nan)
    values = np.array(scores, dtype=np.float64)
    for group in filter(None, groups):
        for number, matched, ignored in zip(group["dtIds"], group["dtMatched"][0], group["dtIgnore"][0], strict=True):
            of_detections[number - 1] = Fate.IGNORED if ignored else int(matched)
        columns = (group["gtIds"], group["gtMatched"][0], group["gtMatches"][0], group["gtIgnore"])
        for number, matched, finder, ignored in zip(*columns, strict=True):
            of_objects[number - 1] = Fate.IGNORED if ignored else int(matched)
            if matched and not ignored:
                found_at[number - 1] = values[finder - 1]
    return Matches(
        scores=values,
        detections=of_detections,
        detection_images=_column(detections, "image_id"),
        detection_categories=_column(detections, "category_id"),
        objects=of_objects,
        object_images=_column(dataset["annotations"], "image_id"),
        object_categories=_column(dataset["annotations"], "category_id"),
        found_at=found_at,
    )


def _column(entries: Sequence[Any], key: str) -> npt.NDArray[np.int64]:
    return np.array([entry[key] for entry in entries], dtype=np.int64)


def _counts(detections: npt.NDArray[np.int8], objects: npt.NDArray[np.int8]) -> ImageCounts:
    correct, false = int((detections == Fate.RIGHT).sum()), int((detections == Fate.WRONG).sum())
    return ImageCounts(correct, false, int((objects == Fate.WRONG).sum()))


def _breakdown(errors: Mapping[str, Any]) -> ErrorBreakdown:
    return ErrorBreakdown(
        ap50=float(errors["ap_base"]),
        counts={name: int(errors["counts"][short]) for short, name in ERRORS.items()},
        lost_ap={name: float(errors["delta_ap"][short]) for short, name in ERRORS.items()},
    )
