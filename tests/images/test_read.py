"""Every source of an image gives the same pixels, and every bad one a message that names it."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.errors import DataError
from maskwright.images.read import image_size, read_image
from maskwright.images.values import to_8_bit

HEIGHT, WIDTH = 37, 53


def picture() -> np.ndarray:
    """(37, 53, 3) smooth colours with a little noise, so that no two axes or channels look alike."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH))
    return np.stack([rows * 5, columns * 4, rows + columns + noise], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def expected_tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))


def test_every_kind_of_source_gives_the_same_tensor(tmp_path: Path) -> None:
    rgb = picture()
    path = tmp_path / "a.png"
    Image.fromarray(rgb).save(path)
    expected = expected_tensor(rgb)
    for source in (path, str(path), path.read_bytes(), Image.fromarray(rgb), rgb, expected):
        pixels = read_image(source)
        assert pixels.dtype == torch.uint8 and pixels.is_contiguous()
        assert torch.equal(pixels, expected), type(source)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "YCbCr", "CMYK", "HSV"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    assert torch.equal(read_image(image), expected_tensor(np.asarray(image.convert("RGB"))))


def test_alpha_is_dropped_not_blended() -> None:
    transparent = np.dstack([picture(), np.zeros((HEIGHT, WIDTH), np.uint8)])
    assert torch.equal(read_image(encoded(Image.fromarray(transparent), "PNG")), expected_tensor(picture()))


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    data = encoded(Image.fromarray(picture()).quantize(8), "PNG", transparency=b"\x00\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(data).shape == (3, HEIGHT, WIDTH)


def test_of_an_animation_the_first_frame_is_read() -> None:
    first, second = Image.new("RGB", (4, 3), "red"), Image.new("RGB", (4, 3), "blue")
    data = encoded(first, "TIFF", save_all=True, append_images=[second])
    assert read_image(data)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("array", [picture()[::-1], picture()[:, ::2], picture()[..., ::-1], picture()[:1, :1]])
def test_arrays_of_any_memory_layout_are_taken(array: np.ndarray) -> None:
    frozen = array.view()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(read_image(frozen), expected_tensor(array))


def test_a_grey_array_fills_three_equal_channels() -> None:
    grey = picture()[..., 2]
    assert torch.equal(read_image(grey), expected_tensor(np.dstack([grey] * 3)))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_sixteen_bit_grey_spans_the_smallest_camera_depth_that_holds_it(file_format: str, depth: int) -> None:
    largest = 2**depth - 1
    ramp = np.linspace(0, largest, 60).astype(np.uint16).reshape(6, 10)
    pixels = read_image(encoded(Image.fromarray(ramp), file_format))
    assert (pixels[0] == pixels[1]).all() and pixels[0, 0, 0] == 0 and pixels[0, -1, -1] == 255
    assert np.abs(pixels[0].numpy() - ramp / largest * 255).max() <= 0.5


def test_scaling_to_eight_bits_keeps_the_order_of_grey_values() -> None:
    values = np.random.default_rng(1).integers(0, 65536, (8, 9))
    scaled = to_8_bit(values).ravel()
    assert (np.diff(scaled[np.argsort(values.ravel())].astype(int)) >= 0).all()


@pytest.mark.parametrize("values", [np.array([[-1, 5]]), np.array([[70000, 5]])])
def test_grey_values_without_a_known_range_are_refused(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected integers from 0 to 65535"):
        to_8_bit(values)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_off_file_is_an_error_that_names_it(tmp_path: Path, file_format: str, share: float) -> None:
    data = encoded(Image.fromarray(picture()), file_format)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"cut\.img") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_gives_pixels_or_a_data_error_and_nothing_else() -> None:
    draws = np.random.default_rng(2)
    for file_format in ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"):
        good = encoded(Image.fromarray(picture()), file_format)
        for _ in range(60):
            data = bytearray(good)
            for place in draws.integers(0, len(data), 3):
                data[place] = draws.integers(256)
            try:
                pixels = read_image(bytes(data))
            except DataError:
                continue
            assert pixels.dtype == torch.uint8 and len(pixels) == 3


def test_what_is_not_an_image_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not an image at all")
    cases = {"missing.png": "does not exist", "empty.png": "empty", "text.jpg": "not an image", "": "is a folder"}
    for name, words in cases.items():
        with pytest.raises(DataError, match=words) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(DataError, match="image bytes is empty"):
        read_image(b"")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_without_permission_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.touch(mode=0)
    with pytest.raises(DataError, match="permissions"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((0, 5, 3), np.uint8), r"uint8 of shape \(0, 5, 3\)"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"uint8 of shape \(2, 4, 5, 3\)"),
        (torch.zeros(3, 4, 5), r"float32 of shape \(3, 4, 5\)"),
        (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), r"uint8 of shape \(2, 3, 4, 5\)"),
    ],
)
def test_a_wrong_array_is_an_error_that_says_found_and_expected(array: Any, found: str) -> None:
    with pytest.raises(DataError, match=f"{found}; expected uint8"):
        read_image(array)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 3), np.float32), "float32 values; expected integers from 0 to 65535: set pixels.bits=16"),
        (np.zeros((4, 5, 4), np.uint8), "4 channels, the model takes 3; .* pixels.channels=4"),
        (np.zeros((4, 5), bool), "bool values"),
        (torch.zeros(4, 5, 6, dtype=torch.uint8), "4 channels, the model takes 3"),
    ],
)
def test_an_array_that_the_model_cannot_take_is_an_error_that_says_why(array: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_image(array)


def test_a_wrong_kind_of_source_is_an_error_that_names_the_type() -> None:
    with pytest.raises(DataError, match="int given as an image"):
        read_image(7)  # type: ignore[arg-type]  # what a user may do


def test_the_size_comes_from_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "head.png"
    path.write_bytes(encoded(Image.fromarray(picture()), "PNG")[:200])
    assert image_size(path) == (HEIGHT, WIDTH)
    with pytest.raises(DataError, match="does not exist"):
        image_size(tmp_path / "nowhere.png")


def test_an_image_beyond_the_decompression_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="too large"):
        read_image(encoded(Image.fromarray(picture()), "PNG"))
