"""What is wrong in results: fates of detections and objects, counts, thresholds, calibration, kinds of error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation import Comparison, evaluate_results
from maskwright.evaluation.errors import Fate, ImageCounts, analyse_errors

RIGHT, WRONG, IGNORED = Fate.RIGHT, Fate.WRONG, Fate.IGNORED
SIZE = 100


def truth(*objects: dict[str, Any], num_images: int = 2, **images: Any) -> dict[str, Any]:
    """A dataset of images of 100 pixels with classes 1 and 2."""
    return {
        "images": [{"id": number + 1, "height": SIZE, "width": SIZE, **images} for number in range(num_images)],
        "annotations": list(objects),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def obj(x: float, *, image: int = 1, category: int = 1, side: float = 10, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [x, 0.0, side, 10.0], **more}


def det(x: float, score: float, **place: Any) -> dict[str, Any]:
    return {**obj(x, **place), "score": score}


def fates(results: list[dict[str, Any]], dataset: dict[str, Any], limit: int = 100) -> tuple[list[int], list[int]]:
    fates = analyse_errors(Comparison.of(results, dataset, limit), "box").fates
    return fates.detections.tolist(), fates.objects.tolist()


def test_a_detection_at_an_object_is_right_and_one_elsewhere_wrong() -> None:
    assert fates([det(50, 0.9), det(0, 0.8)], truth(obj(0), obj(80))) == ([WRONG, RIGHT], [RIGHT, WRONG])


def test_the_second_detection_of_an_object_is_wrong() -> None:
    assert fates([det(0, 0.8), det(1, 0.9)], truth(obj(0)))[0] == [WRONG, RIGHT]


def test_another_class_finds_nothing() -> None:
    assert fates([det(0, 0.8, category=2)], truth(obj(0))) == ([WRONG], [WRONG])


def test_crowds_and_what_lies_on_them_are_ignored() -> None:
    dataset = truth(obj(0), obj(40, side=50, iscrowd=1))
    assert fates([det(0, 0.9), det(45, 0.8), det(60, 0.7)], dataset) == ([RIGHT, IGNORED, IGNORED], [RIGHT, IGNORED])


def test_what_is_beyond_the_limit_is_ignored() -> None:
    assert fates([det(0, 0.7), det(30, 0.9), det(60, 0.8)], truth(obj(0)), 2) == ([IGNORED, WRONG, WRONG], [WRONG])


def test_classes_that_nobody_looked_for_are_ignored_in_federated_data() -> None:
    dataset = truth(obj(0), num_images=1, neg_category_ids=[], not_exhaustive_category_ids=[])
    assert fates([det(0, 0.9), det(50, 0.8, category=2)], dataset)[0] == [RIGHT, IGNORED]
    dataset["images"][0]["neg_category_ids"] = [2]
    assert fates([det(0, 0.9), det(50, 0.8, category=2)], dataset)[0] == [RIGHT, WRONG]
    dataset["images"][0]["not_exhaustive_category_ids"] = [1]
    assert fates([det(0, 0.9), det(50, 0.8)], dataset)[0] == [RIGHT, IGNORED]


def test_the_limit_of_federated_data_keeps_the_best_of_all_classes_in_their_places() -> None:
    dataset = truth(obj(0), num_images=1, neg_category_ids=[2], not_exhaustive_category_ids=[])
    results = [det(50, 0.1, category=2), det(0, 0.9), det(70, 0.8, category=2)]
    assert fates(results, dataset, 2)[0] == [IGNORED, RIGHT, WRONG]


def test_masks_are_ranked_by_their_own_scores() -> None:
    square = {"segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]}
    rle = {"size": [SIZE, SIZE], "counts": [0, *[10, 90] * 9, 10, 9090]}
    results = [det(0, 0.9, segmentation=rle) | {"mask_score": 0.1}, det(0, 0.8, segmentation=rle) | {"mask_score": 0.7}]
    fates = analyse_errors(Comparison.of(results, truth(obj(0, **square))), "mask").fates
    assert fates.scores.tolist() == [0.1, 0.7]
    assert fates.detections.tolist() == [WRONG, RIGHT]


def test_keypoints_are_matched_too_and_have_no_breakdown() -> None:
    points = {"keypoints": [2, 2, 2, 8, 8, 2], "area": 100}
    results = [det(0, 0.9) | {"keypoints": [2, 2, 1, 8, 8, 1]}, det(0, 0.8) | {"keypoints": [90, 90, 1, 70, 70, 1]}]
    analysis = analyse_errors(Comparison.of(results, truth(obj(0, **points))), "keypoints")
    assert analysis.breakdown is None
    assert analysis.fates.detections.tolist() == [RIGHT, WRONG]


def test_counts_are_those_of_each_image_and_category() -> None:
    dataset = truth(obj(0), obj(50), obj(0, image=2, category=2))
    fates = analyse_errors(Comparison.of([det(0, 0.9), det(20, 0.8), det(60, 0.5, image=2)], dataset), "box").fates
    assert fates.counts() == ImageCounts(1, 2, 2)
    assert fates.by_image() == {1: ImageCounts(1, 1, 1), 2: ImageCounts(0, 1, 1)}
    assert fates.by_category() == {1: ImageCounts(1, 2, 1), 2: ImageCounts(0, 0, 1)}
    assert fates.by_image()[1].f1 == 0.5


def test_f1_of_nothing_is_nan() -> None:
    assert math.isnan(ImageCounts(0, 0, 0).f1)


def test_the_best_threshold_keeps_what_pays() -> None:
    dataset = truth(obj(0), obj(30), obj(60))
    results = [det(0, 0.9), det(30, 0.8), det(45, 0.7), det(15, 0.6), det(80, 0.5)]
    fates = analyse_errors(Comparison.of(results, dataset), "box").fates
    assert fates.best_threshold() == 0.8
    assert fates.above(0.8).counts() == ImageCounts(2, 0, 1)


def test_equal_scores_stand_or_fall_together() -> None:
    results = [det(0, 0.5), det(40, 0.5), det(70, 0.5)]
    fates = analyse_errors(Comparison.of(results, truth(obj(0))), "box").fates
    assert fates.best_threshold() == 0.5
    assert fates.above(0.5).counts() == ImageCounts(1, 2, 0)


@pytest.mark.parametrize("objects", [[], [obj(0)]])
@pytest.mark.parametrize("results", [[], [det(50, 0.5)]])
def test_where_nothing_is_correct_the_threshold_is_zero(objects: list[Any], results: list[Any]) -> None:
    fates = analyse_errors(Comparison.of(results, truth(*objects)), "box").fates
    assert fates.best_threshold() == 0.0
    assert fates.counts() == ImageCounts(0, len(results), len(objects))
    assert len(fates.calibration()) == len(results)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 1)), max_size=12), st.floats(0, 1))
def test_a_threshold_is_as_if_the_others_had_never_been(found: list[tuple[int, float]], score: float) -> None:
    dataset = truth(obj(0), obj(20), obj(40), num_images=1)
    results = [det(5.0 * place, value) for place, value in found]
    kept = [result for result in results if result["score"] >= score]
    cut = analyse_errors(Comparison.of(results, dataset), "box").fates.above(score)
    alone = analyse_errors(Comparison.of(kept, dataset), "box").fates
    assert cut.counts() == alone.counts()
    assert cut.objects.tolist() == alone.objects.tolist()


def test_calibration_is_the_share_of_correct_ones_by_score() -> None:
    dataset = truth(obj(0), obj(50))
    results = [det(0, 0.95), det(50, 0.92), det(30, 0.91), det(70, 0.15), det(85, 1.0)]
    low, high = analyse_errors(Comparison.of(results, dataset), "box").fates.calibration()
    assert low == (0.15, 0.0, 1)
    assert high == (pytest.approx(np.mean([0.95, 0.92, 0.91, 1.0])), 0.5, 4)


def test_each_kind_of_error_is_told_apart() -> None:
    dataset = truth(obj(0), obj(50, category=2), obj(80))
    results = [
        det(0, 0.9), det(1, 0.8), det(0, 0.3, side=4), det(50, 0.7), det(50, 0.2, side=4), det(0, 0.5, image=2),
    ]  # fmt: skip
    breakdown = analyse_errors(Comparison.of(results, dataset), "box").breakdown
    assert breakdown is not None
    assert breakdown.counts == {
        "class": 1, "location": 1, "both": 1, "duplicate": 1, "background": 1, "missed": 1,
    }  # fmt: skip
    assert breakdown.ap50 == pytest.approx(evaluate_results(results, dataset)["box"]["AP50"])
    assert breakdown.lost_ap["class"] > 0
    assert breakdown.lost_ap["missed"] > 0


def test_perfect_results_cost_nothing() -> None:
    breakdown = analyse_errors(Comparison.of([det(0, 0.9)], truth(obj(0))), "box").breakdown
    assert breakdown is not None
    assert set(breakdown.counts.values()) == {0}
    assert set(breakdown.lost_ap.values()) == {0.0}


@pytest.mark.parametrize(
    ("kind", "limit", "message"),
    [
        ("panoptic", 100, "box, mask, keypoints"),
        ("box", 0, "max_detections is 0"),
        ("box", "9", "max_detections is '9'"),
    ],
)
def test_what_cannot_be_analysed_is_refused(kind: str, limit: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        analyse_errors(Comparison.of([], truth(obj(0)), limit), kind)


@pytest.mark.parametrize("kind", ["mask", "keypoints"])
def test_errors_of_what_a_side_lacks_are_refused_not_made_up_from_boxes(kind: str) -> None:
    boxes = [{key: value for key, value in det(0, 0.9).items() if key != "segmentation"}]
    with pytest.raises(DataError, match=f"have no {kind}"):
        analyse_errors(Comparison.of(boxes, truth(obj(0))), kind)
