"""True masks sampled from their packed crops: RoIAlign, crop-and-resize and points of whole bitmaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from maskwright.ops import mask_sampling
from maskwright.ops.mask_sampling import crop_and_resize, sample_crops, sample_points
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.packed import CropMasks


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
    monkeypatch.setattr(mask_sampling, "_SAMPLES_AT_ONCE", 1)
    assert torch.equal(crops.sampled(rois, objects, 14, samples), whole)


def test_samples_are_shares_of_one() -> None:
    _, crops = random_objects(1)
    sampled = crops.sampled(random_rois(1, 50, crops.size), torch.arange(50) % 5, 28, 0)
    assert ((sampled >= 0) & (sampled <= 1 + 1e-6)).all()
    assert sampled[torch.arange(50) % 5 == 4].sum() == 0  # the empty object


@pytest.mark.parametrize("is_aligned", [False, True])
@given(seed=st.integers(0, 10_000))
def test_rois_may_reach_beyond_the_image(is_aligned: bool, seed: int) -> None:
    full, crops = random_objects(seed)
    generator = torch.Generator().manual_seed(seed)
    corners = (torch.rand((20, 2, 2), generator=generator) * 2 - 0.5) * torch.tensor([crops.size[1], crops.size[0]])
    corners = corners.sort(dim=1).values
    corners[:, 1] += 1  # sides of at least a pixel: what is shorter is read from elsewhere without alignment
    rois, objects = corners.reshape(20, 4), torch.arange(20) % 5
    rows = torch.cat([objects[:, None].float(), rois], dim=1)
    bitmaps = torch.from_numpy(full)[:, None].float()
    expected = roi_align(bitmaps, rows, 7, 1.0, 2, aligned=is_aligned)[:, 0]
    sampled = crops.sampled(rois, objects, 7, 2, is_aligned)
    is_clear = (sampled - expected).abs() < 1e-4
    assert is_clear.float().mean() > 0.99  # samples on the very border of the image may fall on either side


@pytest.mark.parametrize("samples", [0, 2])
@given(seed=st.integers(0, 10_000))
def test_aligned_samples_are_aligned_roi_align_of_whole_bitmaps(samples: int, seed: int) -> None:
    full, crops = random_objects(seed)
    rois, objects = random_rois(seed, 20, crops.size), torch.arange(20) % 5
    rows = torch.cat([objects[:, None].float(), rois], dim=1)
    bitmaps = torch.from_numpy(full)[:, None].float()
    expected = roi_align(bitmaps, rows, 14, 1.0, samples or -1, aligned=True)[:, 0]
    torch.testing.assert_close(crops.sampled(rois, objects, 14, samples, True), expected, rtol=0, atol=1e-4)


def test_no_rois_give_no_samples() -> None:
    _, crops = random_objects(2)
    none = torch.zeros(0, dtype=torch.int64)
    assert sample_crops(crops.packed, torch.zeros((0, 4)), none, 28, 0).shape == (0, 28, 28)
    assert crop_and_resize(crops.packed, torch.zeros((0, 4)), none, 28).shape == (0, 28, 28)


# crop-and-resize


def cropped_and_resized(bitmap: np.ndarray, box: tuple[float, ...], output_px: int) -> np.ndarray:
    """TensorFlow's operation, point by point, in double precision."""
    x1, y1, x2, y2 = box
    height, width = bitmap.shape
    result = np.zeros((output_px, output_px))
    for row, y in enumerate(np.linspace(y1 * (height - 1), y2 * (height - 1), output_px)):
        for column, x in enumerate(np.linspace(x1 * (width - 1), x2 * (width - 1), output_px)):
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                top, left = int(y), int(x)
                bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                above = bitmap[top, left] * (1 - x % 1) + bitmap[top, right] * (x % 1)
                below = bitmap[bottom, left] * (1 - x % 1) + bitmap[bottom, right] * (x % 1)
                result[row, column] = above * (1 - y % 1) + below * (y % 1)
    return result


@given(st.integers(0, 10_000))
def test_crop_and_resize_has_corners_on_corners_and_nothing_outside(seed: int) -> None:
    full, crops = random_objects(seed)
    rng = np.random.default_rng(seed)
    # in 64ths, sampled in eighths: where a point lies on the border, no rounding decides about it
    boxes = torch.from_numpy(np.sort(rng.integers(-20, 84, (6, 2, 2)), axis=1).reshape(6, 4).astype(np.float32) / 64)
    boxes[0] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    objects = torch.from_numpy(rng.integers(0, 5, 6))
    found = crop_and_resize(crops.packed, boxes, objects, 9)
    for values, box, index in zip(found, boxes.tolist(), objects.tolist(), strict=True):
        wanted = torch.from_numpy(cropped_and_resized(full[index], tuple(box), 9)).float()
        torch.testing.assert_close(values, wanted, rtol=0, atol=1e-4)


# single points


@given(st.integers(0, 10_000))
def test_points_of_packed_crops_are_those_of_bitmaps(seed: int) -> None:
    bitmaps, crops = random_objects(seed)
    rng, size = np.random.default_rng(seed), crops.size
    points = torch.from_numpy(rng.uniform(-3, 3 + max(size), (40, 2)).astype(np.float32))
    points[::4] = points[::4].round()
    objects = torch.from_numpy(rng.integers(0, 5, 40))
    found = sample_points(crops.packed, objects, points)
    # torch's own sampler has x before y, and counts from -1 to 1 between the outer centres
    scale = torch.tensor([max(size[1] - 1, 1), max(size[0] - 1, 1)])
    where = (points.flip(1) / scale * 2 - 1)[:, None, None]
    pixels = torch.from_numpy(bitmaps).float()[objects][:, None]
    wanted = F.grid_sample(pixels, where, mode="bilinear", padding_mode="border", align_corners=True)
    torch.testing.assert_close(found, wanted[:, 0, 0, 0], rtol=0, atol=1e-4)
