"""Run lengths: pycocotools both ways, from a crop or from anything COCO files hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import any_to_rle, as_text, crop_to_rle, polygons_to_rle, rle_counts, rle_to_crop

Bitmap = npt.NDArray[np.bool_]
bitmaps = arrays.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@st.composite
def blots(draw: st.DrawFn) -> Bitmap:
    """Bitmaps with whole columns, borders and blocks, where runs join and counts grow long."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    bitmap = np.zeros((height, width), dtype=bool)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
        bitmap[top:bottom, left:right] ^= True
    return bitmap


def theirs(bitmap: Bitmap) -> dict[str, object]:
    return as_text(pycocotools.mask.encode(np.asfortranarray(bitmap.astype(np.uint8))))


def whole(crop: Crop, size: tuple[int, int]) -> Bitmap:
    bitmap = np.zeros(size, dtype=bool)
    height, width = crop.pixels.shape
    bitmap[crop.top : crop.top + height, crop.left : crop.left + width] = crop.pixels
    return bitmap


@given(bitmaps | blots())
def test_encoding_is_that_of_pycocotools(bitmap: Bitmap) -> None:
    assert crop_to_rle(Crop(bitmap, 0, 0), bitmap.shape) == theirs(bitmap)


@given(bitmaps | blots())
def test_decoding_gives_what_pycocotools_encoded(bitmap: Bitmap) -> None:
    assert np.array_equal(whole(rle_to_crop(theirs(bitmap)), bitmap.shape), bitmap)


@given(bitmaps | blots())
def test_decoded_crop_is_tight(bitmap: Bitmap) -> None:
    pixels = rle_to_crop(theirs(bitmap)).pixels
    if bitmap.any():
        assert pixels[0].any() and pixels[-1].any() and pixels[:, 0].any() and pixels[:, -1].any()
    else:
        assert pixels.shape == (0, 0)


@given(blots(), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_crop_encodes_like_the_whole_image(bitmap: Bitmap, top: int, left: int, below: int, right: int) -> None:
    size = (top + bitmap.shape[0] + below, left + bitmap.shape[1] + right)
    crop = Crop(bitmap, top, left)
    assert crop_to_rle(crop, size) == theirs(whole(crop, size))


@given(blots())
def test_counts_are_the_runs_down_the_columns(bitmap: Bitmap) -> None:
    counts = rle_counts(theirs(bitmap))
    assert counts.sum() == bitmap.size
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert np.array_equal(runs, bitmap.ravel(order="F"))


def test_large_image_needs_no_bitmap_of_its_size() -> None:
    rle = crop_to_rle(Crop(np.ones((3, 2), dtype=bool), 40_000, 50_000), (60_000, 60_000))
    assert rle_counts(rle).tolist() == [3_000_040_000, 3, 59_997, 3, 599_899_997]


def test_every_form_of_a_mask_reads_the_same() -> None:
    bitmap = np.zeros((8, 6), dtype=bool)
    bitmap[2:5, 1:4] = True
    expected = theirs(bitmap)
    uncompressed = {"size": [8, 6], "counts": rle_counts(expected).tolist()}
    as_bytes = {"size": [8, 6], "counts": str(expected["counts"]).encode()}
    polygon = [[1.0, 2.0, 4.0, 2.0, 4.0, 5.0, 1.0, 5.0]]
    for form in (expected, uncompressed, as_bytes, polygon):
        assert any_to_rle(form, (8, 6)) == expected


coordinates = st.tuples(st.integers(0, 160).map(lambda n: n / 4), st.integers(0, 120).map(lambda n: n / 4))
outlines = st.lists(coordinates, min_size=3, max_size=9).map(
    lambda points: [float(v) for point in points for v in point]
)


@given(st.lists(outlines, min_size=1, max_size=3))
def test_polygons_are_filled_as_pycocotools_fills_them(polygons: list[list[float]]) -> None:
    expected = pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, 30, 40))
    assert polygons_to_rle(polygons, (30, 40)) == as_text(expected)


@pytest.mark.parametrize("fill", [False, True])
def test_all_or_nothing_survives(fill: bool) -> None:
    bitmap = np.full((7, 5), fill)
    assert np.array_equal(whole(rle_to_crop(crop_to_rle(Crop(bitmap, 0, 0), (7, 5))), (7, 5)), bitmap)


@pytest.mark.parametrize("counts", ["5o", "P", "66P"])
def test_counts_that_end_within_a_number_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="end within a number"):
        rle_counts({"size": [3, 4], "counts": counts})
