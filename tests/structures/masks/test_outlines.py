"""Outlines along pixels' edges, and several of them joined into one path."""

from __future__ import annotations

import hotcoco.mask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.outlines import join, signed_area, trace, trace_parts
from maskwright.structures.masks.rle import crop_to_rle, polygons_to_rle


@st.composite
def crops(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    cells = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width).filter(any))
    return Crop(np.array(cells).reshape(height, width), draw(st.integers(0, 3)), draw(st.integers(0, 3)))


SIZE = (14, 13)


def rasterised(*contours):
    return polygons_to_rle([contour.ravel().tolist() for contour in contours], SIZE)


@given(crops())
def test_one_path_through_all_outlines_gives_the_mask_back(crop):
    outlines = trace(crop)
    assert rasterised(join([*outlines.outer, *outlines.holes])) == crop_to_rle(crop, SIZE)


@given(crops())
def test_rounded_shares_of_the_image_give_the_mask_back(crop):
    outlines = trace(crop)
    path = join([*outlines.outer, *outlines.holes])
    assert rasterised(np.round(path / SIZE[::-1], 7) * SIZE[::-1]) == crop_to_rle(crop, SIZE)


@given(crops())
def test_outer_outlines_alone_fill_the_holes_and_nothing_else(crop):
    outlines = trace(crop)
    filled = sum(signed_area(contour) for contour in outlines.outer)
    assert filled + sum(signed_area(contour) for contour in outlines.holes) == np.count_nonzero(crop.pixels)
    if not outlines.holes:
        assert rasterised(*outlines.outer) == crop_to_rle(crop, SIZE)


@given(crops())
def test_the_path_winds_once_around_foreground_and_never_around_background(crop):
    # so fills by the non-zero and by the even-odd rule agree
    outlines = trace(crop)
    path = join([*outlines.outer, *outlines.holes]) - [crop.left, crop.top]
    ends = np.roll(path, -1, axis=0)
    rows, columns = np.mgrid[: crop.pixels.shape[0], : crop.pixels.shape[1]]
    winding = np.zeros(crop.pixels.shape)
    for (x1, y1), (x2, y2) in zip(path, ends, strict=True):
        middle = rows + 0.5
        is_crossed = (np.minimum(y1, y2) <= middle) & (middle < np.maximum(y1, y2))
        crossing = x1 + (middle - y1) * ((x2 - x1) / (y2 - y1)) if y1 != y2 else np.full(rows.shape, np.inf)
        winding += np.sign(y1 - y2) * (is_crossed & (crossing > columns + 0.5 + 1e-9))
    # bridges go both ways, so whatever lies exactly on one cancels
    assert np.abs(winding).tolist() == crop.pixels.astype(float).tolist()


NESTED = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1, 0, 1],
        [1, 0, 0, 0, 0, 0, 1, 0, 0],
        [1, 0, 1, 1, 1, 0, 1, 1, 1],
        [1, 0, 1, 0, 1, 0, 1, 0, 1],
        [1, 0, 1, 1, 1, 0, 1, 1, 1],
        [1, 0, 0, 0, 0, 0, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 0, 1],
    ],
    dtype=bool,
)
SHAPES = {
    "a pixel": np.ones((1, 1), dtype=bool),
    "a line": np.ones((1, 13), dtype=bool),
    "a column": np.ones((14, 1), dtype=bool),
    "the whole image": np.ones(SIZE, dtype=bool),
    "a ring": np.pad(np.zeros((3, 3), dtype=bool), 1, constant_values=True),
    "the border of the image": np.pad(np.zeros((12, 11), dtype=bool), 1, constant_values=True),
    "pixels that touch at corners": np.eye(6, dtype=bool),
    "a chess board": np.indices((7, 7)).sum(axis=0) % 2 == 0,
    "rings in rings": NESTED,
    "holes that touch at a corner": np.pad(~np.eye(2, dtype=bool), 1, constant_values=True),
}


def assert_parts_give_back(crop: Crop) -> None:
    parts = trace_parts(crop)
    assert rasterised(*parts) == crop_to_rle(crop, SIZE)
    assert len(parts) == len(trace(crop).outer)
    assert sum(map(signed_area, parts)) == np.count_nonzero(crop.pixels)
    covered = [polygons_to_rle([part.ravel().tolist()], SIZE) for part in parts]
    assert sum(hotcoco.mask.area(rle) for rle in covered) == np.count_nonzero(crop.pixels)


@given(crops())
def test_a_path_for_each_part_gives_the_mask_back(crop):
    assert_parts_give_back(crop)


@pytest.mark.parametrize("name", SHAPES)
def test_a_path_for_each_part_gives_back(name):
    assert_parts_give_back(Crop(SHAPES[name], 0, 0))


def test_a_hole_is_part_of_the_path_around_it_and_not_of_one_around_another_part():
    parts = trace_parts(Crop(NESTED, 2, 1))
    areas = sorted(map(signed_area, parts))
    # two single pixels, the ring within, and the figure around it
    assert areas == [1, 1, 8, np.count_nonzero(NESTED) - 10]


def test_corners_of_a_ring():
    pixels = np.ones((3, 3), dtype=bool)
    pixels[1, 1] = False
    outer, holes = trace(Crop(pixels, 0, 0))
    assert {tuple(corner) for corner in outer[0].tolist()} == {(0, 0), (3, 0), (3, 3), (0, 3)}
    assert {tuple(corner) for corner in holes[0].tolist()} == {(1, 1), (2, 1), (2, 2), (1, 2)}
    assert (signed_area(outer[0]), signed_area(holes[0])) == (9, -1)


def test_pixels_that_touch_at_a_corner_are_two_parts():
    outer, holes = trace(Crop(np.eye(2, dtype=bool), 0, 0))
    assert (len(outer), len(holes)) == (2, 0)


def test_a_mask_without_foreground_has_no_outline():
    outlines = trace(Crop(np.zeros((2, 3), dtype=bool), 0, 0))
    assert (outlines.outer, outlines.holes) == ([], [])
    for shape in ((2, 3), (0, 0), (0, 3), (3, 0)):
        assert trace_parts(Crop(np.zeros(shape, dtype=bool), 0, 0)) == []


@pytest.mark.parametrize("side", [24, 260])
def test_the_mask_of_noise_is_one_path_too(side):
    pixels = np.random.default_rng(3).random((side, side)) < 0.5
    outlines = trace(Crop(pixels, 0, 0))
    path = join([*outlines.outer, *outlines.holes])
    expected = crop_to_rle(Crop(pixels, 0, 0), (side, side))
    assert polygons_to_rle([path.ravel().tolist()], (side, side)) == expected
    parts = trace_parts(Crop(pixels, 0, 0))
    assert polygons_to_rle([part.ravel().tolist() for part in parts], (side, side)) == expected
