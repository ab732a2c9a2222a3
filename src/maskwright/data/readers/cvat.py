"""CVAT for images 1.1: one XML file with the shapes of all images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import radians
from pathlib import Path

import numpy as np

from maskwright.data.checks import Problem, show
from maskwright.data.readers.joined import Part, objects_of
from maskwright.data.readers.listed import ListedImage, one_file, read_listed, size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Thing
from maskwright.data.readers.shapes import (
    Region,
    bad_points,
    box_as_mask,
    ellipse,
    numbers_of,
    pixels_at,
    points_of,
    polygon,
    rectangle,
    turned,
)
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.data.xml_nodes import XmlNode, load_xml
from maskwright.errors import DataError
from maskwright.structures import Categories

ROOT = "annotations"
_NO_GROUP = ("", "0")


def read_cvat(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read the XML file that CVAT calls "CVAT for images 1.1".

    Polygons, masks, ellipses and boxes, turned or not, are objects; those of one label and group are one object. Lines,
    points, skeletons and cuboids are defects. The classes are the labels of the task, as long as no others occur.

    Args:
        images: folder of the image files.
        annotations: the XML file, or the folder that has it.
        options: what the owner of the dataset decides.

    Raises:
        DataError: the file cannot be read, is not CVAT's, or is "CVAT for video".
    """
    path = one_file(annotations, (".xml",))
    root = load_xml(path)
    if root.tag != ROOT:
        raise DataError(f"{path}, line {root.line}: begins with <{root.tag}>; expected CVAT's <{ROOT}>")
    if tracks := root.all("track"):
        raise DataError(
            f"{path}, line {tracks[0].line}: has tracks of a video; export the task as 'CVAT for images 1.1', with its "
            "images, which has the same shapes frame by frame"
        )
    nodes = root.all("image")
    if not nodes:
        raise DataError(f"{path}: has no <image>; export the task as 'CVAT for images 1.1'")
    listed, defects = [], []
    for node in nodes:
        name = node.attributes.get("name", "").strip()
        if name:
            listed.append(ListedImage(f"image {show(name)}", [name], node))
        else:
            defects.append(Defect("bad-image", f"{path.name}, line {node.line}", "this <image> has no name", None))
    return read_listed(
        listed,
        images,
        partial(_things, path.name),
        path,
        options,
        usual=_labels(root),
        defects=defects,
        remarks=_unused(nodes, path),
    )


def _labels(root: XmlNode) -> Categories | None:
    """The labels of the task, project or job; points of skeletons, which have a parent, are none."""
    meta = root.first("meta")
    for owner in [] if meta is None else [meta, *meta.children]:
        labels = owner.first("labels")
        if labels is not None:
            named = [label.text_of("name") for label in labels.all("label") if not label.text_of("parent")]
            names = list(dict.fromkeys(filter(None, named)))
            return Categories.of(names) if names else None
    return None


def _unused(nodes: list[XmlNode], path: Path) -> list[Remark]:
    """One remark on the attributes of shapes, and one on the tags of images."""
    shapes = [shape for node in nodes for shape in node.children]
    names = {each.attributes.get("name", "") for shape in shapes for each in shape.all("attribute")}
    num_tags = sum(shape.tag == "tag" for shape in shapes)
    remarks = []
    if names:
        message = f"attributes of shapes are not used: {', '.join(map(show, sorted(names)[:10]))}"
        remarks.append(Remark("unused-attributes", str(path), message, None))
    if num_tags:
        message = f"{num_tags} tags of whole images are not used"
        remarks.append(Remark("unused-tags", str(path), message, None))
    return remarks


def _things(file: str, entry: ListedImage, size: tuple[int, int]) -> Iterator[Thing]:
    node: XmlNode = entry.content
    said = node.attributes.get("height"), node.attributes.get("width")
    if flaw := size_flaw(f"{file}, line {node.line}", said, size, "height and width"):
        yield flaw
        return
    parts = []
    for shape in node.children:
        if shape.tag == "tag":
            continue
        where = f"{file}, line {shape.line}, {shape.tag} of {entry.where}"
        group = shape.attributes.get("group_id", "").strip()
        label = shape.attributes.get("label", "").strip()
        parts.append(Part(where, label, _region(shape, label, size), None if group in _NO_GROUP else group))
        if shape.tag == "box" and parts[-1].is_sound:
            yield box_as_mask(where, "box")
    yield from objects_of(parts, size)


def _region(shape: XmlNode, label: str, size: tuple[int, int]) -> Region | Problem:
    if not label:
        return Problem("missing-class", "has no label; give every shape one")
    if shape.tag not in _SHAPES:
        known = ", ".join(_SHAPES)
        return Problem("shape-without-area", f"a {show(shape.tag)} covers no pixels; draw one of {known}, or remove it")
    return _SHAPES[shape.tag](shape.attributes, size)


def _polygon(shape: Mapping[str, str], _size: tuple[int, int]) -> Region | Problem:
    text = shape.get("points", "")
    points = points_of([pair.split(",") for pair in text.split(";") if pair.strip()])
    return bad_points(text, "points") if points is None else polygon(points)


def _box(shape: Mapping[str, str], _size: tuple[int, int]) -> Region | Problem:
    numbers = numbers_of({"rotation": 0, **shape}, ("xtl", "ytl", "xbr", "ybr", "rotation"))
    if isinstance(numbers, Problem):
        return numbers
    left, top, right, bottom, degrees = numbers
    centre = (left + right) / 2, (top + bottom) / 2
    return turned(rectangle(left, top, right, bottom), centre, radians(degrees))


def _ellipse(shape: Mapping[str, str], _size: tuple[int, int]) -> Region | Problem:
    numbers = numbers_of({"rotation": 0, **shape}, ("cx", "cy", "rx", "ry", "rotation"))
    if isinstance(numbers, Problem):
        return numbers
    x, y, radius_x, radius_y, degrees = numbers
    return ellipse(x, y, radius_x, radius_y, radians(degrees))


def _mask(shape: Mapping[str, str], size: tuple[int, int]) -> Region | Problem:
    """Run lengths along the rows of a box, background first."""
    numbers = numbers_of(shape, ("left", "top", "width", "height"))
    if isinstance(numbers, Problem):
        return numbers
    left, top, width, height = map(round, numbers)
    if not 0 < width <= size[1] or not 0 < height <= size[0]:
        return Problem("bad-mask", f"is {width} wide and {height} high; its image is {size[1]} wide and {size[0]} high")
    try:
        counts = [int(count) for count in shape.get("rle", "").split(",")]
    except ValueError:
        return Problem("bad-rle", f"rle {show(shape.get('rle'))} is not a list of whole numbers")
    if min(counts) < 0 or sum(counts) != width * height:
        total = "has negative numbers" if min(counts) < 0 else f"adds up to {sum(counts)} pixels"
        return Problem("bad-rle", f"rle {total}; its box has {width} × {height} = {width * height}")
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    return pixels_at(pixels, left, top, size)


_SHAPES: Mapping[str, Callable[[Mapping[str, str], tuple[int, int]], Region | Problem]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
