"""Measures beside the main one, each by the rule of the benchmark that it is named after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maskwright.data.readers.cityscapes import instance_picture_of
from maskwright.data.record import Dataset
from maskwright.evaluation import Metrics, evaluate_boundary, evaluate_cityscapes, evaluate_voc, yolact_table

Results = Sequence[Mapping[str, Any]]


def _boundary(results: Results, dataset: Dataset, max_detections: int) -> Metrics:
    found = evaluate_boundary(results, dataset.to_coco(), max_detections)
    per_category = {name: group["boundary"] for name, group in found["per_category"].items()}
    return Metrics({**found["boundary"], "per_category": per_category})


def _voc(results: Results, dataset: Dataset, max_detections: int) -> Metrics:  # noqa: ARG001 - VOC counts all
    return evaluate_voc(results, dataset.to_coco())


def _yolact(results: Results, dataset: Dataset, max_detections: int) -> Metrics:  # noqa: ARG001 - YOLACT counts all
    return yolact_table(results, dataset.to_coco())


def _cityscapes(results: Results, dataset: Dataset, max_detections: int) -> Metrics:  # noqa: ARG001 - it counts all
    return evaluate_cityscapes(results, {record.id: instance_picture_of(record) for record in dataset.records})


# name of the group in metrics.json → results, dataset, detections per image → its numbers
TABLES: dict[str, Callable[[Results, Dataset, int], Metrics]] = {
    "boundary": _boundary,
    "cityscapes": _cityscapes,
    "voc": _voc,
    "yolact": _yolact,
}
