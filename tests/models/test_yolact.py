"""Laws of the whole one-stage network, on networks that are tiny and untrained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.models.segmenter import Limits
from maskwright.models.yolact.model import Yolact
from maskwright.structures import CropMasks, ImageBatch, Instances, Targets
from maskwright.structures.masks.crop import Crop

LOSS_NAMES = {"box", "class", "mask", "semantic"}
SIZE = (64, 96)

# our own, version 1 and YOLACT++ as released, each made tiny
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "own": ("yolact", {}),
    "v1": ("yolact/r50", {}),
    "plus": ("yolact/plus_r50", {"backbone__depth": 50}),
}
Build = Callable[..., Yolact]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, build_yolact: Build) -> Yolact:
    recipe, overrides = MODELS[request.param]
    return build_yolact(recipe, **overrides)


def names_of(model: Yolact) -> set[str]:
    return LOSS_NAMES if model.rescoring is None else LOSS_NAMES | {"mask_iou"}


def one_by_one(batch: ImageBatch) -> list[ImageBatch]:
    return [
        ImageBatch(batch.pixels[index : index + 1], (batch.sizes[index],), (batch.keys[index],))
        for index in range(len(batch))
    ]


def assert_same(found: Instances, wanted: Instances) -> None:
    assert found.labels.tolist() == wanted.labels.tolist()
    assert torch.allclose(found.boxes, wanted.boxes, atol=1e-3)
    assert torch.allclose(found.scores, wanted.scores, atol=1e-5)
    assert torch.allclose(found.masks.probabilities(), wanted.masks.probabilities(), atol=1e-4)
    assert (found.mask_scores is None) == (wanted.mask_scores is None)
    assert found.mask_scores is None or torch.allclose(found.mask_scores, wanted.mask_scores, atol=1e-4)


def detect(model: Yolact, batch: ImageBatch, **changes: Any) -> list[Instances]:
    with torch.no_grad():
        return model.detect(batch, **changes)


def loss_values(model: Yolact, batch: ImageBatch, targets: list[Targets]) -> dict[str, float]:
    with torch.no_grad():
        return {name: loss.mean().item() for name, loss in model.losses(batch, targets).items()}


def names_without_gradient(model: Yolact, batch: ImageBatch, targets: list[Targets]) -> list[str]:
    """After going backward through all losses, which must be finite."""
    model.zero_grad(set_to_none=True)
    losses = torch.stack([loss.mean() for loss in model.losses(batch, targets).values()])
    assert losses.isfinite().all()
    losses.sum().backward()
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    return [name for name, one in named if one.grad is None or not one.grad.isfinite().all()]


# detection


def test_a_batch_gives_what_its_images_give_one_by_one(model, batch) -> None:
    together = detect(model, batch)
    assert all(len(found) > 10 for found in together)
    for found, alone in zip(together, one_by_one(batch), strict=True):
        assert_same(found, detect(model, alone)[0])


def test_detections_are_sorted_and_have_masks_of_their_own_image(model, batch) -> None:
    smaller = ImageBatch(batch.pixels, ((64, 96), (40, 50)), batch.keys)
    for found, size in zip(detect(model, smaller), smaller.sizes, strict=True):
        assert len(found) > 0
        assert found.size == found.masks.size == size
        assert (found.scores.diff() <= 0).all()
        assert found.masks.bitmaps().shape == (len(found), *size)


def test_only_re_scoring_networks_score_masks(model, batch) -> None:
    for found in detect(model, batch):
        assert (found.mask_scores is None) == (model.rescoring is None)
        if found.mask_scores is not None:
            with torch.no_grad():
                wanted = model.rescoring(found.masks.probabilities(), found.labels) * found.scores
            assert torch.allclose(found.mask_scores, wanted, atol=1e-5)


def test_masks_of_a_padded_image_show_its_own_part_of_the_network_input(build_yolact, batch) -> None:
    model, cut = build_yolact(), (50, 70)
    padded = ImageBatch(batch.pixels, (cut, cut), batch.keys)
    for whole, part in zip(detect(model, batch), detect(model, padded), strict=True):
        assert torch.equal(whole.boxes, part.boxes)
        assert np.array_equal(whole.masks.bitmaps()[:, : cut[0], : cut[1]], part.masks.bitmaps())


def test_every_detection_scores_above_the_threshold_of_the_call(model, batch) -> None:
    for limit in (0.05, 0.3, 0.9):
        assert all((found.scores > limit).all() for found in detect(model, batch, limits=Limits(limit)))


def test_a_lower_threshold_than_the_recipes_finds_more(build_yolact, batch) -> None:
    model = build_yolact(detect__score_threshold=0.9, detect__max_detections=2000)
    for found, more in zip(detect(model, batch), detect(model, batch, limits=Limits(0.01)), strict=True):
        assert len(more) > len(found)


@pytest.mark.parametrize("nms", ["fast", "cross_class", "traditional"])
def test_limit_keeps_the_best(build_yolact, batch, nms) -> None:
    model = build_yolact(detect__nms=nms, detect__max_detections=5)
    for few, more in zip(detect(model, batch), detect(model, batch, limits=Limits(count=12)), strict=True):
        assert (len(few), len(more)) == (5, 12)
        assert_same(few, more[:5])


def test_cross_class_detections_are_cut_only_where_asked(build_yolact, batch) -> None:
    # our own recipe cuts; the released models do not
    uncut = {"detect__nms": "cross_class", "detect__max_detections": 3, "detect__nms_iou": 0.9}
    assert [len(found) for found in detect(build_yolact(**uncut), batch)] == [3, 3]
    model = build_yolact("yolact/r50", **uncut, detect__score_threshold=0.01)
    assert all(len(found) > 3 for found in detect(model, batch))
    assert [len(found) for found in detect(model, batch, limits=Limits(count=3))] == [3, 3]


@pytest.mark.parametrize("nms", ["fast", "cross_class", "traditional"])
@pytest.mark.parametrize("recipe", ["v1", "plus"])
def test_nothing_found_is_a_normal_case(build_yolact, batch, nms, recipe) -> None:
    name, overrides = MODELS[recipe]
    model = build_yolact(name, **overrides, detect__nms=nms, detect__score_threshold=1)
    for found in detect(model, batch):
        assert (len(found), found.masks.rle(), found.boxes.shape) == (0, [], (0, 4))


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_blank_image_is_a_normal_image(model, value) -> None:
    (found,) = detect(model, ImageBatch(torch.full((1, 3, 64, 96), value), ((64, 96),), (0,)))
    assert found.boxes.isfinite().all() and found.scores.isfinite().all()


@pytest.mark.parametrize("size", [(32, 32), (65, 33), (8, 200)])
def test_inputs_may_have_any_size(model, size) -> None:
    (found,) = detect(model, ImageBatch(torch.randn((1, 3, *size)), (size,), (0,)))
    assert len(found.masks.rle()) == len(found)


# losses


def test_losses_of_a_batch_are_the_joined_sums_of_its_images(model, batch, targets) -> None:
    with torch.no_grad():
        together = model.losses(batch, targets)
        alone = [model.losses(image, [target]) for image, target in zip(one_by_one(batch), targets, strict=True)]
    assert set(together) == names_of(model)
    for name, loss in together.items():
        assert loss.count == sum(part[name].count for part in alone)
        assert loss.total.item() == pytest.approx(sum(part[name].total.item() for part in alone), rel=1e-4, abs=1e-4)


def test_every_trainable_parameter_gets_a_gradient(model, batch, targets) -> None:
    assert names_without_gradient(model, batch, targets) == []
    assert names_without_gradient(model, batch, [targets[0], targets[0]]) == []


def test_a_batch_without_objects_has_losses_and_gradients(model, batch, make_targets) -> None:
    nothing = [make_targets([]), make_targets([])]
    values = loss_values(model, batch, nothing)
    assert values["box"] == values["mask"] == values.get("mask_iou", 0) == 0
    assert values["class"] > 0 and values["semantic"] > 0
    assert names_without_gradient(model, batch, nothing) == []


def test_losses_are_a_function_of_the_keys(build_yolact, batch, targets) -> None:
    model = build_yolact(losses__masks_per_image=2)
    other_keys = ImageBatch(batch.pixels, batch.sizes, (21, 22))
    assert loss_values(model, batch, targets) == loss_values(model, batch, targets)
    assert loss_values(model, batch, targets) != loss_values(model, other_keys, targets)


def test_a_draw_larger_than_the_positives_leaves_nothing_to_chance(model, batch, targets) -> None:
    other_keys = ImageBatch(batch.pixels, batch.sizes, (21, 22))
    assert loss_values(model, batch, targets) == loss_values(model, other_keys, targets)


def test_losses_do_not_depend_on_the_training_flag(build_yolact, batch, targets) -> None:
    model = build_yolact()  # whose norm is over groups
    assert loss_values(model.train(), batch, targets) == loss_values(model.eval(), batch, targets)


def test_masks_are_learnt_where_they_lie_in_a_padded_input(model, batch, targets) -> None:
    """An image that takes (50, 70) of the input: the same objects, given as parts of the image or of the input."""
    part = [Targets((50, 70), *rest(target, (50, 70))) for target in targets]
    padded = ImageBatch(batch.pixels, ((50, 70), (50, 70)), batch.keys)
    whole = [Targets(SIZE, *rest(target, SIZE, (50, 70))) for target in targets]
    assert loss_values(model, padded, part) == loss_values(model, batch, whole)


def rest(target: Targets, size: tuple[int, int], seen: tuple[int, int] | None = None) -> tuple[Any, ...]:
    """The objects as seen through a window, in an image of `size`."""
    height, width = seen or size
    visible = target.masks.cut(0, 0, height, width)
    masks = CropMasks.from_crops(visible.crops(), size)
    boxes = torch.minimum(target.boxes, torch.tensor([width, height, width, height]))
    return boxes, target.labels, masks, target.is_crowd


def test_factors_are_part_of_the_losses(build_yolact, batch, targets) -> None:
    once = loss_values(build_yolact(rescoring__is_on=True), batch, targets)
    names = ("box", "class", "mask", "semantic", "mask_iou")
    factors = {"box": 1.5, "class": 1.0, "mask": 6.125, "semantic": 1.0, "mask_iou": 25.0}
    twice = {f"losses__{name}_factor": 2 * factors[name] for name in names}
    again = loss_values(build_yolact(rescoring__is_on=True, **twice), batch, targets)
    assert again == pytest.approx({name: 2 * value for name, value in once.items()}, rel=1e-5)


def test_calling_the_network_trains_where_targets_are_given(model, batch, targets) -> None:
    assert set(model(batch, targets)) == names_of(model)
    assert [found.size for found in model(batch)] == list(batch.sizes)


def test_half_precision_gives_float_results(model, batch, targets) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = detect(model, batch)
        losses = model.losses(batch, targets)
        assert names_without_gradient(model, batch, targets) == []
    assert {loss.total.dtype for loss in losses.values()} == {torch.float32}
    assert {found[0].boxes.dtype, found[0].scores.dtype, found[0].masks.coefficients.dtype} == {torch.float32}
    assert {found[0].masks.prototypes.dtype} == {torch.float32}
    for name, value in loss_values(model, batch, targets).items():
        assert losses[name].mean().item() == pytest.approx(value, rel=0.1, abs=0.1), name


def test_memory_format_of_the_input_changes_nothing(model, batch) -> None:
    channels_last = batch.pixels.contiguous(memory_format=torch.channels_last)
    same = detect(model, ImageBatch(channels_last, batch.sizes, batch.keys))
    for found, other in zip(detect(model, batch), same, strict=True):
        assert torch.equal(found.boxes, other.boxes) and torch.equal(found.scores, other.scores)


# what broke the original: losses that are not finite


def objects(boxes: list[list[float]], crops: list[Crop] | None = None, is_crowd: bool = False) -> Targets:
    """Objects with full masks of whole pixels, at least one, unless given otherwise."""
    return Targets(
        size=SIZE,
        boxes=torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        labels=torch.arange(len(boxes)) % 3,
        masks=CropMasks.from_crops(crops if crops is not None else [filled(box) for box in boxes], SIZE),
        is_crowd=torch.full((len(boxes),), is_crowd),
    )


def filled(box: list[float]) -> Crop:
    left, top = (min(max(int(low), 0), side - 1) for low, side in zip(box[:2], (96, 64), strict=True))
    right, bottom = (
        min(max(int(high), first + 1), side) for high, first, side in zip(box[2:], (left, top), (96, 64), strict=True)
    )
    return Crop(np.ones((bottom - top, right - left), dtype=bool), top, left)


def everywhere() -> list[list[float]]:
    """More objects than the 387 anchors of the tiny networks."""
    return [[x, y, x + 3.0, y + 2.5] for x in range(0, 93, 4) for y in range(0, 60, 3)]


PLAIN = [[4.0, 6.0, 40.0, 50.0], [50.0, 10.0, 90.0, 60.0]]
NO_PIXELS = Crop(np.zeros((0, 0), dtype=bool), 0, 0)
BACKGROUND_ONLY = Crop(np.zeros((5, 7), dtype=bool), 3, 4)
EDGES = [[-1e-4, -1e-4, 96.0001, 64.0001], [90.0, 60.0, 96.00001, 64.00001], [95.99999, 10.0, 96.00001, 20.0]]
NO_AREA = [[4.0, 4.0, 4.0, 30.0], [96.0, 64.0, 96.0, 64.0], [10.0, 10.0, 10.00000001, 30.0], [30.0, 30.0, 20.0, 20.0]]

CASES: dict[str, list[Targets]] = {
    "tiny boxes": [objects([[10.0, 10.0, 10.1, 10.1], [95.9, 63.9, 96.0, 64.0]]), objects([[30.05, 8.0, 30.1, 50.0]])],
    "tiny boxes of large masks": [objects([[50.0, 30.0, 50.1, 30.1]] * 2, [filled(box) for box in PLAIN])] * 2,
    "boxes without mask pixels": [objects(PLAIN, [NO_PIXELS, BACKGROUND_ONLY]), objects(PLAIN)],
    "no mask pixel in the batch": [objects(PLAIN, [NO_PIXELS, NO_PIXELS])] * 2,
    "an image without objects": [objects(PLAIN), objects([])],
    "no objects in the batch": [objects([]), objects([])],
    "an image with only a crowd": [objects(PLAIN), objects(PLAIN[:1], is_crowd=True)],
    "crowds over everything": [objects([[0.0, 0.0, 96.0, 64.0]], is_crowd=True)] * 2,
    "a batch of one": [objects(PLAIN)],
    "a batch of one without objects": [objects([])],
    "more objects than anchors": [objects(everywhere()), objects(PLAIN)],
    "objects over the whole image": [objects([[0.0, 0.0, 96.0, 64.0]] * 5), objects(PLAIN)],
    "boxes outside by rounding": [objects(EDGES), objects(EDGES[:1])],
    "boxes without area": [objects(NO_AREA + PLAIN), objects(NO_AREA)],
}


@pytest.fixture(scope="module", params=["v1", "plus"])
def trained(request: pytest.FixtureRequest, build_yolact: Build) -> Yolact:
    """In training mode, with batch norms; few masks are drawn, so that often there are more positives."""
    is_plus = request.param == "plus"
    drawn = {"losses__masks_per_image": 3, "rescoring__is_on": is_plus, "rescoring__min_area": 1}
    return build_yolact(backbone__norm="batch", fpn__norm="none", **drawn).train()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_finite_whatever_the_objects(trained, case, precision) -> None:
    targets = CASES[case]
    pixels = torch.randn((len(targets), 3, *SIZE), generator=torch.Generator().manual_seed(3))
    batch = ImageBatch(pixels, (SIZE,) * len(targets), tuple(range(len(targets))))
    with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
        assert names_without_gradient(trained, batch, targets) == []


def test_the_cases_have_more_objects_than_anchors_and_more_positives_than_masks(build_yolact, batch) -> None:
    model = build_yolact()
    with torch.no_grad():
        anchors = model._head(model._levels(batch), batch).anchors
    assert len(everywhere()) > len(anchors) == 387
    assert model.losses(batch, CASES["objects over the whole image"])["mask"].count > 6
