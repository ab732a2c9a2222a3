"""Annotations and results that do not fit are refused with file, entry and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation import evaluate_results
from maskwright.evaluation.coco_format import read_coco

RLE = {"size": [3, 4], "counts": [0, 12]}
DATASET: dict[str, Any] = {
    "images": [{"id": 1, "height": 3, "width": 4}],
    "categories": [{"id": 7, "name": "cell"}],
    "annotations": [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 4, 3], "area": 12, "segmentation": RLE}],
}
RESULT: dict[str, Any] = {
    "image_id": 1,
    "category_id": 7,
    "bbox": [0, 0, 4, 3],
    "segmentation": RLE,
    "score": 0.5,
}
ANNOTATION: dict[str, Any] = DATASET["annotations"][0]


def without(entry: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}


def test_the_entries_that_these_tests_break_are_sound():
    assert evaluate_results([RESULT], DATASET)["mask"]["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (without(RESULT, "score"), "entry 1, 'score': is missing"),
        (without(RESULT, "image_id"), "entry 1, 'image_id': is missing"),
        (without(RESULT, "bbox"), "entry 1: 'bbox' is missing, but other entries have it"),
        (without(RESULT, "segmentation"), "entry 1: 'segmentation' is missing, but other entries have it"),
        ({**RESULT, "image_id": 5}, "entry 1: unknown image_id 5; the dataset has 1"),
        ({**RESULT, "category_id": 2}, "entry 1: unknown category_id 2; the dataset has 7"),
        ({**RESULT, "image_id": "one"}, "entry 1, 'image_id': Input should be a valid integer"),
        ({**RESULT, "score": float("nan")}, "entry 1, 'score': Input should be a finite number"),
        ({**RESULT, "bbox": [1, 2, 3]}, "entry 1, 'bbox', entry 3: is missing"),
        ({**RESULT, "segmentation": [[0, 0, 4, 0, 4, 3]]}, "entry 1, 'segmentation': Input should be"),
        ({**RESULT, "segmentation": {"size": [4, 3], "counts": [0, 12]}}, r"size \[4, 3\], but image 1 is \[3, 4\]"),
        ({**RESULT, "segmentation": {"size": [3, 4], "counts": [0, 99]}}, "entry 1: 'segmentation': invalid RLE"),
        ({**RESULT, "segmentation": {"size": [3, 4], "counts": [0, 9]}}, "cover 9 pixels, but 3 x 4 are 12"),
        (
            {**RESULT, "segmentation": {"size": [3, 4], "counts": []}},
            "entry 1: 'segmentation': the run lengths cover 0",
        ),
        ({**RESULT, "segmentation": {"size": [3, 4], "counts": "09"}}, "cover 9 pixels, but 3 x 4 are 12"),
        ({**RESULT, "segmentation": {"size": [3, 4], "counts": [4, -2, 10]}}, "entry 1: .* a run length is negative"),
        ({**RESULT, "image_id": 2**63}, "entry 1, 'image_id': Input should be less than"),
        ("not a dict", "entry 1: Input should be a valid dictionary"),
    ],
)
def test_a_bad_result_is_named_by_place_and_key(entry, message):
    with pytest.raises(DataError, match=message):
        evaluate_results([RESULT, entry], DATASET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "has no images"),
        ({"images": [{"id": 1}]}, "annotations: entry 0: has a mask, but image 1 no height and width"),
        ({"images": DATASET["images"] * 2}, "images: id 1 occurs twice"),
        ({"categories": DATASET["categories"] * 2}, "categories: id 7 occurs twice"),
        ({"categories": [{"id": 7}]}, "'categories', entry 0, 'name': is missing"),
        (
            {"annotations": [without(ANNOTATION, "bbox", "segmentation")]},
            "annotations: entry 0: has neither 'bbox' nor 'segmentation'",
        ),
        ({"annotations": [{**ANNOTATION, "image_id": 3}]}, "entry 0: unknown image_id 3"),
        ({"annotations": [{**ANNOTATION, "category_id": 3}]}, "entry 0: unknown category_id 3"),
        (
            {"annotations": [ANNOTATION, without(ANNOTATION, "segmentation")]},
            "entry 1: 'segmentation' is missing, but other entries have it",
        ),
    ],
)
def test_bad_annotations_are_named_by_place_and_key(change, message):
    with pytest.raises(DataError, match=message):
        evaluate_results([RESULT], {**DATASET, **change})


def test_a_key_that_the_whole_dataset_lacks_is_named():
    with pytest.raises(DataError, match="annotations: 'categories': is missing; expected a COCO dataset"):
        evaluate_results([RESULT], without(DATASET, "categories"))


def test_boxes_are_compared_even_if_only_some_objects_have_masks():
    partly = {**DATASET, "annotations": [ANNOTATION, {**ANNOTATION, "segmentation": None}]}
    assert "box" in evaluate_results([without(RESULT, "segmentation")], partly)


def test_masks_alone_against_boxes_alone_leave_nothing_to_compare():
    boxes = {**DATASET, "annotations": [without(ANNOTATION, "segmentation")]}
    with pytest.raises(DataError, match="nothing to compare"):
        evaluate_results([without(RESULT, "bbox")], boxes)


def test_a_result_without_box_and_mask_is_refused():
    with pytest.raises(DataError, match="entry 0: has neither 'bbox' nor 'segmentation'"):
        evaluate_results([without(RESULT, "bbox", "segmentation")], DATASET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps([RESULT])[:-5], "results.json: Invalid JSON: EOF while parsing"),
        ("", "results.json: Invalid JSON"),
        (json.dumps(DATASET), "results.json: Input should be a valid array; expected a list of image_id"),
        (json.dumps([without(RESULT, "score")]), "results.json: entry 0, 'score': is missing"),
    ],
)
def test_a_bad_results_file_is_named(tmp_path, text, message):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        evaluate_results(path, DATASET)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json: cannot be read: No such file"):
        evaluate_results([RESULT], tmp_path / "nowhere.json")


def test_an_annotation_file_is_named(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({**DATASET, "annotations": [without(ANNOTATION, "image_id")]}))
    with pytest.raises(DataError, match=r"annotations\.json: 'annotations', entry 0, 'image_id': is missing"):
        evaluate_results([RESULT], path)


def test_a_broken_polygon_is_named_as_one():
    broken = {**DATASET, "annotations": [{**ANNOTATION, "segmentation": [[0, 0, 4, 3]]}]}
    with pytest.raises(DataError, match=r"'segmentation', 'polygons', entry 0: List should have at least 6 items"):
        evaluate_results([RESULT], broken)


def test_an_image_without_extent_is_refused():
    with pytest.raises(DataError, match="'images', entry 0, 'height': Input should be greater than 0"):
        evaluate_results([RESULT], {**DATASET, "images": [{"id": 1, "height": 0, "width": 4}]})


@pytest.mark.parametrize("limit", [0, -1, 1.5, None, "3"])
def test_a_limit_that_is_no_number_of_detections_is_refused(limit):
    with pytest.raises(ConfigError, match="max_detections is "):
        evaluate_results([RESULT], DATASET, limit)


def test_categories_whose_names_repeat_in_any_way_all_keep_their_numbers():
    names = {5: "cell (7)", 6: "cell", 7: "cell"}
    dataset = {**DATASET, "categories": [{"id": id_, "name": name} for id_, name in names.items()]}
    assert list(evaluate_results([RESULT], dataset)["per_category"]) == ["cell (7) (5)", "cell (6)", "cell (7) (7)"]


# what the check of a dataset accepts


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_in_another_encoding_of_unicode_is_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(plain_dataset()), encoding=encoding)
    assert read_coco(path) == read_coco(plain_dataset())


@pytest.mark.parametrize("key", ["area", "num_keypoints"])
@pytest.mark.parametrize("value", [None, "x", float("nan"), float("inf"), -5, 10**30, True, []])
def test_details_without_a_meaning_count_as_missing(key: str, value: Any) -> None:
    dataset = plain_dataset()
    dataset["annotations"][0][key] = value
    assert read_coco(dataset)["annotations"][0]["area"] == 50


def test_an_object_without_a_box_has_that_of_its_mask() -> None:
    read = read_coco({**DATASET, "annotations": [without(ANNOTATION, "bbox")]})
    assert list(read["annotations"][0]["bbox"] or ()) == [0, 0, 4, 3]


@pytest.mark.parametrize("key", ["segmentation", "keypoints"])
@pytest.mark.parametrize("value", ["", 0, {}, [], False])
def test_what_is_empty_is_missing(key: str, value: Any) -> None:
    dataset = plain_dataset()
    dataset["annotations"][0][key] = value
    assert not read_coco(dataset)["annotations"][0].get(key)


def test_a_class_may_be_called_by_a_number() -> None:
    assert read_coco({**DATASET, "categories": [{"id": 7, "name": 5}]})["categories"][0]["name"] == "5"


def test_half_a_surrogate_in_a_name_is_read_as_a_question_mark(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({**DATASET, "categories": [{"id": 7, "name": "a\ud800"}]}))
    assert read_coco(path)["categories"][0]["name"] == "a?"


def test_a_flag_of_crowds_may_be_none() -> None:
    dataset = plain_dataset()
    dataset["annotations"][0]["iscrowd"] = None
    assert read_coco(dataset)["annotations"][0]["iscrowd"] == 0


@pytest.mark.parametrize(
    ("size", "segmentation", "message"),
    [
        ((2**31, 40), [[1, 1, 9, 1, 9, 9]], "less than 1048576"),
        ((2**19, 2**19), [[1, 1, 9, 1, 9, 9]], "too large for masks"),
        ((20, 40), {"size": [20, 40], "counts": [10**30]}, "larger than an image can be"),
    ],
)
def test_a_file_cannot_ask_for_masks_of_any_size(size: tuple[int, int], segmentation: Any, message: str) -> None:
    dataset = plain_dataset()
    dataset["images"][0] |= {"height": size[0], "width": size[1]}
    dataset["annotations"][0]["segmentation"] = segmentation
    with pytest.raises(DataError, match=message):
        read_coco(dataset)


def plain_dataset() -> dict[str, Any]:
    return {
        "images": [{"id": 1, "height": 20, "width": 40}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 5]}],
        "categories": [{"id": 1, "name": "cell"}],
    }
