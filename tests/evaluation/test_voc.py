"""Pascal VOC's AP equals its rule gone through detection by detection, on boxes that include their last pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as reference_mask

from maskwright.errors import DataError
from maskwright.evaluation import Comparison
from maskwright.evaluation.voc import evaluate_voc

SIZE = (40, 44)
CATEGORIES = [{"id": id_, "name": name} for id_, name in ((7, "cat"), (3, "dog"), (5, "never there"))]
IMAGES = [{"id": id_, "height": SIZE[0], "width": SIZE[1]} for id_ in (4, 9, 2)]

Pixels = tuple[int, int, int, int]  # xmin ymin xmax ymax of the devkit: counted from one, the last one included


def thing(pixels: Pixels, image_id: int = 4, category_id: int = 7, **more: Any) -> dict[str, Any]:
    """An annotation, or with a score a detection, as the reader of VOC gives it: all pixels of a box."""
    x1, y1, x2, y2 = pixels
    mask = np.zeros(SIZE, dtype=np.uint8, order="F")
    mask[y1 - 1 : y2, x1 - 1 : x2] = 1
    rle = reference_mask.encode(mask)
    box = [x1 - 1.0, y1 - 1.0, x2 - x1 + 1.0, y2 - y1 + 1.0]
    common = {"image_id": image_id, "category_id": category_id, "bbox": box}
    return {**common, "segmentation": {"size": list(SIZE), "counts": rle["counts"].decode()}, **more}


def dataset(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {"images": IMAGES, "categories": CATEGORIES, "annotations": list(annotations)}


def overlap_of_pixels(first: Pixels, second: Pixels) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    shared = max(width, 0) * max(height, 0)
    areas = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (first, second)]
    return shared / (sum(areas) - shared)


def pixels_of(entry: dict[str, Any]) -> Pixels:
    x, y, width, height = (int(side) for side in entry["bbox"])
    return x + 1, y + 1, x + width, y + height


def verdicts_one_by_one(found: list[dict[str, Any]], objects: list[dict[str, Any]], threshold: float) -> list[str]:
    """What becomes of the detections of a class, best first."""
    claimed: list[int] = []
    verdicts = []
    for detection in found:
        best, best_overlap = None, -math.inf
        for place, candidate in enumerate(objects):
            if candidate["image_id"] == detection["image_id"]:
                overlap = overlap_of_pixels(pixels_of(detection), pixels_of(candidate))
                if overlap > best_overlap:
                    best, best_overlap = place, overlap
        if best is None or best_overlap < threshold:
            verdicts.append("false")
        elif objects[best].get("difficult"):
            verdicts.append("ignored")
        else:
            verdicts.append("false" if best in claimed else "correct")
            claimed.append(best)
    return verdicts


def plain_average_precisions(verdicts: list[str], num_gt: int) -> tuple[float, float]:
    """By area and at eleven levels, from all points of the curve."""
    points = [
        (
            verdicts[:end].count("correct") / num_gt,
            verdicts[:end].count("correct") / max(end - verdicts[:end].count("ignored"), 1),
        )
        for end in range(1, len(verdicts) + 1)
    ]

    def best_from(recall: float) -> float:
        return max((precision for reached, precision in points if reached >= recall), default=0.0)

    levels = sorted({0.0} | {recall for recall, _ in points})
    area = sum((after - before) * best_from(after) for before, after in zip(levels, levels[1:], strict=False))
    return area, sum(best_from(0.1 * step) for step in range(11)) / 11


def assert_equal_to_plain_rule(results: list[dict[str, Any]], truth: dict[str, Any]) -> None:
    metrics = evaluate_voc(Comparison.of(results, truth))
    means: dict[tuple[str, str], list[float]] = {}
    for category in CATEGORIES:
        of_class = [entry for entry in results if entry["category_id"] == category["id"]]
        found = sorted(of_class, key=lambda entry: -entry["score"])  # stable: equal scores stay in order
        objects = [entry for entry in truth["annotations"] if entry["category_id"] == category["id"]]
        num_gt = sum(not entry.get("difficult") for entry in objects)
        for kind, name, threshold in (("box", "AP50", 0.5), ("mask", "AP50", 0.5), ("mask", "AP70", 0.7)):
            verdicts = verdicts_one_by_one(found, objects, threshold)
            expected = plain_average_precisions(verdicts, num_gt) if num_gt else (math.nan, math.nan)
            ours = metrics["per_category"][category["name"]][kind]
            assert (ours[name], ours[f"{name}_07"]) == pytest.approx(expected, abs=1e-9, nan_ok=True)
            for key, number in zip((name, f"{name}_07"), expected, strict=True):
                means.setdefault((kind, key), []).append(number)
    for (kind, key), numbers in means.items():
        known = [number for number in numbers if not math.isnan(number)]
        expected_mean = sum(known) / len(known) if known else math.nan
        assert metrics[kind][key] == pytest.approx(expected_mean, abs=1e-9, nan_ok=True)


def random_pixels(rng: np.random.Generator) -> Pixels:
    x1, y1 = rng.integers(1, SIZE[1] - 11), rng.integers(1, SIZE[0] - 11)
    width, height = rng.choice([1, 2, 4, 8, 11], size=2)
    return int(x1), int(y1), int(x1 + width - 1), int(y1 + height - 1)


def near(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Half of it, so that the overlap is the threshold itself, or a little moved."""
    x1, y1, x2, y2 = pixels
    if rng.random() < 0.3:
        return x1, y1, (x1 + x2 - 1) // 2 if x2 > x1 else x2, y2
    right, down = (int(n) for n in rng.integers(0, 3, size=2))
    return x1 + right, y1 + down, x2 + right, y2 + down


