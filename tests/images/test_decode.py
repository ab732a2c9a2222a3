"""Files of any depth and number of channels give the values that were written, and errors that say what to do."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from maskwright.config.images import PixelsConfig
from maskwright.data.file_checks import check_file
from maskwright.data.record import ImageRecord
from maskwright.errors import DataError, MissingDependency
from maskwright.images.decode import decode, kind_of_pixels, read_header
from maskwright.images.read import image_size, read_image, read_stored

HEIGHT, WIDTH = 24, 31


def values(channels: int, dtype: Any = np.uint16, seed: int = 0) -> np.ndarray:
    """(channels, 24, 31) over the whole range of an integer type."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (channels, HEIGHT, WIDTH), dtype=dtype)


def pixels_of(channels: int, bits: int = 16, **fields: Any) -> PixelsConfig:
    return PixelsConfig.model_validate({"channels": channels, "bits": bits, **fields})


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def deep_png(array: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB or RGBA, which Pillow does not write; (C, H, W)."""
    channels, height, width = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array.transpose(1, 2, 0))
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def kept(stored: np.ndarray, bits: int = 16) -> torch.Tensor:
    return torch.from_numpy(stored.astype(np.float64) * 255 / (2**bits - 1)).float()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.int32])
@pytest.mark.parametrize("is_first", [True, False])
def test_npy_gives_its_channels_wherever_they_stand(dtype: Any, is_first: bool) -> None:
    stored = values(5, np.uint8).astype(dtype)
    data = npy(stored if is_first else stored.transpose(1, 2, 0))
    assert np.array_equal(decode(data, "a", 5), stored)
    pixels = read_image(data, pixels_of(5))
    assert pixels.dtype == torch.float32 and pixels.is_contiguous()
    torch.testing.assert_close(
        pixels, torch.from_numpy(stored.astype(np.float32)) if dtype == np.uint8 else kept(stored)
    )


def test_npy_in_fortran_order_is_the_same_image() -> None:
    stored = values(5)
    assert np.array_equal(decode(npy(np.asfortranarray(stored)), "a", 5), stored)


def test_channels_first_or_last_is_recognised_by_their_number_and_then_by_the_shorter_axis() -> None:
    assert decode(npy(np.zeros((4, 9, 5))), "a", 5).shape == (5, 4, 9)
    assert decode(npy(np.zeros((4, 9, 5))), "a", 7).shape == (4, 9, 5)
    assert decode(npy(np.zeros((9, 9, 9))), "a", None).shape == (9, 9, 9)
    assert decode(npy(np.zeros((64, 80))), "a", 1).shape == (1, 64, 80)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack"},  # a page for each channel
        {"photometric": "minisblack", "planarconfig": "separate"},
        {"photometric": "minisblack", "compression": "lzw"},
        {"photometric": "minisblack", "bigtiff": True},
        {"imagej": True, "metadata": {"axes": "CYX"}},
    ],
)
@pytest.mark.parametrize("channels", [2, 5])
def test_a_tiff_gives_all_its_channels(channels: int, options: dict[str, Any]) -> None:
    stored = values(channels)
    torch.testing.assert_close(read_image(tiff(stored, **options), pixels_of(channels)), kept(stored))


def test_a_tiff_with_its_channels_side_by_side_gives_them() -> None:
    stored = values(5)
    data = tiff(stored.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
    torch.testing.assert_close(read_image(data, pixels_of(5)), kept(stored))


def test_sixteen_bit_colour_of_tiff_and_png_keeps_all_its_bits() -> None:
    stored = values(3)
    for data in (tiff(stored.transpose(1, 2, 0), photometric="rgb"), deep_png(stored)):
        torch.testing.assert_close(read_image(data, pixels_of(3)), kept(stored))
        upper = read_image(data)  # 8 bits
        assert upper.dtype == torch.uint8 and torch.equal(upper, torch.from_numpy((stored >> 8).astype(np.uint8)))


def test_alpha_is_a_channel_only_where_so_many_are_wanted() -> None:
    stored = values(4)
    data = tiff(stored.transpose(1, 2, 0), photometric="rgb", extrasamples=["unassalpha"])
    for encoded in (deep_png(stored), data):
        torch.testing.assert_close(read_image(encoded, pixels_of(4)), kept(stored))
        torch.testing.assert_close(read_image(encoded, pixels_of(3)), kept(stored[:3]))
    shallow = values(4, np.uint8).transpose(1, 2, 0)
    assert torch.equal(
        read_image(Image.fromarray(shallow), pixels_of(4, 8)), torch.from_numpy(shallow.transpose(2, 0, 1).copy())
    )


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_all_its_bits_on_one_scale(file_format: str) -> None:
    stored = values(1)
    buffer = io.BytesIO()
    Image.fromarray(stored[0]).save(buffer, file_format)
    torch.testing.assert_close(read_image(buffer.getvalue(), pixels_of(1)), kept(stored))
    assert read_image(buffer.getvalue(), pixels_of(3)).shape == (3, HEIGHT, WIDTH)


def test_the_depth_of_a_camera_decides_what_is_white() -> None:
    stored = values(1) >> 4
    torch.testing.assert_close(read_image(npy(stored), pixels_of(1, 12)), kept(stored, 12))
    with pytest.raises(DataError, match=r"pixels\.bits=10 holds 0 to 1023; set pixels\.bits=16"):
        read_image(npy(stored), pixels_of(1, 10))


def test_floats_are_taken_from_their_range_to_the_common_scale() -> None:
    shares = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    torch.testing.assert_close(read_image(npy(shares), pixels_of(1))[0], torch.from_numpy(shares) * 255)
    metres = shares.astype(np.float64) * 400 - 100
    torch.testing.assert_close(
        read_image(npy(metres), pixels_of(1, float_range=(-100, 300)))[0], torch.from_numpy(shares) * 255
    )
    with pytest.raises(DataError, match=r"from -100\.0 to 300\.0, outside pixels\.float_range 0 to 1; set"):
        read_image(npy(metres), pixels_of(1))
    with pytest.raises(DataError, match="not finite"):
        read_image(npy(np.array([[0.5, np.nan]])), pixels_of(1))


def test_the_smallest_camera_depth_of_eight_bits_holds_for_all_channels_together() -> None:
    stored = np.stack([np.full((4, 6), 4095), np.full((4, 6), 100)]).astype(np.uint16)
    pixels = read_image(npy(stored), pixels_of(2, 8))
    assert pixels.dtype == torch.uint8 and pixels[:, 0, 0].tolist() == [255, 6]


@pytest.mark.parametrize(
    "data",
    [
        npy(values(5)),
        tiff(values(5), photometric="minisblack"),
        tiff(values(5).transpose(1, 2, 0), photometric="minisblack", planarconfig="contig"),
        deep_png(values(3)),
    ],
)
def test_the_size_of_any_file_comes_from_its_header(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(data)
    assert image_size(path) == read_header(path).size == (HEIGHT, WIDTH)


def test_files_say_what_kind_of_pixels_they_have(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    kinds = {
        "5 × uint16": npy(values(5)),
        "2 × uint16": tiff(values(2), photometric="minisblack"),
        "4 × uint8": tiff(values(4, np.uint8), photometric="minisblack"),
        "16-bit RGB": deep_png(values(3)),
    }
    for kind, data in kinds.items():
        path.write_bytes(data)
        assert kind_of_pixels(path) == kind


def test_the_wrong_number_of_channels_names_file_found_expected_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "field.npy"
    path.write_bytes(npy(values(5)))
    with pytest.raises(DataError, match=r"field\.npy has 5 channels, the model takes 3; .*pixels\.channels=5"):
        read_image(path)
    with pytest.raises(DataError, match="has 3 channels, the model takes 2"):
        read_image(deep_png(values(3)), pixels_of(2))


def test_a_stack_of_images_is_refused_by_its_axes() -> None:
    data = tiff(np.zeros((2, 3, 8, 9), np.uint16), imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(DataError, match="axes T 2 × C 3 × Y 8 × X 9"):
        read_image(data, pixels_of(6))


def test_without_tifffile_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff(values(5), photometric="minisblack")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(MissingDependency, match=r"maskwright\[tiff\]"):
        read_image(data, pixels_of(5))


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_of_many_channels_give_pixels_or_a_data_error_and_nothing_else() -> None:
    draws, wanted = np.random.default_rng(3), pixels_of(5)
    for good in (npy(values(5)), tiff(values(5), photometric="minisblack"), tiff(values(5), compression="zlib")):
        for share in (0.001, 0.02, 0.5, 0.9):  # the last bytes of a TIFF may lie behind its pixels
            with pytest.raises(DataError):
                read_image(good[: max(1, int(len(good) * share))], wanted)
        for _ in range(60):
            data = bytearray(good)
            for place in draws.integers(0, min(len(data), 600), 4):
                data[place] = draws.integers(256)
            try:
                read_image(bytes(data), wanted)
            except (DataError, MissingDependency):
                continue


def test_a_header_that_promises_more_than_there_is_takes_no_memory() -> None:
    data = npy(np.zeros((5, 10, 10), np.uint8)).replace(b"(5, 10, 10)", b"(5, 10**99)"[:11])
    huge = npy(np.zeros((1, 10, 10), np.uint8)).replace(b"(1, 10, 10)", b"(9, 9999999")
    for bad in (data, huge, data[:200]):
        with pytest.raises(DataError, match="broken or cut off"):
            read_image(bad, pixels_of(5))


def test_people_look_at_stored_values_of_any_kind() -> None:
    assert torch.equal(read_stored(npy(values(5))), torch.from_numpy(values(5).astype(np.float32)))
    assert read_stored(tiff(values(2), photometric="minisblack")).shape == (2, HEIGHT, WIDTH)
    assert read_stored(Image.new("RGBA", (4, 3))).dtype == torch.uint8


def photograph(file_format: str, **options: Any) -> bytes:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([rows * 9, columns * 8, rows * 0 + 90], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    if file_format == "HEIF":
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(picture)).save(buffer, quality=-1)
    else:
        Image.fromarray(picture).save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["HEIF", "AVIF", "JPEG2000"])
def test_photographs_of_telephones_are_images(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(photograph(file_format))
    pixels = read_image(path).numpy().astype(int)
    exact = read_image(photograph("PNG")).numpy().astype(int)
    assert np.abs(pixels - exact).mean() < 6
    assert read_header(path).size == (HEIGHT, WIDTH) and kind_of_pixels(path) == "RGB"


def test_without_its_library_a_file_is_named_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(photograph("HEIF"))
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    for read in (read_image, read_header):
        with pytest.raises(MissingDependency, match=r"a\.heic needs .*'pillow-heif'.*maskwright\[heic\]") as caught:
            read(path)
        assert isinstance(caught.value, DataError)  # of several files the others go on


@pytest.mark.parametrize("shape", [(3, HEIGHT, WIDTH), (3, HEIGHT, WIDTH, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("bits", [8, 16])
def test_of_several_pages_the_first_is_the_image(shape: tuple[int, ...], dtype: Any, bits: int) -> None:
    stored = np.random.default_rng(0).random(shape) * (1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max)
    photometric = "rgb" if len(shape) == 4 else "minisblack"
    pages = read_image(tiff(stored.astype(dtype), photometric=photometric), pixels_of(3, bits))
    first = read_image(tiff(stored[0].astype(dtype), photometric=photometric), pixels_of(3, bits))
    assert torch.equal(pages, first)


def test_a_tiff_that_asks_for_more_than_its_length_allows_is_refused_at_once() -> None:
    small = tiff(np.zeros((8, 8), np.float64), compression="zlib")
    huge = small.replace(struct.pack("<HHII", 256, 4, 1, 8), struct.pack("<HHII", 256, 4, 1, 12_000))
    huge = huge.replace(struct.pack("<HHII", 257, 4, 1, 8), struct.pack("<HHII", 257, 4, 1, 12_000))
    larger = small.replace(struct.pack("<HHII", 256, 4, 1, 8), struct.pack("<HHII", 256, 4, 1, 2**31 - 1))
    assert huge != small != larger
    for data in (huge, larger):
        with pytest.raises(DataError, match=r"broken or cut off|too large for one pass"):
            read_image(data)


FUZZED = ["TIFF", "PNG", "JPEG", "WEBP", "GIF", "HEIF", "AVIF", "JPEG2000", "BMP", "PPM"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file_format", FUZZED)
def test_whatever_a_damaged_file_leads_a_decoder_to_it_is_a_data_error(tmp_path: Path, file_format: str) -> None:
    draws, good = np.random.default_rng(7), photograph(file_format)
    path = tmp_path / "a.img"
    for trial in range(60):
        data = bytearray(good)
        for index in draws.integers(0, len(data) if trial % 2 else min(len(data), 300), 1 + trial % 5):
            data[index] = draws.integers(256)
        path.write_bytes(data[: draws.integers(1, len(data))] if trial % 7 == 0 else data)
        for read in (read_image, read_header, lambda path: check_file(ImageRecord(1, path, (HEIGHT, WIDTH), ()))):
            with suppress(DataError):
                read(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 4}, {"imagej": True}]
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_tiff_without_all_its_strips_or_tiles_is_broken_and_not_black(options: dict[str, Any], share: float) -> None:
    whole = tiff(values(5), **({"photometric": "minisblack"} | options))
    with pytest.raises(DataError):
        read_image(whole[: int(len(whole) * share)], pixels_of(5))


def test_a_tiff_without_pixels_is_broken() -> None:
    empty = tiff(values(5), imagej=True).replace(b"images=5", b"images=0")
    with suppress(DataError):
        read_image(empty, pixels_of(5))
