"""What the numbers in an image file mean in brightness, and which numbers mean nothing.

Integers span the smallest depth of cameras that holds the largest of them: 8, 10, 12, 14 or 16 bits. Floats span 0 to 1
where they lie there, else the smallest of the same depths, so that the images of one camera have one scale as far as
the values show it. What fits none of these spans (negative values, or above 65535) is stretched from
its own least value to its greatest; then each image has a scale of its own. A range that is given
(`pixels.float_range`) holds instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError

# what cameras deliver; 12 bits in a 16-bit file is the commonest of microscopes
_DEPTHS = (8, 10, 12, 14, 16)
_MOST = 65535
# by how much of a span floats may lie outside it, from rounding: half a level of 256
_SLACK = 0.5 / 255

Span = tuple[float, float]


def to_8_bit(values: npt.NDArray[Any], name: str = "image", float_range: Span | None = None) -> npt.NDArray[np.uint8]:
    """Bring values of up to 16 bits, or floats, down to 8 bits by one division for the whole image.

    A 12-bit camera writes 16-bit files whose upper four bits are empty; divided by 65535 they would be black. Two
    images of one camera can differ in brightness by a factor of 4, but none becomes black. Where absolute brightness
    matters, say how deep the camera is: `pixels.bits=12`.

    Args:
        values: integers from 0 to 65535, or floats.
        name: what to call the image in the error.
        float_range: floats that become 0 and 255; None: by the rule above.

    Returns:
        Of the same shape, rounded.

    Raises:
        DataError: values that are never of use (see `refuse_unusable`), or floats outside the range.

    >>> to_8_bit(np.array([[0, 2048, 4095]])).tolist(), to_8_bit(np.array([[0, 0.5, 1]])).tolist()
    ([[0, 128, 255]], [[0, 128, 255]])
    """
    refuse_unusable(values, name)
    if values.dtype.kind == "f" and float_range is not None:
        refuse_outside(values, float_range, 8, name)
        low, high = float_range
    else:
        low, high = span_of(values)
    if values.dtype.kind != "f":
        scaled: npt.NDArray[np.float32] = np.rint(values.astype(np.float32) * np.float32(255 / high))
        return scaled.astype(np.uint8)
    shares = (values.astype(np.float64) - low) / (high - low or 1)
    return np.rint(shares * 255).clip(0, 255).astype(np.uint8)


def span_of(values: npt.NDArray[Any]) -> Span:
    """The values that become black and white by the rule above.

    Args:
        values: usable ones, of integers or floats.

    >>> span_of(np.array([0, 300])), span_of(np.array([0.0, 0.3])), span_of(np.array([0.0, 300.0]))
    ((0, 1023), (0, 1), (0, 1023))
    """
    top = _top_of(values)
    return (0, top) if top is not None else (float(values.min()), float(values.max()))


def fits_no_span(values: npt.NDArray[Any]) -> bool:
    """Whether usable values are stretched by their own range, so that their image has a scale of its own."""
    return _top_of(values) is None


def _top_of(values: npt.NDArray[Any]) -> int | None:
    """The white of the smallest span that holds all values; None where there is none."""
    low, high = values.min(), values.max()
    is_float = values.dtype.kind == "f"
    slack = _SLACK if is_float else 0.0
    tops = (*((1,) if is_float else ()), *((1 << depth) - 1 for depth in _DEPTHS))
    top = next((top for top in tops if high <= top + slack * top), None)
    return top if top is not None and low >= -slack * top else None


def refuse_unusable(values: npt.NDArray[Any], name: str) -> None:
    """Go on only with values that mean a brightness in some setting.

    Raises:
        DataError: they are no numbers, not all finite, or integers below 0 or above 65535.
    """
    if values.dtype.kind not in "uif":
        raise DataError(f"{name} has {values.dtype} values; expected integers or floats: convert it")
    low, high = values.min(), values.max()
    found = f"{name} has {values.dtype} values from {low} to {high}"
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{found}; expected finite numbers: replace what is not finite")
    if values.dtype.kind != "f" and (low < 0 or high > _MOST):
        raise DataError(f"{found}; expected integers from 0 to {_MOST}, so convert it to 8 or 16 bits first")


def refuse_outside(values: npt.NDArray[Any], limits: Span, bits: int, name: str) -> None:
    """Go on only with usable values inside a range.

    Raises:
        DataError: they are not.
    """
    refuse_unusable(values, name)
    low, high = values.min(), values.max()
    if limits[0] <= low and high <= limits[1]:
        return
    found = f"{name} has {values.dtype} values from {low} to {high}"
    if values.dtype.kind == "f":
        raise DataError(
            f"{found}, outside pixels.float_range {limits[0]:g} to {limits[1]:g}; set pixels.float_range to what all "
            "images span"
        )
    raise DataError(f"{found}, but pixels.bits={bits} holds 0 to {limits[1]}; set pixels.bits=16 or convert it")
