"""From an image file of any format to its values, channels first and upright, nothing scaled or converted yet.

Pillow decodes what it can hold; of the rest, NPY is numpy's, and TIFF with other than one or three channels, or with
colour of more than 8 bits, is tifffile's. torchvision's decoders give the same pixels as Pillow, JPEG in half the time,
but they are deprecated, and the one for PNG kills the process when a file is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from maskwright.errors import DataError, MaskwrightError
from maskwright.images.heif import open_image
from maskwright.images.npy import NPY_START, npy_array, npy_header
from maskwright.images.orientation import UPRIGHT, Header, orientation_of, turned_size, upright
from maskwright.images.tiff import Stored, decode_tiff, tiff_header

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big end first, classic and BigTIFF
_PALETTES = ("P", "PA")
_MODE_NAMES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with alpha",
    "P": "palette",
    "RGBA": "RGB with alpha",
    "I": "32-bit grey",
    "F": "float grey",
}


def decode(data: bytes, name: str, channels: int | None = None, keeps_depth: bool = True) -> Stored:
    """Decode the bytes of an image file.

    Args:
        data: of the file.
        name: what to call it in errors.
        channels: wanted; decides between a first page and all pages as channels, and whether alpha is one. None: as
            many as the file has.
        keeps_depth: more than 8 bits of a colour channel are wanted; otherwise its upper 8 may be all there is.

    Returns:
        (C, H, W) of the file's own type, upright; C need not be `channels`.

    Raises:
        DataError: the file is empty, broken, cut off or no image.
        MissingDecoder: it needs tifffile or pillow-heif; this is a `DataError` too.
    """
    if not data:
        raise DataError(f"{name} is empty (0 bytes); restore or remove it")
    with image_errors(name):
        if data.startswith(NPY_START):
            return channels_first(npy_array(data, name), channels)
        if data.startswith(TIFF_STARTS) and not _pillow_holds(data, channels, keeps_depth):
            return decode_tiff(data, name, channels)
        with open_image(BytesIO(data), name) as image:
            if keeps_depth and is_deep_png(image):
                return _decode_deep_png(data, channels)
            return decode_pillow(image, channels)


def allow_large_images() -> None:
    """Lift Pillow's guard against pictures that are small files and huge images, for this process.

    Who predicts in tiles has such images and knows it; others keep the guard, whose error names the tiles.
    """
    Image.MAX_IMAGE_PIXELS = None


def decode_pillow(image: Image.Image, channels: int | None = None) -> Stored:
    """The values of a PIL image, upright.

    Alpha is dropped, unless it is the last of as many channels as are wanted; colours other than RGB become RGB.
    """
    orientation = _left_to_turn(image)
    return upright(_to_front(np.asarray(_without_palette(image, channels))), orientation)


def _without_palette(image: Image.Image, channels: int | None) -> Image.Image:
    """The image itself, where its values are grey or the channels that are wanted; else in RGB."""
    if image.mode.startswith("I") or image.mode in ("F", "L", "RGB"):
        return image
    if image.mode not in (*_PALETTES, "1") and len(image.getbands()) == channels != len("RGB"):
        return image
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of the direct way
    return image.convert("RGB")


def _left_to_turn(image: Image.Image) -> int:
    """The orientation of the pixels that Pillow gives: it turns those of TIFF files itself."""
    return UPRIGHT if image.format == "TIFF" else orientation_of(image)


def channels_first(array: npt.NDArray[Any], channels: int | None) -> Stored:
    """An array of an image as (C, H, W): one of (H, W), (H, W, C) or (C, H, W).

    Of the first and last axis, the one as long as `channels` counts the channels; else the shorter one; else the last.

    Raises:
        ValueError: it has another number of axes, or no pixels.

    >>> [channels_first(np.zeros(shape), 5).shape for shape in [(5, 64, 80), (64, 80, 5), (64, 80)]]
    [(5, 64, 80), (5, 64, 80), (1, 64, 80)]
    """
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"an array of shape {array.shape}; expected (H, W), (H, W, C) or (C, H, W)")
    if array.ndim == 2:
        return array[None]
    first, last = array.shape[0], array.shape[-1]
    is_first = last != channels and (first == channels or first < last)
    return array if is_first else _to_front(array)


def read_header(path: Path) -> Header:
    """The size of an image file and how it is turned, from its header only: the pixels may still turn out broken.

    Raises:
        DataError: the file is missing or no image.
        MissingDecoder: it needs tifffile or pillow-heif; this is a `DataError` too.
    """
    with image_errors(f"image {path}"), path.open("rb") as file:
        start = file.read(len(NPY_START))
        file.seek(0)
        if start == NPY_START:
            shape = npy_header(file).shape
            _, height, width = channels_first(np.broadcast_to(0, shape), None).shape
            return Header((height, width))
        try:
            with open_image(file, f"image {path}") as image:
                return Header(turned_size((image.height, image.width), _left_to_turn(image)), orientation_of(image))
        except UnidentifiedImageError:
            if not start.startswith(TIFF_STARTS):
                raise
        return tiff_header(path)


def kind_of_pixels(path: Path) -> str:
    """What the pixels of an image file that can be decoded are, in words: "grey", "16-bit grey", "5 × uint16", …."""
    try:
        with path.open("rb") as file, open_image(file, f"image {path}") as image:
            if is_deep_png(image):
                return f"16-bit {'RGB with alpha' if image.mode == 'RGBA' else image.mode}"
            if not _has_more_pages(image):
                return "16-bit grey" if image.mode.startswith("I;16") else _MODE_NAMES.get(image.mode, image.mode)
    except UnidentifiedImageError:
        pass
    stored = decode(path.read_bytes(), f"image {path}")
    return f"{len(stored)} × {stored.dtype.newbyteorder('=')}"


@contextmanager
def image_errors(name: str) -> Iterator[None]:
    """Turn what file systems and decoders raise into a `DataError` about the image `name`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{name} is a folder; name an image file in it") from None
    except PermissionError:
        raise DataError(f"{name} may not be read; check its permissions") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{name} is not an image that can be read; convert it to PNG, JPEG, TIFF or, of many channels, NPY"
        ) from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large for one pass ({error}); predict it in tiles (--tile 1024)") from None
    except MaskwrightError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{name} asks for more memory than there is; it is damaged or too large for one pass"
        ) from error
    except Exception as error:  # a decoder ends in whatever a damaged file leads it to
        raise DataError(f"{name} is broken or cut off and cannot be decoded; restore or remove it") from error


