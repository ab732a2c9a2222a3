"""True masks on the grids of RoIs: detectron2's arithmetic with the COCO API, and what matterport's port recorded."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from maskwright.structures import CropMasks
from maskwright.structures.masks.polygons import read_polygons
from maskwright.structures.masks.rle import any_to_rle


def masks_of(segmentations: list[Any], size: tuple[int, int]) -> CropMasks:
    outlines = tuple(read_polygons(segmentation) for segmentation in segmentations)
    return CropMasks.from_rle([any_to_rle(one, size) for one in segmentations], size, outlines)


@pytest.mark.parametrize("case", ["mask_rcnn_R_50_FPN_3x", "mask_rcnn_R_50_C4_3x", "panoptic_fpn_R_50_3x"])
def test_polygons_of_detectron2s_training_images_are_drawn_by_its_rule(shared, case: str) -> None:
    recorded = json.loads((shared / "parity" / "detectron2" / case / "train.json").read_text())
    truth, size = recorded["targets"][0], tuple(recorded["resized_sizes"][0])
    ratio = [size[1] / truth["width"], size[0] / truth["height"]]
    masks = masks_of(truth["segmentation"], (truth["height"], truth["width"])).resized(size)
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor(recorded["resized_gt_boxes"][0]).repeat(5, 1)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    rois = boxes + sides * 0.2 * (torch.rand(boxes.shape, generator=generator) - 0.5)
    objects = torch.arange(len(masks)).repeat(5)
    drawn = masks.drawn(rois, objects, 28).bool().numpy()
    for found, box, index in zip(drawn, rois.numpy(), objects.tolist(), strict=True):
        if truth["iscrowd"][index]:
            continue
        scale = 28 / np.maximum(box[2:] - box[:2], np.float32(0.1))
        parts = [
            ((np.array(part).reshape(-1, 2) * ratio - box[:2]) * scale).ravel().tolist()
            for part in truth["segmentation"][index]
        ]
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, 28, 28)))
        assert np.array_equal(found, expected.astype(bool))


# matterport: the image of 640 × 480 becomes 1024 × 768 in the middle of a square of 1024


@pytest.fixture(scope="module")
def matterport(shared) -> dict[str, Any]:
    return json.loads((shared / "parity" / "matterport" / "resnet101_coco" / "train.json").read_text())


@pytest.fixture(scope="module")
def placed(matterport: dict[str, Any]) -> CropMasks:
    height, width, _ = matterport["image_shape_hwc"]
    masks = masks_of([annotation["segmentation"] for annotation in matterport["annotations"]], (height, width))
    return masks.resized((1024, 768), "nearest_corners").cut(0, -128, 1024, 1024)


def run_of(matterport: dict[str, Any], mini_px: int | None) -> dict[str, Any]:
    return matterport["runs"][0 if mini_px else 1]


def test_matterports_masks_are_prepared_to_the_pixel(matterport: dict[str, Any], placed: CropMasks) -> None:
    run = run_of(matterport, None)
    assert placed.areas().tolist() == run["gt_mask_area_after_preparation"]
    recorded = torch.tensor(run["gt_boxes_y1x1y2x2_in_padded_image_pixels"])
    assert torch.equal(placed.boxes(), recorded[:, [1, 0, 3, 2]])


def test_matterports_mini_masks_are_shrunk_to_the_pixel(matterport: dict[str, Any], placed: CropMasks) -> None:
    from maskwright.structures.masks.resizing import mini_crop

    areas = [int(mini_crop(crop, 56, True).pixels.sum()) for crop in placed.crops()]
    assert areas == run_of(matterport, 56)["gt_mask_area_after_preparation"]


def roi_of(deltas: list[float], box: Tensor) -> Tensor:
    """The RoI that is refined to a true box (x1 y1 x2 y2) by recorded dy dx dh dw over their deviations."""
    dy, dx, dh, dw = (torch.tensor(deltas, dtype=torch.float64) * torch.tensor([0.1, 0.1, 0.2, 0.2])).unbind()
    sides = (box[2:] - box[:2]) / torch.stack([dw, dh]).exp()
    centre = (box[:2] + box[2:]) / 2 - torch.stack([dx, dy]) * sides
    return torch.cat([centre - sides / 2, centre + sides / 2]).float()


@pytest.mark.parametrize("mini_px", [None, 56])
def test_matterports_targets_have_the_recorded_areas(
    matterport: dict[str, Any], placed: CropMasks, mini_px: int | None
) -> None:
    run = run_of(matterport, mini_px)
    # which object of its class an RoI belonged to was not recorded; the areas of both runs show it
    owners = torch.tensor([3, 40, 36, 28, 13, 40, 40, 36])
    labels = torch.tensor(run["gt_class_ids_negative_is_crowd"])
    assert labels[owners].tolist() == run["target_class_ids"][:8]
    boxes = placed.boxes().double()[owners]
    deltas = run["target_deltas_of_first_positives"]
    rois = torch.stack([roi_of(*pair) for pair in zip(deltas, boxes, strict=True)])
    areas = placed.cropped(rois, owners, 28, mini_px, stretches_range=True).sum(dim=(1, 2))
    assert areas.tolist() == run["target_mask_area_of_positives"][:8]
