"""Packed crops behave like a stack of whole bitmaps, in the memory of their boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycocotools.mask
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from maskwright.structures import CropMasks
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.resizing import mini_crop, nearest_sources
from maskwright.structures.masks.rle import any_to_rle

Bitmaps = npt.NDArray[np.bool_]


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Bitmaps, CropMasks]:
    """(G, H, W) bool bitmaps, some of them empty, and the same masks packed with margins."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    full, crops = np.zeros((draw(st.integers(0, 4)), height, width), dtype=bool), []
    for bitmap in full:
        (top, bottom), (left, right) = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
        bitmap[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.6
        crops.append(Crop(bitmap[top:bottom, left:right].copy(), int(top), int(left)))
    return full, CropMasks.from_crops(crops, (height, width))


@given(stacks())
def test_crops_unpack_to_the_bitmaps(stack: tuple[Bitmaps, CropMasks]) -> None:
    full, masks = stack
    assert len(masks) == len(full)
    assert np.array_equal(masks.bitmaps(), full)
    assert np.array_equal(masks.areas(), full.sum(axis=(1, 2)))
    for index, crop in enumerate(masks.crops()):
        one = masks.crop(index)
        assert np.array_equal(one.pixels, crop.pixels)
        assert one[1:] == crop[1:]


@given(stacks())
def test_run_lengths_make_the_round_trip(stack: tuple[Bitmaps, CropMasks]) -> None:
    full, masks = stack
    expected = [pycocotools.mask.encode(np.asfortranarray(bitmap.astype(np.uint8))) for bitmap in full]
    assert [rle["counts"] for rle in masks.rle()] == [rle["counts"].decode() for rle in expected]
    assert np.array_equal(CropMasks.from_rle(expected, masks.size).bitmaps(), full)


@given(stacks())
def test_polygons_are_the_masks_exactly(stack: tuple[Bitmaps, CropMasks]) -> None:
    _, masks = stack
    for polygons, rle in zip(masks.polygons(), masks.rle(), strict=True):
        assert bool(polygons) == bool(pycocotools.mask.area(rle))
        if polygons:
            parts = pycocotools.mask.frPyObjects([part.ravel().tolist() for part in polygons], *masks.size)
            assert pycocotools.mask.merge(parts)["counts"].decode() == rle["counts"]


@given(stacks(), st.integers(1, 60), st.integers(1, 60))
def test_resizing_is_torchs_nearest(stack: tuple[Bitmaps, CropMasks], height: int, width: int) -> None:
    full, masks = stack
    resized = masks.resized((height, width))
    assert resized.size == (height, width)
    if len(full):
        expected = F.interpolate(torch.from_numpy(full)[:, None].float(), size=(height, width), mode="nearest")
        assert np.array_equal(resized.bitmaps(), expected[:, 0].bool().numpy())


def whole_bitmap_resized(bitmap: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """OpenCV's 8-bit bilinear resize of a 0/1 bitmap, pixel by pixel."""

    def source(index: int, old: int, new: int) -> tuple[int, int, int, int]:
        position = np.float32((index + 0.5) * (1 / (new / old)) - 0.5)
        line, share = int(np.floor(position)), position - np.floor(position)
        weights = round(float(np.float32(1) - share) * 2048), round(float(share) * 2048)
        return max(line, 0), min(line + 1, old - 1), *weights

    resized = np.zeros(size, dtype=bool)
    for row in range(size[0]):
        upper, lower, upper_weight, lower_weight = source(row, bitmap.shape[0], size[0])
        for column in range(size[1]):
            left, right, left_weight, right_weight = source(column, bitmap.shape[1], size[1])
            above, below = (
                int(line[left]) * left_weight + int(line[right]) * right_weight
                for line in (bitmap[upper], bitmap[lower])
            )
            total = (above // 16 * upper_weight // 65536) + (below // 16 * lower_weight // 65536)
            resized[row, column] = (total + 2) // 4
    return resized


@given(stacks(), st.integers(1, 60), st.integers(1, 60))
def test_bilinear_resizing_of_crops_is_that_of_whole_bitmaps(stack: tuple[Bitmaps, CropMasks], height: int, width: int):
    full, masks = stack
    resized = masks.resized((height, width), "bilinear")
    assert resized.size == (height, width)
    for bitmap, ours in zip(full, resized.bitmaps(), strict=True):
        assert np.array_equal(ours, whole_bitmap_resized(bitmap, (height, width)))


@given(stacks(), st.integers(1, 200), st.integers(1, 200))
def test_bilinear_resizing_is_opencvs(stack: tuple[Bitmaps, CropMasks], height: int, width: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="compares with OpenCV, which is not installed")
    full, masks = stack
    for bitmap, ours in zip(full, masks.resized((height, width), "bilinear").bitmaps(), strict=True):
        assert np.array_equal(ours, cv2.resize(bitmap.astype(np.uint8), (width, height)).astype(bool))


@pytest.mark.parametrize("case", ["yolact_base", "yolact_resnet50", "yolact_plus_resnet50"])
def test_bilinear_resizing_gives_the_mask_targets_of_yolact(shared: Path, case: str) -> None:
    recorded = json.loads((shared / "parity/yolact" / case / "train.json").read_text())
    for image in recorded["images"]:
        size = tuple(image["original_size_hw"])
        annotations = sorted(image["annotations"], key=lambda annotation: annotation["iscrowd"])  # crowds come last
        masks = CropMasks.from_rle([any_to_rle(annotation["segmentation"], size) for annotation in annotations], size)
        expected = image["targets_used"]["masks_resized_rle"]
        assert masks.resized((550, 550), "bilinear").rle() == expected


@given(stacks(), st.integers(1, 60), st.integers(1, 60))
def test_resizing_by_nearest_corners_is_scipys_zoom(stack: tuple[Bitmaps, CropMasks], height: int, width: int) -> None:
    zoom = pytest.importorskip("scipy.ndimage", reason="compares with SciPy, which is not installed").zoom
    full, masks = stack
    for bitmap, ours in zip(full, masks.resized((height, width), "nearest_corners").bitmaps(), strict=True):
        factors = (height / bitmap.shape[0], width / bitmap.shape[1])
        assert np.array_equal(ours, zoom(bitmap.astype(np.uint8), factors, order=0).astype(bool))


def test_scipys_zoom_can_lose_the_last_line() -> None:
    last = np.zeros((479, 2), dtype=bool)
    last[-2:] = True
    masks = CropMasks.from_crops([Crop(last, 1, 0)], (480, 2))
    assert masks.resized((768, 2), "nearest_corners").boxes().tolist() == [[0, 765, 2, 767]]
    assert masks.resized((960, 2), "nearest_corners").boxes().tolist() == [[0, 956, 2, 960]]


@pytest.mark.parametrize("interpolation", ["nearest", "nearest_corners", "bilinear"])
@given(stack=stacks())
def test_resizing_to_the_same_size_changes_nothing(interpolation, stack: tuple[Bitmaps, CropMasks]) -> None:
    full, masks = stack
    assert np.array_equal(masks.resized(masks.size, interpolation).bitmaps(), full)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_nearest_sources_are_torchs_but_for_its_rounding(old: int, new: int) -> None:
    # torch's own kernels (one or two axes, float or uint8) differ by a pixel where old · i / new is a whole number
    theirs = F.interpolate(torch.arange(old, dtype=torch.float64)[None, None], size=new, mode="nearest")[0, 0].numpy()
    ours = nearest_sources(old, new)
    assert (np.abs(ours - theirs) <= 1).all()
    assert (np.diff(ours) >= 0).all()
    assert ours.min() >= 0
    assert ours.max() <= old - 1


@given(stacks(), st.data())
def test_window_shows_that_part_of_every_bitmap(stack: tuple[Bitmaps, CropMasks], data: st.DataObject) -> None:
    full, masks = stack
    top, left = data.draw(st.integers(0, masks.size[0] - 1)), data.draw(st.integers(0, masks.size[1] - 1))
    height = data.draw(st.integers(1, masks.size[0] - top))
    width = data.draw(st.integers(1, masks.size[1] - left))
    window = masks.cut(top, left, height, width)
    assert window.size == (height, width)
    assert np.array_equal(window.bitmaps(), full[:, top : top + height, left : left + width])


@given(stacks())
def test_flips_and_turns_are_those_of_the_bitmaps(stack: tuple[Bitmaps, CropMasks]) -> None:
    full, masks = stack
    assert np.array_equal(masks.flipped_horizontally().bitmaps(), full[:, :, ::-1])
    assert np.array_equal(masks.flipped_vertically().bitmaps(), full[:, ::-1])
    assert np.array_equal(masks.transposed().bitmaps(), full.transpose(0, 2, 1))
    assert masks.transposed().size == masks.size[::-1]


@given(stacks())
def test_boxes_are_those_of_the_foreground(stack: tuple[Bitmaps, CropMasks]) -> None:
    full, masks = stack
    for bitmap, box in zip(full, masks.boxes().tolist(), strict=True):
        rows, columns = np.nonzero(bitmap)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
        assert box == tight


@pytest.mark.parametrize(
    "index",
    [
        slice(1, 3),
        slice(None, None, 2),
        torch.tensor([2, 0, 2]),
        torch.tensor([True, False, False, True]),
        torch.tensor([], dtype=torch.int64),
    ],
)
def test_choosing_masks_is_choosing_bitmaps(index: torch.Tensor | slice) -> None:
    full = np.random.default_rng(0).random((4, 9, 7)) < 0.4
    masks = CropMasks.from_crops([Crop(bitmap, 0, 0) for bitmap in full], (9, 7))
    assert np.array_equal(masks[index].bitmaps(), full[index if isinstance(index, slice) else index.numpy()])


def test_memory_is_that_of_the_boxes() -> None:
    crops = [Crop(np.ones((20, 20), dtype=bool), 500 * (index % 100), 25 * index) for index in range(2000)]
    masks = CropMasks.from_crops(crops, (60_000, 60_000))
    assert masks.pixels.nbytes == 2000 * 400
    assert len(masks.resized((30_000, 30_000)).pixels) == 2000 * 100
    assert len(masks.resized((30_000, 30_000), "bilinear").pixels) <= 2000 * 144
    assert len(masks.rle()) == 2000


# on a coarse grid, for masks that are learnt there


@given(stacks(), st.integers(1, 30), st.integers(1, 30))
def test_shrunk_masks_are_bitmaps_interpolated_and_cut_at_one_half(stack, height: int, width: int) -> None:
    full, masks = stack
    pixels = torch.from_numpy(full).float()[:, None]
    soft = F.interpolate(pixels, size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    shrunk = masks.shrunk((height, width))
    assert shrunk.shape == soft.shape and shrunk.dtype == torch.bool
    is_clear = (soft - 0.5).abs() > 1e-5  # on the edge, the last digit decides
    assert torch.equal(shrunk[is_clear], (soft > 0.5)[is_clear])


def test_half_a_cell_is_not_foreground() -> None:
    half = CropMasks.from_crops([Crop(np.ones((4, 2), dtype=bool), 0, 0)], (4, 4))
    assert half.shrunk((1, 1)).tolist() == [[[False]]]
    assert half.shrunk((2, 2)).tolist() == [[[True, False], [True, False]]]


def test_no_masks_shrink_to_no_masks() -> None:
    assert CropMasks.from_crops([], (4, 6)).shrunk((2, 3)).shape == (0, 2, 3)


def test_masks_that_are_all_empty_have_nothing_to_learn_anywhere() -> None:
    empty = CropMasks.from_crops([Crop(np.zeros((0, 0), dtype=bool), 0, 0)] * 2, (4, 6))
    assert empty.shrunk((2, 3)).sum() == 0
    rois = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    assert empty.sampled(rois, torch.tensor([1]), 7, 2).sum() == 0


# mini masks


def test_a_mini_mask_is_the_box_of_the_foreground_made_square() -> None:
    half = np.zeros((10, 8), dtype=bool)
    half[2:8, 1:4] = True  # the upper right corner is missing, so that both values are in the box
    half[2:5, 3] = False
    mini = mini_crop(Crop(half, 5, 7), 12, True).pixels
    expected = np.ones((12, 12), dtype=bool)
    expected[:6, 8:] = False
    assert (mini != expected).sum() <= 2


@pytest.mark.parametrize(("stretches_range", "area"), [(False, 14 * 14), (True, 0)])
def test_a_mini_mask_that_fills_its_box_is_lost_where_ranges_are_stretched(stretches_range: bool, area: int) -> None:
    assert mini_crop(Crop(np.ones((5, 9), dtype=bool), 0, 0), 14, stretches_range).pixels.sum() == area


def test_an_empty_mask_has_an_empty_mini_mask() -> None:
    assert mini_crop(Crop(np.zeros((0, 0), dtype=bool), 0, 0), 14, True).pixels.sum() == 0


@given(stacks(), st.integers(0, 10_000))
def test_cropped_masks_are_zero_or_one_and_whole_in_their_own_boxes(stack, seed: int) -> None:
    _, masks = stack
    has_area = torch.from_numpy(masks.areas() > 0)
    objects = torch.arange(len(masks))[has_area]
    rois = masks.boxes()[has_area] + torch.rand((len(objects), 4), generator=torch.Generator().manual_seed(seed))
    for mini_px in (None, 8):
        cropped = masks.cropped(rois, objects, 14, mini_px)
        assert cropped.shape == (len(objects), 14, 14)
        assert ((cropped == 0) | (cropped == 1)).all()
    own = masks.cropped(masks.boxes()[has_area], objects, 8, 8)
    crops = masks.crops()
    minis = np.array([mini_crop(crops[index], 8, False).pixels for index in objects.tolist()]).reshape(-1, 8, 8)
    assert np.array_equal(own.bool().numpy(), minis)


def test_a_wire_too_thin_for_a_coarse_grid_keeps_the_cells_that_it_covers() -> None:
    wires = [Crop(np.ones((1, 120), dtype=bool), row, 8) for row in range(4, 12)]
    disc = Crop(np.ones((40, 40), dtype=bool), 30, 30)
    masks = CropMasks.from_crops([*wires, disc], (128, 160))
    plain, kept = masks.shrunk((32, 40)), masks.shrunk((32, 40), keeps_thin=True)
    assert not plain[:-1].any()  # that is why
    assert torch.equal(kept[-1], plain[-1])
    for row, found in zip(range(4, 12), kept[:-1], strict=True):
        assert torch.nonzero(found.any(dim=1)).flatten().tolist() == [row // 4]
        assert found.sum() == 30
