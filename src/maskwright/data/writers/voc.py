"""Writing Pascal VOC: an XML file per image, and pictures whose colours number objects and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskwright.data.readers.voc import PASCAL, VOID
from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.writers.contents import (
    Written,
    crop_of,
    image_names,
    names_by_id,
    paint,
    report_unused,
    singles,
    write_text,
)
from maskwright.data.writers.left_out import LeftOut

# numbers of a picture with 8 bits, without the background and the void
_MOST_NUMBERS = VOID - 1


def write_voc(dataset: Dataset, target: Path) -> Written:
    """Write `Annotations/*.xml`, `SegmentationObject/*.png`, `SegmentationClass/*.png` and a list in `ImageSets`.

    Where objects overlap, the smallest lies on top. What the pictures cannot number (crowds, objects after the 254th of
    an image) is void in them, which VOC does not evaluate.

    Raises:
        DataError: two categories have the same name.
    """
    left_out = LeftOut.of(dataset, "difficult", "boxes", "crowds")
    names, files = names_by_id(dataset), image_names(dataset)
    classes = _class_numbers(dataset)
    if max(classes.values(), default=0) > _MOST_NUMBERS:
        left_out.add("categories are too many for SegmentationClass, which is left out", len(classes))
        classes = {}
    for record in dataset.records:
        objects = _Objects.of(record, left_out)
        name = Path(files[record.id]).with_suffix("")
        _write_xml(target / "Annotations" / f"{name}.xml", files[record.id], record.size, objects.annotations, names)
        if objects.annotations:
            numbers = _void_where(objects.is_void, objects.numbers)
            _write_picture(target / "SegmentationObject" / f"{name}.png", numbers)
        if objects.annotations and classes:
            values = np.array([0, *(classes[annotation["category_id"]] for annotation in objects.annotations)])
            _write_picture(
                target / "SegmentationClass" / f"{name}.png", _void_where(objects.is_void, values[objects.numbers])
            )
    stems = [str(Path(files[record.id]).with_suffix("").as_posix()) for record in dataset.records]
    write_text(target / "ImageSets" / "Segmentation" / "default.txt", stems)
    report_unused(dataset, left_out)
    return Written("JPEGImages", "Annotations", left_out)


def _class_numbers(dataset: Dataset) -> dict[int, int]:
    """Category id → number in SegmentationClass: VOC's own classes have VOC's numbers, others come after them."""
    others = [name for name in dataset.categories.names if name not in PASCAL]
    order = (*PASCAL, *others)
    return {id_: order.index(name) + 1 for id_, name in zip(dataset.categories.ids, dataset.categories, strict=True)}


class _Objects(NamedTuple):
    """The objects of an image as the pictures can show them.

    Attributes:
        annotations: in the order of their numbers, from 1.
        numbers: (H, W) the object at each pixel.
        is_void: (H, W) bool where something is that has no number.
    """

    annotations: list[Mapping[str, Any]]
    numbers: npt.NDArray[np.int32]
    is_void: npt.NDArray[np.bool_]

    @staticmethod
    def of(record: ImageRecord, left_out: LeftOut) -> _Objects:
        crops = [(annotation, crop_of(annotation, record.size)) for annotation in singles(record)]
        painted = [(annotation, crop) for annotation, crop in crops if crop is not None]
        painting = paint([crop for _, crop in painted], record.size)
        painting.report(left_out)
        visible = set(np.unique(painting.ids).tolist())
        shown = [index for index in range(len(painted)) if index + 1 in visible]
        boxes = [annotation for annotation, crop in crops if crop is None]
        left_out.add(
            f"objects after the {_MOST_NUMBERS}th of their image, now void", max(0, len(shown) - _MOST_NUMBERS)
        )
        renumbered = np.zeros(len(painted) + 1, dtype=np.int32)
        renumbered[[index + 1 for index in shown]] = np.arange(1, len(shown) + 1)
        numbers = renumbered[painting.ids]
        is_void = numbers > _MOST_NUMBERS
        numbers[is_void] = 0
        crowds = [crop_of(annotation, record.size) for annotation in record.annotations if annotation.get("iscrowd")]
        left_out.add("crowds, now void", len(crowds))
        is_crowd = paint([crop for crop in crowds if crop is not None], record.size).ids > 0
        annotations = [painted[index][0] for index in shown[:_MOST_NUMBERS]]
        return _Objects([*annotations, *boxes], numbers, is_void | (is_crowd & (numbers == 0)))


def _write_xml(
    path: Path, file: str, size: tuple[int, int], annotations: Sequence[Mapping[str, Any]], names: Mapping[int, str]
) -> None:
    root = ET.Element("annotation")
    _add(root, "filename", Path(file).name)
    node = ET.SubElement(root, "size")
    for key, value in (("width", size[1]), ("height", size[0]), ("depth", 3)):
        _add(node, key, value)
    _add(root, "segmented", int(bool(annotations)))
    for annotation in annotations:
        node = ET.SubElement(root, "object")
        _add(node, "name", names[annotation["category_id"]])
        for key in ("truncated", "difficult"):
            _add(node, key, int(bool(annotation.get(key))))
        x, y, w, h = annotation["bbox"]
        box = ET.SubElement(node, "bndbox")
        # pixels count from 1, and the last ones belong to the box
        for key, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + w), ("ymax", y + h)):
            _add(box, key, f"{value:.3f}".rstrip("0").rstrip("."))
    ET.indent(root, "\t")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def _add(parent: ET.Element, key: str, value: object) -> None:
    ET.SubElement(parent, key).text = str(value)


def _void_where(is_void: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.where(is_void, VOID, values).astype(np.uint8)


def _write_picture(path: Path, values: npt.NDArray[np.uint8]) -> None:
    """An 8-bit PNG whose palette is VOC's."""
    picture = Image.fromarray(values)
    picture.putpalette(_palette())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _palette() -> bytes:
    """VOC's 256 colours: the bits of a number, three at a time, are the highest bits of red, green and blue."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = (numbers >> (3 * level + channel)) & 1
            colours[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return colours.tobytes()
