"""Masks and labels are measured by Cityscapes' rule: equal to what its official scripts gave, and where they fail."""

from __future__ import annotations

import base64
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hotcoco.mask
import numpy as np
import pytest
from PIL import Image

from maskwright.errors import DataError
from maskwright.evaluation import CityscapesTally, evaluate_cityscapes, evaluate_cityscapes_semantic

RECORDED = json.loads((Path(__file__).parent / "cases" / "cityscapes" / "recorded.json").read_text())
SIZE = (40, 60)
CAR, BUS, ROAD, VOID = 26, 28, 7, 0
Box = tuple[int, int, int, int]  # left top width height
LARGE: Box = (5, 5, 20, 20)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., dict[int, Path]]:
    """Writes the picture of an image of road, with boxes of given values, and gives it as that of image 1."""

    def write(*boxes: tuple[int, Box], dtype: type = np.uint16) -> dict[int, Path]:
        ids = np.full(SIZE, ROAD, dtype=dtype)
        for value, (left, top, width, height) in boxes:
            ids[top : top + height, left : left + width] = value
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        Image.fromarray(ids).save(path)
        return {1: path}

    return write


def found(box: Box, score: float = 0.5, category_id: int = CAR, image_id: int = 1) -> dict[str, Any]:
    left, top, width, height = box
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[top : top + height, left : left + width] = 1
    rle = hotcoco.mask.encode(np.asfortranarray(mask))
    segmentation = {"size": list(SIZE), "counts": rle["counts"].decode()}
    return {"image_id": image_id, "category_id": category_id, "score": score, "segmentation": segmentation}


def unpack(pictures: dict[str, str], folder: Path, suffix: str) -> dict[int, Path]:
    paths = {}
    for image_id, text in pictures.items():
        paths[int(image_id)] = folder / f"{image_id}_{suffix}.png"
        paths[int(image_id)].write_bytes(base64.b64decode(text))
    return paths


def number(value: float | None) -> float:
    return math.nan if value is None else value


@pytest.mark.parametrize("scene", RECORDED, ids=range(len(RECORDED)))
def test_masks_of_recorded_scenes_have_the_numbers_of_the_official_scripts(scene, tmp_path):
    expected = scene["instances"]
    metrics = evaluate_cityscapes(scene["results"], unpack(scene["instance_pictures"], tmp_path, "instances"))
    assert dict(metrics["mask"]) == pytest.approx({name: expected[name] for name in ("AP", "AP50")}, abs=1e-9)
    assert set(metrics["per_category"]) == set(expected["classes"])
    for name, (ap, ap50) in expected["classes"].items():
        ours = dict(metrics["per_category"][name]["mask"])
        assert ours == pytest.approx({"AP": number(ap), "AP50": number(ap50)}, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("scene", RECORDED, ids=range(len(RECORDED)))
def test_labels_of_recorded_scenes_have_the_numbers_of_the_official_scripts(scene, tmp_path):
    expected = scene["pixels"]
    instances = unpack(scene["instance_pictures"], tmp_path, "instances")
    maps = unpack(scene["found_labels"], tmp_path, "found")
    labels = {}
    for image_id, path in instances.items():
        ids = np.array(Image.open(path)).astype(np.int64)
        labels[image_id] = tmp_path / f"{image_id}_labels.png"
        Image.fromarray(np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)).save(labels[image_id])
    metrics = evaluate_cityscapes_semantic(maps, labels, instances)
    for ours, theirs in (
        ("mIoU", "averageScoreClasses"),
        ("iIoU", "averageScoreInstClasses"),
        ("category_mIoU", "averageScoreCategories"),
        ("category_iIoU", "averageScoreInstCategories"),
    ):
        assert metrics[ours] == pytest.approx(number(expected[theirs]), abs=1e-9, nan_ok=True)
    for group, plain, weighted in (
        ("per_category", "classScores", "classInstScores"),
        ("per_supercategory", "categoryScores", "categoryInstScores"),
    ):
        for name, row in metrics[group].items():
            assert row["IoU"] == pytest.approx(number(expected[plain][name]), abs=1e-9, nan_ok=True)
            iiou = row.get("iIoU", math.nan)
            assert iiou == pytest.approx(number(expected[weighted][name]), abs=1e-9, nan_ok=True)
    arrays = {image_id: np.array(Image.open(path)) for image_id, path in maps.items()}
    assert evaluate_cityscapes_semantic(arrays, labels, instances) == metrics
    assert evaluate_cityscapes_semantic(maps, labels)["mIoU"] == metrics["mIoU"]
    assert "iIoU" not in evaluate_cityscapes_semantic(maps, labels)


