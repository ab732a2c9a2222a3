"""Cityscapes: street scenes whose objects are read off the pictures `*_gtFine_instanceIds.png`.

The pixels of an object have 1000 times the id of its class, plus its number. Where the objects of a class are
not separated, they have only the class's id: such a region becomes a crowd. Category ids are Cityscapes' own, 24 to 33.
Only the eight classes of objects that are evaluated are read; the rest (void, stuff, caravans, trailers) is background.

Where `*_gtFine_labelIds.png` lies beside them, it shows the segments of the image: 19 classes, things and stuff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotcoco.mask

from maskwright.config.cityscapes_labels import INSTANCES_PER_CLASS, LABELS, STUFF, THINGS, CityscapesLabel
from maskwright.data.checks import Problem
from maskwright.data.id_pictures import objects_of
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, read_per_image
from maskwright.data.record import Dataset, Defect, ImageRecord
from maskwright.data.segment_picture import SegmentClasses, SegmentLabel, SegmentPicture
from maskwright.errors import DataError
from maskwright.images.decode import read_header
from maskwright.images.formats import is_photograph
from maskwright.images.ids import read_ids
from maskwright.structures import Categories
from maskwright.structures.masks.rle import Rle

# last parts of the names of files that belong to one image
IMAGE, INSTANCES, CLASSES = "leftImg8bit", "instanceIds.png", "labelIds.png"

CATEGORIES, STUFF_CATEGORIES = (
    Categories(tuple(label.name for label in labels), tuple(label.id for label in labels)) for labels in (THINGS, STUFF)
)
_LABEL_OF_ID = {label.id: label for label in LABELS}
_SEGMENTS = {label.id: SegmentLabel(label.id) for label in (*THINGS, *STUFF)}


def read_cityscapes(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read the pictures of instances, and no image beyond its size.

    Args:
        images: folder with the images, for example `leftImg8bit/val` with a folder for each city.
        annotations: folder with the pictures, for example `gtFine/val` (or `gtCoarse/val`).
        options: `needs_masks` makes no difference, every object has one.

    Raises:
        DataError: a folder has none of these files.
    """
    return read_layout(find_files(images, annotations, INSTANCES), _read_instances, options)


def instance_picture_of(record: ImageRecord) -> Path:
    """The picture of instances of an image from either reader of Cityscapes, which its evaluation measures against.

    Raises:
        DataError: there is none.
    """
    picture = find_instance_picture(record)
    if picture is None:
        raise DataError(
            f"image {record.path.name!r} has no picture of instances {_expected_picture(record)}; Cityscapes' "
            "evaluation needs it, so unpack gtFine beside leftImg8bit"
        )
    return picture


def find_instance_picture(record: ImageRecord) -> Path | None:
    """The same, or None."""
    picture = _expected_picture(record)
    return picture if picture.is_file() else None


def _expected_picture(record: ImageRecord) -> Path:
    """Beside the picture of classes; without that, by the layout of the official download."""
    if record.segments is not None and record.segments.path.name.endswith(CLASSES):
        return record.segments.path.with_name(record.segments.path.name.replace(CLASSES, INSTANCES))
    name = record.path.name.partition(f"_{IMAGE}")[0]
    parts = ["gtFine" if part == IMAGE else part for part in record.path.parent.parts]
    return Path(*parts, f"{name}_gtFine_{INSTANCES}")


@dataclass(frozen=True)
class Layout:
    """Which files belong together.

    Attributes:
        source: folder of the annotations.
        annotations: image → its annotation file, by name.
        defects: images and annotation files that have no counterpart.
    """

    source: Path
    annotations: Mapping[Path, Path]
    defects: tuple[Defect, ...]

    def classes_of(self, image: Path) -> SegmentPicture | None:
        """The picture of classes of an image, if it has one."""
        annotation = self.annotations[image]
        path = annotation.with_name(f"{annotation.name.rpartition('_')[0]}_{CLASSES}")
        return SegmentPicture(path, _SEGMENTS, "values") if path.is_file() else None


def find_files(images: Path, annotations: Path, ending: str) -> Layout:
    """Join images and annotation files `*_{ending}` by city, sequence and frame in their names, wherever they lie.

    Raises:
        DataError: there are no such files.
    """
    image_files = {
        path.name.partition(f"_{IMAGE}")[0]: path
        for path in sorted(images.rglob(f"[!.]*_{IMAGE}*"))
        if is_photograph(path)
    }
    if not image_files:
        raise DataError(f"no image *_{IMAGE}.png in {images}; give a folder like {IMAGE}/val")
    # of coarse and fine annotations in one folder the fine ones are last and stay
    files = {path.name.rpartition("_gt")[0]: path for path in sorted(annotations.rglob(f"[!.]*_gt*_{ending}"))}
    if not files:
        raise DataError(f"no file *_gtFine_{ending} in {annotations}; give a folder like gtFine/val")
    without_file = (
        Defect("missing-annotation", f"image {path.name!r}", f"no file {frame}_gtFine_{ending} in {annotations}", None)
        for frame, path in image_files.items()
        if frame not in files
    )
    without_image = (
        Defect("missing-image", str(path), f"its image {frame}_{IMAGE}.png is not in {images}", None)
        for frame, path in files.items()
        if frame not in image_files
    )
    joined = {path: files[frame] for frame, path in image_files.items() if frame in files}
    return Layout(annotations, joined, (*without_file, *without_image))


def read_layout(
    layout: Layout, read_file: Callable[[Path, tuple[int, int]], Iterator[FoundObject | Flaw]], options: ReadOptions
) -> Dataset:
    """The dataset of a layout, given what is in the annotation file of an image of (height, width)."""

    def read_objects(image: Path, size: tuple[int, int]) -> Iterator[FoundObject | Flaw]:
        return read_file(layout.annotations[image], size)

    return read_per_image(
        list(layout.annotations),
        read_objects,
        str(layout.source),
        categories=CATEGORIES,
        options=options,
        defects=layout.defects,
        pictures=layout.classes_of,
        segment_classes=SegmentClasses(CATEGORIES, STUFF_CATEGORIES),
    )


def picture_size_flaw(where: str, found: tuple[Any, Any], size: tuple[int, int]) -> Flaw | None:
    """What is wrong where annotations are for (height, width) `found` and the image has `size`."""
    if found == size:
        return None
    message = f"is for {found[1]} × {found[0]} pixels (width × height), its image has {size[1]} × {size[0]}"
    return Flaw(where, Problem("size-mismatch", message), spoils_image=True)


def found_object(where: str, label: CityscapesLabel, mask: Rle, is_group: bool) -> FoundObject:
    """An object of one of the eight classes, or a group of them as a crowd."""
    details = {"iscrowd": int(is_group), "area": float(hotcoco.mask.area(mask))}
    return FoundObject(where, label.name, mask, details=details)


def _read_instances(path: Path, size: tuple[int, int]) -> Iterator[FoundObject | Flaw]:
    flaw = picture_size_flaw(path.name, read_header(path).size, size)
    if flaw is not None:
        yield flaw
        return
    for value, mask in objects_of(read_ids(path)).items():
        where, is_single = f"{path.name}: value {value}", value >= INSTANCES_PER_CLASS
        class_id = value // INSTANCES_PER_CLASS if is_single else value
        label = _LABEL_OF_ID.get(class_id)
        if label is None:
            yield Flaw(where, Problem("unknown-label", f"there is no class with id {class_id} in Cityscapes"))
        elif label in THINGS:
            yield found_object(where, label, mask, is_group=not is_single)
