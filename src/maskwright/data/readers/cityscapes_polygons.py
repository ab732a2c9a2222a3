"""Cityscapes: street scenes whose objects are read off the polygons in `*_gtFine_polygons.json`.

The polygons of a file lie over each other, the last on top: what is visible of an object is what no later polygon
covers, of whatever class. So all are painted into one picture in their order, and with the rasteriser of the official
scripts (Pillow's), which makes the masks those of the official pictures, pixel by pixel. An object of which nothing is
visible is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from maskwright.config.cityscapes_labels import LABELS, THINGS, CityscapesLabel
from maskwright.data.checks import Problem, show
from maskwright.data.id_pictures import objects_of
from maskwright.data.readers.cityscapes import find_files, found_object, picture_size_flaw, read_layout
from maskwright.data.readers.coco_document import load_json
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject
from maskwright.data.record import Dataset
from maskwright.errors import DataError

POLYGONS = "polygons.json"

_GROUP = "group"
_LABEL_OF_NAME = {label.name: label for label in LABELS}
# beyond it rasterisers overflow; no street scene is that large
_FARTHEST_PX = 1_000_000


def read_cityscapes_polygons(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read the files of polygons, and no image beyond its size.

    Args:
        images: folder with the images, for example `leftImg8bit/val` with a folder for each city.
        annotations: folder with the files, for example `gtFine/val` (or `gtCoarse/val`).
        options: `needs_masks` makes no difference, every object has one.

    Raises:
        DataError: a folder has none of these files.
    """
    return read_layout(find_files(images, annotations, POLYGONS), _read_polygons, options)


class _Painted(NamedTuple):
    """A polygon that covers what lies below it."""

    where: str
    label: CityscapesLabel
    is_group: bool
    points: list[tuple[float, float]]


def _read_polygons(path: Path, size: tuple[int, int]) -> Iterator[FoundObject | Flaw]:
    try:
        document = load_json(path)
    except DataError as error:
        yield Flaw(path.name, Problem("broken-json", str(error)), spoils_image=True)
        return
    if not isinstance(document, dict) or not isinstance(document.get("objects"), list):
        problem = Problem("broken-json", "has no list 'objects'; is it a file of Cityscapes?")
        yield Flaw(path.name, problem, spoils_image=True)
        return
    flaw = picture_size_flaw(path.name, (document.get("imgHeight"), document.get("imgWidth")), size)
    if flaw is not None:
        yield flaw
        return
    painted: list[_Painted] = []
    for index, entry in enumerate(document["objects"]):
        found = _read_object(entry, f"{path.name}: objects[{index}]", size)
        if isinstance(found, Flaw):
            yield found
        elif found is not None:
            painted.append(found)
    for number, mask in objects_of(_paint(painted, size)).items():
        where, label, is_group, _ = painted[number - 1]
        if label in THINGS:
            yield found_object(f"{where}.polygon", label, mask, is_group)


def _read_object(entry: Any, where: str, size: tuple[int, int]) -> _Painted | Flaw | None:
    """An object to paint; None where it was deleted, or is of a class that is never drawn."""
    if not isinstance(entry, dict):
        return Flaw(where, Problem("bad-annotation", f"{show(entry)} is no object with 'label' and 'polygon'"))
    if entry.get("deleted"):
        return None
    name = entry.get("label")
    is_group = isinstance(name, str) and name not in _LABEL_OF_NAME and name.endswith(_GROUP)
    label = _LABEL_OF_NAME.get(name.removesuffix(_GROUP) if is_group else name) if isinstance(name, str) else None
    if label is None:
        return Flaw(f"{where}.label", Problem("unknown-label", f"there is no class {show(name)} in Cityscapes"))
    if label.id < 0:
        return None
    points: Any = entry.get("polygon")
    problem = _polygon_problem(points, size if label in THINGS else None)
    if problem is not None:
        return Flaw(f"{where}.polygon", problem)
    return _Painted(where, label, is_group, [(x, y) for x, y in points])


def _polygon_problem(points: Any, size: tuple[int, int] | None) -> Problem | None:
    """What is wrong with a list of points x y; objects, but not all else, should reach into their (height, width)."""
    if not isinstance(points, list) or len(points) < 3:
        return Problem("bad-polygon", f"{show(points)} is not a list of at least 3 points [x, y]")
    for index, point in enumerate(points):
        if not _is_point(point):
            return Problem("bad-polygon", f"point {index} is {show(point)}, expected two finite numbers [x, y]")
    xs, ys = zip(*points, strict=True)
    if size is not None and (max(xs) < 0 or max(ys) < 0 or min(xs) >= size[1] or min(ys) >= size[0]):
        return Problem("empty-mask", f"lies wholly outside the image, which is {size[1]} wide and {size[0]} high")
    return None


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(number, int | float) and abs(number) < _FARTHEST_PX for number in point)  # NaN is not
    )


def _paint(painted: Sequence[_Painted], size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """(H, W) number of the polygon that is seen at each pixel, from 1; 0 where there is none."""
    picture = Image.new("I", (size[1], size[0]))
    drawer = ImageDraw.Draw(picture)
    for number, polygon in enumerate(painted, start=1):
        drawer.polygon(polygon.points, fill=number)
    return np.array(picture)
