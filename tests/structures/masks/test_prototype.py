"""Masks from prototypes: the same as stretching whole grids of probabilities, crop by crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycocotools.mask
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from maskwright.structures import PrototypeMasks
from maskwright.structures.masks.rle import polygons_to_rle

# boxes in cells: inside, across the border, wholly outside, without area, of the whole grid
BOXES = [
    [2.0, 1.0, 5.5, 4.25],
    [-3.0, 2.5, 2.75, 30.0],
    [40.0, 3.0, 50.0, 6.0],
    [-20.0, -20.0, -9.0, -9.0],
    [3.3, 3.3, 3.3, 3.3],
    [0.0, 0.0, 9.0, 7.0],
]


def prototype_masks(seed: int, grid: tuple[int, int], size: tuple[int, int], padded: tuple[int, int]) -> PrototypeMasks:
    """Six masks whose image takes `size` of the `padded` network input."""
    generator = torch.Generator().manual_seed(seed)
    return PrototypeMasks(
        size=size,
        prototypes=torch.rand((*grid, 4), generator=generator) * 3,
        coefficients=torch.rand((6, 4), generator=generator) * 2 - 1,
        boxes=torch.tensor(BOXES),
        extent=(grid[0] * size[0] / padded[0], grid[1] * size[1] / padded[1]),
        threshold=0.5,
    )


def dense_probabilities(masks: PrototypeMasks) -> Tensor:
    """(N, h, w) with crops by comparing every cell."""
    height, width, _ = masks.prototypes.shape
    combined = torch.stack([(masks.prototypes * one).sum(dim=-1).sigmoid() for one in masks.coefficients])
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for mask, (x1, y1, x2, y2) in zip(combined, masks.boxes.tolist(), strict=True):
        mask *= (rows >= y1 - 1) & (rows < y2 + 1) & (columns >= x1 - 1) & (columns < x2 + 1)
    return combined


def dense_soft(masks: PrototypeMasks, padded: tuple[int, int]) -> Tensor:
    """(N, H, W) of the image, cut from the whole stretched network input."""
    cells = dense_probabilities(masks)[:, None]
    height, width = masks.size
    return F.interpolate(cells, size=padded, mode="bilinear", align_corners=False)[:, 0, :height, :width]


grids = st.tuples(st.integers(1, 9), st.integers(1, 11))
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(st.integers(0, 10_000), grids)
def test_probabilities_are_cropped_sigmoids_of_combinations(seed: int, grid: tuple[int, int]) -> None:
    masks = prototype_masks(seed, grid, (20, 30), (20, 30))
    torch.testing.assert_close(masks.probabilities(), dense_probabilities(masks))


@given(st.integers(0, 10_000), grids, sizes, st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_bitmaps_are_those_of_whole_stretched_grids(seed, grid, size, padding) -> None:
    padded = (size[0] + padding[0], size[1] + padding[1])
    masks = prototype_masks(seed, grid, size, padded)
    soft, bitmaps = dense_soft(masks, padded), torch.from_numpy(masks.bitmaps())
    assert bitmaps.shape == soft.shape
    is_clear = (soft - 0.5).abs() > 1e-5
    assert torch.equal(bitmaps[is_clear], (soft > 0.5)[is_clear])


@given(st.integers(0, 10_000), grids, sizes)
def test_run_lengths_and_areas_are_those_of_the_bitmaps(seed, grid, size) -> None:
    masks = prototype_masks(seed, grid, size, size)
    bitmaps = masks.bitmaps()
    encoded = [pycocotools.mask.encode(np.asfortranarray(bitmap.astype(np.uint8))) for bitmap in bitmaps]
    assert [rle["counts"] for rle in masks.rle()] == [rle["counts"].decode() for rle in encoded]
    assert masks.areas().tolist() == bitmaps.sum(axis=(1, 2)).tolist()


@given(st.integers(0, 10_000), grids, sizes)
def test_polygons_are_the_masks_exactly(seed, grid, size) -> None:
    masks = prototype_masks(seed, grid, size, size)
    for polygons, rle in zip(masks.polygons(), masks.rle(), strict=True):
        if polygons:
            assert polygons_to_rle([part.ravel().tolist() for part in polygons], size) == rle


@pytest.mark.parametrize("size", [(375, 500), (31, 7), (1, 1)])
def test_restored_masks_are_the_grid_stretched_over_the_other_image(size: tuple[int, int]) -> None:
    """The image takes exactly 4 × 5 cells of 8 × 8, so torch can stretch only these, with their neighbours."""
    masks = prototype_masks(3, (8, 8), (16, 20), (32, 32)).restored(size, torch.zeros((6, 4)))
    cells = dense_probabilities(masks)[:, None]
    y, x = ((torch.arange(side) + 0.5) * cut / side for side, cut in zip(size, (4, 5), strict=True))
    where = torch.stack(torch.meshgrid(y / 4 - 1, x / 4 - 1, indexing="ij")[::-1], dim=-1)
    soft = F.grid_sample(cells, where.expand(6, -1, -1, -1), padding_mode="border", align_corners=False)[:, 0]
    is_clear = (soft - 0.5).abs() > 1e-4
    assert masks.size == size
    assert torch.equal(torch.from_numpy(masks.bitmaps())[is_clear], (soft > 0.5)[is_clear])


def test_masks_may_reach_over_their_boxes_by_a_cell_and_no_further() -> None:
    middle = torch.tensor([[3.0, 3.0, 5.0, 5.0]])
    full = PrototypeMasks((80, 80), torch.ones((8, 8, 1)), torch.full((1, 1), 9.0), middle, (8.0, 8.0), 0.5)
    rows, columns = np.nonzero(full.bitmap(0))
    assert 20 <= rows.min() <= 30 and 50 <= rows.max() < 60
    assert 20 <= columns.min() <= 30 and 50 <= columns.max() < 60


def test_masks_outside_the_image_are_empty() -> None:
    masks = prototype_masks(0, (7, 9), (21, 27), (21, 27))[2:4]
    assert masks.areas().tolist() == [0, 0]
    assert masks.polygons() == [[], []]
    assert [rle["size"] for rle in masks.rle()] == [[21, 27]] * 2


def test_choosing_masks_is_choosing_bitmaps() -> None:
    masks = prototype_masks(5, (7, 9), (21, 27), (21, 27))
    bitmaps = masks.bitmaps()
    for index in (torch.tensor([4, 1]), [4, 1], np.array([4, 1])):
        assert np.array_equal(masks[index].bitmaps(), bitmaps[[4, 1]])
    assert np.array_equal(masks[1:3].bitmaps(), bitmaps[1:3])
    assert np.array_equal(masks[-1].bitmaps(), bitmaps[-1:])
    assert len(masks[torch.zeros(6, dtype=torch.bool)]) == 0


def test_no_masks_are_a_normal_case() -> None:
    none = prototype_masks(0, (7, 9), (21, 27), (21, 27))[[]]
    assert none.bitmaps().shape == (0, 21, 27)
    assert none.probabilities().shape == (0, 7, 9)
    assert (none.rle(), none.polygons(), none.areas().tolist()) == ([], [], [])


def test_a_higher_threshold_never_adds_a_pixel() -> None:
    masks = prototype_masks(7, (7, 9), (63, 81), (63, 81))
    strict = replace(masks, threshold=0.8)
    assert not (strict.bitmaps() & ~masks.bitmaps()).any()
    assert 0 < strict.areas().sum() < masks.areas().sum()


def test_masks_of_a_large_image_are_made_from_their_crops_alone() -> None:
    small = torch.tensor([[2.0, 2.0, 3.0, 3.0]]).repeat(200, 1)
    many = PrototypeMasks((20_000, 20_000), torch.ones((138, 138, 2)), torch.ones((200, 2)), small, (138.0, 138.0), 0.5)
    assert many.crop(0).pixels.size < 800**2  # four cells and what lies between them and their neighbours
    assert len(many[:3].rle()) == 3
