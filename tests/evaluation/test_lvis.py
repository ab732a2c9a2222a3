"""Federated annotations are measured by LVIS's rule: equal to what its official package gave."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from maskwright.evaluation import evaluate_results, metrics_table

RECORDED = json.loads((Path(__file__).parent / "cases" / "lvis" / "recorded.json").read_text())

BOX, ELSEWHERE = [10.0, 10.0, 20.0, 20.0], [60.0, 60.0, 20.0, 20.0]


def dataset(*annotations: dict[str, Any], **federated: list[int]) -> dict[str, Any]:
    keys = {"neg_category_ids": [], "not_exhaustive_category_ids": [], **federated}
    return {
        "images": [{"id": 1, "height": 100, "width": 100, **keys}],
        "categories": [{"id": id_, "name": f"{id_}", "frequency": "rcf"[id_ % 3]} for id_ in (1, 2, 3)],
        "annotations": list(annotations),
    }


def thing(box: list[float] = BOX, category_id: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category_id, "bbox": box, **more}


@pytest.mark.parametrize("scene", RECORDED, ids=lambda scene: f"at most {scene['limit']}")
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_recorded_scenes_have_the_numbers_of_the_official_package(scene, kind):
    metrics = evaluate_results(scene["results"], scene["dataset"], scene["limit"])
    expected = dict(scene["expected"][kind])
    per_class = expected.pop("per_class")
    assert metrics[kind].to_dict() == pytest.approx(expected, abs=1e-9)
    for category, number in zip(sorted(scene["dataset"]["categories"], key=lambda c: c["id"]), per_class, strict=True):
        ours = metrics["per_category"][category["name"]][kind]["AP"]
        assert math.isnan(ours) if number is None else ours == pytest.approx(number, abs=1e-9)


def test_what_nobody_looked_for_does_not_count():
    stray = thing(ELSEWHERE, category_id=2, score=0.9)
    truth = dataset(thing(), thing(category_id=2, image_id=2))
    truth["images"].append({**truth["images"][0], "id": 2})
    found = [stray, thing(score=0.5), thing(category_id=2, image_id=2, score=0.5)]
    assert evaluate_results(found, truth)["box"]["AP"] == pytest.approx(1)
    truth["images"][0]["neg_category_ids"] = [2]
    assert evaluate_results(found, truth)["per_category"]["2"]["box"]["AP"] == pytest.approx(0.5)


def test_unmatched_detections_of_a_class_that_is_not_exhaustive_are_no_errors():
    found = [thing(ELSEWHERE, score=0.9), thing(score=0.5)]
    assert evaluate_results(found, dataset(thing()))["box"]["AP"] == pytest.approx(0.5)
    truth = dataset(thing(), not_exhaustive_category_ids=[1])
    assert evaluate_results(found, truth)["box"]["AP"] == pytest.approx(1)


def test_a_crowd_is_an_object_like_any_other():
    assert evaluate_results([], dataset(thing(iscrowd=1)))["box"]["AR"] == 0
    assert math.isnan(evaluate_results([], {**dataset(thing(iscrowd=1)), "images": [{"id": 1}]})["box"]["AR"])


def test_the_limit_holds_for_all_classes_together_and_is_told():
    found = [thing(ELSEWHERE, category_id=3, score=0.9), thing(score=0.5)]
    metrics = evaluate_results(found, dataset(thing()), max_detections=1)
    assert (metrics["box"]["AP"], metrics["truncated_images"]) == (0, 1)
    assert evaluate_results(found, dataset(thing()), max_detections=2)["truncated_images"] == 0


def test_the_table_shows_rare_common_and_frequent_classes():
    metrics = evaluate_results([thing(score=0.5)], dataset(thing()))
    assert (metrics["box"]["APc"], metrics["federated"]) == (pytest.approx(1), True)
    text = io.StringIO()
    Console(file=text, width=150).print(metrics_table(metrics))
    assert "APr" in text.getvalue()
    assert "at most 100 detections in each" in text.getvalue()


def test_classes_without_a_frequency_have_no_such_numbers():
    truth = dataset(thing())
    for category in truth["categories"]:
        del category["frequency"]
    assert "APr" not in evaluate_results([], truth)["box"]


def test_an_ignored_object_need_not_be_found_and_excuses_one_detection():
    found = [thing(ELSEWHERE, score=0.9), thing(score=0.5)]
    truth = dataset(thing(), thing(ELSEWHERE, ignore=1))
    assert evaluate_results(found, truth)["box"]["AP"] == pytest.approx(1)
    twice = [thing(ELSEWHERE, score=0.95), *found]
    assert evaluate_results(twice, truth)["box"]["AP"] == pytest.approx(0.5)
