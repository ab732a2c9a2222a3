"""Darwin (V7): a JSON file for each image with polygons, boxes, ellipses and a layer of masks; versions 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.data.checks import Problem, show
from maskwright.data.readers.image_json import not_a_list, read_file_per_image
from maskwright.data.readers.listed import size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.readers.shapes import (
    Region,
    box_as_mask,
    ellipse,
    even_odd,
    finite,
    numbers_of,
    pixels_at,
    points_of,
    polygon,
    rectangle,
)
from maskwright.data.record import Dataset, Remark

# keys that a file of Darwin has
SIGNS = (
    ("item", "slots", "annotations"),
    ("image", "annotations", "workview_url"),
    ("dataset", "image", "annotations"),
)
# what says something of an image or an object but covers no pixels
_NO_SHAPES = ("tag", "text", "attributes", "directional_vector", "instance_id", "inference", "properties")
_Size = tuple[int, int]


def read_darwin(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read annotations of Darwin.

    Polygons (a point is inside where an odd number of its paths surround it), masks, ellipses and boxes are objects;
    lines, keypoints and skeletons are defects. Tags are of the whole image and passed over.

    Args:
        images: folder of the image files.
        annotations: folder of the JSON files, or one of them.
        options: what the owner of the dataset decides.

    Raises:
        DataError: there is no JSON file.
    """
    return read_file_per_image(
        images, annotations, options, endings=(".json",), names_in=_names_in, things_in=_things_in
    )


def _names_in(document: Any) -> Sequence[str] | Problem:
    item = _item(document)
    name = item.get("name", item.get("filename", item.get("original_filename")))
    if not isinstance(name, str) or not name:
        return Problem("broken-json", "has no 'item' with a 'name'; is it a file of Darwin?")
    folder = item.get("path")
    return [f"{folder.strip('/')}/{name}", name] if isinstance(folder, str) and folder.strip("/") else [name]


def _item(document: Any) -> Mapping[str, Any]:
    """What a file says of its image, in version 2 or 1."""
    item = document.get("item", document.get("image")) if isinstance(document, dict) else None
    return item if isinstance(item, dict) else {}


def _things_in(where: str, document: Any, size: _Size) -> Iterator[Thing]:
    slots = _item(document).get("slots")
    sized = slots[0] if isinstance(slots, list) and slots and isinstance(slots[0], dict) else _item(document)
    found = document.get("annotations")
    if flaw := size_flaw(where, (sized.get("height"), sized.get("width")), size, "height and width"):
        yield flaw
        return
    if not isinstance(found, list):
        yield not_a_list(where, "annotations", "Darwin")
        return
    layers = [entry["raster_layer"] for entry in found if isinstance(entry, dict) and "raster_layer" in entry]
    for index, entry in enumerate(found):
        if not isinstance(entry, dict) or "raster_layer" not in entry:
            yield from _things(f"{where} annotations[{index}]", entry, layers, size)


def _things(where: str, entry: Any, layers: Sequence[Any], size: _Size) -> Iterator[Thing]:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        yield Flaw(
            where, Problem("missing-class", f"{show(entry)} has no 'name'; every object needs that of its class")
        )
        return
    kind = next((kind for kind in _SHAPES if kind in entry), None)
    if kind is None and "mask" in entry:
        region = _layer_mask(entry.get("id"), layers, size)
    elif kind is None:
        others = [key for key in entry if key not in ("id", "name", "slot_names", "ranges", *_NO_SHAPES)]
        if not others or "tag" in entry:
            yield Remark("tag", where, f"{name!r} is a tag of the whole image and is passed over", None)
            return
        region = Problem("shape-without-area", f"{', '.join(map(show, others[:3]))} covers no pixels; remove it")
    else:
        region = _SHAPES[kind](entry[kind], size)
    if isinstance(region, Problem):
        yield Flaw(where, region)
        return
    if kind == "bounding_box":
        yield box_as_mask(where, "bounding box")
    yield FoundObject(where, name, region)


def _polygon(value: Any, size: _Size) -> Region | Problem:
    paths = value.get("paths", value.get("path")) if isinstance(value, dict) else None
    if not isinstance(paths, list) or not paths:
        return Problem("bad-shape", f"polygon {show(value)} has no 'paths'")
    outlines = [_outline(path) for path in (paths if isinstance(paths[0], list) else [paths])]
    problem = next((outline for outline in outlines if isinstance(outline, Problem)), None)
    return problem or even_odd([outline for outline in outlines if not isinstance(outline, Problem)], size)


def _outline(path: Any) -> Region | Problem:
    points = [point for point in path if isinstance(point, dict)] if isinstance(path, list) else []
    pairs = points_of([[point.get("x"), point.get("y")] for point in points])
    if pairs is None or not isinstance(path, list) or len(points) != len(path):
        return Problem("bad-shape", f"path {show(path)} is not a list of points with finite 'x' and 'y'")
    return polygon(pairs)


def _box(value: Any, _size: _Size) -> Region | Problem:
    numbers = numbers_of(value, ("x", "y", "w", "h"))
    if isinstance(numbers, Problem):
        return numbers
    x, y, width, height = numbers
    return rectangle(x, y, x + width, y + height)


def _ellipse(value: Any, _size: _Size) -> Region | Problem:
    centre, radius = (value.get(key) if isinstance(value, dict) else None for key in ("center", "radius"))
    numbers = [numbers_of(part, ("x", "y")) for part in (centre, radius)]
    angle = finite(value.get("angle", 0)) if isinstance(value, dict) else None
    if isinstance(numbers[0], Problem) or isinstance(numbers[1], Problem) or angle is None:
        return Problem("bad-shape", f"ellipse {show(value)} has no finite 'center', 'radius' and 'angle'")
    (x, y), (radius_x, radius_y) = numbers[0], numbers[1]
    return ellipse(x, y, radius_x, radius_y, math.radians(angle))


def _layer_mask(id_: Any, layers: Sequence[Any], size: _Size) -> Region | Problem:
    """The mask of an object in the layer that holds those of all: pairs of value and count, row by row."""
    for layer in layers:
        mapping = layer.get("mask_annotation_ids_mapping") if isinstance(layer, dict) else None
        value = mapping.get(id_) if isinstance(mapping, dict) and isinstance(id_, str) else None
        if value is None:
            continue
        runs = layer.get("dense_rle")
        if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
            return Problem("bad-mask", f"dense_rle {show(runs)} is not a list of values and counts")
        counts = runs[1::2]
        if len(runs) % 2 or sum(counts) != size[0] * size[1]:
            return Problem("bad-mask", f"dense_rle covers {sum(counts)} pixels, the image has {size[0] * size[1]}")
        is_own = [found == value for found in runs[0::2]]
        return pixels_at(np.repeat(is_own, counts).reshape(size), 0, 0, size)
    return Problem("missing-mask", "there is no raster_layer with its mask; export the annotations again")


_SHAPES: Mapping[str, Callable[[Any, _Size], Region | Problem]] = {
    "polygon": _polygon,
    "complex_polygon": _polygon,
    "ellipse": _ellipse,
    "bounding_box": _box,
}
