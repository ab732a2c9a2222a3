"""Results and annotations are read once, and every measure takes that."""

from __future__ import annotations

from typing import Any

import pytest

from maskwright.errors import DataError
from maskwright.evaluation import Comparison, coco_metrics, evaluate_results, evaluate_voc, yolact_table
from maskwright.evaluation.errors import analyse_errors

SQUARE = {"image_id": 1, "category_id": 2, "bbox": [10, 10, 20, 20]}


def dataset(**more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "annotations": [{**SQUARE, "iscrowd": 0, **more}],
        "categories": [{"id": 7, "name": "b"}, {"id": 2, "name": "a"}],
    }


def test_one_comparison_serves_every_measure() -> None:
    results, truth = [{**SQUARE, "score": 0.5}], dataset()
    comparison = Comparison.of(results, truth)
    truth["annotations"].clear()  # it is not read again
    assert coco_metrics(comparison) == evaluate_results(results, dataset())
    assert evaluate_voc(comparison)["box"]["AP50"] == yolact_table(comparison)["box"]["50"] == 1
    assert analyse_errors(comparison, "box").fates.counts().correct == 1


def test_curves_are_computed_once() -> None:
    comparison = Comparison.of([{**SQUARE, "score": 0.5}], dataset())
    assert comparison.curves is comparison.curves


def test_classes_are_named_by_ascending_id() -> None:
    assert list(Comparison.of([], dataset()).category_names.items()) == [(2, "a"), (7, "b")]


def test_masks_of_both_sides_are_run_lengths_whatever_they_are_written_as() -> None:
    polygon = [[10, 10, 30, 10, 30, 30, 10, 30]]
    truth = dataset(segmentation=polygon)
    (rle,) = Comparison.of([], truth).object_masks
    found = {**SQUARE, "score": 0.5, "segmentation": rle}
    assert Comparison.of([found], truth).shapes("mask") == ([rle], [rle])


def test_yolacts_table_leaves_keypoints_out() -> None:
    points = {"keypoints": [12, 12, 2], "num_keypoints": 1}
    comparison = Comparison.of([{**SQUARE, "score": 0.5, "keypoints": [12, 12, 1]}], dataset(**points))
    assert "keypoints" in comparison.kinds
    assert set(yolact_table(comparison)) == {"box"}


def test_a_kind_that_a_side_lacks_is_refused_with_the_names_of_both() -> None:
    with pytest.raises(DataError, match="results or annotations have no masks, as it was asked"):
        Comparison.of([{**SQUARE, "score": 0.5}], dataset()).refuse_without("mask", "as it was asked")
