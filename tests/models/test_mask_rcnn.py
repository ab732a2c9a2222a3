"""Laws of the whole two-stage network, on networks that are tiny and untrained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maskwright.models.mask_rcnn.model import MaskRcnn
from maskwright.models.segmenter import Limits
from maskwright.structures import ImageBatch, Instances

LOSS_NAMES = {"rpn_objectness", "rpn_box", "class", "box", "mask"}
RECIPES = ["mask_rcnn", "torchvision/mask_rcnn_r50_fpn", "torchvision/mask_rcnn_r50_fpn_v2"]


def one_by_one(batch: ImageBatch) -> list[ImageBatch]:
    return [
        ImageBatch(batch.pixels[index : index + 1], (batch.sizes[index],), (batch.keys[index],))
        for index in range(len(batch))
    ]


def assert_same(found: Instances, wanted: Instances) -> None:
    assert found.labels.tolist() == wanted.labels.tolist()
    assert torch.allclose(found.boxes, wanted.boxes, atol=1e-3)
    assert torch.allclose(found.scores, wanted.scores, atol=1e-5)
    assert torch.allclose(found.masks.probabilities, wanted.masks.probabilities, atol=1e-4)


def detect(model: MaskRcnn, batch: ImageBatch, **changes: Any) -> list[Instances]:
    with torch.no_grad():
        return model.detect(batch, **changes)


def loss_values(model: MaskRcnn, batch: ImageBatch, targets: list) -> dict[str, float]:
    with torch.no_grad():
        return {name: loss.mean().item() for name, loss in model.losses(batch, targets).items()}


def backward(model: MaskRcnn, batch: ImageBatch, targets: list) -> None:
    torch.stack([loss.mean() for loss in model.losses(batch, targets).values()]).sum().backward()


def names_without_gradient(model: MaskRcnn) -> list[str]:
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    assert named
    return [name for name, one in named if one.grad is None or not one.grad.isfinite().all()]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_batch_gives_what_its_images_give_one_by_one(build, batch, recipe) -> None:
    model = build(recipe)
    together = detect(model, batch)
    assert all(len(found) > 10 for found in together)
    for found, alone in zip(together, one_by_one(batch), strict=True):
        assert_same(found, detect(model, alone)[0])


@pytest.mark.parametrize("recipe", RECIPES)
def test_losses_of_a_batch_are_the_joined_sums_of_its_images(build, batch, targets, recipe) -> None:
    model = build(recipe)
    with torch.no_grad():
        together = model.losses(batch, targets)
        alone = [model.losses(image, [target]) for image, target in zip(one_by_one(batch), targets, strict=True)]
    assert set(together) == LOSS_NAMES
    for name, loss in together.items():
        assert loss.count == sum(part[name].count for part in alone)
        assert loss.total.item() == pytest.approx(sum(part[name].total.item() for part in alone), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_trainable_parameter_gets_a_gradient(build, batch, targets, recipe) -> None:
    model = build(recipe).train()
    backward(model, batch, targets)
    assert names_without_gradient(model) == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_batch_without_objects_has_losses_and_gradients(build, batch, make_targets, recipe) -> None:
    model = build(recipe).train()
    nothing = [make_targets([]), make_targets([])]
    values = loss_values(model, batch, nothing)
    assert values["rpn_box"] == values["box"] == values["mask"] == 0
    assert values["rpn_objectness"] > 0 and values["class"] > 0
    backward(model, batch, nothing)
    assert names_without_gradient(model) == []


@pytest.mark.parametrize("has_objects", [True, False])
@pytest.mark.parametrize("recipe", RECIPES)
def test_without_any_proposal_the_network_still_works(build, batch, targets, make_targets, recipe, has_objects) -> None:
    model = build(recipe, rpn__min_side_px=1000)
    assert [len(found) for found in detect(model, batch)] == [0, 0]
    backward(model.train(), batch, targets if has_objects else [make_targets([]), make_targets([])])
    assert names_without_gradient(model) == []


def test_frozen_stages_get_no_gradient(build, batch, targets) -> None:
    model = build(backbone__frozen_stages=2)
    backward(model, batch, targets)
    assert all(
        one.grad is None for part in (model.backbone.stem, model.backbone.stages[0]) for one in part.parameters()
    )
    assert names_without_gradient(model) == []


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_blank_image_is_a_normal_image(build, value) -> None:
    blank = ImageBatch(torch.full((1, 3, 64, 96), value), ((64, 96),), (0,))
    (found,) = detect(build(), blank)
    assert found.boxes.isfinite().all() and found.scores.isfinite().all()


def test_detections_are_sorted_and_lie_in_their_own_image(build, batch) -> None:
    smaller = ImageBatch(batch.pixels, ((64, 96), (40, 50)), batch.keys)
    for found, (height, width) in zip(detect(build(), smaller), smaller.sizes, strict=True):
        assert len(found) > 0
        assert found.size == (height, width)
        assert (found.scores.diff() <= 0).all()
        assert found.boxes.min() >= 0 and found.boxes[:, 2].max() <= width and found.boxes[:, 3].max() <= height


def test_a_higher_threshold_keeps_the_detections_above_it(build, batch) -> None:
    model = build()
    for found, strict in zip(detect(model, batch), detect(model, batch, limits=Limits(0.4)), strict=True):
        assert 0 < len(strict) < len(found)
        assert_same(strict, found.above(0.4))


def test_a_lower_threshold_than_the_recipes_finds_more(build, batch) -> None:
    model = build(detect__score_threshold=0.4)
    for found, more in zip(detect(model, batch), detect(model, batch, limits=Limits(0.1)), strict=True):
        assert len(more) > len(found)
        assert more.scores.min() < 0.4


def test_limit_keeps_the_best(build, batch) -> None:
    model = build(detect__max_detections=5)
    for few, more in zip(detect(model, batch), detect(model, batch, limits=Limits(count=30)), strict=True):
        assert (len(few), len(more)) == (5, 30)
        assert_same(few, more[:5])


def test_losses_are_a_function_of_the_keys(build, batch, targets) -> None:
    model = build()
    other_keys = ImageBatch(batch.pixels, batch.sizes, (21, 22))
    assert loss_values(model, batch, targets) == loss_values(model, batch, targets)
    assert loss_values(model, batch, targets) != loss_values(model, other_keys, targets)


def test_losses_do_not_depend_on_the_training_flag(build, batch, targets) -> None:
    model = build()
    assert loss_values(model.train(), batch, targets) == loss_values(model.eval(), batch, targets)


def test_samplers_larger_than_the_candidates_leave_nothing_to_chance(build, batch, targets) -> None:
    model = build(rpn__anchors_per_image=100_000, roi__rois_per_image=100_000)
    other_keys = ImageBatch(batch.pixels, batch.sizes, (21, 22))
    assert loss_values(model, batch, targets) == loss_values(model, other_keys, targets)


def test_crowds_are_left_out_of_the_losses(build, batch, targets, make_targets) -> None:
    model = build()
    with_crowd = make_targets([(4, 6, 20), (30, 40, 30), (0, 0, 60)], [False, False, True])
    without = make_targets([(4, 6, 20), (30, 40, 30)])
    assert loss_values(model, batch, [with_crowd, targets[1]]) == loss_values(model, batch, [without, targets[1]])


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_the_mask_loss_takes_a_limited_number_of_objects(build, batch, targets, limit) -> None:
    all_positives = build(mask_head__rois_per_image=None).losses(batch, targets)["mask"].count
    with torch.no_grad():
        count = build(mask_head__rois_per_image=limit).losses(batch, targets)["mask"].count
    assert all_positives >= 5  # the objects' own boxes are candidates too
    assert count == min(2 * limit, all_positives)


def test_calling_the_network_trains_where_targets_are_given(build, batch, targets) -> None:
    model = build()
    assert set(model(batch, targets)) == LOSS_NAMES
    assert [found.size for found in model(batch)] == list(batch.sizes)


def test_half_precision_gives_float_results(build, batch, targets) -> None:
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        found = detect(model, batch)
        losses = model.losses(batch, targets)
    assert {loss.total.dtype for loss in losses.values()} == {torch.float32}
    assert all(loss.total.isfinite() for loss in losses.values())
    assert {found[0].boxes.dtype, found[0].scores.dtype, found[0].masks.probabilities.dtype} == {torch.float32}
    torch.stack([loss.mean() for loss in losses.values()]).sum().backward()
    assert names_without_gradient(model) == []


def test_memory_format_of_the_input_changes_nothing(build, batch) -> None:
    model = build()
    channels_last = batch.pixels.contiguous(memory_format=torch.channels_last)
    for found, same in zip(
        detect(model, batch), detect(model, ImageBatch(channels_last, batch.sizes, batch.keys)), strict=True
    ):
        assert torch.equal(found.boxes, same.boxes) and torch.equal(found.scores, same.scores)
