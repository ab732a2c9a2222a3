"""YOLACT's AP table: its recorded numbers, and each of its departures from COCO on a case made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hotcoco.mask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import DataError
from maskwright.evaluation import Comparison, Metrics, evaluate_results, yolact_table
from maskwright.evaluation.yolact_table import ClassMatches, match_classes

RECORDED = Path(__file__).parent / "cases" / "yolact_eval_ap"
SIDE = 100
COLUMNS = ["all", *(str(threshold) for threshold in range(50, 100, 5))]


def rle(box_xywh: tuple[int, int, int, int]) -> dict[str, Any]:
    x, y, width, height = box_xywh
    pixels = np.zeros((SIDE, SIDE), dtype=np.uint8, order="F")
    pixels[y : y + height, x : x + width] = 1
    encoded = hotcoco.mask.encode(pixels)
    return {"size": [SIDE, SIDE], "counts": encoded["counts"].decode()}


def thing(box: tuple[int, int, int, int], category_id: int = 1, image_id: int = 1, **more: Any) -> dict[str, Any]:
    """An annotation; with a score, a detection."""
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "segmentation": rle(box), **more}


def dataset(*annotations: dict[str, Any], images: int = 1) -> dict[str, Any]:
    return {
        "images": [{"id": id_, "height": SIDE, "width": SIDE} for id_ in range(1, images + 1)],
        "categories": [{"id": id_, "name": name} for id_, name in ((1, "cat"), (2, "dog"), (3, "cow"))],
        "annotations": list(annotations),
    }


@pytest.fixture(scope="module")
def recorded() -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Results with a score for the box and another for the mask, annotations, and what was recorded."""
    boxes, masks, annotations, expected = (
        json.loads((RECORDED / f"{name}.json").read_text())
        for name in ("bbox_detections", "mask_detections", "ground_truth", "expected")
    )
    results = [
        {**box, "segmentation": mask["segmentation"], "mask_score": mask["score"]}
        for box, mask in zip(boxes, masks, strict=True)
    ]
    return results, annotations, expected


def test_the_recorded_table_is_reproduced(recorded) -> None:
    results, annotations, expected = recorded
    table = yolact_table(Comparison.of(results, annotations))
    for kind, row in expected["yolact"]["table_unrounded"].items():
        assert {name: 100 * ap for name, ap in table[kind].items()} == pytest.approx(row, abs=1e-9)


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_every_recorded_class_is_reproduced(recorded, kind: str) -> None:
    results, annotations, expected = recorded
    classes = expected["yolact"]["per_class_zero_based"][kind]
    ids = sorted(category["id"] for category in annotations["categories"])
    ours = match_classes(Comparison.of(results, annotations))[kind]
    assert sorted(ours) == sorted(ids[int(label)] for label in classes)
    assert sum(matches.num_gt == 0 for matches in ours.values()) == 18
    for label, theirs in classes.items():
        matches = ours[ids[int(label)]]
        assert matches.num_gt == theirs["num_gt"]
        assert [matches.is_correct.shape[1]] * 10 == theirs["num_det_counted"]
        assert matches.true_positives().tolist() == theirs["true_positives"]
        assert matches.average_precisions().tolist() == pytest.approx(theirs["ap"], abs=1e-12)


def test_coco_ranks_recorded_masks_by_their_own_score(recorded) -> None:
    results, annotations, expected = recorded
    metrics = evaluate_results(results, annotations)
    for kind, name in (("box", "bbox"), ("mask", "segm")):
        assert metrics[kind]["AP"] == pytest.approx(expected["pycocotools"][name]["stats12"][0], abs=1e-9)


def test_each_kind_is_there_where_both_sides_carry_it(recorded) -> None:
    results, annotations, _ = recorded
    both = yolact_table(Comparison.of(results, annotations))
    only_boxes = [{key: value for key, value in entry.items() if key != "segmentation"} for entry in results]
    only_masks = [{key: value for key, value in entry.items() if key != "bbox"} for entry in results]
    assert yolact_table(Comparison.of(only_boxes, annotations)) == Metrics({"box": both["box"]})
    assert yolact_table(Comparison.of(only_masks, annotations)) == Metrics({"mask": both["mask"]})


def test_what_is_found_exactly_has_an_ap_of_one_everywhere() -> None:
    box = (10, 10, 30, 20)
    table = yolact_table(Comparison.of([thing(box, score=0.9)], dataset(thing(box))))
    assert table == Metrics({kind: dict.fromkeys(COLUMNS, 1.0) for kind in ("box", "mask")})


def test_an_iou_of_the_threshold_itself_is_not_enough() -> None:
    results, truth = [thing((0, 0, 20, 10), score=0.9)], dataset(thing((0, 0, 40, 10)))
    assert yolact_table(Comparison.of(results, truth))["mask"]["50"] == 0
    assert evaluate_results(results, truth)["mask"]["AP50"] == pytest.approx(1)
    slightly_more = [thing((0, 0, 21, 10), score=0.9)]
    assert yolact_table(Comparison.of(slightly_more, truth))["mask"]["50"] == 1


def test_a_class_only_detected_counts_as_zero() -> None:
    box = (10, 10, 30, 20)
    results, truth = [thing(box, score=0.9), thing(box, category_id=2, score=0.4)], dataset(thing(box))
    assert yolact_table(Comparison.of(results, truth))["box"]["all"] == 0.5
    assert evaluate_results(results, truth)["box"]["AP"] == pytest.approx(1)
    assert sorted(match_classes(Comparison.of(results, truth))["box"]) == [1, 2]


