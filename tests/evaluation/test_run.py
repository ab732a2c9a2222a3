"""The loop that collects results from any callable, and the alignment of its categories with the dataset's."""

from __future__ import annotations

import pytest
import torch

from maskwright.errors import DataError
from maskwright.evaluation import Comparison, align_categories, collect_results, detection_metrics
from maskwright.structures import Categories, Instances, RoiMasks

SIZE = (20, 30)
MODEL = Categories(("background dust", "Cell", "traffic  light"), (1, 2, 3))
DATASET = Categories(("cell", "Traffic Light", "unseen"), (40, 10, 11))


def instances_at(left: float) -> Instances:
    """One object of each class of the model, on 5 × 5 pixels."""
    boxes = torch.tensor([[left, 3.0, left + 5, 8.0], [left + 6, 3.0, left + 11, 8.0], [left, 10.0, left + 5, 15.0]])
    masks = RoiMasks(SIZE, torch.ones(3, 4, 4), boxes, threshold=0.5)
    return Instances(SIZE, boxes, torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.8, 0.7]), masks, MODEL)


def predict(lefts: list[float]) -> list[Instances]:
    return [instances_at(left) for left in lefts]


BATCHES = [[(5, 1.0), (6, 2.0)], [(8, 3.0)]]


def test_every_detection_of_every_image_is_collected_in_order_with_the_ids_of_the_dataset():
    results = collect_results(predict, BATCHES, DATASET)
    assert [(entry["image_id"], entry["category_id"]) for entry in results] == [
        (image_id, category_id) for image_id in (5, 6, 8) for category_id in (40, 10)
    ]
    assert results[2]["bbox"] == [8.0, 3.0, 5.0, 5.0]
    assert all(isinstance(entry["segmentation"]["counts"], str) for entry in results)


def test_batches_of_one_give_the_same():
    singles = [[sample] for batch in BATCHES for sample in batch]
    assert collect_results(predict, singles, DATASET) == collect_results(predict, BATCHES, DATASET)


def test_progress_counts_the_images_of_each_batch():
    counts: list[int] = []
    collect_results(predict, BATCHES, DATASET, progress=counts.append)
    assert counts == [2, 1]


def test_images_without_detections_and_no_images_are_normal():
    assert collect_results(lambda lefts: [found[:0] for found in predict(lefts)], BATCHES, DATASET) == []
    assert collect_results(predict, [], DATASET) == []


def test_what_a_model_finds_exactly_scores_one_and_unseen_classes_count_as_missed():
    results = collect_results(predict, BATCHES, DATASET)
    annotations = [{**entry, "area": 25} for entry in results]
    annotations.append({**annotations[0], "category_id": 11})
    dataset = {
        "images": [{"id": id_, "height": SIZE[0], "width": SIZE[1]} for id_ in (5, 6, 8)],
        "categories": DATASET.to_coco(),
        "annotations": annotations,
    }
    metrics = detection_metrics(Comparison.of(results, dataset, 100), seconds=2.5, kinds=("box", "mask"))
    assert metrics["per_category"]["cell"]["mask"]["AP"] == pytest.approx(1.0)
    assert metrics["per_category"]["unseen"]["box"]["AP"] == 0.0
    assert metrics["mask"]["AP"] == pytest.approx(2 / 3)
    assert (metrics["images"], metrics["seconds"]) == (3, 2.5)


def test_a_model_that_found_nothing_is_measured_by_what_it_gives_alone():
    annotation = {"id": 1, "image_id": 5, "category_id": 40, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    annotation |= {"segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]], "keypoints": [2, 2, 2], "num_keypoints": 1}
    dataset = {
        "images": [{"id": 5, "height": SIZE[0], "width": SIZE[1]}],
        "categories": DATASET.to_coco(),
        "annotations": [annotation],
    }
    metrics = detection_metrics(Comparison.of([], dataset, 100), seconds=0.0, kinds=("box", "keypoints"))
    assert metrics["box"]["AP"] == metrics["keypoints"]["AP"] == 0.0
    assert "mask" not in metrics
    assert set(metrics["per_category"]["cell"]) == {"box", "keypoints"}


def test_categories_align_by_name_without_regard_to_case_and_white_space():
    assert align_categories(MODEL, DATASET) == {2: 40, 3: 10}


def test_equal_categories_keep_their_ids_even_where_names_repeat():
    with_holes = Categories(("N/A", "cat", "N/A"), (0, 3, 9))
    assert align_categories(with_holes, with_holes) == {0: 0, 3: 3, 9: 9}


def test_categories_without_a_common_name_are_refused_with_both_lists_shortened():
    many = Categories.of([f"class {number}" for number in range(9)])
    with pytest.raises(DataError, match=r"class 0, .*class 4 and 4 more, the dataset cell, Traffic Light, unseen;"):
        align_categories(many, DATASET)