def test_an_object_found_exactly_has_an_ap_of_one_and_other_classes_have_none(draw):
    metrics = evaluate_cityscapes([found(LARGE)], draw((CAR * 1000, LARGE)))
    assert dict(metrics["mask"]) == {"AP": 1, "AP50": 1}
    assert math.isnan(metrics["per_category"]["bus"]["mask"]["AP"])


def test_an_overlap_of_the_threshold_itself_is_not_enough(draw):
    picture = draw((CAR * 1000, LARGE))
    assert evaluate_cityscapes([found((5, 5, 10, 20))], picture)["mask"]["AP50"] == 0
    assert evaluate_cityscapes([found((5, 5, 11, 20))], picture)["mask"]["AP50"] == 1


def test_of_two_detections_of_an_object_the_better_one_is_correct_and_the_other_false(draw):
    other = (35, 5, 20, 20)
    picture = draw((CAR * 1000, LARGE), (CAR * 1000 + 1, other))
    results = [found(LARGE, 0.6), found((5, 5, 20, 19), 0.9), found(other, 0.5)]
    # from the lowest score up: precision 2/3, 1/2, 1 at recall 1, 1/2, 1/2, then 1 at 0; each a quarter wide
    assert evaluate_cityscapes(results, picture)["mask"]["AP50"] == pytest.approx((2 / 3 + 1 / 2 + 1 + 1) / 4)


@pytest.mark.parametrize("ignored", [VOID, CAR, CAR * 1000 + 9], ids=["void", "a group", "small objects"])
def test_what_lies_on_ignored_regions_is_no_error(draw, ignored):
    elsewhere = (35, 5, 9, 9)  # 81 pixels, too few for an object
    picture = draw((CAR * 1000, LARGE), (ignored, elsewhere))
    stray = [found(LARGE, 0.5), found(elsewhere, 0.9)]
    assert evaluate_cityscapes(stray, picture)["mask"]["AP"] == 1
    assert evaluate_cityscapes(stray, draw((CAR * 1000, LARGE)))["mask"]["AP"] < 1


def test_where_only_ignored_detections_were_made_an_ap_is_zero(draw):
    group = (35, 5, 20, 20)
    metrics = evaluate_cityscapes([found(group)], draw((CAR * 1000, LARGE), (CAR, group)))
    assert metrics["mask"]["AP"] == 0  # the official scripts raise an IndexError


def test_empty_masks_and_labels_without_objects_are_left_out(draw):
    picture = draw((CAR * 1000, LARGE))
    results = [found((0, 0, 0, 0), 0.9), found((40, 0, 9, 9), 0.9, ROAD), found(LARGE)]
    assert evaluate_cityscapes(results, picture)["mask"]["AP"] == 1
    assert evaluate_cityscapes([], picture)["mask"]["AP"] == 0
    assert math.isnan(evaluate_cityscapes([], draw())["mask"]["AP"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (found(LARGE, image_id=2), "entry 0: unknown image_id 2"),
        (found(LARGE, category_id=99), "entry 0: unknown category_id 99"),
        ({"image_id": 1, "category_id": CAR, "score": 0.5, "bbox": [0, 0, 5, 5]}, "has no masks"),
    ],
)
def test_results_that_do_not_fit_are_refused(draw, result, message):
    with pytest.raises(DataError, match=message):
        evaluate_cityscapes([result], draw())


def test_a_picture_with_a_value_of_no_class_is_named(draw):
    picture = draw((64000, LARGE))
    with pytest.raises(DataError, match=r"\.png has the value 64000, but Cityscapes' labels are 0 to 33"):
        evaluate_cityscapes([], picture)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.png"):
        evaluate_cityscapes([], {1: tmp_path / "nowhere.png"})


