"""Pictures whose values are ids: of objects, of segments or of classes. Reading and writing them exactly.

How a pixel codes its id is for the caller to say, as the format of the annotations says it:

- `values`: one whole number a pixel. Grey of any depth, the indices of a palette, floats that are whole numbers.
- `colours`: red + 256 × green + 65536 × blue, as in COCO's panoptic pictures. A palette stands for its colours.
- `either`: grey and palettes are `values`, colours are `colours`; for pictures with ids of objects only.

A picture with one number a pixel has no colours and is read as that number in every coding. What does not keep values
exactly is refused: JPEG and whatever else loses some, also inside a TIFF.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from maskwright.errors import DataError
from maskwright.images.decode import TIFF_STARTS, decode, image_errors, is_deep_png
from maskwright.images.heif import open_image
from maskwright.images.npy import npy_array, npy_header
from maskwright.images.orientation import UPRIGHT, orientation_of
from maskwright.images.session import read_session
from maskwright.images.tiff import tiff_compression

Coding = Literal["values", "colours", "either"]
Ids = npt.NDArray[np.int32]

LARGEST_ID = 2**31 - 1

_ARCHIVE_START = b"PK\x03\x04"

# formats of Pillow in which every pixel comes back as it was written
_EXACT = ("PNG", "TIFF", "BMP", "GIF", "PPM", "TGA")
_FORMAT_NAMES = {"MPO": "JPEG", "JPEG2000": "JPEG 2000", "WEBP": "lossy WebP", "HEIF": "HEIC"}
# TIFF's tags of compression and of bits, and the compressions that lose values, or may
_COMPRESSION, _BITS = 259, 258
_LOSSY_COMPRESSIONS: Mapping[int, str] = {
    6: "JPEG",
    7: "JPEG",
    22610: "JPEG XR",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    33007: "JPEG",
    34712: "JPEG 2000",
    34892: "lossy JPEG",
    34927: "WebP",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
# what Pillow makes of one step of 2 and of 4 bits, by its name for such values
_STEPS = {"L;2": 85, "L;4": 17}
_MOST_8_BIT, _MOST_16_BIT = 255, 65535


def read_ids(path: str | os.PathLike[str], coding: Coding = "values") -> Ids:
    """The id at every pixel of a picture.

    Args:
        path: of a PNG, TIFF, BMP, GIF, PPM or lossless WebP file, or of a NumPy array (`.npy`).
        coding: how a pixel codes its id; see above.

    Returns:
        (H, W).

    Raises:
        DataError: it cannot be decoded, does not keep values exactly, has several pages, or holds anything else than
            one whole number from 0 to 2³¹ − 1 a pixel.
        MissingDependency: a TIFF that Pillow does not know, without tifffile.
    """
    path = Path(path)
    values = load_npy(path) if path.suffix.lower() == ".npy" else _values_of(path, coding)
    if values.ndim == 3 and values.shape[2] in (1, 2):  # grey, maybe with alpha
        values = values[..., 0]
    if coding == "either" and values.dtype == bool:
        values = values * np.uint8(255)  # white, as in any other picture of black and white
    if coding != "values" and values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8:
        red, green, blue = np.moveaxis(values[..., :3].astype(np.int32), -1, 0)
        return np.asarray(red + 256 * green + 65536 * blue)
    if values.ndim != 2:
        expected = "one id a pixel" + (": grey or a palette" if coding == "values" else ", or 8-bit red, green, blue")
        raise DataError(f"{path} holds {values.dtype} of shape {values.shape}; expected {expected}")
    return as_ids(values, path)


def as_ids(values: npt.NDArray[Any], path: Path) -> Ids:
    """Numbers from the file `path`, checked to be ids.

    Raises:
        DataError: they are negative, too large, not finite or no whole numbers.
    """
    if values.dtype.kind not in "buif":
        raise DataError(f"{path} holds {values.dtype}; ids are whole numbers")
    if values.size and not (values.min() >= 0 and values.max() <= LARGEST_ID):  # NaN is neither
        found = f"values from {values.min():g} to {values.max():g}"
        raise DataError(f"{path} holds {found}; ids are whole numbers from 0, the background, to {LARGEST_ID}")
    ids: Ids = values.astype(np.int32)
    if values.dtype.kind == "f" and (ids != values).any():
        raise DataError(f"{path} holds fractions, for example {values[ids != values][0]:g}; ids are whole numbers")
    return ids


class Picture(NamedTuple):
    """A picture of one page, decoded, whose values mean something else than colours.

    Attributes:
        image: as Pillow has it, upright.
        lossy: the format, where it is one that does not keep values exactly; None where it does.
        step: what Pillow has made of one step between grey values of less than 8 bits.
    """

    image: Image.Image
    lossy: str | None
    step: int = 1


def load_npy(path: Path) -> npt.NDArray[Any]:
    """The numbers in a file, without the axes of length 1 that some tools put around (H, W).

    Of a session of Cellpose, its masks.

    Raises:
        DataError: the file is missing, cut off, or no array of numbers.
    """
    with image_errors(f"picture {path}"):
        data = path.read_bytes()
    if data.startswith(_ARCHIVE_START):
        raise DataError(f"{path} is an archive of arrays; save one array in a .npy file")
    try:
        has_objects = npy_header(BytesIO(data)).dtype.hasobject
        array = read_session(data, str(path)) if has_objects else npy_array(data, str(path))
    except (EOFError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{path} cannot be read as an array of numbers; export it as PNG or TIFF, or save only the array"
        ) from error
    if array.dtype.kind not in "buif":
        raise DataError(f"{path} holds {array.dtype}; expected numbers")
    return np.asarray(array.squeeze() if array.ndim > 2 else array)


def open_picture(path: Path) -> Picture:
    """Open a picture file that Pillow or pillow-heif knows.

    Raises:
        DataError: the file is missing, broken, no picture, or has several pages.
        MissingDecoder: it is HEIC, and pillow-heif is not installed; this is a `DataError` too.
    """
    name = f"picture {path}"
    with image_errors(name), path.open("rb") as file, open_image(file, name) as image:
        if (pages := getattr(image, "n_frames", 1)) > 1:
            raise DataError(f"{path} has {pages} pages; save the one that is meant")
        if _has_deep_colours(image):
            raise DataError(f"{path} has colours of 16 bits; save colours that are ids with 8 bits")
        lossy, step = _lossy_format(image, path), _STEPS.get(_raw_mode(image), 1)
        image.load()
        is_upright = orientation_of(image) == UPRIGHT
        return Picture(image if is_upright else ImageOps.exif_transpose(image), lossy, step)


def write_ids(path: Path, ids: npt.NDArray[Any], coding: Literal["values", "colours"] = "values") -> None:
    """Write ids as a PNG that `read_ids` reads back with the same coding.

    Args:
        path: of the file; its folder exists.
        ids: (H, W) whole numbers from 0: up to 65535 as `values`, which take 8 bits or 16; up to 2²⁴ − 1 as `colours`.
        coding: see above.
    """
    most = int(ids.max(initial=0))
    if coding == "colours":
        assert most < 2**24, f"id {most} is no colour of 24 bits"
        pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=2).astype(np.uint8)
    else:
        assert most <= _MOST_16_BIT, f"id {most} does not fit into 16 bits"
        pixels = ids.astype(np.uint8 if most <= _MOST_8_BIT else np.uint16)
    Image.fromarray(pixels).save(path)


def _values_of(path: Path, coding: Coding) -> npt.NDArray[Any]:
    """(H, W) or (H, W, C)."""
    try:
        picture = open_picture(path)
    except DataError as error:
        if not isinstance(error.__context__, UnidentifiedImageError) or not _is_tiff(path):
            raise
        return _values_of_tiff(path)
    _refuse(picture.lossy, path)
    image = picture.image
    if coding == "colours" and image.mode in ("P", "PA"):
        image = image.convert("RGB")
    if len(image.getbands()) >= 3 and image.mode not in ("RGB", "RGBA", "RGBX"):
        raise DataError(f"{path} has colours of the kind {image.mode}; ids in colours are red, green and blue")
    values = np.asarray(image)
    return values if picture.step == 1 else values // picture.step


def _values_of_tiff(path: Path) -> npt.NDArray[Any]:
    """(H, W, C) of a TIFF that Pillow does not know."""
    name = f"picture {path}"
    with image_errors(name):
        data = path.read_bytes()
        _refuse(_lossy_tiff(tiff_compression(data, name)), path)
        return np.moveaxis(decode(data, name), 0, -1)


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in TIFF_STARTS


def _refuse(lossy: str | None, path: Path) -> None:
    if lossy is not None:
        raise DataError(
            f"{path} is {lossy}, which does not keep values exactly, so its ids are lost; export it anew as PNG or TIFF"
        )


def _has_deep_colours(image: ImageFile.ImageFile) -> bool:
    """Whether colours have more bits than Pillow gives of them."""
    bits = getattr(image, "tag_v2", {}).get(_BITS, (8,)) if image.format == "TIFF" else (8,)
    return is_deep_png(image) or (len(image.getbands()) >= 3 and max(bits) > 8)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """What Pillow calls the values of a picture that is not decoded yet."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0]) if isinstance(arguments, tuple) and arguments else str(arguments)


def _lossy_format(image: ImageFile.ImageFile, path: Path) -> str | None:
    """What a picture is, where it is a kind that loses values."""
    if image.format == "TIFF":
        return _lossy_tiff(image.tag_v2.get(_COMPRESSION, 1))  # type: ignore[attr-defined]  # only TIFF images have it
    if image.format in _EXACT or (image.format == "WEBP" and _is_lossless_webp(path.read_bytes())):
        return None
    return f"a {_FORMAT_NAMES.get(str(image.format), image.format)} file"


def _lossy_tiff(compression: int) -> str | None:
    name = _LOSSY_COMPRESSIONS.get(compression)
    return None if name is None else f"a TIFF compressed as {name}"


def _is_lossless_webp(data: bytes) -> bool:
    """Whether a WebP file has a lossless picture: RIFF's chunk `VP8L`, maybe behind others."""
    offset = 12
    while offset + 8 <= len(data):
        if data[offset : offset + 4] in (b"VP8L", b"VP8 "):
            return data[offset : offset + 4] == b"VP8L"
        length = int.from_bytes(data[offset + 4 : offset + 8], "little")
        offset += 8 + length + length % 2
    return False
