"""Photographs of Apple's telephones (HEIC), which pillow-heif, an extra, opens as Pillow opens others."""

from __future__ import annotations

from typing import IO, Any

from PIL import Image

from maskwright.errors import MissingDecoder

# how many bytes of a file show its kind
START_LENGTH = 64
# kinds of pictures that its first box names; AVIF, which is Pillow's own, shares the container
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")


def is_heif(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a HEIC picture.

    >>> is_heif(b"....ftypheic....mif1"), is_heif(b"....ftypmif1....avif"), is_heif(b"II*.")
    (True, False, False)
    """
    if start[4:8] != b"ftyp":
        return False
    brands = [start[offset : offset + 4] for offset in (8, *range(16, START_LENGTH, 4))]
    return start[8:12] in _BRANDS and not any(brand in _AVIF for brand in brands)


def open_image(file: IO[bytes], name: str) -> Any:
    """A picture in an open file as a PIL image, whose pixels are not decoded yet.

    Args:
        file: at its start.
        name: what to call it in errors.

    Raises:
        UnidentifiedImageError: it is no picture that Pillow or pillow-heif knows.
        MissingDecoder: it is HEIC, and pillow-heif is not installed.
    """
    start = file.read(START_LENGTH)
    file.seek(0)
    if not is_heif(start):
        return Image.open(file)
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise MissingDecoder("pillow-heif", "heic", name) from error
    return HeifImageFile(file)  # type: ignore[no-untyped-call]  # the library ships no types
