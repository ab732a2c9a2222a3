"""A picture of ids becomes the run lengths of its objects."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import perf_counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as coco_mask

from maskwright.data.id_pictures import objects_of, read_id_picture
from maskwright.errors import DataError

PICTURES = arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]),
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.integers(0, 4),
)


@given(PICTURES)
def test_every_object_is_what_comparing_each_pixel_with_its_id_gives(ids: np.ndarray) -> None:
    found = objects_of(ids)
    assert list(found) == sorted(set(ids.ravel().tolist()) - {0})
    for id_, rle in found.items():
        expected = coco_mask.encode(np.asfortranarray(ids == id_, dtype=np.uint8))
        assert rle == {"size": list(ids.shape), "counts": expected["counts"].decode()}


@given(PICTURES)
def test_neither_memory_order_nor_contiguity_matters(ids: np.ndarray) -> None:
    spread = np.zeros((2 * ids.shape[0], 3 * ids.shape[1]), dtype=ids.dtype)
    spread[::2, ::3] = ids
    assert objects_of(np.asfortranarray(ids)) == objects_of(spread[::2, ::3]) == objects_of(ids)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (3, 4)])
def test_nothing_but_background_has_no_objects(shape: tuple[int, int]) -> None:
    assert objects_of(np.zeros(shape, dtype=np.int32)) == {}


def test_an_object_that_is_the_whole_picture_is_one_run() -> None:
    assert objects_of(np.full((3, 4), 9)) == {9: {"size": [3, 4], "counts": "0<"}}


def test_ids_of_24_bits_keep_their_value() -> None:
    assert list(objects_of(np.array([[0xFFFFFF, 70_000]], dtype=np.int32))) == [70_000, 0xFFFFFF]


def test_many_objects_cost_no_more_than_the_picture() -> None:
    rows, columns = np.indices((1200, 1200)) // 12
    many = (rows * 100 + columns + 1).astype(np.int32)  # 10,000 squares of 12 × 12
    started = perf_counter()
    assert len(objects_of(many)) == 10_000
    assert perf_counter() - started < 10  # a bitmap for each would be 14 gigabytes


def save(path: Path, values: np.ndarray, has_palette: bool = False) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
        return path
    picture = Image.fromarray(values)
    if has_palette:
        picture.putpalette([200, 9, 7] * 256)
    picture.save(path)
    return path


IDS = np.array([[0, 1, 2], [3, 200, 0]])


@pytest.mark.parametrize(
    ("name", "dtype", "scale"),
    [
        ("a.png", np.uint8, 1),
        ("a.png", np.uint16, 300),
        ("a.tif", np.uint16, 300),
        ("a.tif", np.int32, 70_000),
        ("a.tif", np.float32, 300),
        ("a.npy", np.bool_, 1),
        ("a.npy", np.uint16, 300),
        ("a.npy", np.int64, 70_000),
        ("a.npy", np.float64, 300),
        ("a.bmp", np.uint8, 1),
    ],
)
def test_ids_of_any_depth_are_read_exactly(tmp_path: Path, name: str, dtype: type, scale: int) -> None:
    values = (IDS * scale).astype(dtype)
    ids = read_id_picture(save(tmp_path / name, values))
    assert ids.dtype == np.int32
    assert ids.tolist() == values.astype(int).tolist()


def test_a_tiff_that_pillow_does_not_know_is_read_with_tifffile(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", IDS.astype(np.uint64) * 70_000)
    assert read_id_picture(tmp_path / "a.tif").tolist() == (IDS * 70_000).tolist()
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 40, 30), dtype=np.uint16), photometric="minisblack")
    with pytest.raises(DataError, match=r"expected one id a pixel|has 5 pages"):
        read_id_picture(tmp_path / "a.tif")


def test_of_a_palette_the_indices_count(tmp_path: Path) -> None:
    assert read_id_picture(save(tmp_path / "a.png", IDS.astype(np.uint8), has_palette=True)).tolist() == IDS.tolist()


def test_colours_count_as_red_and_256_green_and_65536_blue_and_alpha_is_dropped(tmp_path: Path) -> None:
    colours = np.array([[[0, 0, 0, 9], [1, 2, 3, 0]]], dtype=np.uint8)
    for channels in (3, 4):
        path = save(tmp_path / "a.png", colours[..., :channels])
        assert read_id_picture(path).tolist() == [[0, 1 + 2 * 256 + 3 * 65536]]
    with pytest.raises(DataError, match=r"shape \(1, 2, 4\); expected one id a pixel: grey or a palette"):
        read_id_picture(path, has_colours=False)


def test_axes_of_length_one_around_an_array_are_taken_off(tmp_path: Path) -> None:
    assert read_id_picture(save(tmp_path / "a.npy", IDS[None, :, :, None])).tolist() == IDS.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[-1, 0]]), "values from -1 to 0"),
        (np.array([[0, 2**31]]), "to 2147483647|2.14748e"),
        (np.array([[0, 1.5]]), "holds fractions, for example 1.5"),
        (np.array([[0, np.nan]]), "values from nan"),
        (np.zeros((2, 3, 5)), r"shape \(2, 3, 5\)"),
        (np.array([["a"]]), "expected numbers"),
        (np.array([[{}]]), "cannot be read as an array of numbers"),
    ],
)
def test_what_are_no_ids_is_told(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_id_picture(save(tmp_path / "a.npy", values))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged TIFF files
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a.bmp"])
def test_a_file_cut_off_anywhere_or_damaged_is_an_error_in_words(tmp_path: Path, name: str) -> None:
    whole = save(tmp_path / name, np.arange(2000, dtype=np.uint8).reshape(40, 50)).read_bytes()
    random = np.random.default_rng(0)
    for trial in range(60):
        damaged = bytearray(whole[: random.integers(len(whole))] if trial % 2 else whole)
        for place in random.integers(0, max(1, len(damaged)), 3 if trial > 20 else 0):
            if damaged:
                damaged[place] = random.integers(256)
        (tmp_path / name).write_bytes(damaged)
        with suppress(DataError):  # some damage leaves a picture
            read_id_picture(tmp_path / name)


def test_a_lossy_file_a_stack_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), value, dtype=np.uint8)) for value in (1, 2)]
    pages[0].save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="JPEG"):
        read_id_picture(tmp_path / "a.jpg")
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="has 2 pages"):
        read_id_picture(tmp_path / "a.tif")
    for name in ("b.png", "b.npy"):
        with pytest.raises(DataError, match=f"b.{name[2:]} .*(exist|No such)"):
            read_id_picture(tmp_path / name)
