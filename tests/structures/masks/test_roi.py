"""A detection's mask on its own box, and what it becomes on the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycocotools.mask
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from maskwright.structures import RoiMasks
from maskwright.structures.masks.roi import Pasting


@pytest.fixture
def masks() -> RoiMasks:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand((7, 2, 2), generator=generator).sort(dim=1).values * torch.tensor([60.0, 40.0])
    coarse = torch.rand((7, 1, 7, 7), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(28, 28), mode="bicubic").clamp(0, 1)[:, 0]
    return RoiMasks((40, 60), smooth, corners.reshape(7, 4), 0.5)


def test_bitmaps_are_torchvisions(masks: RoiMasks) -> None:
    theirs = paste_masks_in_image(masks.probabilities[:, None], masks.boxes, masks.size)[:, 0] > 0.5
    assert np.array_equal(masks.bitmaps(), theirs.numpy())


def test_run_lengths_and_areas_are_those_of_the_bitmaps(masks: RoiMasks) -> None:
    bitmaps = masks.bitmaps()
    encoded = [pycocotools.mask.encode(np.asfortranarray(bitmap.astype(np.uint8))) for bitmap in bitmaps]
    assert [rle["counts"] for rle in masks.rle()] == [rle["counts"].decode() for rle in encoded]
    assert masks.areas().tolist() == bitmaps.sum(axis=(1, 2)).tolist()


def test_polygons_are_the_masks_exactly(masks: RoiMasks) -> None:
    size = list(masks.size)
    for polygons, rle in zip(masks.polygons(), masks.rle(), strict=True):
        parts = pycocotools.mask.frPyObjects([part.ravel().tolist() for part in polygons], *size)
        assert pycocotools.mask.merge(parts)["counts"].decode() == rle["counts"]


def test_a_square_is_four_corners_on_its_edges() -> None:
    square = RoiMasks((40, 60), torch.ones((1, 28, 28)), torch.tensor([[10.0, 5.0, 30.0, 25.0]]), 0.5, "centres")
    ((outline,),) = square.polygons()
    assert sorted(outline.tolist()) == [[10, 5], [10, 25], [30, 5], [30, 25]]


@pytest.mark.parametrize("pasting", ["bordered", "exclusive", "centres", "bytes"])
def test_every_manner_survives_choosing_and_restoring(masks: RoiMasks, pasting: Pasting) -> None:
    manner = replace(masks, pasting=pasting, stretches_range=True)
    assert np.array_equal(manner[torch.tensor([4, 1])].bitmaps(), manner.bitmaps()[[4, 1]])
    twice = manner.restored((80, 120), manner.boxes * 2)
    assert (twice.pasting, twice.stretches_range, twice.size) == (pasting, True, (80, 120))
    assert manner.to("cpu").rle() == manner.rle()


@pytest.mark.parametrize(
    ("pasting", "is_foreground"), [("bordered", False), ("exclusive", False), ("centres", True), ("bytes", True)]
)
def test_a_pixel_at_the_threshold_is_foreground_for_some(pasting: Pasting, is_foreground: bool) -> None:
    # sides of a power of two, so that no weight is rounded
    masks = RoiMasks((48, 60), torch.full((1, 4, 4), 0.5), torch.tensor([[8.0, 8.0, 40.0, 40.0]]), 0.5, pasting)
    inner = masks.bitmap(0)[14:34, 14:34]
    assert inner.all() if is_foreground else not inner.any()


@pytest.mark.parametrize(("stretches_range", "share"), [(False, 0.0), (True, 0.5)])
def test_the_threshold_may_be_relative_to_a_masks_own_range(stretches_range: bool, share: float) -> None:
    faint = torch.linspace(0, 0.4, 28).repeat(1, 28, 1)
    box = torch.tensor([[10.0, 5.0, 38.0, 33.0]])
    masks = RoiMasks((40, 60), faint, box, 0.5, "bytes", stretches_range)
    assert masks.areas().tolist() == [share * 28 * 28]


def test_choosing_masks_is_choosing_bitmaps(masks: RoiMasks) -> None:
    chosen = torch.tensor([4, 1])
    assert np.array_equal(masks[chosen].bitmaps(), masks.bitmaps()[[4, 1]])
    assert np.array_equal(masks[2:5].bitmaps(), masks.bitmaps()[2:5])


def test_no_masks_are_a_normal_case() -> None:
    none = RoiMasks((40, 60), torch.zeros((0, 28, 28)), torch.zeros((0, 4)), 0.5)
    assert none.bitmaps().shape == (0, 40, 60)
    assert (none.rle(), none.polygons(), none.areas().tolist()) == ([], [], [])


def test_mask_outside_the_image_is_empty() -> None:
    outside = RoiMasks((40, 60), torch.ones((1, 28, 28)), torch.tensor([[100.0, 100.0, 120.0, 120.0]]), 0.5)
    assert outside.areas().tolist() == [0]
    assert outside.polygons() == [[]]
    assert outside.rle()[0]["size"] == [40, 60]
