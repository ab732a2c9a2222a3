"""Numbers of any type come to one scale of brightness: the same for all images of a camera as far as that can be."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from maskwright.config.images import PixelsConfig
from maskwright.errors import DataError
from maskwright.images.read import read_image
from maskwright.images.values import fits_no_span, span_of, to_8_bit

RAMP = np.linspace(0, 1, 60).reshape(6, 10)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("top", [1, 255, 1023, 4095])
def test_floats_span_zero_to_one_or_the_smallest_camera_depth(dtype: Any, top: int) -> None:
    found = to_8_bit((RAMP * top).astype(dtype))
    assert np.abs(found - RAMP * 255).max() <= 0.7


def test_floats_of_one_camera_keep_their_order_of_brightness() -> None:
    dark, bright = RAMP * 0.3, RAMP * 0.9
    assert to_8_bit(dark).max() == round(0.3 * 255) and to_8_bit(bright).max() == round(0.9 * 255)
    assert (to_8_bit(RAMP * 255) == to_8_bit(np.rint(RAMP * 255).astype(np.uint8))).mean() > 0.9


def test_what_rounding_pushes_over_an_edge_stays_in_the_span() -> None:
    noisy = np.array([[-1e-4, 0.5, 1 + 1e-4]])
    assert span_of(noisy) == (0, 1) and to_8_bit(noisy).tolist() == [[0, 128, 255]]
    assert span_of(np.array([0.0, 1.01])) == (0, 255)


@pytest.mark.parametrize("values", [RAMP * 2 - 1, RAMP * 1e6, -RAMP - 5])
def test_what_fits_no_span_is_stretched_by_its_own_range(values: np.ndarray) -> None:
    found = to_8_bit(values)
    assert fits_no_span(values) and (found.min(), found.max()) == (0, 255)


def test_floats_that_are_all_alike_have_a_brightness() -> None:
    assert to_8_bit(np.full((2, 3), 0.5)).tolist() == [[128] * 3] * 2
    assert to_8_bit(np.full((2, 3), -7.0)).tolist() == [[0] * 3] * 2


def test_a_range_that_is_given_holds_for_all_images_and_refuses_what_lies_outside() -> None:
    pixels = PixelsConfig(float_range=(-100, 300))
    found = read_image(tiff((RAMP * 400 - 100).astype(np.float32)), pixels)
    assert torch.equal(found[0], torch.from_numpy(np.rint(RAMP * 255).astype(np.uint8)))
    with pytest.raises(DataError, match=r"outside pixels\.float_range -100 to 300"):
        read_image(tiff((RAMP * 500).astype(np.float32)), pixels)


@pytest.mark.parametrize("shape", [(6, 10), (6, 10, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_float_tiff_is_an_image(shape: tuple[int, ...], dtype: Any) -> None:
    stored = np.random.default_rng(0).random(shape).astype(dtype)
    found = read_image(tiff(stored, photometric="rgb" if len(shape) == 3 else "minisblack"))
    expected = np.rint(stored * 255).astype(np.uint8).reshape(6, 10, -1).transpose(2, 0, 1)
    assert found.dtype == torch.uint8 and (found.numpy() == expected).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_not_finite_is_refused_at_every_depth(value: float, bits: int) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[0.5, value]]))
    with pytest.raises(DataError, match="not finite"):
        read_image(buffer.getvalue(), PixelsConfig.model_validate({"bits": bits}))
