"""CVAT's export "Segmentation mask": a picture of objects and one of classes for each image, and the labels' colours.

It has Pascal VOC's folders without the XML files: the colours in `SegmentationObject` are objects, those in
`SegmentationClass` are labels by `labelmap.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskwright.data.checks import Problem, show
from maskwright.data.id_pictures import objects_of
from maskwright.data.readers.annotated import read_names
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import (
    Flaw,
    FoundObject,
    by_name,
    find_images,
    find_pictures,
    images_of,
    read_per_image,
)
from maskwright.data.record import Dataset
from maskwright.errors import DataError
from maskwright.images.ids import read_ids
from maskwright.structures import Categories

LABELS, OBJECTS, CLASSES = "labelmap.txt", "SegmentationObject", "SegmentationClass"
_BACKGROUND = 0
# what Pascal VOC paints around objects and over what its annotators passed over
_VOID = 224 + 256 * 224 + 65536 * 192


def export_of(path: Path) -> Path | None:
    """The folder of an export that a file or folder belongs to; None where it belongs to none.

    Args:
        path: the folder itself, one of its folders of pictures, its `labelmap.txt`, or a list in its `ImageSets`.
    """
    for folder in (path, *path.absolute().parents[:3]):
        if (folder / LABELS).is_file() and (folder / OBJECTS).is_dir() and not (folder / "Annotations").is_dir():
            return folder
    return None


def read_cvat_masks(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read an export; an image that its list names, and that has no pictures, has no objects.

    Args:
        images: folder of the image files, which may be another one than the export's.
        annotations: folder of the export, with `labelmap.txt`, `SegmentationObject` and `SegmentationClass` in it; or
            one of these.
        options: make no difference, every object has a mask.

    Raises:
        DataError: it is no such export, or its labels cannot be read.
    """
    root = export_of(annotations)
    if root is None:
        raise DataError(f"{annotations} has no {LABELS} and {OBJECTS}; give the folder of the unpacked export")
    labels = _read_labels(root / LABELS)
    pictures = {name: paths[0] for name, paths in by_name(find_pictures(root / OBJECTS), root / OBJECTS).items()}
    names = {name: str(path) for name, path in pictures.items()} | _listed(root)
    groups = by_name(find_images(images), images)
    found, defects = images_of(names, groups, images)
    export = _Export(root, labels, {path: pictures[name] for path, name in found.items() if name in pictures})
    return read_per_image(
        list(found),
        partial(_objects, export),
        str(annotations),
        categories=Categories.of(list(dict.fromkeys(labels.values()))),
        options=options,
        defects=defects,
    )


@dataclass(frozen=True)
class _Export:
    """Its folder, colour → label, and image → picture of its objects."""

    root: Path
    labels: Mapping[int, str]
    pictures: Mapping[Path, Path]


def _read_labels(path: Path) -> dict[int, str]:
    """Colour, as `read_ids` gives it → label, without the background.

    Raises:
        DataError: the file cannot be read, a line is none of `label:red,green,blue:parts:actions`, or two labels have
            one colour.
    """
    labels: dict[int, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.strip().rsplit(":", 3)
        colour = _colour(fields[1]) if len(fields) == 4 else None
        if colour is None:
            raise DataError(f"{path}, line {number}: {show(line)} is not label:red,green,blue:parts:actions")
        if colour in labels:
            raise DataError(f"{path}, line {number}: {fields[0]!r} has the colour of {labels[colour]!r}")
        if colour != _BACKGROUND:
            labels[colour] = fields[0]
    if not labels:
        raise DataError(f"{path} names no label besides the background")
    return labels


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _colour(text: str) -> int | None:
    try:
        red, green, blue = map(int, text.split(","))
    except ValueError:
        return None
    return red + 256 * green + 65536 * blue if all(0 <= part <= 255 for part in (red, green, blue)) else None


def _listed(root: Path) -> dict[str, str]:
    """Name of an image → the list that names it; names with spaces stand between quotes."""
    lists = sorted((root / "ImageSets" / "Segmentation").glob("*.txt"))
    return {name.strip('"'): str(path) for path in lists if path.stat().st_size for name in read_names(path)}


def _objects(export: _Export, image: Path, size: tuple[int, int]) -> Iterator[FoundObject | Flaw]:
    """The objects of an image, by colour."""
    path = export.pictures.get(image)
    if path is None:
        return
    numbers = _read_picture(path, size)
    classes = _read_picture(export.root / CLASSES / path.relative_to(export.root / OBJECTS), size)
    if _VOID not in export.labels:
        numbers[numbers == _VOID] = 0
    owners = _class_of_each(numbers, classes)
    for id_, mask in objects_of(numbers).items():
        where = f"{path.name}, colour {_shown(id_)}"
        colour = owners[id_]
        if colour in export.labels:
            yield FoundObject(where, export.labels[colour], mask)
        elif colour != _BACKGROUND:
            message = f"its colour {_shown(colour)} in {CLASSES} is that of no label in {LABELS}"
            yield Flaw(where, Problem("unknown-category", message))
        else:
            yield Flaw(where, Problem("unknown-category", f"it is background in {CLASSES}; export both anew"))


def _read_picture(path: Path, size: tuple[int, int]) -> npt.NDArray[np.int32]:
    ids = read_ids(path, "colours")
    if ids.shape != size:
        raise DataError(f"{path} is {ids.shape[0]} × {ids.shape[1]} (height × width), its image {size[0]} × {size[1]}")
    return ids


def _class_of_each(numbers: npt.NDArray[np.int32], classes: npt.NDArray[np.int32]) -> dict[int, int]:
    """Object → the colour that most of its pixels have in the picture of classes."""
    pairs, counts = np.unique(numbers.astype(np.int64) << 24 | classes, return_counts=True)
    ascending = pairs[np.argsort(counts, kind="stable")].tolist()
    return {pair >> 24: pair & (1 << 24) - 1 for pair in ascending}  # the last of an object stays


def _shown(colour: int) -> str:
    return f"{colour & 255},{colour >> 8 & 255},{colour >> 16}"
