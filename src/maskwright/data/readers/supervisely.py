"""Supervisely: a JSON file per image in a folder `ann`, the images in `img` beside it, the classes in meta.json."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.coco_document import load_json
from maskwright.data.readers.joined import Part, objects_of
from maskwright.data.readers.listed import ListedImage, read_listed, size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, Thing, refuse_file
from maskwright.data.readers.shapes import (
    Region,
    bad_points,
    box_as_mask,
    picture_of,
    pixels_at,
    points_of,
    polygon,
    rectangle,
    union,
    with_holes,
)
from maskwright.data.record import Dataset
from maskwright.errors import DataError
from maskwright.structures import Categories

# keys that a file of Supervisely has
SIGNS = (("classTitle", "objects"), ("tags", "objects", "size"))
_LABELS, _PICTURES = "ann", "img"
_META = "meta.json"
# JSON files of a project that are no annotations, and folders of such
_OTHER_FILES = (_META, "obj_class_to_machine_color.json", "key_id_map.json", "config.json")
_OTHER_FOLDERS = (_PICTURES, "img_info", "meta")
# a packed picture may have this much beside its pixels
_PICTURE_HEAD_BYTES = 1 << 16


def read_supervisely(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a dataset or project of Supervisely.

    Polygons with their holes, bitmaps and rectangles are objects; points, lines and graphs are defects. Coordinates are
    continuous, as those of COCO. The classes are those of meta.json,
    up to two folders above, as long as no others occur.

    Args:
        images: folder `img`, or the project.
        annotations: folder `ann`, or the project.
        options: what the owner of the dataset decides.

    Raises:
        DataError: `annotations` is a file, or a folder without JSON files.
    """
    refuse_file(annotations, f"the folder {_LABELS} with a JSON file for each image, or the project")
    names = [
        PurePosixPath(path.relative_to(annotations).as_posix()) for path in sorted(annotations.rglob("[!.]*.json"))
    ]
    names = [name for name in names if name.name not in _OTHER_FILES and not _is_elsewhere(name)]
    if not names:
        raise DataError(f"no annotation *.json in {annotations} or the folders in it; give the folder {_LABELS}")
    listed = [ListedImage(f"{name}", _image_names(name), name) for name in names]
    return read_listed(
        listed, images, partial(_things, annotations), annotations, options, usual=_listed_classes(annotations)
    )


def _is_elsewhere(name: PurePosixPath) -> bool:
    return any(folder in _OTHER_FOLDERS for folder in name.parts[:-1])


def _image_names(name: PurePosixPath) -> list[str]:
    """The image of an annotation file: called like it, in the folder of pictures beside."""
    own = name.with_suffix("")
    beside = [_PICTURES if part == _LABELS else part for part in own.parts[:-1]]
    return [str(PurePosixPath(*beside, own.name)), str(own)]


