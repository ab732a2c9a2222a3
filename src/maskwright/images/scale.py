"""From the values that a file stores to the one scale that everything behind reading knows: 0 to 255."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.config.images import PixelsConfig
from maskwright.errors import DataError

# what cameras deliver; 12 bits in a 16-bit file is the commonest of microscopes
_DEPTHS = (8, 10, 12, 14, 16)
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
        whole = stored if stored.dtype == np.uint8 else to_8_bit(stored, name)
        return torch.from_numpy(np.require(whole, requirements=["C", "W"]))  # copies only what torch cannot take
    if stored.dtype == np.uint8:
        return torch.from_numpy(stored.astype(np.float32, order="C"))
    low, high = pixels.float_range if stored.dtype.kind == "f" else (0, 2**pixels.bits - 1)
    _refuse_outside(stored, (low, high), pixels, name)
    return torch.from_numpy((stored.astype(np.float32, order="C") - low) * np.float32(255 / (high - low)))


def to_8_bit(values: npt.NDArray[Any], name: str = "image") -> npt.NDArray[np.uint8]:
    """Bring values of up to 16 bits down to 8 by one division for the whole image.

    A 12-bit camera writes 16-bit files whose upper four bits are empty; divided by 65535 they would be black. So the
    values are taken to span the smallest of 8, 10, 12, 14 or 16 bits that holds the largest of them. Two images of one
    camera can thus differ in brightness by a factor of 4, but none becomes black. Where absolute brightness matters,
    say how deep the camera is: `pixels.bits=12`.

    Args:
        values: integers from 0 to 65535.
        name: what to call the image in the error.

    Returns:
        Of the same shape, rounded.

    Raises:
        DataError: values outside that range, or not integers.

    >>> to_8_bit(np.array([[0, 2048, 4095]])).tolist()
    [[0, 128, 255]]
    """
    if values.dtype.kind not in "ui":
        way_out = (
            "set pixels.bits=16, which keeps them, or convert to 8 bits" if values.dtype.kind == "f" else "convert it"
        )
        raise DataError(f"{name} has {values.dtype} values; expected integers from 0 to 65535: {way_out}")
    if values.min() < 0 or values.max() > _largest(_DEPTHS[-1]):
        found = f"{values.dtype} values from {values.min()} to {values.max()}"
        raise DataError(f"{name} has {found}; expected integers from 0 to 65535, so convert it to 8 or 16 bits first")
    depth = next(depth for depth in _DEPTHS if values.max() <= _largest(depth))
    scaled: npt.NDArray[np.float32] = np.rint(values.astype(np.float32) * np.float32(255 / _largest(depth)))
    return scaled.astype(np.uint8)


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


def _largest(bits: int) -> int:
    return (1 << bits) - 1


def _refuse_outside(values: npt.NDArray[Any], limits: tuple[float, float], pixels: PixelsConfig, name: str) -> None:
    if values.dtype.kind not in "uif":
        raise DataError(f"{name} has {values.dtype} values; expected integers or floats: convert it")
    low, high = values.min(), values.max()
    if limits[0] <= low and high <= limits[1]:  # false for NaN
        return
    found = f"{name} has {values.dtype} values from {low} to {high}"
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{found}; expected numbers alone: replace what is not finite")
    if values.dtype.kind == "f":
        raise DataError(
            f"{found}, outside pixels.float_range {limits[0]:g} to {limits[1]:g}; set pixels.float_range to what all "
            "images span"
        )
    raise DataError(f"{found}, but pixels.bits={pixels.bits} holds 0 to {limits[1]}; set pixels.bits=16 or convert it")


def _luma(image: Tensor) -> Tensor:
    red, green, blue = image.to(torch.int32) if image.dtype == torch.uint8 else image
    weighted = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    grey: Tensor = (weighted + (1 << 15)) >> 16 if image.dtype == torch.uint8 else weighted / (1 << 16)
    return grey[None].to(image.dtype)
