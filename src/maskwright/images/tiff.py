"""TIFF files that Pillow does not hold (many channels, deep colours, stacks of pages), read by tifffile, an extra."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy.typing as npt
from PIL import ExifTags, Image

from maskwright.errors import DataError, MissingDecoder
from maskwright.images.orientation import UPRIGHT, Header, turned_size, upright

# (C, H, W), of whatever type the file has
Stored = npt.NDArray[Any]

_RGB = 3
# what a file may ask for whatever its length, and beyond that how many times its length
_FREE_BYTES, _MOST_EXPANSION = 1 << 28, 2000


def decode_tiff(data: bytes, name: str, channels: int | None) -> Stored:
    """The first image of a TIFF as (C, H, W), upright; see `decode.decode`.

    One or three channels are those of the first page; for other numbers, pages are channels.

    Raises:
        DataError: it is a stack of images that are not the channels of one.
        MissingDecoder: tifffile or imagecodecs is not installed.
        Exception: of any kind, where the file is damaged.
    """
    tifffile = _tifffile(name)
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            series = file.series[0]
            key = 0 if _takes_first_page(series, channels) else None
            _refuse_huge(series.keyframe if key == 0 else series, len(data))
            _refuse_missing_parts(series.keyframe, len(data))
            array, axes = series.asarray(key=key), series.keyframe.axes if key == 0 else series.axes
            orientation = _orientation_of(series.keyframe)
            has_alpha = series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB and series.keyframe.extrasamples
    except ValueError as error:
        if "imagecodecs" in str(error):  # tifffile decompresses little by itself
            raise MissingDecoder("imagecodecs", "tiff", name) from error
        raise
    if array.size == 0:
        raise ValueError("it has no pixels")
    stored = upright(_one_image(array, axes, name), orientation)
    return stored[:_RGB] if has_alpha and channels == _RGB else stored


def _takes_first_page(series: Any, channels: int | None) -> bool:
    """Whether further pages are left aside, because the channels that are wanted are those of a page."""
    pages = [axis for axis, length in _others(series.shape, series.axes) if axis != "S"]
    if channels is None:
        return len(_others(series.shape, series.axes)) > 1
    return bool(pages) and channels in (1, _RGB)


def _others(shape: tuple[int, ...], axes: str) -> list[tuple[str, int]]:
    """What lies beside Y and X: letter and length of each axis."""
    return [(axis, length) for axis, length in zip(axes, shape, strict=True) if axis not in "YX" and length > 1]


def _refuse_huge(image: Any, length: int) -> None:
    """Go on only where the pixels are not too many, and memory is in proportion to the file."""
    limit = Image.MAX_IMAGE_PIXELS
    height, width = image.shape[image.axes.index("Y")], image.shape[image.axes.index("X")]
    if limit is not None and height * width > 2 * limit:  # as Pillow does
        raise Image.DecompressionBombError(f"{height * width} pixels, of at most {2 * limit}")
    if image.nbytes > max(_FREE_BYTES, length * _MOST_EXPANSION):
        raise ValueError(f"{image.nbytes} bytes of pixels cannot be in a file of {length}")


def _refuse_missing_parts(page: Any, length: int) -> None:
    """Go on only where all strips or tiles of a page are in the file; tifffile makes black ones of missing ones."""
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(parts) < math.prod(page.chunked) or any(start + count > length for start, count in parts):
        raise ValueError("some of its strips or tiles are missing")


def _one_image(array: npt.NDArray[Any], axes: str, name: str) -> Stored:
    """(C, H, W) of a stack whose axes tifffile names by letters: whatever lies beside Y and X is channels."""
    others = [axis for axis, _ in _others(array.shape, axes)]
    if len(others) > 1:
        lengths = " × ".join(f"{axis} {length}" for axis, length in zip(axes, array.shape, strict=True))
        raise DataError(
            f"{name} is a stack of images with the axes {lengths}; save each image as a file of its own, with at most "
            "one axis beside its height and width"
        )
    kept = "".join(others) + "YX"
    lone = tuple(index for index, axis in enumerate(axes) if axis not in kept)
    left = [axis for axis in axes if axis in kept]
    stored: Stored = array.squeeze(lone).transpose([left.index(axis) for axis in kept])
    return stored if others else stored[None]


def tiff_header(path: Path) -> Header:
    """The size of a TIFF and how it is turned.

    Raises:
        MissingDecoder: tifffile is not installed.
        Exception: of any kind, where the file is damaged.
    """
    tifffile = _tifffile(f"image {path}")
    with tifffile.TiffFile(path) as file:
        page = file.series[0].keyframe
        orientation = _orientation_of(page)
        return Header(turned_size((int(page.imagelength), int(page.imagewidth)), orientation), orientation)


def tiff_compression(data: bytes, name: str) -> int:
    """The number that a TIFF has for the way in which the pixels of its first page are compressed.

    Raises:
        MissingDecoder: tifffile is not installed.
        Exception: of any kind, where the file is damaged.
    """
    with _tifffile(name).TiffFile(BytesIO(data)) as file:
        return int(file.pages[0].compression)


def tiff_pages(path: Path) -> tuple[int, Any]:
    """How many pages a TIFF has, and the type of the values of the first.

    Raises:
        MissingDecoder: tifffile is not installed.
        Exception: of any kind, where the file is damaged.
    """
    with _tifffile(f"image {path}").TiffFile(path) as file:
        return len(file.pages), file.pages[0].dtype


def _orientation_of(page: Any) -> int:
    value = page.tags.valueof(ExifTags.Base.Orientation, UPRIGHT)
    return value if value in range(1, 9) else UPRIGHT


def _tifffile(name: str) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise MissingDecoder("tifffile", "tiff", name) from error
    return tifffile
