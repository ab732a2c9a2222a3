"""Objects thinner than a pixel of the resized image are still there; all others are resized as ever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.resizing import resize_crops
from maskwright.structures.masks.thin import coverage, keep_thin

OLD = (200, 300)
NEW = (40, 60)


def resized(crop: Crop, interpolation: str = "nearest", new: tuple[int, int] = NEW) -> Crop:
    (found,) = resize_crops([crop], OLD, new, interpolation)
    return keep_thin(crop, found, OLD, new)


def usual(crop: Crop, interpolation: str = "nearest", new: tuple[int, int] = NEW) -> Crop:
    return resize_crops([crop], OLD, new, interpolation)[0]


def bitmap(crop: Crop, size: tuple[int, int] = NEW) -> np.ndarray:
    canvas = np.zeros(size, dtype=bool)
    height, width = crop.pixels.shape
    canvas[crop.top : crop.top + height, crop.left : crop.left + width] = crop.pixels
    return canvas


@pytest.mark.parametrize("interpolation", ["nearest", "nearest_corners", "bilinear"])
@pytest.mark.parametrize("thickness", [1, 2, 3])
@given(start=st.integers(0, 150), along=st.integers(0, 100), is_upright=st.booleans())
def test_a_wire_stays_whole_wherever_it_lies(interpolation, thickness, start, along, is_upright) -> None:
    pixels = np.ones((thickness, 100), dtype=bool)
    crop = Crop(pixels.T, along, start) if is_upright else Crop(pixels, start, along)
    found = bitmap(resized(crop, interpolation))
    length = found.any(axis=0 if not is_upright else 1).sum()
    assert length >= 19  # 100 px at a fifth
    assert 19 <= found.sum() <= 2 * (length + 1)


@given(st.integers(0, 60), st.integers(0, 60), st.booleans())
def test_a_slanted_wire_does_not_break(top: int, left: int, is_mirrored: bool) -> None:
    rows, columns = np.mgrid[:120, :160]
    pixels = np.abs(rows - 0.7 * columns) < 1.2
    crop = Crop(pixels[:, ::-1] if is_mirrored else pixels, top, left)
    found = bitmap(resized(crop))
    seen = np.flatnonzero(found.any(axis=0))
    assert len(seen) == seen[-1] - seen[0] + 1
    assert len(seen) >= 31


@pytest.mark.parametrize("interpolation", ["nearest", "nearest_corners", "bilinear"])
@given(
    st.integers(15, 60),
    st.integers(15, 60),
    st.integers(0, 100),
    st.integers(0, 200),
    st.sampled_from([NEW, (150, 200)]),
)
def test_objects_of_some_thickness_are_resized_as_ever(interpolation, height, width, top, left, new) -> None:
    rows, columns = np.mgrid[:height, :width] + 0.5
    disc = Crop((2 * rows / height - 1) ** 2 + (2 * columns / width - 1) ** 2 <= 1, top, left)
    found, expected = resized(disc, interpolation, new), usual(disc, interpolation, new)
    assert np.array_equal(bitmap(found, new), bitmap(expected, new))


@given(st.integers(1, 3), st.integers(1, 50))
def test_enlarged_masks_are_resized_as_ever(height: int, width: int) -> None:
    crop = Crop(np.ones((height, width), dtype=bool), 7, 9)
    new = (400, 600)
    assert np.array_equal(bitmap(resized(crop, new=new), new), bitmap(usual(crop, new=new), new))


def test_the_branches_of_a_grid_all_stay() -> None:
    pixels = np.zeros((101, 101), dtype=bool)
    pixels[::25] = pixels[:, ::25] = True
    found = bitmap(resized(Crop(pixels, 33, 77)))
    assert (found.sum(axis=1) >= 19).sum() >= 5
    assert (found.sum(axis=0) >= 19).sum() >= 5


def test_no_object_stays_no_object() -> None:
    assert not resized(Crop(np.zeros((0, 0), dtype=bool), 0, 0)).pixels.any()
    assert not resized(Crop(np.zeros((3, 5), dtype=bool), 4, 4)).pixels.any()


@given(st.integers(0, 199), st.integers(0, 299))
def test_a_single_pixel_stays_where_it_is(row: int, column: int) -> None:
    found = bitmap(resized(Crop(np.ones((1, 1), dtype=bool), row, column)))
    assert found[min(row * 40 // 200, 39), min(column * 60 // 300, 59)]
    assert found.sum() == 1


@given(st.integers(0, 150), st.integers(0, 200), st.integers(1, 50), st.integers(1, 100))
def test_coverage_adds_up_to_the_area(top: int, left: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(height * width).random((height, width)) < 0.5
    for new in (NEW, (77, 91), (1, 1), (200, 300)):
        covered = coverage(Crop(pixels, top, left), OLD, new)
        expected = pixels.sum() * (new[0] * new[1]) / (OLD[0] * OLD[1])
        assert covered.shares.sum() == pytest.approx(expected)
        assert covered.shares.max(initial=0) <= 1 + 1e-9