def _to_front(array: npt.NDArray[Any]) -> Stored:
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


# PNG


def is_deep_png(image: ImageFile.ImageFile) -> bool:
    """Whether a picture that is not decoded yet is a PNG with colours of 16 bits, of which Pillow gives 8."""
    return image.format == "PNG" and any(str(tile.args) in ("RGB;16B", "RGBA;16B") for tile in image.tile)


def _decode_deep_png(data: bytes, channels: int | None) -> Stored:
    """Colour of 16 bits: Pillow gives the upper byte, or the lower one when the order says so."""
    halves, orientation = [], UPRIGHT
    for order in ("16B", "16L"):
        with Image.open(BytesIO(data)) as image:
            orientation = orientation_of(image)
            image.tile = [tile._replace(args=tile.args.replace("16B", order)) for tile in image.tile]
            halves.append(np.asarray(image).astype(np.uint16))
    whole = upright(_to_front(halves[0] << 8 | halves[1]), orientation)
    return whole if channels == len(whole) else whole[: len("RGB")]


# TIFF


def _pillow_holds(data: bytes, channels: int | None, keeps_depth: bool) -> bool:
    """Whether Pillow gives all that is wanted of a TIFF: its first page, of at most 8 bits or grey."""
    try:
        with Image.open(BytesIO(data)) as image:
            bands = len(image.getbands())
            if channels is None and bands == 1 and _has_more_pages(image) and find_spec("tifffile") is not None:
                return False
            is_whole = not keeps_depth or bands == 1 or max(_bits_of(image)) <= 8
            return is_whole and (channels in (None, 1, len("RGB")) or channels == bands)
    except UnidentifiedImageError:
        return False


def _bits_of(image: ImageFile.ImageFile) -> tuple[int, ...]:
    """Bits of each sample, as the header has them."""
    return tuple(getattr(image, "tag_v2", {}).get(258, (8,)))


def _has_more_pages(image: ImageFile.ImageFile) -> bool:
    return image.format == "TIFF" and getattr(image, "n_frames", 1) > 1
