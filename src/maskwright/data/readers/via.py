"""VGG Image Annotator (VIA 1 and 2): one JSON or CSV file with the regions of all images.

A project, its exported annotations and its CSV file hold the same entries. Regions have attributes that people name as
they like; one of them is the class.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.coco_document import load_json
from maskwright.data.readers.listed import ListedImage, one_file, read_listed
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.readers.shapes import (
    Region,
    bad_points,
    box_as_mask,
    ellipse,
    finite,
    numbers_of,
    points_of,
    polygon,
    rectangle,
)
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.errors import DataError

# keys that a file of VIA has
SIGNS = (("_via_img_metadata",), ("shape_attributes", "region_attributes"), ("region_shape_attributes",))
# names that people give to the attribute that is the class, the likeliest first
_CLASS_NAMES = ("class", "label", "category", "name", "type")
_NO_CLASS = "object"


def read_via(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read the annotations of VIA.

    Polygons, circles, ellipses and rectangles are objects; points and lines cover no pixels, which is a defect. The
    class is the attribute that the options name, or the only one that the regions have, or the only one that is called
    class, label, category, name or type. Regions without any attribute are of one class, `object`.

    Args:
        images: folder of the image files.
        annotations: the project, or the annotations exported as JSON or CSV.
        options: what the owner of the dataset decides.

    Raises:
        DataError: the file cannot be read, is not VIA's, or it is not clear which attribute is the class.
    """
    path = one_file(annotations, (".json", ".csv"))
    entries = _rows(path) if path.suffix.lower() == ".csv" else _entries(path)
    defects: list[Defect] = []
    listed: list[ListedImage] = []
    for key, entry in entries.items():
        name = entry.get("filename") if isinstance(entry, dict) else None
        regions = _regions(entry)
        if not isinstance(name, str) or not name or regions is None:
            message = f"{show(entry)} is not an image with a 'filename' and a list 'regions'"
            defects.append(Defect("bad-image", f"entry {show(key)}", message, None))
        else:
            listed.append(ListedImage(f"image {show(name)}", [name], regions))
    attribute, remarks = _class_attribute(listed, options.class_attribute, path)
    read = partial(_objects, attribute)
    return read_listed(listed, images, read, path, options, defects=defects, remarks=remarks)


def _entries(path: Path) -> Mapping[str, Any]:
    document = load_json(path)
    if not isinstance(document, dict):
        raise DataError(f"{path}: holds a {type(document).__name__}; annotations of VIA are an object with images")
    if {"metadata", "view", "file"} <= document.keys():
        raise DataError(f"{path}: is a project of VIA 3; label images with VIA 2, or export COCO from VIA 3")
    entries = document.get("_via_img_metadata", document)
    if not isinstance(entries, dict) or not any(_regions(entry) is not None for entry in entries.values()):
        raise DataError(f"{path}: has no image with 'filename' and 'regions'; give the annotations or project of VIA")
    return entries


def _regions(entry: Any) -> list[Any] | None:
    """The regions of an image: a list in VIA 2, an object in VIA 1; None where it has neither."""
    regions = entry.get("regions") if isinstance(entry, dict) else None
    return list(regions.values()) if isinstance(regions, dict) else regions if isinstance(regions, list) else None


def _rows(path: Path) -> Mapping[str, Any]:
    """The entries that a CSV file has in the rows of their regions."""
    entries: dict[str, Any] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            head = [name.strip().lstrip("#") for name in rows.fieldnames or ()]
            rows.fieldnames = head
            if not {"filename", "region_shape_attributes", "region_attributes"} <= set(head):
                raise DataError(f"{path}: has no column 'region_shape_attributes'; export the annotations of VIA again")
            for row in rows:
                name = str(row.get("filename") or "")
                entry = entries.setdefault(name, {"filename": name, "regions": []})
                shape, attributes = (_cell(row.get(f"region_{key}")) for key in ("shape_attributes", "attributes"))
                if shape != {}:
                    entry["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8; export it again") from None
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); export the annotations as JSON") from None
    return entries


def _cell(text: Any) -> Any:
    """The JSON in a cell, or the text itself where it is none, which is found to be no shape later."""
    try:
        return json.loads(text) if isinstance(text, str) and text.strip() else {}
    except (ValueError, RecursionError):
        return text


