"""Photographs that are stored on their side: what their orientation tag says, and how pixels and labels follow it.

A camera stores the rows of its sensor as they come and writes down how the picture is turned to be upright (EXIF 2.32,
tag Orientation, 1 to 8). Here the upright image is the only one: its size, its pixels, its boxes and masks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

UPRIGHT = 1
# where the turned image has the stored rows as columns
_ON_THE_SIDE = (5, 6, 7, 8)
# the parts of a PNG's header that may hold the tag; without them Pillow decodes the whole image to look for it
_PNG_KEYS = frozenset(("exif", "Raw profile type exif", "Raw profile type APP1", "XML:com.adobe.xmp"))

Size = tuple[int, int]


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded.

    Attributes:
        size: (height, width) in pixels of the upright image.
        orientation: of the stored image, 1 to 8; 1: it is upright.
    """

    size: Size
    orientation: int = UPRIGHT

    @property
    def stored_size(self) -> Size:
        """(height, width) in pixels of the image as stored."""
        return turned_size(self.size, self.orientation)


def orientation_of(image: Image.Image) -> int:
    """What the tag of a PIL image says, 1 to 8; 1 where it has none or a broken one.

    Of a PNG that is not decoded yet only what stands before the pixels counts.
    """
    if image.format == "PNG" and not _PNG_KEYS.intersection(image.info):
        return UPRIGHT
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # noqa: BLE001 - whatever a damaged tag ends in, the pixels may still be good
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def turned_size(size: Size, orientation: int) -> Size:
    """(height, width) of the upright image from that of the stored one, and the other way round."""
    return (size[1], size[0]) if orientation in _ON_THE_SIDE else size


def upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn stored pixels upright.

    Args:
        pixels: (…, H, W).
        orientation: of the stored image, 1 to 8.

    Returns:
        (…, H, W), or (…, W, H) of an image on its side; a view.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation in _ON_THE_SIDE:
        pixels = pixels.swapaxes(-1, -2)
    is_mirrored, is_upside_down = _flips(orientation)
    return pixels[..., :: -1 if is_upside_down else 1, :: -1 if is_mirrored else 1]


def upright_points(points: npt.NDArray[np.float64], orientation: int, size: Size) -> npt.NDArray[np.float64]:
    """Turn points of a stored image upright.

    Args:
        points: (N, 2) x y in pixels of the stored image, continuous: the centre of its first pixel is 0.5 0.5.
        orientation: of the stored image, 1 to 8.
        size: (height, width) of the upright image.

    Returns:
        (N, 2) x y in pixels of the upright image.

    >>> upright_points(np.array([[0.0, 0.0], [10.0, 4.0]]), 6, (30, 20)).tolist()
    [[20.0, 0.0], [16.0, 10.0]]
    """
    if orientation in _ON_THE_SIDE:
        points = points[:, ::-1]
    is_mirrored, is_upside_down = _flips(orientation)
    height, width = size
    x = width - points[:, 0] if is_mirrored else points[:, 0]
    y = height - points[:, 1] if is_upside_down else points[:, 1]
    return np.stack([x, y], axis=1)


def _flips(orientation: int) -> tuple[bool, bool]:
    """Whether left and right, and top and bottom, are exchanged, after rows and columns were where they are."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
