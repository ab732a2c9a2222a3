"""Masks that are on the image already."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.structures import CropMasks, RoiMasks
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.pasted import PastedMasks

SIZE = (40, 60)


def roi_masks(num: int = 7) -> RoiMasks:
    generator = torch.Generator().manual_seed(num)
    corners = torch.rand((num, 2, 2), generator=generator).sort(dim=1).values * torch.tensor([60.0, 40.0])
    return RoiMasks(SIZE, torch.rand((num, 14, 14), generator=generator), corners.reshape(num, 4), 0.5)


@given(st.integers(0, 9))
def test_pasting_keeps_every_pixel_area_and_run_length(num: int) -> None:
    masks = roi_masks(num)
    pasted = PastedMasks.of(masks)
    assert len(pasted) == num
    assert np.array_equal(pasted.bitmaps(), masks.bitmaps())
    assert pasted.rle() == masks.rle()
    assert pasted.areas().tolist() == masks.areas().tolist()


def test_choosing_and_restoring_are_those_of_the_pixels() -> None:
    masks = roi_masks()
    pasted = PastedMasks.of(masks)
    assert np.array_equal(pasted[torch.tensor([4, 1])].bitmaps(), masks.bitmaps()[[4, 1]])
    assert np.array_equal(pasted.to("cpu")[2].bitmaps(), masks.bitmaps()[[2]])
    exact = CropMasks.from_crops(list(masks.crops()), SIZE)
    larger = pasted.restored((80, 120), masks.boxes * 2)
    assert np.array_equal(larger.bitmaps(), exact.resized((80, 120)).bitmaps())


def test_masks_without_pixels_stay() -> None:
    pasted = PastedMasks.of(CropMasks.from_crops([Crop(np.zeros((5, 5), dtype=bool), 3, 3)] * 2, SIZE))
    assert (len(pasted), pasted.areas().tolist(), pasted.polygons()) == (2, [0, 0], [[], []])


def test_a_hundred_masks_over_a_photograph_take_an_eighth_of_their_pixels() -> None:
    full = Crop(np.ones((400, 600), dtype=bool))
    pasted = PastedMasks.of(CropMasks.from_crops([full] * 10, (400, 600)))
    assert sum(bits.packed.nbytes for bits in pasted.bits) == 10 * 400 * 600 // 8
