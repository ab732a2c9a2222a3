"""Test-time augmentation against what it is made of: plain predictions, boxes carried back, one suppression, means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.errors import ConfigError
from maskwright.images import preprocess
from maskwright.models.segmenter import Limits
from maskwright.predict import augmented
from maskwright.predict.views import View, ViewGroup, in_image, in_view, views_of

SIZE = (50, 90)


def spread(predictor: mw.Predictor) -> mw.Predictor:
    """Weights that give scores and boxes of a two-stage network some spread."""
    with torch.no_grad():
        predictor.model.box_head.class_logits.weight.mul_(20)
        predictor.model.box_head.deltas.weight.mul_(3)
        if "mask_head" in predictor.model.heads:
            predictor.model.mask_head.logits.weight.mul_(30)
    return predictor


def loaded(network: dict, base: str = "detectron2/mask_rcnn_r50_fpn_1x", **changes) -> mw.Predictor:
    torch.manual_seed(0)
    return mw.load(base, weights="random", device="cpu", overrides={**network, **changes})


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(*SIZE, 3), dtype=np.uint8)


def test_views_of_detectron2s_sizes_are_its_list():
    recipe = load_recipe("detectron2/mask_rcnn_r50_fpn_1x")
    views = views_of((480, 640), recipe.resize, recipe.augmented)
    assert [view.size[0] for view in views[::2]] == [400, 500, 600, 700, 800, 900, 1000, 1100, 1200]
    assert [view.is_mirrored for view in views] == [False, True] * 9
    assert views[0].size == (400, 533)
    long = views_of((100, 2000), recipe.resize, recipe.augmented)
    assert long[0].size == (200, 4000)
    given = recipe.augmented.model_copy(update={"short_sides": (300, 640), "long_side": 700, "flips": False})
    assert views_of((480, 640), recipe.resize, given) == [View((300, 400), False), View((525, 700), False)]


def test_views_of_square_models_are_squares():
    recipe = load_recipe("yolact/r50")
    sizes = {view.size for view in views_of((480, 640), recipe.resize, recipe.augmented)}
    assert (550, 550) in sizes
    assert len(sizes) == 9
    assert all(height == width for height, width in sizes)


def test_views_of_models_that_never_shrink_images_have_their_sizes_all_the_same():
    recipe = load_recipe("matterport/mask_rcnn_r50")
    views = views_of((1600, 2000), recipe.resize, recipe.augmented.model_copy(update={"short_sides": (400, 2000)}))
    assert [view.size for view in views[::2]] == [(400, 500), (2000, 2500)]


@pytest.mark.parametrize(
    "base", ["detectron2/mask_rcnn_r50_fpn", "torchvision/mask_rcnn_r50_fpn", "matterport/mask_rcnn_r50", "yolact/r50"]
)
def test_views_that_look_together_are_those_that_look_alone(pixels, base):
    ready = preprocess.Preprocess.of(load_recipe(base))
    image = ready.read(pixels)
    views = tuple(View(size, is_mirrored) for size in ((40, 72), (64, 115)) for is_mirrored in (False, True))
    together = ViewGroup(image, views).batch(ready)
    corners = together.corners or ((0, 0),) * len(views)
    for seen, view, (top, left) in zip(together.pixels, views, corners, strict=True):
        alone = ready.batch([image], [view.size])
        first, start = alone.corners[0] if alone.corners else (0, 0)
        expected = alone.pixels[0, :, first : first + view.size[0], start : start + view.size[1]]
        window = seen[:, top : top + view.size[0], left : left + view.size[1]]
        assert torch.equal(window, expected.flip(-1) if view.is_mirrored else expected)
    assert together.sizes == tuple(view.size for view in views)


def test_a_size_is_made_once_for_the_views_that_share_it(pixels, monkeypatch):
    ready, made = preprocess.Preprocess.of(load_recipe("detectron2/mask_rcnn_r50_fpn")), []
    resize = preprocess._resized_by_pillow
    monkeypatch.setattr(preprocess, "_resized_by_pillow", lambda image, size: made.append(size) or resize(image, size))
    views = (View((40, 72), False), View((40, 72), True), View((64, 115), False))
    ViewGroup(ready.read(pixels), views).batch(ready)
    assert made == [(40, 72), (64, 115)]


def test_boxes_go_to_a_view_and_back():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 45.0]])
    view = View((100, 270), True)
    seen = in_view(boxes, view, SIZE)
    assert seen.tolist() == [[180.0, 40.0, 240.0, 90.0]]
    assert in_image(seen, view, SIZE).tolist() == boxes.tolist()


@pytest.mark.parametrize("base", ["detectron2/mask_rcnn_r50_fpn_1x", "torchvision/mask_rcnn_r50_fpn", "mask_rcnn"])
def test_one_view_of_the_recipes_own_size_is_a_plain_prediction(tiny_network, pixels, base):
    predictor = spread(loaded(tiny_network, base, **{"augmented.short_sides": [64], "augmented.flips": False}))
    plain, found = predictor(pixels), predictor.augmented()(pixels)
    assert len(plain) > 3
    assert found.labels.tolist() == plain.labels.tolist()
    torch.testing.assert_close(found.boxes, plain.boxes, rtol=0, atol=1e-3)
    assert torch.equal(found.scores, plain.scores)
    same = [a == b for a, b in zip(found.masks.rle(), plain.masks.rle(), strict=True)]
    assert sum(same) >= len(same) - 1


def test_detections_of_all_views_suppress_each_other_once(tiny_network, pixels):
    sides = [64, 48, 96]
    settings = {"augmented.short_sides": sides, "augmented.views_at_once": 1, "augmented.long_side": 128}
    predictor = spread(loaded(tiny_network, **settings))
    found = predictor.augmented()(pixels)
    boxes, scores, labels = [], [], []
    for side in sides:
        alone = mw.Predictor(
            predictor.model,
            load_recipe("detectron2/mask_rcnn_r50_fpn_1x", {**tiny_network, "resize.short_side": side}),
            predictor.device,
        )
        for image, is_mirrored in ((pixels, False), (pixels[:, ::-1].copy(), True)):
            seen = alone(image)
            left, top, right, bottom = seen.boxes.unbind(1)
            if is_mirrored:
                left, right = SIZE[1] - right, SIZE[1] - left
            boxes.append(torch.stack([left, top, right, bottom], dim=1))
            scores.append(seen.scores)
            labels.append(seen.labels)
    union = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
    kept = batched_nms(*union, predictor.recipe.detect.nms_iou)[: predictor.max_detections]
    assert len(kept) > 5
    assert found.labels.tolist() == union[2][kept].tolist()
    # mirrored before it is resized, Pillow rounds some pixels to the other neighbour
    torch.testing.assert_close(found.boxes, union[0][kept], rtol=0, atol=0.1)
    torch.testing.assert_close(found.scores, union[1][kept], rtol=0, atol=5e-3)


def test_mask_probabilities_are_the_mean_over_all_views(tiny_network, pixels):
    views = {"augmented.short_sides": [64, 96], "augmented.long_side": 128, "augmented.views_at_once": 1}
    predictor = spread(loaded(tiny_network, **views))
    found = predictor.augmented()(pixels)
    image, model, preprocess = predictor.preprocess.read(pixels), predictor.model, predictor.preprocess
    total = torch.zeros_like(found.masks.probabilities)
    for size in ((64, 115), (71, 128)):
        scale = torch.tensor([size[1] / SIZE[1], size[0] / SIZE[0]] * 2)
        for is_mirrored in (False, True):
            with torch.inference_mode():
                batch = preprocess.batch([image], [size])
                boxes = found.boxes * scale
                if is_mirrored:
                    batch.pixels[0, :, : size[0], : size[1]] = batch.pixels[0, :, : size[0], : size[1]].flip(-1)
                    boxes = torch.stack([size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]], 1)
                levels = model.encode(batch)
                asked = model.find(levels, batch)[0]._replace(boxes=boxes, labels=found.labels, scores=found.scores)
                seen = model.complete(levels, batch, [asked])[0].masks.probabilities
            total += seen.flip(-1) if is_mirrored else seen
    torch.testing.assert_close(found.masks.probabilities, total / 4, rtol=0, atol=1e-3)
    assert found.masks.probabilities.std() > 0.01


@pytest.mark.parametrize("family", ["two-stage", "one-stage"])
def test_the_mirrored_image_has_the_mirrored_objects(tiny_network, tiny_yolact, pixels, family):
    sizes = {"augmented.short_sides": [64, 96], "augmented.views_at_once": 1}
    if family == "two-stage":
        predictor = spread(loaded(tiny_network, "torchvision/mask_rcnn_r50_fpn", **sizes)).augmented()
    else:
        predictor = loaded(tiny_yolact, "yolact", **sizes, **{"detect.score_threshold": 0.0}).augmented()
    found, other = predictor(pixels)[:5], predictor(pixels[:, ::-1].copy())[:5]
    assert len(found) == 5
    left, top, right, bottom = other.boxes.unbind(1)
    turned = torch.stack([SIZE[1] - right, top, SIZE[1] - left, bottom], dim=1)
    torch.testing.assert_close(turned, found.boxes, rtol=0, atol=1e-2)
    torch.testing.assert_close(other.scores, found.scores, rtol=0, atol=1e-4)
    agreement = (other.masks.bitmaps()[:, :, ::-1] == found.masks.bitmaps()).mean()
    assert agreement > 0.995


def test_one_view_of_yolacts_own_size_is_a_plain_prediction(tiny_yolact, pixels):
    one_view = {"augmented.short_sides": [64], "augmented.flips": False, "detect.score_threshold": 0.0}
    predictor = loaded(tiny_yolact, "yolact", **one_view)
    plain, found = predictor(pixels), predictor.augmented()(pixels)
    # the views suppress each other once more, by the greedy rule
    kept = batched_nms(plain.boxes, plain.scores, plain.labels, predictor.recipe.detect.nms_iou)
    expected = plain[kept]
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.masks.rle() == expected.masks.rle()


@pytest.mark.parametrize("family", ["two-stage", "one-stage"])
def test_the_union_of_all_views_holds_what_is_left(tiny_network, tiny_yolact, pixels, family):
    if family == "two-stage":
        predictor = spread(loaded(tiny_network)).augmented()
    else:
        predictor = loaded(tiny_yolact, "yolact", **{"detect.score_threshold": 0.0}).augmented()
    image = predictor.preprocess.read(pixels)
    union, found = predictor.detector.union(image, Limits(count=9)), predictor(pixels, max_detections=9)
    assert 9 <= len(union.boxes) <= 18 * 9
    assert len(found) > 0
    assert set(found.scores.tolist()) <= set(union.scores.tolist())
    assert len(predictor.detector.union(image, Limits(1.0)).boxes) == 0
    assert len(predictor(pixels, score_threshold=1.0)) == 0


def test_half_precision_changes_little(tiny_network, pixels):
    exact = spread(loaded(tiny_network))
    rough = mw.Predictor(exact.model, exact.recipe, exact.device, "bf16")
    expected, found = exact.augmented()(pixels), rough.augmented()(pixels)
    tensors = (found.boxes, found.scores, found.masks.probabilities)
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    closest = (found.boxes[:, None] - expected.boxes[None]).abs().amax(dim=2).amin(dim=1)
    assert closest.median() < 0.5


def test_what_was_not_kept_is_computed_again(tiny_network, pixels, monkeypatch):
    predictor = spread(loaded(tiny_network)).augmented()
    first = predictor(pixels)
    monkeypatch.setattr(augmented, "_KEPT_BYTES", 0)
    second = predictor(pixels)
    assert torch.equal(first.boxes, second.boxes)
    torch.testing.assert_close(first.masks.probabilities, second.masks.probabilities)


def test_a_model_without_masks_has_its_boxes_augmented(tiny_network, pixels, monkeypatch):
    network = {**tiny_network, "mask_head.is_on": False}
    predictor = spread(loaded(network, "torchvision/mask_rcnn_r50_fpn")).augmented()
    calls = []
    predictor.model.backbone.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(augmented, "_KEPT_BYTES", 0)
    found = predictor(pixels)
    assert found.masks is None
    assert len(found) > 3
    assert len(calls) == 6  # 18 views by threes, each seen once


def test_limits_hold_for_what_is_left(tiny_network, pixels):
    predictor = spread(loaded(tiny_network)).augmented()
    assert len(predictor(pixels, max_detections=3)) == 3
    assert (predictor(pixels, score_threshold=0.4).scores > 0.4).all()


def test_keypoints_and_pixels_without_objects_are_refused(tiny_network):
    torch.manual_seed(0)
    keypoints = mw.load(
        "torchvision/keypoint_rcnn_r50_fpn", "random", "cpu", {**tiny_network, "categories": ["person"]}
    )
    with pytest.raises(ConfigError, match="finds keypoints, for which views of an image cannot be joined"):
        keypoints.augmented()


def test_tiles_may_be_augmented_but_not_the_other_way_round(tiny_network, pixels):
    predictor = spread(loaded(tiny_network))
    both = predictor.augmented().tiled(40, 16)
    assert len(both(pixels)) > 0
    with pytest.raises(ConfigError, match=r"augmented\(\)\.tiled\(\)"):
        predictor.tiled(40, 16).augmented()
    assert replace(both(pixels), masks=None).size == SIZE
