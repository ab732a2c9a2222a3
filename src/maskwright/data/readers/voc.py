"""Pascal VOC: an XML file per image with boxes, and for some images a picture whose values number the same objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskwright.config.categories import named_categories
from maskwright.data.checks import Problem, show
from maskwright.data.id_pictures import objects_of
from maskwright.data.readers.annotated import find_annotated
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, read_per_image
from maskwright.data.record import Dataset
from maskwright.data.xml_nodes import XmlNode, load_xml
from maskwright.errors import DataError
from maskwright.images.ids import read_ids
from maskwright.structures import Categories
from maskwright.structures.masks.rle import Rle

PASCAL = Categories.of([category.name for category in named_categories("pascal")])

# pixels of the border around objects, and of what the annotators passed over
VOID = 255

# of an object: counted by VOC's evaluation neither as found nor as missed; cut off by the image's border
_FLAGS = ("difficult", "truncated")


def read_voc(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read Pascal VOC annotations.

    Masks come from the folder `SegmentationObject` beside that of the XML files; where `SegmentationClass` is there
    too, the classes must agree. The 20 classes of VOC are taken if no others occur.

    Args:
        images: folder `JPEGImages`.
        annotations: folder `Annotations`, where images without an XML file are passed over; or a list file, such as
            `ImageSets/Segmentation/val.txt`, for the images that it names. The XML files then lie in `Annotations`
            beside `images`, or up to three folders above the list.
        options: with `needs_masks`, an image with objects but without a picture of them is a defect.

    Raises:
        DataError: the list names nothing, or there is no folder of XML files.
    """
    found = find_annotated(images, annotations, ".xml", "Annotations")
    beside = found.folder.parent
    layout = _Layout(found.folder, beside / "SegmentationObject", beside / "SegmentationClass")
    return read_per_image(
        list(found.names),
        partial(_objects, layout, found.names, options.needs_masks),
        str(annotations),
        categories=None,
        options=options,
        usual=PASCAL,
        defects=found.defects,
    )


@dataclass(frozen=True)
class _Layout:
    """The folders of the XML files and of the two kinds of pictures, which need not exist."""

    annotations: Path
    objects: Path
    classes: Path


@dataclass(frozen=True)
class _Masks:
    """Number of an object → its mask, and the class that the picture of classes gives it, where it is one of VOC's."""

    rles: Mapping[int, Rle]
    classes: Mapping[int, str]


def _objects(
    layout: _Layout, names: Mapping[Path, str], needs_masks: bool, image: Path, size: tuple[int, int]
) -> Iterator[FoundObject | Flaw]:
    """What the files of an image say is in it."""
    xml = layout.annotations / f"{names[image]}.xml"
    root = load_xml(xml)
    if root.tag != "annotation":
        raise DataError(f"{xml}, line {root.line}: begins with <{root.tag}>; expected <annotation>")
    if (problem := _size_problem(root, size)) is not None:
        yield Flaw(xml.name, problem, spoils_image=True)
        return
    nodes = root.all("object")
    masks = _read_masks(layout, names[image], size)
    if masks is None and nodes and needs_masks:
        message = f"there is no {layout.objects / names[image]}.png; give a list of the images that have one"
        yield Flaw(xml.name, Problem("missing-mask-picture", message), spoils_image=True)
        return
    masks = masks or _Masks({}, {})
    for number, node in enumerate(nodes, start=1):
        yield _object(node, number, masks, xml.name)
    for number in sorted(set(masks.rles) - set(range(1, len(nodes) + 1))):
        message = f"{layout.objects / names[image]}.png shows an object {number}, the XML lists {len(nodes)}"
        yield Flaw(f"{xml.name}, object[{number}]", Problem("unknown-object", message))


def _size_problem(root: XmlNode, size: tuple[int, int]) -> Problem | None:
    """Annotations of an image of another size do not fit; without a size there is nothing to compare."""
    node = root.first("size")
    if node is None:
        return None
    stated = (node.text_of("height"), node.text_of("width"))
    if stated in ((str(size[0]), str(size[1])), (f"{size[0]}.0", f"{size[1]}.0")):
        return None
    return Problem(
        "wrong-size",
        f"line {node.line}: size has height {show(stated[0])} and width {show(stated[1])}, the image is {size[0]} high "
        f"and {size[1]} wide",
    )


def _object(node: XmlNode, number: int, masks: _Masks, file: str) -> FoundObject | Flaw:
    where = f"{file}, line {node.line}, object[{number}]"
    category = node.text_of("name")
    if not category:
        return Flaw(where, Problem("bad-annotation", "has no name; every object needs that of its class"))
    box = node.first("bndbox")
    box_xywh = None if box is None else _box_xywh(box)
    if isinstance(box_xywh, Problem):
        return Flaw(where, box_xywh)
    if masks.classes.get(number, category) != category and category in PASCAL:
        message = f"is a {category}, but its pixels in SegmentationClass are {masks.classes[number]}"
        return Flaw(where, Problem("class-mismatch", message))
    details = {flag: 1 for flag in _FLAGS if node.text_of(flag) == "1"}
    return FoundObject(where, category, masks.rles.get(number), box_xywh, details)


def _box_xywh(box: XmlNode) -> list[float] | Problem:
    """VOC counts pixels from 1, and a box's last row and column belong to it."""
    texts = [box.text_of(side) for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        return Problem("bad-box", f"line {box.line}: bndbox {show(texts)} is not four numbers xmin, ymin, xmax, ymax")
    if not all(map(isfinite, (left, top, right, bottom))):
        return Problem("bad-box", f"line {box.line}: bndbox {show(texts)} has a number that is not finite")
    return [left - 1, top - 1, right - left + 1, bottom - top + 1]


def _read_masks(layout: _Layout, name: str, size: tuple[int, int]) -> _Masks | None:
    """None where the image has no picture of its objects.

    Raises:
        DataError: a picture cannot be used.
    """
    path = layout.objects / f"{name}.png"
    if not path.is_file():
        return None
    numbers = _read_picture(path, size)
    numbers[numbers == VOID] = 0
    path = layout.classes / f"{name}.png"
    classes = _classes(numbers, _read_picture(path, size)) if path.is_file() else {}
    return _Masks(objects_of(numbers), classes)


def _read_picture(path: Path, size: tuple[int, int]) -> npt.NDArray[np.int32]:
    values = read_ids(path)
    if values.shape != size:
        raise DataError(
            f"{path} is {values.shape[0]} × {values.shape[1]} (height × width), its image {size[0]} × {size[1]}"
        )
    return values


def _classes(numbers: npt.NDArray[np.int32], classes: npt.NDArray[np.int32]) -> dict[int, str]:
    """The class that most pixels of an object have; what is none of VOC's is not known."""
    is_known = (numbers > 0) & (classes > 0) & (classes <= len(PASCAL))
    pairs, counts = np.unique(numbers[is_known].astype(np.int64) * VOID + classes[is_known], return_counts=True)
    ascending = pairs[np.argsort(counts, kind="stable")].tolist()
    return {pair // VOID: PASCAL[pair % VOID - 1] for pair in ascending}  # the last of an object stays
