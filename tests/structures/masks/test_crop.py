"""Crops, of which each operation gives what the same operation on bitmaps of the whole image gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwright.structures.masks.crop import Bitmap, Crop

HEIGHT, WIDTH = 9, 11
EMPTY = Crop(np.zeros((0, 0), dtype=bool))


@st.composite
def crops(draw: st.DrawFn) -> Crop:
    """A crop inside an image of 9 × 11 pixels, with a margin or none, perhaps empty."""
    top, left = draw(st.integers(0, HEIGHT)), draw(st.integers(0, WIDTH))
    shape = draw(st.integers(0, HEIGHT - top)), draw(st.integers(0, WIDTH - left))
    return Crop(draw(arrays(bool, shape)), top, left)


def whole(crop: Crop, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Bitmap:
    bitmap = np.zeros(size, dtype=bool)
    bitmap[crop.top : crop.top + crop.pixels.shape[0], crop.left : crop.left + crop.pixels.shape[1]] = crop.pixels
    return bitmap


@given(crops())
def test_area_perimeter_and_window_are_those_of_the_bitmap(crop: Crop) -> None:
    bordered = np.pad(whole(crop), 1)
    assert crop.area == bordered.sum()
    assert crop.perimeter == sum(len(np.flatnonzero(np.diff(line))) for line in [*bordered, *bordered.T])
    assert np.array_equal(whole(crop)[crop.window], crop.pixels)


@given(crops())
def test_a_tight_crop_is_the_same_mask_without_a_margin(crop: Crop) -> None:
    tight = crop.tight()
    assert np.array_equal(whole(tight), whole(crop))
    borders = tight.pixels[:1], tight.pixels[-1:], tight.pixels[:, :1], tight.pixels[:, -1:]
    assert all(border.any() for border in borders) or (not crop.area and tight.pixels.shape == (0, 0))


@given(crops(), st.integers(0, HEIGHT), st.integers(0, WIDTH), st.integers(0, 12), st.integers(0, 12))
def test_a_cut_shows_what_lies_in_the_window_and_stays_within_it(
    crop: Crop, top: int, left: int, height: int, width: int
) -> None:
    part = crop.cut(top, left, height, width)
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[top : top + height, left : left + width] = whole(crop)[top : top + height, left : left + width]
    assert np.array_equal(whole(part, (30, 30))[:HEIGHT, :WIDTH], expected)
    assert top <= part.top <= part.bottom <= top + height
    assert left <= part.left <= part.right <= left + width


@given(crops())
def test_moving_mirroring_and_transposing_are_those_of_the_image(crop: Crop) -> None:
    bitmap = whole(crop)
    assert np.array_equal(whole(crop.moved(2, 3), (HEIGHT + 2, WIDTH + 3))[2:, 3:], bitmap)
    assert np.array_equal(whole(crop.mirrored(WIDTH)), bitmap[:, ::-1])
    assert np.array_equal(whole(crop.upside_down(HEIGHT)), bitmap[::-1])
    assert np.array_equal(whole(crop.transposed(), (WIDTH, HEIGHT)), bitmap.T)


@given(crops(), crops())
def test_union_overlap_and_iou_are_those_of_the_bitmaps(one: Crop, other: Crop) -> None:
    first, second = whole(one), whole(other)
    assert np.array_equal(whole(Crop.united([one, other])), first | second)
    assert one.overlap(other) == (first & second).sum()
    assert one.iou(other) == pytest.approx((first & second).sum() / max(1, (first | second).sum()))


@given(crops(), crops())
def test_pasting_writes_the_foreground_and_nothing_else(one: Crop, other: Crop) -> None:
    canvas = np.full((HEIGHT, WIDTH), 5, dtype=np.int32)
    one.paste_into(canvas, 7)
    other.paste_into(canvas, 8)
    assert np.array_equal(canvas, np.where(whole(other), 8, np.where(whole(one), 7, 5)))


def test_empty_crops_have_nothing_in_common() -> None:
    assert (EMPTY.area, EMPTY.iou(EMPTY), EMPTY.overlap(Crop(np.ones((2, 2), dtype=bool), 4, 4))) == (0, 0.0, 0)
    assert EMPTY.tight().window == (slice(0, 0), slice(0, 0))
