"""What a file has beside the one image that is read of it, or means by its numbers, for one line to its owner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import UnidentifiedImageError

from maskwright.errors import DataError
from maskwright.images.decode import image_errors
from maskwright.images.formats import listing
from maskwright.images.heif import open_image
from maskwright.images.npy import npy_header
from maskwright.images.tiff import tiff_pages

# files of other endings have one image of whole numbers
_SUFFIXES = (".apng", ".avif", ".gif", ".npy", ".png", ".tif", ".tiff", ".webp")


class Note(NamedTuple):
    """A kind, the same for all alike, and what was found in a file."""

    kind: str
    message: str


# what is said of all files of a kind together
KINDS: Mapping[str, str] = {
    "first-page": "have several pages; the first of each is read (or all as channels, where pixels.channels says so)",
    "first-frame": "are animated; the first frame of each is read",
    "float-values": "hold floats; see pixels.float_range for how they become brightness",
}


def notes_of(path: Path) -> list[Note]:
    """What there is to say about a file, from its header; nothing where it cannot be read."""
    if path.suffix.lower() not in _SUFFIXES:
        return []
    try:
        with image_errors(f"image {path}"):
            return _notes_of_npy(path) if path.suffix.lower() == ".npy" else _notes_of_picture(path)
    except DataError:
        return []


def note_lines(paths: Iterable[Path]) -> list[str]:
    """One line for each kind of note, about all files that have it."""
    owners: dict[str, list[Path]] = {}
    for path in paths:
        for note in notes_of(path):
            owners.setdefault(note.kind, []).append(path)
    return [f"{len(files)} images {KINDS[kind]}: {listing(files)}" for kind, files in owners.items()]


def _notes_of_npy(path: Path) -> list[Note]:
    with path.open("rb") as file:
        return _notes(1, npy_header(file).dtype)


def _notes_of_picture(path: Path) -> list[Note]:
    try:
        with path.open("rb") as file, open_image(file, f"image {path}") as image:
            if image.format == "TIFF":
                return _notes(image.n_frames, "float32" if image.mode == "F" else "uint8")
            is_animated = getattr(image, "is_animated", False)
            return [Note("first-frame", "is animated; its first frame is read")] if is_animated else []
    except UnidentifiedImageError:
        return _notes(*tiff_pages(path))


def _notes(num_pages: int, dtype: Any) -> list[Note]:
    found = []
    if num_pages > 1:
        message = f"has {num_pages} pages; the first is read, or all as channels with pixels.channels={num_pages}"
        found.append(Note("first-page", message))
    if str(dtype).lstrip("<>=|").startswith("f"):
        message = (
            f"holds {dtype} values: without pixels.float_range they span 0 to 1, 0 to 255 or a deeper camera's range"
        )
        found.append(Note("float-values", message))
    return found
