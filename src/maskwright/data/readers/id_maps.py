"""One picture per image whose values are numbers of objects, as Cellpose, StarDist and label editors write them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskwright.data.binary_maps import with_binary_maps
from maskwright.data.checks import Problem
from maskwright.data.id_pictures import objects_of
from maskwright.data.map_remarks import map_remarks
from maskwright.data.readers.cvat_masks import CLASSES, LABELS, OBJECTS, export_of
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import (
    Flaw,
    FoundObject,
    Thing,
    by_name,
    find_images,
    find_pictures,
    images_of,
    read_per_image,
    refuse_file,
)
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.errors import DataError
from maskwright.images.formats import SESSION_ENDING
from maskwright.images.ids import read_ids

# what tools put behind the name of an image
SUFFIXES = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_seg")

# objects that would be smaller than this on average, background included, and more than so many, are an image's colours
_FEW_PX = 16
_MANY = 1000


def read_id_maps(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a picture of numbers for every image: 0 is background, each other value an object of the class `object`.

    The picture of `images/a.jpg` is `annotations/a.png`, or `a_masks.png` with any of `SUFFIXES`; it may be a TIFF or
    NumPy file too, of 8, 16 or 32 bits. Colours count as red + 256 × green + 65536 × blue. With a suffix it may lie in
    the folder of the images.

    Args:
        images: folder of the images, which may have folders in it.
        annotations: folder of the pictures, with the same folders in it.
        options: with `binary_maps` for maps of black and white; `needs_masks` makes no difference.

    Raises:
        DataError: `annotations` is a file, or a folder of Pascal VOC's or CVAT's whose pictures go with others.
    """
    refuse_file(annotations, "the folder that has a picture of numbers for each image")
    _refuse_classes(annotations)
    is_shared = images.resolve() == annotations.resolve()
    groups = by_name(find_images(images), images)
    names = {name for name in groups if not (is_shared and _owner(name, groups, is_shared))}
    maps, strays = _assign(find_pictures(annotations), annotations, names, is_shared)
    found, defects = images_of({name: str(images / name) for name in groups if name in names}, groups, images)
    only_values: dict[Path, int] = {}
    dataset = read_per_image(
        list(found),
        partial(_objects, {path: maps.get(name, ()) for path, name in found.items()}, annotations, only_values),
        str(annotations),
        categories=None,
        options=options,
        defects=[*defects, *strays],
    )
    return with_binary_maps(dataset, only_values, options.binary_maps)


def _refuse_classes(folder: Path) -> None:
    """Go on only where the classes of objects are not in pictures and files beside."""
    if folder.name in (CLASSES, OBJECTS) and export_of(folder) is not None:
        raise DataError(f"{folder} is part of an export with classes in {LABELS}; as id_maps they are lost")
    if folder.name == CLASSES:
        raise DataError(f"the pictures in {folder} show classes, not single objects; give those of {OBJECTS}")


def _owner(name: str, images: Collection[str], is_shared: bool) -> str | None:
    """The name of the image that a picture is about; in the images' own folder it has a suffix."""
    if name in images and not is_shared:
        return name
    stems = (name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix))
    return next((stem for stem in stems if stem in images), None)


def _assign(
    files: Sequence[Path], folder: Path, images: set[str], is_shared: bool
) -> tuple[dict[str, list[Path]], list[Defect]]:
    """Name of an image → its pictures, and a defect for each picture that belongs to none."""
    maps: dict[str, list[Path]] = {}
    defects: list[Defect] = []
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        owner = _owner(name, images, is_shared)
        if owner is not None:
            maps.setdefault(owner, []).append(path)
        elif not is_shared:
            defects.append(Defect("missing-image", str(path), "there is no image for this picture of objects", None))
    return maps, defects


def _objects(
    maps: Mapping[Path, Sequence[Path]],
    folder: Path,
    only_values: dict[Path, int],
    image: Path,
    size: tuple[int, int],
) -> Iterator[Thing]:
    """The objects of an image, by their number."""
    found = maps[image]
    if len(found) > 1:
        found = [path for path in found if not path.name.endswith(SESSION_ENDING)]
    if len(found) != 1:
        yield Flaw(f"image {image.name!r}", _not_one(image, found, folder), spoils_image=True)
        return
    path = found[0]
    ids = read_ids(path, "either")
    if ids.shape != size:
        sizes = f"{ids.shape[0]} × {ids.shape[1]} pixels (height × width), its image {size[0]} × {size[1]}"
        yield Flaw(path.name, Problem("wrong-size", f"{path} is {sizes}"), spoils_image=True)
        return
    if _is_photograph(ids):
        message = f"{path} has so many values that it looks like an image; give the pictures that number its objects"
        yield Flaw(path.name, Problem("bad-map", message), spoils_image=True)
        return
    objects = objects_of(ids)
    if len(objects) == 1:
        only_values[image] = next(iter(objects))
    for kind, message in map_remarks(ids):
        yield Remark(kind, path.name, message, None)
    for id_, rle in objects.items():
        yield FoundObject(f"{path.name}, value {id_}", "object", rle)


def _is_photograph(ids: npt.NDArray[np.int32]) -> bool:
    """Whether a picture has over a thousand values, none of them on more than a few pixels."""
    if ids.max() < _MANY:
        return False
    num_values = len(np.unique(ids))
    return num_values > _MANY and ids.size < _FEW_PX * num_values


def _not_one(image: Path, found: Sequence[Path], folder: Path) -> Problem:
    if found:
        return Problem("ambiguous-map", f"{', '.join(path.name for path in found)} are all about it; keep one of them")
    example = f"{image.stem}.png or {image.stem}_masks.png"
    return Problem("missing-map", f"there is no picture of its objects in {folder}, such as {example}")
