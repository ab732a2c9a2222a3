"""YOLACT as people use it: images in, instances out, and its settings at the call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import maskwright as mw
from maskwright.errors import ConfigError
from maskwright.evaluation import evaluate_results
from maskwright.structures import ImageBatch

SIZE = (50, 90)
NAMES = {"box", "class", "mask", "semantic"}
SUPPRESSIONS = ["fast", "cross_class", "traditional"]


@pytest.fixture(scope="module")
def load(tiny_yolact):
    def load(recipe: str = "yolact", **overrides: Any) -> mw.Predictor:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        predictor = mw.load(recipe, weights="random", device="cpu", overrides={**tiny_yolact, **dotted})
        with torch.no_grad():  # weights that give scores and masks some spread
            predictor.model.head.class_logits.weight.mul_(3)
            predictor.model.protonet.prototypes.weight.mul_(3)
        return predictor

    return load


@pytest.fixture(scope="module")
def predictor(load) -> mw.Predictor:
    return load()


@pytest.fixture(scope="module")
def plus(load) -> mw.Predictor:
    return load("yolact/plus_r50", backbone__depth=50)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(*SIZE, 3), dtype=np.uint8)


def assert_same(found: mw.Instances, wanted: mw.Instances) -> None:
    assert torch.equal(found.boxes, wanted.boxes)
    assert torch.equal(found.labels, wanted.labels)
    assert torch.equal(found.scores, wanted.scores)
    assert found.masks.rle() == wanted.masks.rle()


@pytest.mark.parametrize("nms", SUPPRESSIONS)
@pytest.mark.parametrize("recipe", ["yolact", "yolact/r50"])
def test_results_are_in_pixels_of_the_image_as_given(load, pixels, recipe, nms) -> None:
    found = load(recipe, detect__nms=nms)(pixels)
    height, width = SIZE
    assert len(found) > 10
    assert (found.scores.diff() <= 0).all()
    assert found.size == found.masks.size == SIZE
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() <= width and found.boxes[:, 3].max() <= height
    assert found.boxes[:, 2].max() > 0.8 * width  # not those of the square input
    assert found.masks.bitmaps().shape == (len(found), *SIZE)
    assert found.masks.areas().max() > 0
    assert (found.boxes.dtype, found.labels.dtype, found.scores.dtype) == (torch.float32, torch.int64, torch.float32)
    assert found.to("cpu").to_coco(7)[0].keys() == {"image_id", "category_id", "bbox", "score", "segmentation"}


def test_boxes_are_whole_pixels_in_the_released_models_only(load, pixels) -> None:
    ours, released = load()(pixels).boxes, load("yolact/r50")(pixels).boxes
    assert torch.equal(released, released.floor())
    assert not torch.equal(ours, ours.floor())
    assert torch.equal(load("yolact/r50", resize__cuts_boxes=False)(pixels).boxes.floor(), released)


def test_thresholds_and_limits_are_given_at_the_call(predictor, pixels) -> None:
    found = predictor(pixels)
    threshold = found.scores[len(found) // 2].item()
    strict = predictor(pixels, score_threshold=threshold)
    assert 0 < len(strict) <= len(found) // 2
    assert_same(strict, found.above(threshold))
    assert_same(predictor(pixels, max_detections=3), found[:3])
    assert [len(one) for one in predictor([pixels, pixels], max_detections=1)] == [1, 1]


def test_a_limit_may_exceed_the_recipes_and_a_threshold_go_below(load, pixels) -> None:
    few = load(detect__max_detections=2, detect__score_threshold=0.9)
    assert len(few(pixels)) <= 2
    assert len(few(pixels, score_threshold=0.0, max_detections=30)) == 30
    assert len(few(pixels, score_threshold=0.0)) == 2


@pytest.mark.parametrize("nms", SUPPRESSIONS)
def test_a_limit_at_the_call_holds_for_every_suppression(load, pixels, nms) -> None:
    released = load("yolact/r50", detect__nms=nms, detect__nms_iou=0.9, detect__score_threshold=0.01)
    assert len(released(pixels, max_detections=4)) == 4


@pytest.mark.parametrize("side", [50, 64, 97])
def test_the_side_of_the_network_input_is_a_setting(load, pixels, side) -> None:
    predictor = load(resize__size=side)
    assert predictor.preprocess.batch([torch.from_numpy(pixels).permute(2, 0, 1)]).padded_size == (side, side)
    found = predictor(pixels)
    assert found.boxes[:, 2].max() > 0.8 * SIZE[1]
    assert found.masks.bitmaps().shape == (len(found), *SIZE)


def test_padding_of_the_network_input_is_not_part_of_the_image(load, pixels) -> None:
    predictor = load(resize__size=50, resize__pad_multiple=32)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    batch = predictor.preprocess.batch([image])
    assert (batch.sizes, batch.padded_size) == (((50, 50),), (64, 64))
    assert batch.pixels[0, :, 50:].abs().max() == batch.pixels[0, :, :, 50:].abs().max() == 0
    with torch.inference_mode():
        (inside,) = predictor.model.detect(ImageBatch(batch.pixels, ((64, 64),), (0,)))
    found = predictor(pixels)
    wanted = (inside.boxes * torch.tensor([90 / 50, 50 / 50] * 2)).clamp(min=0)
    assert torch.allclose(found.boxes, wanted.minimum(torch.tensor([90.0, 50.0, 90.0, 50.0])), atol=1e-3)
    # on the 64 × 64 pixels each mask is the stretched grid; the image shows its first 50 rows and columns
    soft = F.interpolate(inside.masks.probabilities()[:, None], size=(64, 64), mode="bilinear", align_corners=False)
    in_input = torch.from_numpy(found.masks.restored((50, 50), found.boxes).bitmaps())
    is_clear = (soft[:, 0, :50, :50] - 0.5).abs() > 1e-5
    assert torch.equal(in_input[is_clear], (soft[:, 0, :50, :50] > 0.5)[is_clear])


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (300, 2)])
@pytest.mark.parametrize("is_plus", [False, True])
def test_images_of_odd_shapes_are_normal_images(predictor, plus, size, is_plus) -> None:
    found = (plus if is_plus else predictor)(np.full((*size, 3), 90, dtype=np.uint8))
    assert found.size == size
    assert found.boxes.isfinite().all()
    assert len(found.masks.rle()) == len(found)
    assert len(found.masks.polygons()) == len(found)


def test_images_of_several_sizes_give_together_what_they_give_alone(predictor, pixels) -> None:
    other = np.random.default_rng(1).integers(0, 256, size=(70, 40, 3), dtype=np.uint8)
    for found, image in zip(predictor([pixels, other, pixels]), (pixels, other, pixels), strict=True):
        alone = predictor(image)
        assert found.labels.tolist() == alone.labels.tolist()
        torch.testing.assert_close(found.scores, alone.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.boxes, alone.boxes, rtol=0, atol=1.0)  # cut down to whole pixels


def test_half_precision_finds_about_the_same(tiny_yolact, pixels) -> None:
    full = mw.load("yolact", "random", "cpu", tiny_yolact)(pixels)
    half = mw.load("yolact", "random", "cpu", tiny_yolact, precision="bf16")(pixels)
    assert half.scores[0].item() == pytest.approx(full.scores[0].item(), abs=0.05)
    assert half.masks.bitmaps().shape == half.masks.probabilities().new_zeros((len(half), *SIZE)).shape


def test_some_of_the_instances_keep_their_masks_and_mask_scores(plus, pixels) -> None:
    found = plus(pixels)
    some = found[[4, 1]]
    assert np.array_equal(some.masks.bitmaps(), found.masks.bitmaps()[[4, 1]])
    assert torch.equal(some.mask_scores, found.mask_scores[[4, 1]])
    assert found.draw(pixels).shape == (*SIZE, 3)


def test_suppressions_that_do_not_exist_are_refused(tiny_yolact) -> None:
    with pytest.raises(ConfigError, match=r"detect\.nms"):
        mw.load("yolact", "random", "cpu", {**tiny_yolact, "detect.nms": "soft"})


# losses


def targets_of(predictor: mw.Predictor, *boxes_xywh: tuple[float, ...]) -> mw.Targets:
    annotations = [
        {"bbox": [x, y, w, h], "category_id": 2, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        for x, y, w, h in boxes_xywh
    ]
    return mw.Targets.from_coco(annotations, SIZE, predictor.categories)


@pytest.mark.parametrize("is_plus", [False, True])
def test_losses_are_plain_finite_numbers_by_name(predictor, plus, pixels, is_plus) -> None:
    asked = plus if is_plus else predictor
    found = mw.losses(asked, [pixels], [targets_of(asked, (10, 12, 30, 24))])
    assert set(found) == (NAMES | {"mask_iou"} if is_plus else NAMES)
    assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("box", [(10, 12, 0.1, 0.1), (90.0, 50.0, 5.0, 5.0), (89.9999999, 10, 0.1, 20), (0, 0, 90, 50)])
def test_losses_of_degenerate_annotations_are_finite(predictor, pixels, box) -> None:
    found = mw.losses(predictor, [pixels, pixels], [targets_of(predictor, box), targets_of(predictor)])
    assert all(np.isfinite(value) for value in found.values())


# evaluation


def test_re_scored_masks_are_ranked_by_their_own_scores(plus, pixels) -> None:
    found = plus(pixels, max_detections=30)
    results = found.to_coco(1)
    assert [result["mask_score"] for result in results] == found.mask_scores.tolist()
    dataset = {
        "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1]}],
        "categories": plus.categories.to_coco(),
        "annotations": [
            {"id": index, "image_id": 1, "category_id": result["category_id"], "bbox": result["bbox"], "iscrowd": 0}
            | {"segmentation": result["segmentation"], "area": 500.0}
            for index, result in enumerate(results[::4], start=1)
        ],
    }
    metrics = evaluate_results(results, dataset)
    by_mask_score = [{**result, "score": result["mask_score"]} for result in results]
    assert metrics["mask"] == evaluate_results(by_mask_score, dataset)["mask"]
    without = [{key: value for key, value in result.items() if key != "mask_score"} for result in results]
    assert metrics["box"] == evaluate_results(without, dataset)["box"]
    turned = [{**result, "mask_score": -result["score"]} for result in results]
    assert evaluate_results(turned, dataset)["mask"]["AP"] != evaluate_results(without, dataset)["mask"]["AP"]
