"""Datumaro's own format: one JSON file with the items of a subset, their annotations and the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.coco_document import load_json
from maskwright.data.readers.joined import Part, objects_of
from maskwright.data.readers.listed import ListedImage, one_file, read_listed, size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, Thing
from maskwright.data.readers.shapes import Region, box_as_mask, ellipse, points_of, polygon, rectangle
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.errors import DataError
from maskwright.structures import Categories

# keys that a file of Datumaro has
SIGNS = (("items", "categories", "annotations"), ("items", "categories", "label_id"))
# what says something of the whole image
_OF_IMAGE = ("label", "caption")
_Size = tuple[int, int]


def read_datumaro(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a dataset of Datumaro.

    Polygons, masks, ellipses and boxes are objects; those of one group and class are parts of one object, and a box
    beside them is left out. Points and lines are defects; labels and captions of whole images are passed over.

    Args:
        images: folder of the image files.
        annotations: the JSON file of a subset, or the folder that has it.
        options: what the owner of the dataset decides.

    Raises:
        DataError: the file cannot be read, or has no items or no classes.
    """
    path = one_file(annotations, (".json",))
    document = load_json(path)
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise DataError(f"{path}: has no list 'items'; give the JSON file of a subset of Datumaro")
    names = _class_names(document, path)
    listed: list[ListedImage] = []
    defects: list[Defect] = []
    for index, item in enumerate(items):
        if isinstance(item, dict) and isinstance(item.get("id"), str | int):
            listed.append(ListedImage(f"item {show(item['id'])}", _image_names(item), item))
        else:
            defects.append(Defect("bad-image", f"items[{index}]", f"{show(item)} has no 'id'", None))
    read = partial(_things, names)
    return read_listed(listed, images, read, path, options, categories=Categories.of(names), defects=defects)


def _class_names(document: Mapping[str, Any], path: Path) -> list[str]:
    found = document.get("categories")
    found = found.get("label") if isinstance(found, dict) else None
    labels = found.get("labels") if isinstance(found, dict) else None
    names = [
        label.get("name") if isinstance(label, dict) else None for label in (labels if isinstance(labels, list) else ())
    ]
    known = [name for name in names if isinstance(name, str) and name]
    if not known or len(known) != len(names) or len(set(known)) != len(known):
        raise DataError(
            f"{path}: categories.label.labels {show(labels)} is not a list of classes with names of their own"
        )
    return known


def _image_names(item: Mapping[str, Any]) -> list[str]:
    """The path of the image, which versions keep under `image` or `media`, and the id, which is its name."""
    parts = [item.get(key) for key in ("image", "media")]
    paths = [part.get("path") for part in parts if isinstance(part, dict)]
    return [*(path for path in paths if isinstance(path, str) and path), str(item["id"])]


def _things(names: Sequence[str], entry: ListedImage, size: _Size) -> Iterator[Thing]:
    item = entry.content
    image: Mapping[str, Any] = next((item[key] for key in ("image", "media") if isinstance(item.get(key), dict)), {})
    said = image.get("size")
    if isinstance(said, list) and len(said) == 2 and (flaw := size_flaw(entry.where, said, size, "size")):
        yield flaw
        return
    found = item.get("annotations")
    if not isinstance(found, list):
        yield Flaw(entry.where, Problem("broken-json", "has no list 'annotations'"), spoils_image=True)
        return
    parts: list[tuple[Any, Part]] = []
    for index, annotation in enumerate(found):
        where = f"{entry.where} annotations[{index}]"
        kind = annotation.get("type") if isinstance(annotation, dict) else None
        if kind in _OF_IMAGE:
            yield Remark("tag", where, f"a {kind} is of the whole image and is passed over", None)
            continue
        parts.append((kind, _part(where, annotation, names)))
    outlined = {(part.category, part.group) for kind, part in parts if kind != "bbox" and part.group is not None}
    for kind, part in parts:
        if kind == "bbox" and part.is_sound and (part.category, part.group) not in outlined:
            yield box_as_mask(part.where, "box")
    kept = [part for kind, part in parts if kind != "bbox" or (part.category, part.group) not in outlined]
    yield from objects_of(kept, size)


def _part(where: str, annotation: Any, names: Sequence[str]) -> Part:
    if not isinstance(annotation, dict):
        return Part(where, "", Problem("bad-annotation", f"{show(annotation)} is no object with 'type' and 'label_id'"))
    label, group = annotation.get("label_id"), annotation.get("group")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(names):
        message = f"label_id {show(label)} is not the index of one of the {len(names)} classes, which starts at 0"
        return Part(where, "", Problem("unknown-category", message))
    attributes = annotation.get("attributes")
    is_crowd = isinstance(attributes, dict) and attributes.get("is_crowd") is True
    return Part(
        where,
        names[label],
        _region(annotation),
        group if isinstance(group, int) and group else None,
        {"iscrowd": 1} if is_crowd else {},
    )


def _region(annotation: Mapping[str, Any]) -> Region | Problem:
    kind = annotation.get("type")
    if kind == "mask":
        mask = annotation.get("rle")
        return mask if isinstance(mask, dict) else Problem("missing-mask", f"rle {show(mask)} is not run lengths")
    if not isinstance(kind, str) or kind not in _SHAPES:
        known = ", ".join((*_SHAPES, "mask"))
        return Problem("shape-without-area", f"a {show(kind)} covers no pixels; draw one of {known}, or remove it")
    key = "bbox" if kind == "bbox" else "points"
    flat = annotation.get(key)
    pairs = [flat[index : index + 2] for index in range(0, len(flat), 2)] if isinstance(flat, list) else None
    points = points_of(pairs)
    if points is None:
        return Problem("bad-shape", f"{key} {show(flat)} is not a list of finite numbers x, y, …")
    return _SHAPES[kind](points)


def _box(points: Sequence[tuple[float, float]]) -> Region | Problem:
    """From its corner, and its width and height."""
    if len(points) != 2:
        return Problem("bad-shape", "a bbox is x, y, width and height")
    (x, y), (width, height) = points
    return rectangle(x, y, x + width, y + height)


def _ellipse(points: Sequence[tuple[float, float]]) -> Region | Problem:
    """From two corners of the box around it."""
    if len(points) != 2:
        return Problem("bad-shape", "an ellipse is two corners of the box around it")
    (left, top), (right, bottom) = points
    return ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2)


_SHAPES: Mapping[str, Callable[[list[tuple[float, float]]], Region | Problem]] = {
    "polygon": polygon,
    "bbox": _box,
    "ellipse": _ellipse,
}