def _class_attribute(listed: Sequence[ListedImage], wanted: str | None, path: Path) -> tuple[str | None, list[Remark]]:
    """The attribute that holds the class, and a remark where it was chosen; None where regions have no attributes.

    Raises:
        DataError: it is not clear which, or there is none of the name that is wanted.
    """
    found = Counter(key for entry in listed for region in entry.content for key in _attributes(region))
    names = ", ".join(map(show, found))
    if wanted is not None:
        if found and wanted not in found:
            raise DataError(f"{path}: no region has an attribute {wanted!r}; class_attribute must be one of {names}")
        return wanted, []
    if not found:
        has_regions = any(entry.content for entry in listed)
        message = f"its regions have no attributes: all are of the class {_NO_CLASS!r}"
        return None, [Remark("no-classes", str(path), message, None)] if has_regions else []
    if len(found) == 1:
        return next(iter(found)), []
    likely = [key for key in found if key.strip().casefold() in _CLASS_NAMES]
    if len(likely) != 1:
        raise DataError(
            f"{path}: regions have the attributes {names}; say which of them is the class "
            "(--class-attribute NAME; in a recipe data.train.class_attribute=NAME)"
        )
    message = f"the attribute {likely[0]!r} is taken for the class, of {names}"
    return likely[0], [Remark("class-attribute", str(path), message, None)]


def _attributes(region: Any) -> Mapping[str, Any]:
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _objects(attribute: str | None, entry: ListedImage, _size: tuple[int, int]) -> Iterator[Thing]:
    for index, region in enumerate(entry.content):
        where = f"{entry.where} regions[{index}]"
        shape = region.get("shape_attributes") if isinstance(region, dict) else None
        if not isinstance(shape, dict):
            yield Flaw(where, Problem("bad-shape", f"{show(region)} has no 'shape_attributes'; draw it again"))
            continue
        category = _NO_CLASS if attribute is None else _category(_attributes(region).get(attribute), attribute)
        if isinstance(category, Problem):
            yield Flaw(where, category)
            continue
        covered = _region(shape)
        if isinstance(covered, Problem):
            yield Flaw(where, covered)
            continue
        if shape.get("name") == "rect":
            yield box_as_mask(where, "rectangle")
        yield FoundObject(where, category, covered)


def _category(value: Any, attribute: str) -> str | Problem:
    """The class that the value of an attribute says: a text, or the one check box that is on."""
    chosen = [key for key, is_on in value.items() if is_on] if isinstance(value, dict) else [value]
    if len(chosen) > 1:
        return Problem("several-classes", f"{attribute!r} is {show(chosen)}; an object has one class, choose one")
    name = chosen[0] if chosen else None
    text = str(name).strip() if isinstance(name, str | int | float) and not isinstance(name, bool) else ""
    return text or Problem("missing-class", f"its attribute {attribute!r} is {show(value)}; give its class there")


def _region(shape: Mapping[str, Any]) -> Region | Problem:
    kind = shape.get("name")
    if not isinstance(kind, str) or kind not in _SHAPES:
        known = ", ".join(_SHAPES)
        return Problem("shape-without-area", f"a {show(kind)} covers no pixels; draw one of {known}, or remove it")
    return _SHAPES[kind](shape)


def _polygon(shape: Mapping[str, Any]) -> Region | Problem:
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        return Problem("bad-shape", f"all_points_x {show(xs)} and all_points_y {show(ys)} are no lists of equal length")
    pairs = [[x, y] for x, y in zip(xs, ys, strict=True)]
    points = points_of(pairs)
    return bad_points(pairs, "all_points_x and all_points_y") if points is None else polygon(points)


def _rectangle(shape: Mapping[str, Any]) -> Region | Problem:
    numbers = numbers_of(shape, ("x", "y", "width", "height"))
    if isinstance(numbers, Problem):
        return numbers
    x, y, width, height = numbers
    return rectangle(x, y, x + width, y + height)


def _circle(shape: Mapping[str, Any]) -> Region | Problem:
    numbers = numbers_of(shape, ("cx", "cy", "r"))
    return numbers if isinstance(numbers, Problem) else ellipse(numbers[0], numbers[1], numbers[2], numbers[2])


def _ellipse(shape: Mapping[str, Any]) -> Region | Problem:
    """Newer files have its angle, in radians."""
    numbers = numbers_of(shape, ("cx", "cy", "rx", "ry"))
    if isinstance(numbers, Problem):
        return numbers
    angle = finite(shape.get("theta", 0))
    if angle is None:
        return Problem("bad-shape", f"its 'theta' is {show(shape['theta'])}; it needs a finite number")
    x, y, radius_x, radius_y = numbers
    return ellipse(x, y, radius_x, radius_y, angle)


_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], Region | Problem]] = {
    "polygon": _polygon,
    "rect": _rectangle,
    "circle": _circle,
    "ellipse": _ellipse,
}
