"""Average precision and recall of boxes, masks and keypoints, as the COCO API and the LVIS API define them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import hotcoco
import numpy as np
import numpy.typing as npt

from maskwright.errors import ConfigError
from maskwright.evaluation.coco_format import (
    Annotation,
    Category,
    Dataset,
    Result,
    checked_limit,
    comparable_kinds,
    is_federated,
    name_of,
    num_keypoints,
    read_dataset,
    read_results,
    scores_of,
)
from maskwright.evaluation.metrics import Metrics, distinct_names
from maskwright.evaluation.streaming import capped, evaluated

# places in the arrays below: of the IoU thresholds among 0.50, 0.55 … 0.95, and of the ranges of area, which meet at
# 32² and 96² pixels; COCO has no small objects with keypoints
IOU_50, IOU_75 = 0, 5
ALL = 0
AREAS = {"APs": 1, "APm": 2, "APl": 3}
KEYPOINT_AREAS = {"APm": 1, "APl": 2}

# an object of this area is outside every range, and so ignored in each
_BEYOND_ALL_AREAS = 1e12

# LVIS's groups of classes: in fewer than 10 images of its training set, in fewer than 100, in more
FREQUENCIES = {"APr": "r", "APc": "c", "APf": "f"}

# hotcoco's words for what is compared
IOU_TYPES = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}

# COCO's limit where keypoints are compared
KEYPOINT_DETECTIONS = 20


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


class Comparison(NamedTuple):
    """Both sides as they were read, and their curves by kind (`box`, `mask`, `keypoints`)."""

    dataset: Dataset
    detections: list[Result]
    curves: dict[str, Curves]


def evaluate_results(
    results: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    annotations: str | os.PathLike[str] | Mapping[str, Any],
    max_detections: int = 100,
    keypoint_sigmas: Sequence[float] | None = None,
) -> Metrics:
    """Compare a COCO results list with COCO annotations: boxes, masks and keypoints, each where both sides carry them.

    Federated annotations, whose images have `neg_category_ids`, are compared by the rules of LVIS (section 3 and its
    API): a detection counts only if its class was looked for in the image, that is, annotated there or negative; where
    a class is not exhaustively annotated, what matches nothing is no error; nothing is a crowd.

    Args:
        results: a results file, or its list of detections. Where an entry has a `mask_score`, its mask is ranked by
            that and only its box by `score` (YOLACT++ scores masks anew).
        annotations: an annotation file, or its dict.
        max_detections: the highest-scoring detections of each class that count in an image; COCO's own number is 100,
            dense scenes need more. Of keypoints never more than 20 count, as in COCO. Federated: the highest-scoring of
            all classes together, counted or not; LVIS's own number is 300.
        keypoint_sigmas: how far each keypoint may be off, as a share of the square root of the object's area. Without
            them COCO's own serve for its 17 keypoints, and for any other number the mean of these for each.

    Returns:
        `box` and `mask` with AP, AP50, AP75, APs, APm, APl and AR (all at `max_detections`), and `keypoints` with the
        same but for APs; the same in `per_category` by name; `images`, `max_detections`, and `truncated_images`, the
        number of images in which detections were left out because there were more. Where the categories have LVIS's
        `frequency`, also APr, APc and APf of the rare, common and frequent ones; and `federated` where they are.

    Raises:
        DataError: a file that cannot be read or does not fit; see `coco_format`.
        ConfigError: `max_detections` below one, or not as many sigmas as keypoints.
    """
    dataset, detections, curves = _compare(results, annotations, max_detections, keypoint_sigmas)
    frequencies = [category.get("frequency") for category in _ordered_categories(dataset)]
    return Metrics(
        {
            **{kind: summary_of(kind, curve, frequencies) for kind, curve in curves.items()},
            "per_category": _per_category(curves, dataset),
            "images": len(dataset["images"]),
            "max_detections": max_detections,
            **({"federated": True} if is_federated(dataset) else {}),
            "truncated_images": _count_truncated(detections, dataset, max_detections),
        }
    )


def curves_of(
    results: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    annotations: str | os.PathLike[str] | Mapping[str, Any],
    max_detections: int = 100,
) -> dict[str, Curves]:
    """The precision-recall curves behind the numbers of `evaluate_results`, with its arguments and errors.

    Returns:
        For each of `box`, `keypoints` and `mask` that both sides carry, its curves; classes stand in the order of
        ascending category id.
    """
    return _compare(results, annotations, max_detections, None).curves


def _compare(
    results: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    annotations: str | os.PathLike[str] | Mapping[str, Any],
    max_detections: int,
    keypoint_sigmas: Sequence[float] | None,
) -> Comparison:
    max_detections = checked_limit(max_detections)
    dataset = read_dataset(annotations)
    detections = read_results(results, dataset)
    kinds = comparable_kinds(detections, name_of(results, "results"), dataset, name_of(annotations, "annotations"))
    sigmas = _sigmas(keypoint_sigmas, num_keypoints(dataset))
    return Comparison(dataset, detections, _match(detections, dataset, kinds, max_detections, sigmas))


def _match(
    results: list[Result], dataset: Dataset, kinds: list[str], max_detections: int, sigmas: list[float]
) -> dict[str, Curves]:
    federated = is_federated(dataset)
    truth = _as_lvis_counts(dataset) if federated else dataset
    curves = {}
    for kind in kinds:
        params = hotcoco.Params(IOU_TYPES[kind])
        params.max_dets = [max_detections]
        found = _as(kind, results)
        if kind == "keypoints":
            params.max_dets = [min(max_detections, KEYPOINT_DETECTIONS)]
            params.kpt_oks_sigmas = sigmas
        elif federated:
            found = [found[index] for index in capped(found, max_detections)]
        arrays = evaluated(truth, found, IOU_TYPES[kind], params, federated and kind != "keypoints").eval
        assert arrays is not None  # it is None only before accumulate
        curves[kind] = Curves(arrays["precision"][..., 0], arrays["recall"][..., 0])
    return curves


def _as(kind: str, results: Sequence[Result]) -> list[Result]:
    """Results as they are ranked and measured as a kind: a mask has a score of its own, and its own area."""
    if kind != "mask":
        return list(results)
    scores = scores_of(results, kind)
    ranked = [{**result, "score": score} for result, score in zip(results, scores, strict=True)]
    return [cast(Result, {key: entry[key] for key in entry if key != "bbox"}) for entry in ranked]


def _as_lvis_counts(dataset: Dataset) -> Dataset:
    """LVIS knows no crowds: each is an object like all others. Unlike COCO it heeds `ignore`."""
    counted: list[Annotation] = []
    for annotation in dataset["annotations"]:
        area = _BEYOND_ALL_AREAS if annotation.get("ignore") else annotation["area"]
        counted.append({**annotation, "iscrowd": 0, "area": area})
    return {**dataset, "annotations": counted}


def _sigmas(given: Sequence[float] | None, count: int) -> list[float]:
    if given is None:
        of_coco = hotcoco.Params("keypoints").kpt_oks_sigmas
        return of_coco if count == len(of_coco) else [sum(of_coco) / len(of_coco)] * count
    if len(given) != count or min(given, default=1) <= 0:
        raise ConfigError(f"keypoint_sigmas are {list(given)}; the {count} annotated keypoints need one above 0 each")
    return list(given)


def summary_of(kind: str, curves: Curves, frequencies: Sequence[str | None] = ()) -> dict[str, float]:
    """AP, AP50, AP75, APs, APm, APl and AR of a kind: the means of its curves over what has ground truth.

    Args:
        kind: `box`, `mask`, `boundary` or `keypoints`; the last has no APs.
        curves: of its C classes.
        frequencies: r, c or f of each class, which adds APr, APc and APf (LVIS); none where nobody tells.
    """
    precision, recall = curves
    areas = KEYPOINT_AREAS if kind == "keypoints" else AREAS
    return {
        "AP": _mean(precision[..., ALL]),
        "AP50": _mean(precision[IOU_50, ..., ALL]),
        "AP75": _mean(precision[IOU_75, ..., ALL]),
        **{name: _mean(precision[..., place]) for name, place in areas.items()},
        **_by_frequency(precision[..., ALL], frequencies),
        "AR": _mean(recall[..., ALL]),
    }


def _by_frequency(precision: npt.NDArray[np.float64], frequencies: Sequence[str | None]) -> dict[str, float]:
    """AP of the rare, the common and the frequent classes; nothing where the dataset does not tell them apart."""
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


def _per_category(curves: Mapping[str, Curves], dataset: Dataset) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {
            kind: summary_of(kind, Curves(curve.precision[:, :, [place]], curve.recall[:, [place]]))
            for kind, curve in curves.items()
        }
        for place, name in enumerate(category_names(dataset).values())
    }


def category_names(dataset: Dataset) -> dict[int, str]:
    """What each category is called in `per_category`, by ascending id; one whose name is not its own has its id too."""
    return distinct_names({category["id"]: category["name"] for category in _ordered_categories(dataset)})


def _ordered_categories(dataset: Dataset) -> list[Category]:
    """As in the curves."""
    return sorted(dataset["categories"], key=lambda category: category["id"])


def _count_truncated(results: list[Result], dataset: Dataset, max_detections: int) -> int:
    each_class_alone = not is_federated(dataset)
    counts = Counter((result["image_id"], each_class_alone and result["category_id"]) for result in results)
    return len({image_id for (image_id, _), count in counts.items() if count > max_detections})
