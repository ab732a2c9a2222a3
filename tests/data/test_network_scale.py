"""What a recipe loses of a dataset, counted without its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.ops import box_iou

from maskwright.config import Recipe, load_recipe
from maskwright.data.network_scale import _best_ious, _levels, scale_lines, scale_loss
from maskwright.data.record import ImageRecord
from maskwright.models.build import build_model
from maskwright.models.mask_rcnn.model import MaskRcnn
from maskwright.models.yolact.model import Yolact
from maskwright.structures import ImageBatch


def record(boxes: list[list[float]], size: tuple[int, int] = (400, 600), **more: Any) -> ImageRecord:
    annotations = tuple({"category_id": 1, "bbox": box, **more} for box in boxes)
    return ImageRecord(1, Path("1.png"), size, annotations)


def test_sides_are_those_of_the_network_input() -> None:
    changes = {"resize.short_side": 200, "resize.long_side": 400, "data.augment.min_side_px": 1}  # half of 400 × 600
    recipe = load_recipe("mask_rcnn", changes)
    loss = scale_loss(recipe, [record([[0, 0, 100, 1.5], [0, 0, 100, 2.5], [0, 0, 100, 100]])])
    assert (loss.num_objects, loss.num_thin, loss.num_dropped) == (3, 1, 1)
    assert loss.median_side_px == 1.25


def test_what_the_recipe_drops_is_counted_by_its_own_limit() -> None:
    changes = {"resize.short_side": 400, "data.augment.min_side_px": 5}
    loss = scale_loss(load_recipe("mask_rcnn", changes), [record([[0, 0, 100, 4], [0, 0, 100, 6]])])
    assert (loss.num_thin, loss.num_dropped) == (0, 1)


def test_crowds_do_not_count_and_no_objects_are_no_loss() -> None:
    recipe = load_recipe("mask_rcnn")
    for records in ([record([[0, 0, 100, 0.1]], iscrowd=1)], [record([])], []):
        assert scale_loss(recipe, records).num_objects == 0
        assert scale_lines(recipe, records) == []


@pytest.mark.parametrize("name", ["mask_rcnn", "yolact"])
def test_objects_that_no_anchor_fits_are_counted_with_the_remedy(name: str) -> None:
    recipe = load_recipe(name)
    fitting, thin = [200.0, 100.0, 64.0, 64.0], [10.0, 100.0, 500.0, 4.0]
    loss = scale_loss(recipe, [record([fitting, fitting, fitting, thin])])
    assert (loss.num_objects, loss.num_unmatched) == (4, 1)
    (line,) = scale_lines(recipe, [record([fitting, fitting, fitting, thin])])
    assert line.startswith("1 of 4 objects (25%) overlap no anchor by 0.")
    assert "give anchors.sizes_px and anchors.ratios that fit them" in line


def test_a_hundredth_of_the_objects_is_worth_a_line_and_less_is_not() -> None:
    recipe = load_recipe("mask_rcnn")
    good, thin = [200.0, 100.0, 64.0, 64.0], [10.0, 100.0, 100.0, 0.3]
    reported = scale_lines(recipe, [record([good] * 99 + [thin])])
    assert reported[0].startswith("1 of 100 objects (1%) are thinner than a pixel at the network's size")
    assert "raise resize.short_side and resize.long_side, or cut the images into tiles" in reported[0]
    assert scale_lines(recipe, [record([good] * 199 + [thin])]) == []


def test_a_model_without_anchors_has_none_that_could_fit() -> None:
    recipe = load_recipe("detectron2/semantic_fpn_r50")
    assert scale_loss(recipe, [record([[0, 0, 300, 2]])]).num_unmatched == 0
    assert scale_lines(recipe, [record([[0, 0, 300, 2]])]) == []


def boxes_at_random(count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    sides = torch.exp(torch.rand(count, 2, generator=random) * 4)
    corners = torch.rand(count, 2, generator=random) * (torch.tensor([128.0, 96.0]) - sides).clamp(min=0)
    return torch.cat([corners, sides], dim=1)


def best_ious(boxes: torch.Tensor, size: tuple[int, int], recipe: Recipe) -> torch.Tensor:
    sizes = torch.tensor([size] * len(boxes), dtype=torch.float64)
    return torch.from_numpy(_best_ious(boxes.double().numpy(), sizes.numpy(), _levels(recipe))).float()


def corners_of(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)


@pytest.mark.parametrize("name", ["mask_rcnn", "torchvision/mask_rcnn_r50_fpn", "detectron2/mask_rcnn_r50_c4"])
def test_the_best_anchor_is_that_of_the_network_itself(name: str, tiny_network: dict[str, Any]) -> None:
    changes = {} if name.endswith("c4") else tiny_network
    recipe = load_recipe(name, changes)
    model = build_model(recipe if changes else load_recipe(name, {"backbone.width": 8}))
    assert isinstance(model, MaskRcnn)
    batch = ImageBatch(torch.zeros(1, 3, 96, 160), ((96, 160),), (0,))
    with torch.no_grad():
        anchors = model.rpn(model.fpn(model.backbone(batch.pixels)), batch).anchors
    boxes = boxes_at_random(200)
    wanted = box_iou(corners_of(boxes), anchors).amax(dim=1)
    torch.testing.assert_close(best_ious(boxes, (96, 160), recipe), wanted, rtol=1e-4, atol=1e-5)


def test_the_best_anchor_of_yolact_is_that_of_the_network_itself(tiny_yolact: dict[str, Any]) -> None:
    recipe = load_recipe("yolact", tiny_yolact)
    model = build_model(recipe)
    assert isinstance(model, Yolact)
    anchors = model.anchors.lay([(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)], (64, 64)) * 64
    boxes = boxes_at_random(100).clamp(max=60)
    wanted = box_iou(corners_of(boxes), anchors).amax(dim=1)
    torch.testing.assert_close(best_ious(boxes, (64, 64), recipe), wanted, rtol=1e-4, atol=1e-5)
