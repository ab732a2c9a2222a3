"""pycococreator: one folder with a mask image for each object, called IMAGE_CLASS_NUMBER.png."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from maskwright.data.checks import Problem
from maskwright.data.readers.masks import read_mask
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import (
    Flaw,
    FoundObject,
    Thing,
    find_images,
    find_pictures,
    read_per_image,
    refuse_file,
)
from maskwright.data.record import Dataset, Defect
from maskwright.errors import DataError

# behind the name of the image: its class, and the number of the object
_REST = re.compile(r"^_(?P<category>.+)_(?P<number>\d+)$")


def read_pycococreator(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a folder of mask images, `1000_square_0.png` for the first square of `1000.jpg`. Images may have none.

    Args:
        images: folder of the image files.
        annotations: folder of the masks.
        options: what the owner of the dataset decides.

    Raises:
        DataError: `annotations` is a file, or no file in it is called so.
    """
    refuse_file(annotations, "the folder of the masks")
    photographs = find_images(images)
    owned, defects = _hand_out(find_pictures(annotations), photographs, images)
    if not owned:
        raise DataError(f"no picture in {annotations} is called IMAGE_CLASS_NUMBER.png after an image in {images}")
    return read_per_image(
        photographs,
        partial(_things, owned),
        str(annotations),
        categories=None,
        options=options,
        defects=defects,
    )


def _hand_out(
    pictures: Sequence[Path], photographs: Sequence[Path], images: Path
) -> tuple[dict[Path, list[tuple[Path, str]]], list[Defect]]:
    """Image → its masks, each with its class; and a defect for each picture that belongs to no image.

    Of two images whose names begin alike, the one with the longer name has the mask.
    """
    stems = {path.stem: path for path in photographs}
    owned: dict[Path, list[tuple[Path, str]]] = {}
    defects: list[Defect] = []
    for picture in pictures:
        if found := _image_and_class(picture, stems):
            owned.setdefault(stems[found[0]], []).append((picture, found[1]))
        else:
            message = f"is not called IMAGE_CLASS_NUMBER.png after an image in {images}; rename or remove it"
            defects.append(Defect("missing-image", picture.name, message, None))
    return owned, defects


def belongs_to_one(picture: Path, stems: Container[str]) -> bool:
    """Whether a picture is called like a mask of one of the images with these names."""
    return _image_and_class(picture, stems) is not None


def _image_and_class(picture: Path, stems: Container[str]) -> tuple[str, str] | None:
    parts = picture.stem.split("_")
    for length in range(len(parts) - 2, 0, -1):
        stem = "_".join(parts[:length])
        rest = _REST.match(picture.stem.removeprefix(stem))
        if stem in stems and rest:
            return stem, rest["category"]
    return None


def _things(owned: Mapping[Path, Sequence[tuple[Path, str]]], image: Path, size: tuple[int, int]) -> Iterator[Thing]:
    for path, category in owned.get(image, ()):
        try:
            yield FoundObject(path.name, category, read_mask(path, size))
        except DataError as error:
            yield Flaw(path.name, Problem("bad-mask", str(error)))