def _listed_classes(folder: Path) -> Categories | None:
    """The classes of the project, where its meta.json is there and in order."""
    for path in (parent / _META for parent in (folder, *folder.absolute().parents[:2])):
        if path.is_file():
            meta = load_json(path)
            entries = meta.get("classes") if isinstance(meta, dict) else None
            titles = [one.get("title") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
            names = list(dict.fromkeys(title for title in titles if isinstance(title, str) and title))
            return Categories.of(names) if names else None
    return None


def _things(folder: Path, entry: ListedImage, size: tuple[int, int]) -> Iterator[Thing]:
    document = load_json(folder / entry.content)
    objects = document.get("objects") if isinstance(document, dict) else None
    if not isinstance(objects, list):
        message = "has no list 'objects'; is it a file of Supervisely?"
        yield Flaw(entry.where, Problem("broken-json", message), spoils_image=True)
        return
    stated = document.get("size")
    said = (stated.get("height"), stated.get("width")) if isinstance(stated, dict) else (None, None)
    if flaw := size_flaw(entry.where, said, size, "size.height and size.width"):
        yield flaw
        return
    parts = []
    for index, found in enumerate(objects):
        where = f"{entry.where} objects[{index}]"
        if not isinstance(found, dict):
            yield Flaw(where, Problem("bad-shape", f"{show(found)} is no object with 'classTitle' and points"))
            continue
        instance = found.get("instance")  # shapes of one instance have one key
        group = instance if isinstance(instance, str | int) and instance != "" else None
        parts.append(Part(where, str(found.get("classTitle")), _region(found, size), group))
        if found.get("geometryType") == "rectangle" and parts[-1].is_sound:
            yield box_as_mask(where, "rectangle")
    yield from objects_of(parts, size)


def _region(found: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    title = found.get("classTitle")
    if not isinstance(title, str) or not title:
        return Problem("missing-class", f"{show(found)} has no 'classTitle'; every object needs that of its class")
    kind = found.get("geometryType") or ("bitmap" if found.get("bitmap") else "polygon")
    if not isinstance(kind, str) or kind not in _SHAPES:
        known = ", ".join(_SHAPES)
        return Problem("shape-without-area", f"a {show(kind)} covers no pixels; draw one of {known}, or remove it")
    return _SHAPES[kind](found, size)


def _polygon(found: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    return _with_interior(found.get("points"), size)


def _with_interior(points: Any, size: tuple[int, int]) -> Region | Problem:
    if not isinstance(points, dict):
        return Problem("bad-shape", f"points {show(points)} is no object with 'exterior' and 'interior'")
    interior = points.get("interior") or []
    regions = [
        _outline(part) for part in (points.get("exterior"), *(interior if isinstance(interior, list) else ["?"]))
    ]
    problem = next((region for region in regions if isinstance(region, Problem)), None)
    if problem is not None:
        return problem
    exterior, *holes = [region for region in regions if not isinstance(region, Problem)]
    return with_holes(exterior, holes, size)


def _outline(value: Any) -> Region | Problem:
    points = points_of(value)
    return bad_points(value, "exterior or interior") if points is None else polygon(points)


def _several(found: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    parts = found.get("parts")
    regions = [_with_interior(part, size) for part in parts] if isinstance(parts, list) and parts else []
    problem = next((region for region in regions if isinstance(region, Problem)), None)
    if problem is not None or not regions:
        return problem or Problem("bad-shape", f"parts {show(parts)} is no list of outlines")
    return union([region for region in regions if not isinstance(region, Problem)], size)


def _rectangle(found: Mapping[str, Any], _size: tuple[int, int]) -> Region | Problem:
    points = found.get("points")
    value = points.get("exterior") if isinstance(points, dict) else points
    corners = points_of(value)
    if corners is None or len(corners) != 2:
        return Problem("bad-shape", f"exterior {show(value)} is not two corners of a rectangle")
    (left, top), (right, bottom) = corners
    return rectangle(left, top, right, bottom)


def _bitmap(found: Mapping[str, Any], size: tuple[int, int]) -> Region | Problem:
    """A picture, packed and as text, and the column and row of its first pixel."""
    bitmap = found.get("bitmap")
    origin = points_of([bitmap.get("origin")]) if isinstance(bitmap, dict) else None
    if origin is None or not isinstance(bitmap, dict):
        return Problem("bad-mask", f"bitmap {show(bitmap)} has no 'data' and 'origin'; export the annotations again")
    limit = 8 * size[0] * size[1] + _PICTURE_HEAD_BYTES
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(bitmap.get("data") or "", validate=True), limit)
        if unpacker.unconsumed_tail:
            return Problem("bad-mask", f"its bitmap has more than {limit} bytes, too many for its image")
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        return Problem("bad-mask", f"its bitmap is no packed picture in base64 ({error}); export the annotations again")
    pixels = picture_of(data, size)
    if isinstance(pixels, Problem):
        return pixels
    return pixels_at(pixels, round(origin[0][0]), round(origin[0][1]), size)


_SHAPES: Mapping[str, Callable[[Mapping[str, Any], tuple[int, int]], Region | Problem]] = {
    "polygon": _polygon,
    "multipolygon": _several,
    "bitmap": _bitmap,
    "alpha_mask": _bitmap,
    "rectangle": _rectangle,
}