def random_scene(seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    objects, results = [], []
    for image in IMAGES:
        for category_id in (7, 3):
            own = [random_pixels(rng) for _ in range(rng.integers(0, 6))]
            objects += [thing(box, image["id"], category_id, difficult=int(rng.random() < 0.3)) for box in own]
            for _ in range(rng.integers(0, 9)):
                box = near(own[rng.integers(len(own))], rng) if own and rng.random() < 0.8 else random_pixels(rng)
                results.append(thing(box, image["id"], category_id, score=float(rng.integers(1, 6)) / 8))
    return results, dataset(*objects)


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_any_scene_has_the_numbers_of_the_plain_rule(seed):
    assert_equal_to_plain_rule(*random_scene(seed))


def test_ten_objects_of_which_three_are_found_miss_the_level_of_three_tenths_as_in_the_devkit():
    boxes = [(4 * n + 1, 1, 4 * n + 3, 3) for n in range(10)]
    found = [thing(box, score=0.9) for box in boxes[:3]]
    metrics = evaluate_voc(Comparison.of(found, dataset(*map(thing, boxes))))
    assert metrics["box"]["AP50_07"] == pytest.approx(3 / 11)  # at 0, .1 and .2
    assert metrics["box"]["AP50"] == pytest.approx(0.3)


def test_half_an_overlap_is_enough():
    truth = dataset(thing((1, 1, 20, 10)))
    assert evaluate_voc(Comparison.of([thing((1, 1, 10, 10), score=0.5)], truth))["box"]["AP50"] == 1
    assert evaluate_voc(Comparison.of([thing((1, 1, 9, 10), score=0.5)], truth))["box"]["AP50"] == 0


def test_a_difficult_object_neither_counts_nor_punishes():
    easy, hard = (1, 1, 10, 10), (20, 20, 30, 30)
    truth = dataset(thing(easy), thing(hard, difficult=1))
    on_both = [thing(hard, score=0.9), thing(hard, score=0.8), thing(easy, score=0.5)]
    assert evaluate_voc(Comparison.of(on_both, truth))["mask"]["AP70"] == 1
    assert evaluate_voc(Comparison.of(on_both[2:], truth))["mask"]["AP70"] == 1
    assert math.isnan(evaluate_voc(Comparison.of(on_both, dataset(thing(hard, difficult=1))))["box"]["AP50"])
    assert evaluate_voc(Comparison.of(on_both[:2], truth))["box"]["AP50_07"] == 0


def test_a_crowd_of_coco_counts_as_difficult():
    easy, crowd = (1, 1, 10, 10), (20, 20, 30, 30)
    truth = dataset(thing(easy), thing(crowd, iscrowd=1))
    assert evaluate_voc(Comparison.of([thing(crowd, score=0.9), thing(easy, score=0.5)], truth))["box"]["AP50"] == 1


def test_the_second_detection_of_an_object_is_false_even_where_another_object_would_be_free():
    left, right = (1, 1, 10, 10), (2, 1, 11, 10)
    found = [thing(left, score=0.9), thing(left, score=0.8)]
    metrics = evaluate_voc(Comparison.of(found, dataset(thing(left), thing(right))))
    assert metrics["box"]["AP50"] == pytest.approx(0.5)


def test_no_detection_is_zero_and_no_object_is_no_number():
    truth = dataset(thing((1, 1, 10, 10)))
    nothing = {"box": {"AP50": 0, "AP50_07": 0}, "mask": dict.fromkeys(("AP50", "AP50_07", "AP70", "AP70_07"), 0)}
    metrics = evaluate_voc(Comparison.of([], truth))
    assert {kind: dict(metrics[kind]) for kind in nothing} == nothing
    assert math.isnan(metrics["per_category"]["dog"]["box"]["AP50"])
    assert math.isnan(evaluate_voc(Comparison.of([], dataset()))["mask"]["AP50"])


def test_boxes_alone_can_be_measured():
    boxes = [{key: value for key, value in thing((1, 1, 5, 5), score=0.5).items() if key != "segmentation"}]
    assert set(evaluate_voc(Comparison.of(boxes, dataset(thing((1, 1, 5, 5)))))) == {"box", "per_category", "images"}


def test_a_result_of_an_unknown_class_is_refused():
    with pytest.raises(DataError, match="unknown category_id 99"):
        evaluate_voc(Comparison.of([thing((1, 1, 5, 5), category_id=99, score=0.5)], dataset()))
