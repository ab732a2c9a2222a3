"""TIFF files that Pillow does not hold (many channels, deep colours, stacks of pages), read by tifffile, an extra."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy.typing as npt
from PIL import ExifTags

from maskwright.errors import DataError, MissingDependency
from maskwright.images.orientation import UPRIGHT, Header, turned_size, upright

# (C, H, W), of whatever type the file has
Stored = npt.NDArray[Any]

# what tifffile ends in where a file is damaged
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError)


def decode_tiff(data: bytes, name: str, channels: int | None) -> Stored:
    """The first series of a TIFF as (C, H, W), upright; see `decode.decode`.

    Raises:
        ValueError: it is damaged.
        DataError: it is a stack of images.
        MissingDependency: tifffile or imagecodecs is not installed.
    """
    tifffile = _tifffile()
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            series = file.series[0]
            array, axes = series.asarray(), series.axes
            orientation = _orientation_of(series.keyframe)
            has_alpha = series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB and series.keyframe.extrasamples
    except (tifffile.TiffFileError, *_FAILURES) as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        if "imagecodecs" in str(error):  # tifffile decompresses little by itself
            raise MissingDependency("imagecodecs", "tiff") from error
        raise
    stored = upright(_one_image(array, axes, name), orientation)
    return stored[: len("RGB")] if has_alpha and channels == len("RGB") else stored


def _one_image(array: npt.NDArray[Any], axes: str, name: str) -> Stored:
    """(C, H, W) of a stack whose axes tifffile names by letters: whatever lies beside Y and X is channels."""
    others = [axis for axis, length in zip(axes, array.shape, strict=True) if axis not in "YX" and length > 1]
    if len(others) > 1:
        lengths = " × ".join(f"{axis} {length}" for axis, length in zip(axes, array.shape, strict=True))
        raise DataError(
            f"{name} is a stack of images with the axes {lengths}; save each image as a file of its own, with at most "
            "one axis beside its height and width"
        )
    kept = "".join(others) + "YX"
    lone = tuple(place for place, axis in enumerate(axes) if axis not in kept)
    left = [axis for axis in axes if axis in kept]
    stored: Stored = array.squeeze(lone).transpose([left.index(axis) for axis in kept])
    return stored if others else stored[None]


def tiff_header(path: Path) -> Header:
    """The size of a TIFF and how it is turned.

    Raises:
        ValueError: it is damaged.
        MissingDependency: tifffile is not installed.
    """
    tifffile = _tifffile()
    try:
        with tifffile.TiffFile(path) as file:
            page = file.series[0].keyframe
            orientation = _orientation_of(page)
            return Header(turned_size((int(page.imagelength), int(page.imagewidth)), orientation), orientation)
    except (tifffile.TiffFileError, *_FAILURES) as error:
        raise ValueError(str(error)) from error


def _orientation_of(page: Any) -> int:
    value = page.tags.valueof(ExifTags.Base.Orientation, UPRIGHT)
    return value if value in range(1, 9) else UPRIGHT


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise MissingDependency("tifffile", "tiff") from error
    return tifffile
