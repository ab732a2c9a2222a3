"""COCO's average precision and recall of boxes and masks, as the COCO API defines them, at any number of detections."""

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
    Dataset,
    Result,
    comparable_kinds,
    name_of,
    read_dataset,
    read_results,
    scores_of,
)
from maskwright.evaluation.metrics import Metrics

# places in the arrays below: of the IoU thresholds among 0.50, 0.55 … 0.95, and of the ranges of area, which meet at
# 32² and 96² pixels
IOU_50, IOU_75 = 0, 5
ALL, SMALL, MEDIUM, LARGE = 0, 1, 2, 3


class Curves(NamedTuple):
    """What matching gives; −1 where a class has no ground truth.

    Attributes:
        precision: (10, 101, C, 4) at IoU thresholds, recall levels, classes by ascending id, area ranges.
        recall: (10, C, 4) the highest reached.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def evaluate_results(
    results: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    annotations: str | os.PathLike[str] | Mapping[str, Any],
    max_detections: int = 100,
) -> Metrics:
    """Compare a COCO results list with COCO annotations: boxes and masks, each where both sides carry them.

    Args:
        results: a results file, or its list of detections. Where an entry has a `mask_score`, its mask is ranked by
            that and only its box by `score` (YOLACT++ scores masks anew).
        annotations: an annotation file, or its dict.
        max_detections: the highest-scoring detections of each class that count in an image; COCO's own number is 100,
            dense scenes need more.

    Returns:
        `box` and `mask` with AP, AP50, AP75, APs, APm, APl and AR (all at `max_detections`); the same in `per_category`
        by name; `images`, `max_detections`, and `truncated_images`, the number of images in which detections were left
        out because there were more.

    Raises:
        DataError: a file that cannot be read or does not fit; see `coco_format`.
        ConfigError: `max_detections` below one.
    """
    if max_detections < 1:
        raise ConfigError(f"max_detections is {max_detections}; at least 1 detection per image is needed")
    dataset = read_dataset(annotations)
    detections = read_results(results, dataset)
    kinds = comparable_kinds(detections, name_of(results, "results"), dataset, name_of(annotations, "annotations"))
    curves = _match(detections, dataset, kinds, max_detections)
    return Metrics(
        {
            **{kind: _summary(curve) for kind, curve in curves.items()},
            "per_category": _per_category(curves, dataset),
            "images": len(dataset["images"]),
            "max_detections": max_detections,
            "truncated_images": _count_truncated(detections, max_detections),
        }
    )


def _match(results: list[Result], dataset: Dataset, kinds: list[str], max_detections: int) -> dict[str, Curves]:
    truth = hotcoco.COCO(cast(dict[str, Any], dataset))
    detected = truth.load_res(cast(list[dict[str, Any]], results))
    curves = {}
    if "box" in kinds:  # first, while the detections' areas are those of their boxes
        curves["box"] = _curves(truth, detected, "bbox", max_detections)
    if "mask" in kinds:
        areas = hotcoco.mask.area([cast(dict[str, Any], result["segmentation"]) for result in results])
        detected.update_anns(ids=np.arange(1, len(results) + 1), area=np.asarray(areas))
        if any("mask_score" in result for result in results):
            scores = enumerate(scores_of(results, "mask"), start=1)
            detected.update_anns([{"id": number, "score": score} for number, score in scores])
        curves["mask"] = _curves(truth, detected, "segm", max_detections)
    return curves


def _curves(truth: hotcoco.COCO, detected: hotcoco.COCO, iou_type: str, max_detections: int) -> Curves:
    evaluation = hotcoco.COCOeval(truth, detected, iou_type)
    evaluation.params.max_dets = [max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    arrays = evaluation.eval
    assert arrays is not None  # it is None only before accumulate
    return Curves(arrays["precision"][..., 0], arrays["recall"][..., 0])


def _summary(curves: Curves) -> dict[str, float]:
    precision, recall = curves
    return {
        "AP": _mean(precision[..., ALL]),
        "AP50": _mean(precision[IOU_50, ..., ALL]),
        "AP75": _mean(precision[IOU_75, ..., ALL]),
        "APs": _mean(precision[..., SMALL]),
        "APm": _mean(precision[..., MEDIUM]),
        "APl": _mean(precision[..., LARGE]),
        "AR": _mean(recall[..., ALL]),
    }


def _mean(values: npt.NDArray[np.float64]) -> float:
    """The mean over what has ground truth; NaN where nothing has."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


def _per_category(curves: Mapping[str, Curves], dataset: Dataset) -> dict[str, dict[str, dict[str, float]]]:
    categories = sorted(dataset["categories"], key=lambda category: category["id"])
    repeats = Counter(category["name"] for category in categories)
    parts = {}
    for place, category in enumerate(categories):
        name = category["name"] if repeats[category["name"]] == 1 else f"{category['name']} ({category['id']})"
        parts[name] = {
            kind: _summary(Curves(curve.precision[:, :, [place]], curve.recall[:, [place]]))
            for kind, curve in curves.items()
        }
    return parts


def _count_truncated(results: list[Result], max_detections: int) -> int:
    counts = Counter((result["image_id"], result["category_id"]) for result in results)
    return len({image_id for (image_id, _), count in counts.items() if count > max_detections})
