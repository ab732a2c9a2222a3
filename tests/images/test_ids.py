"""Pictures of ids are read exactly, by one codec for every kind of annotation, or refused by their cause."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.data.segment_picture import SegmentLabel, SegmentPicture
from maskwright.errors import DataError
from maskwright.evaluation.cityscapes import read_id_picture
from maskwright.evaluation.panoptic_files import segment_ids
from maskwright.images.ids import read_ids, write_ids
from maskwright.images.npy import npy_header


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
    ids = read_ids(save(tmp_path / name, values))
    assert ids.dtype == np.int32
    assert ids.tolist() == values.astype(int).tolist()


def test_a_tiff_that_pillow_does_not_know_is_read_with_tifffile(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", IDS.astype(np.uint64) * 70_000)
    assert read_ids(tmp_path / "a.tif").tolist() == (IDS * 70_000).tolist()
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 40, 30), dtype=np.uint16), photometric="minisblack")
    with pytest.raises(DataError, match=r"expected one id a pixel|has 5 pages"):
        read_ids(tmp_path / "a.tif")


def test_of_a_palette_the_indices_count(tmp_path: Path) -> None:
    assert read_ids(save(tmp_path / "a.png", IDS.astype(np.uint8), has_palette=True)).tolist() == IDS.tolist()


def test_colours_count_as_red_and_256_green_and_65536_blue_and_alpha_is_dropped(tmp_path: Path) -> None:
    colours = np.array([[[0, 0, 0, 9], [1, 2, 3, 0]]], dtype=np.uint8)
    for channels in (3, 4):
        path = save(tmp_path / "a.png", colours[..., :channels])
        assert read_ids(path, "colours").tolist() == read_ids(path, "either").tolist() == [[0, 1 + 2 * 256 + 3 * 65536]]
    with pytest.raises(DataError, match=r"shape \(1, 2, 4\); expected one id a pixel: grey or a palette"):
        read_ids(path)


def test_axes_of_length_one_around_an_array_are_taken_off(tmp_path: Path) -> None:
    assert read_ids(save(tmp_path / "a.npy", IDS[None, :, :, None])).tolist() == IDS.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[-1, 0]]), "values from -1 to 0"),
        (np.array([[0, 2**31]]), "to 2147483647|2.14748e"),
        (np.array([[0, 1.5]]), "holds fractions, for example 1.5"),
        (np.array([[0, np.nan]]), "values from nan"),
        (np.zeros((2, 3, 5)), r"shape \(2, 3, 5\)"),
        (np.array([["a"]]), "expected numbers"),
        (np.array([[{}]]), "holds Python objects, but no 'masks'"),
    ],
)
def test_what_are_no_ids_is_reported(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_ids(save(tmp_path / "a.npy", values))


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
            read_ids(tmp_path / name)


def test_a_lossy_file_a_stack_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), value, dtype=np.uint8)) for value in (1, 2)]
    pages[0].save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="JPEG"):
        read_ids(tmp_path / "a.jpg")
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="has 2 pages"):
        read_ids(tmp_path / "a.tif")
    for name in ("b.png", "b.npy"):
        with pytest.raises(DataError, match=f"b.{name[2:]} .*exist"):
            read_ids(tmp_path / name)


LABELS = np.array([[0, 7, 11], [23, 26, 0]], dtype=np.uint8)


def every_reader_of_values(path: Path) -> list[Any]:
    """What the readers of pictures with one number a pixel make of a file."""
    segments = SegmentPicture(path, {7: SegmentLabel(7)}, "values")
    return [read_ids(path), segments.ids(LABELS.shape), read_id_picture(path)]


def every_reader_of_colours(path: Path, size: tuple[int, int]) -> list[Any]:
    return [read_ids(path, "colours"), SegmentPicture(path, {}, "colours").ids(size), segment_ids(path)]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize("has_palette", [False, True])
def test_all_readers_of_one_number_a_pixel_agree(tmp_path: Path, name: str, has_palette: bool) -> None:
    path = save(tmp_path / name, LABELS, has_palette)
    assert [found.tolist() for found in every_reader_of_values(path)] == [LABELS.tolist()] * 3


def test_all_readers_of_colours_agree_and_deep_grey_keeps_its_value(tmp_path: Path) -> None:
    deep = np.array([[0, 3000, 40_000]], dtype=np.uint16)
    path = save(tmp_path / "a.png", deep)
    assert [found.tolist() for found in every_reader_of_colours(path, deep.shape)] == [deep.tolist()] * 3
    colours = np.array([[[1, 2, 3], [252, 3, 0]]], dtype=np.uint8)
    expected = [[1 + 2 * 256 + 3 * 65536, 252 + 3 * 256]]
    path = save(tmp_path / "b.png", colours)
    assert [found.tolist() for found in every_reader_of_colours(path, (1, 2))] == [expected] * 3
    Image.open(path).quantize(2, dither=Image.Dither.NONE).save(path)  # a palette stands for its colours
    assert Image.open(path).mode == "P"
    assert [found.tolist() for found in every_reader_of_colours(path, (1, 2))] == [expected] * 3


LOSSY = [("a.jpg", {}, "JPEG"), ("a.webp", {"quality": 90}, "lossy WebP"), ("a.jp2", {}, "JPEG 2000")]
LOSSY += [("a.avif", {}, "AVIF"), ("a.tif", {"compression": "jpeg"}, "a TIFF compressed as JPEG")]


@pytest.mark.parametrize(("name", "options", "words"), LOSSY)
def test_what_loses_values_is_refused_by_every_reader_with_the_way_out(
    tmp_path: Path, name: str, options: dict[str, Any], words: str
) -> None:
    path = tmp_path / name
    Image.fromarray(np.kron(LABELS, np.ones((16, 16), dtype=np.uint8))).convert("RGB").save(path, **options)
    for read in (read_ids, read_id_picture, segment_ids, lambda path: SegmentPicture(path, {}).ids((32, 48))):
        with pytest.raises(DataError, match=rf"{words}.* does not keep values exactly.*export it anew as PNG or TIFF"):
            read(path)


def test_a_lossless_webp_is_exact(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.webp", lossless=True)
    red, green, blue = np.moveaxis(colours.astype(int), -1, 0)
    assert read_ids(tmp_path / "a.webp", "colours").tolist() == (red + 256 * green + 65536 * blue).tolist()


def test_colours_of_sixteen_bits_are_refused_as_only_half_of_them_is_decoded(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5, 3), 300, dtype=np.uint16), photometric="rgb")
    with pytest.raises(DataError, match="colours of 16 bits"):
        read_ids(tmp_path / "a.tif", "colours")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_gives_the_numbers_that_are_stored(tmp_path: Path, bits: int) -> None:
    numbers = np.arange(16).reshape(2, 8) % 2**bits
    packed = np.packbits(numbers[..., None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8).reshape(2, bits)
    header = struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert read_ids(tmp_path / "a.png").tolist() == numbers.tolist()


@pytest.mark.parametrize("most", [3, 255, 256, 65535])
def test_written_ids_come_back(tmp_path: Path, most: int) -> None:
    ids = np.array([[0, most], [1, 2]])
    for coding in ("values", "colours"):
        write_ids(tmp_path / "a.png", ids, coding)
        assert read_ids(tmp_path / "a.png", coding).tolist() == ids.tolist()


def session(protocol: int, masks: Any, **others: Any) -> bytes:
    content = {"outlines": np.zeros((2, 3)), "filename": "a.png", "diameter": np.float64(3.5), **others, "masks": masks}
    start = io.BytesIO()
    np.save(start, np.array(None, dtype=object))
    header = start.getvalue()[: npy_header(io.BytesIO(start.getvalue())).length]
    return header + pickle.dumps(np.array(content, dtype=object), protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4", "<i8"])
def test_the_masks_of_a_session_of_cellpose_are_read(tmp_path: Path, protocol: int, dtype: str) -> None:
    path = tmp_path / "a_seg.npy"
    for masks in (IDS.astype(dtype), np.asfortranarray(IDS.astype(dtype))):
        flows = [np.zeros((2, 3), dtype=np.float32), [], None]
        path.write_bytes(session(protocol, masks, flows=flows, path=Path("x"), kinds={1, 2}, when=date(2026, 1, 1)))
        assert read_ids(path).tolist() == IDS.tolist()


class _Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("trap",)


def test_a_session_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a_seg.npy"
    path.write_bytes(session(4, IDS.astype("<u2"), trap=_Trap()))
    assert read_ids(path).tolist() == IDS.tolist()
    path.write_bytes(session(4, _Trap()))
    with pytest.raises(DataError, match="no 'masks'"):
        read_ids(path)
    assert not (tmp_path / "trap").exists()


def test_a_damaged_session_is_an_error_in_words_and_soon(tmp_path: Path) -> None:
    whole, draws = session(4, IDS.astype("<u2")), np.random.default_rng(0)
    path = tmp_path / "a_seg.npy"
    for trial in range(400):
        damaged = bytearray(whole[: draws.integers(60, len(whole))] if trial % 2 else whole)
        for index in draws.integers(50, len(damaged), 3):
            damaged[index] = draws.integers(256)
        path.write_bytes(damaged)
        with suppress(DataError):
            read_ids(path)
    # tuples of the same tuple, thirty deep, as a key of a table: hashing it would take a billion steps
    nested = b"\x80\x04}(" + b")" + b"2\x86" * 30 + b"K\x01u."
    path.write_bytes(whole[: whole.index(b"\x80\x04")] + nested)
    with pytest.raises(DataError):
        read_ids(path)
