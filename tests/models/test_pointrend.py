"""PointRend's masks in whole networks, of its own recipe and switched on in others, tiny and untrained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maskwright.models.mask_rcnn.model import MaskRcnn
from maskwright.models.segmenter import Limits
from maskwright.structures import ImageBatch

LOSS_NAMES = {"rpn_objectness", "rpn_box", "class", "box", "mask", "mask_point"}
SMALL = {
    "mask_head__points__coarse_fc_channels": 16,
    "mask_head__points__fc_channels": 16,
    "mask_head__points__subdivisions": 2,
    "mask_head__points__points_per_step": 200,
}


@pytest.fixture(
    params=["mask_rcnn", "torchvision/mask_rcnn_r50_fpn", "detectron2/pointrend_mask_rcnn_r50_fpn"],
    ids=lambda name: name.rpartition("/")[2],
)
def model(request, build) -> MaskRcnn:
    model = build(request.param, mask_head__kind="point", **SMALL)
    with torch.no_grad():  # masks that are not flat
        for part in (model.mask_head.coarse.logits, model.mask_head.point.logits):
            part.weight.mul_(300)
    return model


def one_by_one(batch: ImageBatch) -> list[ImageBatch]:
    return [
        ImageBatch(batch.pixels[index : index + 1], (batch.sizes[index],), (batch.keys[index],))
        for index in range(len(batch))
    ]


def detect(model: MaskRcnn, batch: ImageBatch, **changes: Any) -> list:
    with torch.no_grad():
        return model.detect(batch, **changes)


def test_a_batch_gives_what_its_images_give_one_by_one(model, batch) -> None:
    for found, image in zip(detect(model, batch), one_by_one(batch), strict=True):
        (single,) = detect(model, image)
        assert len(found) > 10
        assert found.masks.probabilities.shape == (len(found), 28, 28)
        assert 0.01 < found.masks.probabilities.std() < 0.5
        assert torch.allclose(found.masks.probabilities, single.masks.probabilities, atol=1e-4)


def test_losses_of_a_batch_are_the_joined_sums_of_its_images(model, batch, targets) -> None:
    with torch.no_grad():
        together = model.losses(batch, targets)
        single = [model.losses(image, [target]) for image, target in zip(one_by_one(batch), targets, strict=True)]
    assert set(together) == LOSS_NAMES
    for name in ("mask", "mask_point"):
        assert together[name].count == sum(part[name].count for part in single) > 0
        total = sum(part[name].total.item() for part in single)
        assert together[name].total.item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("has_objects", [True, False])
def test_every_parameter_gets_a_gradient_with_and_without_objects(
    model, batch, targets, make_targets, has_objects
) -> None:
    losses = model.train().losses(batch, targets if has_objects else [make_targets([]), make_targets([])])
    torch.stack([loss.mean() for loss in losses.values()]).sum().backward()
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    assert [name for name, one in named if one.grad is None or not one.grad.isfinite().all()] == []
    assert has_objects == (losses["mask_point"].mean() > 0)


def test_an_image_without_detections_has_no_masks(model, batch) -> None:
    found = detect(model, batch, limits=Limits(score=1.1))
    assert [image.masks.probabilities.shape for image in found] == [(0, 28, 28)] * 2


def test_masks_in_half_precision_are_almost_the_same(model, batch) -> None:
    levels = model.encode(batch)
    with torch.no_grad():
        selected = model.find(levels, batch)
        exact = model.segment(levels, batch, selected)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.segment([level.bfloat16() for level in levels], batch, selected)
    for one, other in zip(exact, rough, strict=True):
        assert other.probabilities.dtype == torch.float32
        assert (one.probabilities - other.probabilities).abs().mean() < 0.02
