"""Box and mask AP and AR: equal to pycocotools on hard scenes, and what the reference leaves open."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from typing import Any

import hotcoco.mask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as reference_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskwright.errors import ConfigError
from maskwright.evaluation import Metrics, evaluate_results

SIZE = (140, 150)  # room for objects above 96² px
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")


def rle_of(box_xywh: list[float], rng: np.random.Generator) -> dict[str, Any]:
    """An ellipse or a rectangle somewhere in a box; one pixel where the box is tiny."""
    x, y, width, height = (int(side) for side in box_xywh)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = (columns >= x) & (columns < x + width) & (rows >= y) & (rows < y + height)
    if rng.random() < 0.5 and min(width, height) > 3:
        pixels &= ((columns - x) / width - 0.5) ** 2 + ((rows - y) / height - 0.5) ** 2 <= 0.25
    rle = reference_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


def random_box(rng: np.random.Generator) -> list[float]:
    side = rng.choice([1, 4, 20, 60, 120])
    width, height = (max(1, int(side * rng.uniform(0.6, 1.1))) for _ in range(2))
    left, top = rng.integers(0, SIZE[1] - width + 1), rng.integers(0, SIZE[0] - height + 1)
    return [float(left), float(top), float(width), float(height)]


def random_annotation(rng: np.random.Generator, image_id: int, category_id: int) -> dict[str, Any]:
    box = random_box(rng)
    rle, is_crowd = rle_of(box, rng), int(rng.random() < 0.15)
    x, y, width, height = box
    as_polygon = not is_crowd and rng.random() < 0.3
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "iscrowd": is_crowd,
        "area": float(hotcoco.mask.area(rle)),
        "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]] if as_polygon else rle,
    }


def random_result(rng: np.random.Generator, annotation: dict[str, Any]) -> dict[str, Any]:
    """Near an object, or anywhere; scores come in steps, so that many are equal; box and mask need not agree."""
    is_near = rng.random() < 0.7
    box = annotation["bbox"] if is_near else random_box(rng)
    shifted = [box[0], box[1], max(1.0, box[2] + rng.integers(-4, 5)), max(1.0, box[3] + rng.integers(-4, 5))]
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "score": float(rng.integers(1, 6)) / 8,
        "bbox": [side + rng.uniform(-1, 1) for side in shifted[:2]] + shifted[2:],
        "segmentation": rle_of(shifted if rng.random() < 0.8 else random_box(rng), rng),
    }


def random_scene(seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Three images and three classes, in which any image may lack objects or detections and any class both."""
    rng = np.random.default_rng(seed)
    images = [{"id": id_, "height": SIZE[0], "width": SIZE[1], "file_name": f"{id_}.png"} for id_ in (4, 9, 2)]
    categories = [{"id": id_, "name": name} for id_, name in ((7, "cell"), (3, "dot"), (5, "never there"))]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in images:
        for category_id in (7, 3):
            objects = [random_annotation(rng, image["id"], category_id) for _ in range(rng.integers(0, 6))]
            sources = objects or [random_annotation(rng, image["id"], category_id)]
            results += [random_result(rng, sources[n % len(sources)]) for n in range(rng.integers(0, 9))]
            annotations += objects
    rng.shuffle(results)
    numbered = [{**annotation, "id": number} for number, annotation in enumerate(annotations, start=1)]
    return results, {"images": images, "categories": categories, "annotations": numbered}


def reference(results: list[dict[str, Any]], dataset: dict[str, Any], kind: str, limit: int) -> COCOeval:
    """pycocotools' own run; masks are loaded without boxes, so that areas are those of masks."""
    results = copy.deepcopy(results)
    if kind == "mask":
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        if results:
            detected = truth.loadRes(results)
        else:  # loadRes itself cannot take an empty list
            detected = COCO()
            detected.dataset = {"images": dataset["images"], "categories": dataset["categories"], "annotations": []}
            detected.createIndex()
        evaluation = COCOeval(truth, detected, {"box": "bbox", "mask": "segm"}[kind])
        evaluation.params.maxDets = [1, 10, limit] if limit > 10 else [limit]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def reference_summary(evaluation: COCOeval, classes: slice = slice(None)) -> dict[str, float]:
    precision = evaluation.eval["precision"][:, :, classes, :, -1]
    recall = evaluation.eval["recall"][:, classes, :, -1]
    parts = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0], *(precision[..., n] for n in (1, 2, 3))]
    means = [part[part > -1].mean() if (part > -1).any() else math.nan for part in [*parts, recall[..., 0]]]
    return dict(zip(NAMES, map(float, means), strict=True))


