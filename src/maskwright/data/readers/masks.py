"""One mask image per object, in a folder for each image, as in the Data Science Bowl of 2018."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.data.checks import Problem
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import (
    Flaw,
    FoundObject,
    by_name,
    find_images,
    find_pictures,
    images_of,
    read_per_image,
    refuse_file,
)
from maskwright.data.record import Dataset, Defect
from maskwright.errors import DataError
from maskwright.images.ids import load_npy, open_picture
from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.rle import Rle, crop_to_rle

# of objects whose masks lie in no folder of a class
ONLY_CLASS = "object"

# JPEG and its like blur what was 0 and 255
_LOSSY_THRESHOLD = 127


def read_masks(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a folder of mask images for every image. An empty folder says that its image has no objects.

    The masks of `images/a.jpg` are `annotations/a/*.png`, or `annotations/a/CLASS/*.png`; without folders of classes
    there is one class, `object`. If both arguments are the same folder, its layout is that of the Data Science Bowl
    2018: image `ID/images/ID.png`, masks `ID/masks/*.png`.

    Args:
        images: folder of the images, which may have folders in it.
        annotations: folder of the folders of masks.
        options: `needs_masks` makes no difference, every object has one.

    Raises:
        DataError: `annotations` is a file; or both are the same folder, and nothing in it is called `images`.
    """
    refuse_file(annotations, "the folder that has a folder of masks for each image")
    is_bowl = images.resolve() == annotations.resolve()
    folders, defects = (_bowl if is_bowl else _side_by_side)(images, annotations)
    return read_per_image(
        list(folders),
        partial(_objects, folders, annotations),
        str(annotations),
        categories=None,
        options=options,
        defects=defects,
    )


def _side_by_side(images: Path, annotations: Path) -> tuple[dict[Path, Path], list[Defect]]:
    """Image → folder of its masks, existing or not."""
    groups = by_name(find_images(images), images)
    found, defects = images_of({name: str(images / name) for name in groups}, groups, images)
    strays = [
        Defect("missing-image", str(folder), f"there is no image for this folder of masks in {images}", None)
        for folder in _strays(annotations, {annotations / name for name in groups})
    ]
    return {path: annotations / name for path, name in found.items()}, [*defects, *strays]


def _strays(folder: Path, known: set[Path]) -> Iterator[Path]:
    """Folders in a folder that are neither known nor on the way to one that is."""
    on_the_way = {parent for path in known for parent in path.parents}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path not in known:
            if path in on_the_way:
                yield from _strays(path, known)
            else:
                yield path


def _bowl(root: Path, _annotations: Path) -> tuple[dict[Path, Path], list[Defect]]:
    """Image → folder of its masks, in the layout of the Data Science Bowl."""
    folders: dict[Path, Path] = {}
    defects: list[Defect] = []
    parts = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not any((part / "images").is_dir() for part in parts):
        raise DataError(
            f"{root} has no ID/images/ID.png; give a folder of images and another one with a folder of masks for each"
        )
    for part in parts:
        found = find_images(part / "images") if (part / "images").is_dir() else []
        if len(found) == 1:
            folders[found[0]] = part / "masks"
        else:
            kind, number = ("ambiguous-image", str(len(found))) if found else ("missing-image", "no")
            defects.append(Defect(kind, str(part), f"{number} images in its folder images; expected one", None))
    return folders, defects


def _objects(
    folders: Mapping[Path, Path], root: Path, image: Path, size: tuple[int, int]
) -> Iterator[FoundObject | Flaw]:
    """The objects of an image, one for each file."""
    folder = folders[image]
    if not folder.is_dir():
        message = f"there is no folder {folder} with its masks; make an empty one where it has no objects"
        yield Flaw(f"image {image.name!r}", Problem("missing-masks", message), spoils_image=True)
        return
    for path in find_pictures(folder):
        classes = path.relative_to(folder).parts[:-1]
        category = classes[0] if classes else ONLY_CLASS
        where = path.relative_to(root).as_posix()
        try:
            yield FoundObject(where, category, read_mask(path, size))
        except DataError as error:
            yield Flaw(where, Problem("bad-mask", str(error)))


def read_mask(path: Path, size: tuple[int, int]) -> Rle:
    """The foreground of a mask image of an image of (height, width).

    Raises:
        DataError: it cannot be read, or has another size.
    """
    pixels = load_npy(path) != 0 if path.suffix.lower() == ".npy" else _foreground(path)
    if pixels.shape != size:
        found = " × ".join(map(str, pixels.shape))
        raise DataError(f"{path} is {found} pixels (height × width), its image {size[0]} × {size[1]}")
    return crop_to_rle(Crop(pixels).tight(), size)


def _foreground(path: Path) -> Bitmap:
    """(H, W) where any colour is above 0; where alpha, if nothing but alpha varies."""
    picture, lossy, _ = open_picture(path)
    threshold = 0 if lossy is None else _LOSSY_THRESHOLD
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if picture.mode == "PA" or "transparency" in picture.info else "RGB")
    values = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        colours, alpha = values[..., :-1], values[..., -1:]
        values = alpha if _is_constant(colours) and not _is_constant(alpha) else colours
    is_foreground = values > threshold
    return np.asarray(is_foreground.any(axis=-1) if is_foreground.ndim == 3 else is_foreground)


def _is_constant(values: npt.NDArray[Any]) -> bool:
    return bool((values == values[:1, :1]).all())