def test_more_than_a_hundred_detections_count() -> None:
    boxes = [(8 * (place % 12), 8 * (place // 12), 6, 6) for place in range(120)]
    results = [thing(box, score=1 - place / 1000) for place, box in enumerate(boxes)]
    truth = dataset(*map(thing, boxes))
    assert yolact_table(Comparison.of(results, truth))["mask"]["all"] == 1
    assert evaluate_results(results, truth)["mask"]["AP"] < 0.9


@pytest.mark.parametrize("box", [(5, 5, 0.7, 50), (5, 5, 50, 0.72)])
def test_an_object_thinner_than_four_of_550_is_dropped_and_finding_it_is_false(box) -> None:
    large = (10, 10, 30, 20)
    results = [{**thing(large, score=0.5), "bbox": shape} for shape in (large, box)]
    truth = dataset(thing(large), {**thing(large), "bbox": box})
    matches = match_classes(Comparison.of(results, truth))["box"][1]
    assert matches.num_gt == 1
    assert matches.is_correct.tolist() == [[True, False]] * 10
    barely = dataset({**thing(large), "bbox": (5, 5, 0.74, 50)})
    assert match_classes(Comparison.of([], barely))["box"][1].num_gt == 1


def test_a_detection_on_a_crowd_is_false() -> None:
    box, crowd = (10, 10, 30, 20), (50, 50, 40, 40)
    results = [thing(crowd, score=0.9), thing(box, score=0.8)]
    truth = dataset(thing(box), thing(crowd, iscrowd=1))
    assert yolact_table(Comparison.of(results, truth))["mask"]["all"] == pytest.approx(0.5)
    assert evaluate_results(results, truth)["mask"]["AP"] == pytest.approx(1)
    assert match_classes(Comparison.of(results, truth))["mask"][1].num_gt == 1


def test_an_image_without_annotations_is_not_visited() -> None:
    box = (10, 10, 30, 20)
    results = [thing(box, image_id=2, score=0.9), thing(box, score=0.8)]
    truth = dataset(thing(box), images=2)
    assert yolact_table(Comparison.of(results, truth))["mask"]["all"] == 1
    crowd = dataset(thing(box), thing(box, image_id=2, iscrowd=1), images=2)
    assert yolact_table(Comparison.of(results, crowd))["mask"]["all"] == pytest.approx(0.5)


def test_an_object_is_found_once_and_the_best_one_is_taken() -> None:
    left, right = (10, 10, 40, 10), (14, 10, 40, 10)
    results = [thing(right, score=0.9), thing(right, score=0.8), thing(right, score=0.7)]
    matches = match_classes(Comparison.of(results, dataset(thing(left), thing(right))))["box"][1]
    assert matches.is_correct[0].tolist() == [True, True, False]  # right, then left at an IoU of 36 / 44
    assert matches.is_correct[-1].tolist() == [True, False, False]


def test_precision_is_averaged_over_101_levels_of_recall() -> None:
    matches = ClassMatches(4, np.array([[True, False, True, False]]))
    # recall .25 at precision 1 (levels 0 to .25), .5 at 2/3 (to .50), nothing beyond
    assert matches.average_precisions().tolist() == [pytest.approx((26 + 25 * 2 / 3) / 101)]


def test_masks_are_ranked_by_their_own_score() -> None:
    good, bad = (10, 10, 30, 20), (60, 60, 30, 20)
    truth = dataset(thing(good))
    results = [thing(good, score=0.9, mask_score=0.2), thing(bad, score=0.5)]
    for table in (yolact_table(Comparison.of(results, truth)), evaluate_results(results, truth)):
        key = "all" if "all" in table["box"] else "AP"
        assert table["box"][key] == pytest.approx(1)
        assert table["mask"][key] == pytest.approx(0.5)


def test_equal_scores_rank_in_the_order_given() -> None:
    box = (10, 10, 30, 20)
    truth = dataset(thing(box), thing(box, image_id=2), images=2)
    results = [thing((60, 60, 9, 9), image_id=2, score=0.5), thing(box, score=0.5), thing(box, image_id=2, score=0.5)]
    ordered = match_classes(Comparison.of(results, truth))["box"][1].is_correct[0]
    assert ordered.tolist() == [False, True, True]


@given(st.permutations(range(6)))
def test_the_order_of_different_scores_does_not_matter(order: list[int]) -> None:
    boxes = [(3 * place, 5 * place, 20 + place, 20) for place in range(6)]
    results = [thing(box, 1 + place % 2, score=0.9 - 0.1 * place) for place, box in enumerate(boxes)]
    truth = dataset(*(thing(box, 1 + place % 2) for place, box in enumerate(boxes[:4])))
    assert yolact_table(Comparison.of([results[place] for place in order], truth)) == yolact_table(
        Comparison.of(results, truth)
    )


@pytest.mark.parametrize("annotations", [[], [thing((10, 10, 30, 20))]])
def test_without_detections_every_ap_is_zero(annotations) -> None:
    assert yolact_table(Comparison.of([], dataset(*annotations))) == Metrics(
        {kind: dict.fromkeys(COLUMNS, 0.0) for kind in ("box", "mask")}
    )


def test_files_are_read_as_well(tmp_path: Path) -> None:
    box = (10, 10, 30, 20)
    for name, content in (("results", [thing(box, score=0.9)]), ("truth", dataset(thing(box)))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert yolact_table(Comparison.of(tmp_path / "results.json", tmp_path / "truth.json"))["box"]["95"] == 1


def test_an_image_without_a_size_is_named() -> None:
    truth = dataset({"image_id": 1, "category_id": 1, "bbox": (1, 2, 3, 4)})
    del truth["images"][0]["height"]
    with pytest.raises(DataError, match="annotations: image 1 has no height and width"):
        yolact_table(Comparison.of([], truth))


def test_a_mask_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="'mask_score'"):
        evaluate_results([thing((1, 2, 3, 4), score=0.5, mask_score="high")], dataset())
