"""Images are upright wherever they are read, whatever their orientation tag and file format say."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from maskwright.config.images import PixelsConfig
from maskwright.images.decode import decode, read_header
from maskwright.images.orientation import orientation_of, turned_size, upright, upright_points
from maskwright.images.read import image_size, read_image, read_stored

HEIGHT, WIDTH = 6, 4
ORIENTATIONS = range(1, 9)
# format of the file → how it keeps every pixel as it is
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


def turned(orientation: int, format_: str = "PNG", array: np.ndarray | None = None) -> bytes:
    """The bytes of a picture with an orientation tag."""
    array = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3) if array is None else array
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = BytesIO()
    Image.fromarray(array).save(file, format_, exif=exif, **LOSSLESS.get(format_, {}))
    return file.getvalue()


@pytest.mark.parametrize("format_", [*LOSSLESS, "JPEG"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pixels_sizes_and_pil_images_are_those_of_pillows_own_turning(tmp_path, orientation, format_) -> None:
    path = tmp_path / "turned"
    path.write_bytes(turned(orientation, format_))
    with Image.open(path) as image:
        expected = torch.from_numpy(np.array(ImageOps.exif_transpose(image).convert("RGB"))).permute(2, 0, 1)
    with Image.open(path) as image:
        assert torch.equal(read_image(image), expected)
        image.load()
        assert torch.equal(read_image(image), expected)
    assert torch.equal(read_image(path), expected)
    assert torch.equal(read_stored(path), expected)
    assert image_size(path) == tuple(expected.shape[1:])
    header = read_header(path)
    assert header.orientation == orientation
    assert header.stored_size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_files_of_many_channels_and_deep_colours_are_turned_too(tmp_path: Path, orientation: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(5 * HEIGHT * WIDTH, dtype=np.uint16).reshape(5, HEIGHT, WIDTH)
    path = tmp_path / "five.tif"
    tag = (int(ExifTags.Base.Orientation), "H", 1, orientation, True)
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="separate", extratags=[tag])
    found = read_image(path, PixelsConfig(channels=5, bits=16))
    expected = upright(values, orientation).astype(np.float32) * np.float32(255 / 65535)
    assert np.allclose(found.numpy(), expected)
    assert read_header(path).size == found.shape[1:]
    deep = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint16).reshape(HEIGHT, WIDTH, 3) * 700
    png = deep_png(tmp_path / "deep.png", deep, orientation)
    assert np.array_equal(decode(png.read_bytes(), "deep"), upright(deep.transpose(2, 0, 1), orientation))


def deep_png(path: Path, values: np.ndarray, orientation: int) -> Path:
    """A PNG of 16 bits a channel with an orientation tag, which Pillow cannot write."""
    import imagecodecs

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + content
    import zlib

    encoded = imagecodecs.png_encode(values)
    end_of_header = 8 + 25  # signature, IHDR
    inserted = len(content).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(encoded[:end_of_header] + inserted + encoded[end_of_header:])
    return path


@given(
    st.sampled_from(ORIENTATIONS),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_points_go_where_their_pixels_go(orientation: int, height: int, width: int, row: int, column: int) -> None:
    row, column = row % height, column % width
    pixels = np.zeros((height, width), dtype=bool)
    pixels[row, column] = True
    moved = upright(pixels, orientation)
    assert moved.shape == turned_size((height, width), orientation)
    point = upright_points(np.array([[column + 0.5, row + 0.5]]), orientation, moved.shape)
    assert point.tolist() == [[coordinate + 0.5 for coordinate in reversed(np.argwhere(moved)[0].tolist())]]


@pytest.mark.parametrize("value", [0, 9, 77])
def test_a_tag_without_meaning_leaves_the_image_as_it_is(value: int) -> None:
    with Image.open(BytesIO(turned(value))) as image:
        assert orientation_of(image) == 1
    assert read_image(turned(value)).shape == (3, HEIGHT, WIDTH)


def test_a_damaged_tag_leaves_the_image_as_it_is() -> None:
    data = turned(6, "JPEG")
    start = data.index(b"Exif\0\0") + 6
    broken = data[:start] + b"\xff" * 8 + data[start + 8 :]
    assert read_image(broken).shape == (3, HEIGHT, WIDTH)
