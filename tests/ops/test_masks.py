"""Masks between grids: torchvision's pasting, and RoIAlign of whole bitmaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import roi_align

from maskwright.ops import masks
from maskwright.ops.masks import (
    cells_of,
    crop_cells,
    enlarge_cells,
    inside_cells,
    paste_boxes,
    paste_mask,
    sample_crops,
    sample_points,
    stretch,
)
from maskwright.structures.crop_masks import CropMasks
from maskwright.structures.rle import Crop


def pasted(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W) whole-image probabilities put together from `paste_mask`'s visible parts."""
    whole = torch.zeros((len(boxes), *size))
    for index, (x1, y1, x2, y2) in enumerate(paste_boxes(boxes, probabilities.shape[-1]).tolist()):
        part = paste_mask(probabilities[index], (x1, y1, x2, y2), size)
        top, left = max(0, y1), max(0, x1)
        whole[index, top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


@pytest.mark.parametrize("mask_px", [14, 28])
@given(seed=st.integers(0, 10_000))
def test_pasting_is_torchvisions(mask_px: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    height, width = torch.randint(5, 60, (2,), generator=generator).tolist()
    limits = torch.tensor([width, height])
    boxes = (torch.rand((6, 2, 2), generator=generator).sort(dim=1).values * limits).reshape(6, 4)
    probabilities = torch.rand((6, mask_px, mask_px), generator=generator)
    theirs = paste_masks_in_image(probabilities[:, None], boxes, (height, width))[:, 0]
    ours = pasted(probabilities, boxes, (height, width))
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(ours > 0.5, theirs > 0.5)


def test_box_outside_the_image_shows_nothing() -> None:
    outside = torch.tensor([[-50.0, -50.0, -20.0, -20.0], [90.0, 3.0, 95.0, 8.0]])
    assert pasted(torch.ones((2, 28, 28)), outside, (20, 30)).sum() == 0


def test_full_mask_fills_its_box() -> None:
    whole = pasted(torch.ones((1, 28, 28)), torch.tensor([[4.0, 6.0, 20.0, 26.0]]), (40, 40))[0] > 0.5
    expected = torch.zeros((40, 40), dtype=torch.bool)
    expected[6:26, 4:20] = True
    assert (whole ^ expected).sum() <= 16 + 20  # the paste cuts corners to whole pixels: a row or column at most


def test_box_without_sides_is_pasted_without_error() -> None:
    pasted(torch.ones((1, 28, 28)), torch.tensor([[3.5, 4.5, 3.5, 4.5]]), (10, 10))


def random_objects(seed: int) -> tuple[np.ndarray, CropMasks]:
    """(5, H, W) uint8 bitmaps, the last of an empty object, and the same as crops."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(20, 60, 2))
    full, crops = np.zeros((5, height, width), dtype=np.uint8), []
    for index in range(5):
        top, left = int(rng.integers(0, height - 4)), int(rng.integers(0, width - 4))
        rows, columns = rng.integers(2, 20, 2) if index < 4 else (0, 0)
        window = full[index, top : top + rows, left : left + columns]
        window[:] = rng.random(window.shape) < 0.7
        crops.append(Crop(window.astype(bool), top, left))
    return full, CropMasks.from_crops(crops, (height, width))


def random_rois(seed: int, count: int, size: tuple[int, int]) -> Tensor:
    """(count, 4) inside the image, with sides of at least one pixel: smaller ones RoIAlign reads beyond the border."""
    generator = torch.Generator().manual_seed(seed)
    most = torch.tensor([size[1], size[0]]) - 1
    corners = torch.rand((count, 2), generator=generator) * most
    return torch.cat([corners, corners + 1 + torch.rand((count, 2), generator=generator) * (most - corners)], dim=1)


@pytest.mark.parametrize("samples", [0, 1, 2])
@given(seed=st.integers(0, 10_000))
def test_sampled_crops_are_roi_align_of_whole_bitmaps(samples: int, seed: int) -> None:
    full, crops = random_objects(seed)
    rois, objects = random_rois(seed, 20, crops.size), torch.arange(20) % 5
    rows = torch.cat([objects[:, None].float(), rois], dim=1)
    expected = roi_align(torch.from_numpy(full)[:, None].float(), rows, 14, 1.0, samples or -1)[:, 0]
    torch.testing.assert_close(crops.sampled(rois, objects, 14, samples), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 2])
def test_sampling_piece_by_piece_changes_nothing(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, crops = random_objects(0)
    rois, objects = random_rois(0, 20, crops.size), torch.arange(20) % 5
    whole = crops.sampled(rois, objects, 14, samples)
    monkeypatch.setattr(masks, "_SAMPLES_AT_ONCE", 1)
    assert torch.equal(crops.sampled(rois, objects, 14, samples), whole)


def test_samples_are_shares_of_one() -> None:
    _, crops = random_objects(1)
    sampled = crops.sampled(random_rois(1, 50, crops.size), torch.arange(50) % 5, 28, 0)
    assert ((sampled >= 0) & (sampled <= 1 + 1e-6)).all()
    assert sampled[torch.arange(50) % 5 == 4].sum() == 0  # the empty object


def test_no_rois_give_no_samples() -> None:
    _, crops = random_objects(2)
    none = torch.zeros(0, dtype=torch.int64)
    sampled = sample_crops(
        crops.pixels, crops.starts, crops.corners, crops.crop_sizes, crops.size, torch.zeros((0, 4)), none, 28, 0
    )
    assert sampled.shape == (0, 28, 28)


# cells of a grid


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4), max_size=6))
def test_cells_are_listed_rectangle_by_rectangle_and_row_by_row(rows: list[tuple[int, int, int, int]]) -> None:
    wanted = [
        (index, row, column)
        for index, (left, top, right, bottom) in enumerate(rows)
        for row in range(top, bottom)
        for column in range(left, right)
    ]
    found = cells_of(torch.tensor(rows, dtype=torch.int64).reshape(-1, 4))
    assert list(zip(*(part.tolist() for part in found), strict=True)) == wanted


# thirds and quarters of cells, inside the grid and far outside it
coordinates = st.one_of(st.integers(-60, 90).map(lambda n: n / 3), st.integers(-80, 120).map(lambda n: n / 4))


@given(st.lists(st.tuples(*[coordinates] * 4), max_size=5), st.integers(1, 9), st.integers(1, 9))
def test_a_crop_holds_the_cells_whose_place_lies_in_the_grown_box(rows, height: int, width: int) -> None:
    boxes = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    inside = inside_cells(crop_cells(boxes, (height, width)), (height, width))
    wanted = torch.zeros((len(boxes), height, width), dtype=torch.bool)
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        for row in range(height):
            for column in range(width):
                in_rows = max(min(y1, y2) - 1, 0) <= row < min(max(y1, y2) + 1, height)
                in_columns = max(min(x1, x2) - 1, 0) <= column < min(max(x1, x2) + 1, width)
                wanted[index, row, column] = in_rows and in_columns
    assert torch.equal(inside, wanted)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_a_stretched_piece_is_that_part_of_the_stretched_grid(seed: int, height: int, width: int, is_padded) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 9, 2).tolist()
    (top, bottom), (left, right) = np.sort(rng.integers(0, rows + 1, 2)), np.sort(rng.integers(0, columns + 1, 2))
    grid = torch.zeros((rows, columns))
    piece = torch.from_numpy(rng.random((bottom - top, right - left), dtype=np.float32))
    grid[top:bottom, left:right] = piece
    padded = (height + 5, width + 3) if is_padded else (height, width)
    whole = F.interpolate(grid[None, None], size=padded, mode="bilinear", align_corners=False)[0, 0]
    extent = (rows * height / padded[0], columns * width / padded[1])
    found, row, column = enlarge_cells(
        piece,
        (int(top), int(left)),
        stretch(rows, extent[0], height, piece.device),
        stretch(columns, extent[1], width, piece.device),
    )
    pasted_back = torch.zeros((height, width))
    pasted_back[row : row + found.shape[0], column : column + found.shape[1]] = found
    torch.testing.assert_close(pasted_back, whole[:height, :width], rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10_000))
def test_points_of_packed_crops_are_those_of_bitmaps(seed: int) -> None:
    bitmaps, crops = random_objects(seed)
    rng, size = np.random.default_rng(seed), crops.size
    points = torch.from_numpy(rng.uniform(-3, 3 + max(size), (40, 2)).astype(np.float32))
    points[::4] = points[::4].round()
    objects = torch.from_numpy(rng.integers(0, 5, 40))
    found = sample_points(crops.pixels, crops.starts, crops.corners, crops.crop_sizes, size, objects, points)
    # torch's own sampler has x before y, and counts from -1 to 1 between the outer centres
    scale = torch.tensor([max(size[1] - 1, 1), max(size[0] - 1, 1)])
    where = (points.flip(1) / scale * 2 - 1)[:, None, None]
    pixels = torch.from_numpy(bitmaps).float()[objects][:, None]
    wanted = F.grid_sample(pixels, where, mode="bilinear", padding_mode="border", align_corners=True)
    torch.testing.assert_close(found, wanted[:, 0, 0, 0], rtol=0, atol=1e-4)
