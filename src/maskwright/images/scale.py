"""From the values that a file stores to the one scale that everything behind reading knows: 0 to 255."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.config.images import PixelsConfig
from maskwright.errors import DataError
from maskwright.images.values import refuse_outside, to_8_bit

_RGB = 3
# of red, green and blue in brightness (ITU-R BT.601), in 65536ths, as Pillow rounds them
_LUMA = (19595, 38470, 7471)


def to_scale(stored: npt.NDArray[Any], pixels: PixelsConfig, name: str) -> Tensor:
    """The values of an image on the scale from 0 to 255.

    Args:
        stored: of any shape, integers or floats.
        pixels: its `bits` and `float_range` say what the values mean.
        name: what to call the image in errors.

    Returns:
        Of the same shape, contiguous: uint8 where `pixels.bits` is 8, else float32.

    Raises:
        DataError: values of another type, or outside the range.
    """
    if pixels.bits == 8:
        whole = stored if stored.dtype == np.uint8 else to_8_bit(stored, name, pixels.given_float_range)
        return torch.from_numpy(np.require(whole, requirements=["C", "W"]))  # copies only what torch cannot take
    if stored.dtype == np.uint8:
        return torch.from_numpy(stored.astype(np.float32, order="C"))
    low, high = pixels.float_range if stored.dtype.kind == "f" else (0, 2**pixels.bits - 1)
    refuse_outside(stored, (low, high), pixels.bits, name)
    return torch.from_numpy((stored.astype(np.float32, order="C") - low) * np.float32(255 / (high - low)))


def to_channels(image: Tensor, channels: int, name: str) -> Tensor:
    """An image with as many channels as are wanted: grey becomes RGB of equal channels, and RGB its luma.

    Args:
        image: (C, H, W) uint8 or float32.
        channels: wanted.
        name: what to call the image in the error.

    Returns:
        (channels, H, W) of the same type, contiguous.

    Raises:
        DataError: it has neither so many nor those that these can be made of.
    """
    if len(image) == channels:
        return image.contiguous()
    if len(image) == 1 and channels == _RGB:
        return image.expand(_RGB, -1, -1).contiguous()
    if len(image) == _RGB and channels == 1:
        return _luma(image)
    raise DataError(
        f"{name} has {len(image)} {'channel' if len(image) == 1 else 'channels'}, the model takes {channels}; convert "
        f"such images, or train a model for them with pixels.channels={len(image)}"
    )


def as_picture(image: Tensor) -> npt.NDArray[np.uint8]:
    """What people can look at of an image: grey, or the first three channels as red, green and blue.

    Args:
        image: (C, H, W) uint8, or of another type: then its own range is stretched over all brightnesses. Two channels
            are red and green.

    Returns:
        (H, W, 3) uint8, contiguous, a copy.
    """
    shown = image[:_RGB].cpu()
    if shown.dtype != torch.uint8:
        low, high = (bound.item() for bound in shown.aminmax())
        shown = ((shown.double() - low) * (255 / (high - low if high > low else 1))).round().to(torch.uint8)
    if len(shown) == 1:
        shown = shown.expand(_RGB, -1, -1)
    elif len(shown) < _RGB:
        shown = torch.cat([shown, torch.zeros_like(shown[:1])])
    return np.array(shown.permute(1, 2, 0).numpy(), order="C")


def _luma(image: Tensor) -> Tensor:
    red, green, blue = image.to(torch.int32) if image.dtype == torch.uint8 else image
    weighted = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    grey: Tensor = (weighted + (1 << 15)) >> 16 if image.dtype == torch.uint8 else weighted / (1 << 16)
    return grey[None].to(image.dtype)