def assert_equal_to_reference(results: list[dict[str, Any]], dataset: dict[str, Any], limit: int) -> Metrics:
    metrics = evaluate_results(results, dataset, max_detections=limit)
    for kind in ("box", "mask"):
        evaluation = reference(results, dataset, kind, limit)
        assert dict(metrics[kind]) == pytest.approx(reference_summary(evaluation), abs=1e-9, nan_ok=True)
        for place, category in enumerate(sorted(dataset["categories"], key=lambda category: category["id"])):
            expected = reference_summary(evaluation, slice(place, place + 1))
            ours = metrics["per_category"][category["name"]][kind]
            assert dict(ours) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    return metrics


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), limit=st.sampled_from([2, 100]))
def test_boxes_and_masks_of_any_scene_have_the_numbers_of_pycocotools(seed, limit):
    results, dataset = random_scene(seed)
    assert_equal_to_reference(results, dataset, limit)


@pytest.fixture(scope="module")
def dense_scene() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """160 objects of one class in an image, each found; and a second image with two."""
    rng = np.random.default_rng(0)
    images = [{"id": id_, "height": SIZE[0], "width": SIZE[1]} for id_ in (1, 2)]
    corners = [(6.0 * (n % 16), 6.0 * (n // 16)) for n in range(160)]
    objects = [(1, x, y) for x, y in corners] + [(2, 0.0, 0.0), (2, 50.0, 50.0)]
    annotations = []
    for number, (image_id, x, y) in enumerate(objects, start=1):
        box = [x, y, 5.0, 5.0]
        common = {"id": number, "image_id": image_id, "category_id": 1, "bbox": box, "area": 25.0, "iscrowd": 0}
        annotations.append({**common, "segmentation": rle_of(box, rng)})
    keys = ("image_id", "category_id", "bbox", "segmentation")
    results = [{**{key: a[key] for key in keys}, "score": float(rng.random())} for a in annotations]
    return results, {"images": images, "categories": [{"id": 1, "name": "dot"}], "annotations": annotations}


@pytest.mark.parametrize("limit", [1, 100, 300])
def test_dense_scenes_have_the_numbers_of_pycocotools_at_any_limit(dense_scene, limit):
    assert_equal_to_reference(*dense_scene, limit)


def test_a_higher_limit_counts_what_a_lower_one_cuts_and_tells_of(dense_scene):
    cut, whole = (evaluate_results(*dense_scene, max_detections=limit) for limit in (100, 300))
    assert (cut["truncated_images"], whole["truncated_images"]) == (1, 0)
    assert cut["mask"]["AR"] < whole["mask"]["AR"] == 1.0
    assert (whole["images"], whole["max_detections"]) == (2, 300)


def test_no_detection_at_all_is_zero_and_equal_to_pycocotools(dense_scene):
    metrics = assert_equal_to_reference([], dense_scene[1], 100)
    assert metrics["mask"]["AP"] == metrics["box"]["AR"] == 0.0


def test_a_dataset_without_objects_has_no_number(dense_scene):
    results, dataset = dense_scene
    metrics = assert_equal_to_reference(results, {**dataset, "annotations": []}, 100)
    assert math.isnan(metrics["mask"]["AP"])
    assert metrics.to_dict()["mask"]["AP"] is None


def test_neither_objects_nor_detections_is_a_normal_case(dense_scene):
    metrics = evaluate_results([], {**dense_scene[1], "annotations": []})
    assert metrics.to_dict()["box"] == metrics.to_dict()["mask"] == dict.fromkeys(NAMES)


def test_a_mask_of_one_pixel_that_is_found_counts_in_full():
    rle = hotcoco.mask.encode(np.pad(np.ones((1, 1), dtype=np.uint8), 2))
    rle["counts"] = rle["counts"].decode()
    common = {"image_id": 1, "category_id": 1, "bbox": [2, 2, 1, 1], "segmentation": rle}
    images = [{"id": 1, "height": 5, "width": 5}]
    dataset = {"images": images, "categories": [{"id": 1, "name": "dot"}], "annotations": [{**common, "area": 1}]}
    metrics = evaluate_results([{**common, "score": 0.1}], dataset)
    assert metrics["mask"]["APs"] == pytest.approx(1.0)
    assert metrics["box"]["AP"] == pytest.approx(1.0)


def test_the_order_of_images_and_annotations_does_not_matter():
    results, dataset = random_scene(3)
    turned = {key: values[::-1] for key, values in dataset.items()}
    assert evaluate_results(results, turned)["mask"] == evaluate_results(results, dataset)["mask"]


def test_boxes_and_masks_are_measured_each_where_both_sides_carry_them(dense_scene):
    results, dataset = dense_scene
    boxes = [{key: value for key, value in result.items() if key != "segmentation"} for result in results]
    masks = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    unmasked = [{**annotation, "segmentation": []} for annotation in dataset["annotations"]]
    both = evaluate_results(results, dataset)
    assert "mask" not in evaluate_results(boxes, dataset)
    assert "mask" not in evaluate_results(results, {**dataset, "annotations": unmasked})
    only_masks = evaluate_results(masks, dataset)
    assert "box" not in only_masks
    assert only_masks["mask"] == both["mask"]


def test_missing_and_repeated_annotation_ids_change_nothing(dense_scene):
    results, dataset = dense_scene
    without = [{key: value for key, value in a.items() if key != "id"} for a in dataset["annotations"]]
    for objects in (without, [{**a, "id": 0} for a in without]):
        assert evaluate_results(results, {**dataset, "annotations": objects}) == evaluate_results(*dense_scene)


def test_a_missing_area_is_that_of_the_mask():
    results, dataset = random_scene(5)
    rles = [{**a, "segmentation": rle_of(a["bbox"], np.random.default_rng(1))} for a in dataset["annotations"]]
    with_area = [{**a, "area": float(hotcoco.mask.area(a["segmentation"]))} for a in rles]
    without = [{key: value for key, value in a.items() if key != "area"} for a in rles]
    expected = evaluate_results(results, {**dataset, "annotations": with_area})
    assert evaluate_results(results, {**dataset, "annotations": without}) == expected


def test_inputs_stay_as_they_were(dense_scene):
    before = copy.deepcopy(dense_scene)
    evaluate_results(*dense_scene)
    assert dense_scene == before


def test_files_and_values_give_the_same(tmp_path, dense_scene):
    results, annotations = tmp_path / "results.json", tmp_path / "annotations.json"
    results.write_text(json.dumps(dense_scene[0]))
    annotations.write_text(json.dumps(dense_scene[1]))
    expected = evaluate_results(*dense_scene)
    assert evaluate_results(results, annotations) == evaluate_results(str(results), dense_scene[1]) == expected


def test_numpy_numbers_and_bytes_are_taken_as_they_come(dense_scene):
    def as_tools_make_it(result: dict[str, Any]) -> dict[str, Any]:
        rle = {**result["segmentation"], "counts": result["segmentation"]["counts"].encode()}
        box, image_id = np.array(result["bbox"]), np.int64(result["image_id"])
        return {**result, "image_id": image_id, "score": np.float64(result["score"]), "bbox": box, "segmentation": rle}

    from_tools = evaluate_results([as_tools_make_it(result) for result in dense_scene[0]], dense_scene[1])
    assert from_tools == evaluate_results(*dense_scene)


def test_categories_of_the_same_name_stay_apart_in_the_report():
    results, dataset = random_scene(8)
    categories = [{"id": 7, "name": "N/A"}, {"id": 3, "name": "dot"}, {"id": 5, "name": "N/A"}]
    metrics = evaluate_results(results, {**dataset, "categories": categories})
    assert set(metrics["per_category"]) == {"dot", "N/A (5)", "N/A (7)"}


def test_less_than_one_detection_is_refused(dense_scene):
    with pytest.raises(ConfigError, match="max_detections is 0"):
        evaluate_results(*dense_scene, max_detections=0)