def test_an_ignored_label_found_on_an_evaluated_pixel_is_a_miss(draw):
    truth = draw((CAR, LARGE), dtype=np.uint8)
    labels = np.array(Image.open(truth[1]))
    assert evaluate_cityscapes_semantic({1: labels}, truth)["mIoU"] == 1
    half = labels.copy()
    half[5:15, 5:25] = VOID
    assert evaluate_cityscapes_semantic({1: half}, truth)["per_category"]["car"]["IoU"] == 0.5


def test_mix_ups_within_a_category_are_errors_of_classes_only(draw):
    truth = draw((CAR, LARGE), dtype=np.uint8)
    labels = np.array(Image.open(truth[1]))
    labels[labels == CAR] = BUS
    metrics = evaluate_cityscapes_semantic({1: labels}, truth)
    assert metrics["per_category"]["car"]["IoU"] == metrics["per_category"]["bus"]["IoU"] == 0
    assert metrics["per_supercategory"]["vehicle"]["IoU"] == 1


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({}, "image 1 has no map of labels"),
        (
            {1: np.zeros((3, 4), dtype=np.uint8)},
            r"image 1: the true labels are \[40, 60\] pixels .* found labels \[3, 4\]",
        ),
        ({1: np.full(SIZE, 255, dtype=np.uint8)}, "image 1: the found labels have values that are no label"),
    ],
)
def test_maps_of_labels_that_do_not_fit_are_refused(draw, maps, message):
    with pytest.raises(DataError, match=message):
        evaluate_cityscapes_semantic(maps, draw())


# true labels, found labels and objects of two images
SCENES = [
    (np.full((2, 6), ROAD), np.full((2, 6), ROAD), np.full((2, 6), ROAD)),
    (np.full((2, 6), CAR), np.array([[CAR, CAR, CAR, BUS, ROAD, VOID]] * 2), np.array([[26000] * 6, [26001] * 6])),
]


def tally_of(scenes: list[tuple[np.ndarray, ...]]) -> CityscapesTally:
    tally = CityscapesTally()
    for scene in scenes:
        tally.add(*scene)
    return pickle.loads(pickle.dumps(tally))


def test_tallies_of_two_processes_merge_to_that_of_one():
    whole, first, second = tally_of(SCENES), tally_of(SCENES[:1]), tally_of(SCENES[1:])
    first.merge(second)
    assert first.metrics() == whole.metrics()
    assert len(pickle.dumps(whole)) == len(pickle.dumps(CityscapesTally()))  # whatever was added


def test_objects_weigh_the_same_whatever_their_size():
    true, found = np.full((1, 10), CAR), np.array([[CAR, CAR, *[ROAD] * 8]])
    objects = np.array([[26000, 26000, *[26001] * 8]])
    tally = tally_of([(true, found, objects)])
    assert tally.metrics().lookup("per_category.car.IoU") == pytest.approx(0.2)
    assert tally.metrics().lookup("per_category.car.iIoU") == pytest.approx(0.5)


def test_without_the_objects_of_every_image_there_is_no_iiou():
    tally = tally_of(SCENES)
    assert "iIoU" in tally.metrics()
    tally.add(*SCENES[0][:2])
    assert {"iIoU", "category_iIoU"}.isdisjoint(tally.metrics())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"true": np.full((2, 6), 34)}, "true labels have values that are no label"),
        ({"found": np.full((2, 6), -1)}, "found labels have values that are no label"),
        ({"found": np.full((2, 6), 7.0)}, "found labels have values that are no label"),
        ({"objects": np.full((2, 6), 34000)}, "objects have values of no label"),
        ({"objects": np.full((3, 6), 26000)}, r"the objects \[3, 6\]"),
    ],
)
def test_a_tally_counts_nothing_of_an_image_that_it_refuses(changed, message):
    tally = CityscapesTally()
    with pytest.raises(DataError, match=message):
        tally.add(**{"true": SCENES[0][0], "found": SCENES[0][1], "objects": SCENES[0][2], **changed})
    assert (tally.counts.sum(), tally.num_images, tally.num_with_objects) == (0, 0, 0)
