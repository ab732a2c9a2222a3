"""What decoding an image file shows, as training will decode it: broken files, other sizes, numbers of no meaning."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from maskwright.data.checks import Problem
from maskwright.data.record import ImageRecord
from maskwright.errors import DataError
from maskwright.images.decode import TIFF_STARTS, decode, image_errors, kind_of_pixels
from maskwright.images.orientation import orientation_of, turned_size
from maskwright.images.values import fits_no_span, refuse_unusable, span_of

_JPEG = b"\xff\xd8\xff"
_RGB = 3


class FileCheck(NamedTuple):
    """What was seen.

    Attributes:
        mode: kind of pixels; None where the file is broken.
        problem: what is wrong.
        remark: what its owner should know, of a kind and in words.
    """

    mode: str | None
    problem: Problem | None = None
    remark: Problem | None = None


class _Decoded(NamedTuple):
    """(height, width), kind of pixels, and what its owner should know."""

    size: tuple[int, int]
    mode: str
    remark: Problem | None = None


def check_file(record: ImageRecord) -> FileCheck:
    """Decode the image of a record as a whole."""
    try:
        (height, width), mode, remark = _decode(record.path)
    except DataError as error:
        message = str(error).removeprefix(f"image {record.path} ")
        # a decoder that gave up midway is the cause of the error; what is no image at all has no such cause
        return FileCheck(None, Problem("truncated-image" if error.__cause__ else "unreadable-image", message))
    if (height, width) == record.size:
        return FileCheck(mode, None, remark)
    message = f"the file is {width} wide and {height} high, the annotations say {record.size[1]} and {record.size[0]}"
    return FileCheck(mode, Problem("size-mismatch", message))


def _decode(path: Path) -> _Decoded:
    """The facts of an image that can be decoded as a whole.

    Raises:
        DataError: it cannot, or its values mean nothing in any setting.
    """
    name = f"image {path}"
    with image_errors(name), path.open("rb") as file:
        is_jpeg = file.read(len(_JPEG)) == _JPEG
        file.seek(0)
        if is_jpeg:
            with Image.open(file) as image:
                size = turned_size((image.height, image.width), orientation_of(image))
                image.draft(image.mode, (1, 1))  # every byte is still read, but only every eighth pixel computed
                image.load()
                return _Decoded(size, "grey" if image.mode == "L" else image.mode)
        data = file.read()
        stored = decode(data, name)
        if data.startswith(TIFF_STARTS):  # 8 bits of one or three channels: another decoder
            decode(data, name, _RGB if len(stored) in (1, _RGB) else len(stored), keeps_depth=False)
        refuse_unusable(stored, name)
        remark = None
        if fits_no_span(stored):
            low, high = span_of(stored)
            message = (
                f"its values from {low:g} to {high:g} are outside the range of any camera: "
                "each such image is stretched by its own range; "
                "pixels.float_range gives all one scale"
            )
            remark = Problem("own-range", message)
        return _Decoded((stored.shape[1], stored.shape[2]), kind_of_pixels(path), remark)
