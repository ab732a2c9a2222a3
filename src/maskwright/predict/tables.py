"""Measures beside the main one, each by the rule of the benchmark that it is named after."""

from __future__ import annotations

from collections.abc import Callable

from maskwright.data.readers.cityscapes import instance_picture_of
from maskwright.data.record import Dataset
from maskwright.evaluation import (
    Comparison,
    Metrics,
    evaluate_boundary,
    evaluate_cityscapes,
    evaluate_voc,
    yolact_table,
)


def _boundary(comparison: Comparison, dataset: Dataset) -> Metrics:  # noqa: ARG001 - it is in the comparison
    found = evaluate_boundary(comparison)
    per_category = {name: group["boundary"] for name, group in found["per_category"].items()}
    return Metrics({**found["boundary"], "per_category": per_category})


def _voc(comparison: Comparison, dataset: Dataset) -> Metrics:  # noqa: ARG001 - it is in the comparison
    return evaluate_voc(comparison)


def _yolact(comparison: Comparison, dataset: Dataset) -> Metrics:  # noqa: ARG001 - it is in the comparison
    return yolact_table(comparison)


def _cityscapes(comparison: Comparison, dataset: Dataset) -> Metrics:
    return evaluate_cityscapes(
        comparison.results, {record.id: instance_picture_of(record) for record in dataset.records}
    )


# name of the group in metrics.json → comparison, dataset → its numbers
TABLES: dict[str, Callable[[Comparison, Dataset], Metrics]] = {
    "boundary": _boundary,
    "cityscapes": _cityscapes,
    "voc": _voc,
    "yolact": _yolact,
}
