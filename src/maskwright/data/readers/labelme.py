"""LabelMe: a JSON file per image with the shapes that were drawn on it.

Shapes with one label and one `group_id` are parts of one object. An image without a file has not been labelled yet,
which is a defect: no file says that it is empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.json_text import parse_json
from maskwright.data.readers.joined import Part, objects_of
from maskwright.data.readers.labelme_shapes import read_shape
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, Thing, find_images, read_per_image
from maskwright.data.readers.shapes import box_as_mask, finite
from maskwright.data.record import Dataset, Defect
from maskwright.errors import DataError
from maskwright.structures import Categories

# flags of a shape that say what an annotation's key says
_FLAG_KEYS = ("iscrowd", "difficult")


def read_labelme(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read LabelMe files.

    The classes are those of a labels.txt, beside the files or one folder above, as long as no others occur; else those
    that occur, by name.

    Args:
        images: folder of the image files, with the folders in it.
        annotations: folder of the JSON files, with the folders in it; often the same. A file belongs to the image that
            its `imagePath` names, or else to the one called like itself.
        options: `needs_masks` makes no difference, every shape that is an object covers pixels.

    Raises:
        DataError: `annotations` is not a folder.
    """
    if not annotations.is_dir():
        raise DataError(f"annotations {annotations} is not a folder; give the folder with LabelMe's JSON files")
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(partial(_load, folder=annotations), sorted(annotations.rglob("[!.]*.json"))))
    paths = find_images(images)
    owned, defects = _hand_out(files, paths, images)
    return read_per_image(
        paths,
        partial(_read_objects, owned=owned),
        str(annotations),
        categories=None,
        usual=_listed_labels(annotations),
        options=options,
        defects=defects,
    )


def _listed_labels(folder: Path) -> Categories | None:
    """The classes of the labels.txt that LabelMe is started with; `__ignore__` and `_background_` are none."""
    for file in (folder / "labels.txt", folder.absolute().parent / "labels.txt"):
        if file.is_file():
            text = file.read_text(encoding="utf-8-sig", errors="replace")
            names = [line.strip() for line in text.splitlines()]
            return Categories.of(list(dict.fromkeys(name for name in names if name and not name.startswith("_"))))
    return None


@dataclass(frozen=True)
class _File:
    """A JSON file: its path in the folder, and what it says or why it cannot be read."""

    name: PurePosixPath
    document: Mapping[str, Any]
    problem: Problem | None = None
    line: str = ""

    @property
    def where(self) -> str:
        return f"{self.name}{self.line}"


def _load(path: Path, folder: Path) -> _File:
    name = PurePosixPath(path.relative_to(folder).as_posix())
    try:
        document = parse_json(path.read_bytes())
    except json.JSONDecodeError as error:
        problem = Problem("broken-json", f"broken JSON: {error.msg}; the file may have been cut short, save it again")
        return _File(name, {}, problem, f" line {error.lineno} column {error.colno}")
    except (OSError, ValueError, RecursionError) as error:
        return _File(name, {}, Problem("broken-json", f"not a JSON text file ({error}); save it again from LabelMe"))
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        return _File(name, {}, Problem("broken-json", "has no list 'shapes'; is it a file of LabelMe?"))
    document.pop("imageData", None)  # the image once more, as text
    return _File(name, document)


def _hand_out(files: Sequence[_File], paths: Sequence[Path], folder: Path) -> tuple[dict[Path, _File], list[Defect]]:
    """Image → its file, and what is wrong with files that have no image of their own."""
    paths_by_name = {path.relative_to(folder).as_posix(): path for path in paths}
    stems = {PurePosixPath(name).with_suffix("").as_posix(): path for name, path in paths_by_name.items()}
    owned: dict[Path, _File] = {}
    defects: list[Defect] = []
    for file in files:
        named = _image_name(file)
        path = paths_by_name.get(named) or stems.get(file.name.with_suffix("").as_posix())
        if path is None:
            known = f"imagePath {show(file.document.get('imagePath'))}"
            message = f"there is neither its {known} nor an image called like it in {folder}; add or remove one"
            defects.append(Defect("missing-image", file.where, message, None))
        elif path in owned:
            message = f"belongs to image {path.name!r}, as {owned[path].name} does; keep one of them"
            defects.append(Defect("duplicate-annotation", file.where, message, None))
        else:
            owned[path] = file
    return owned, defects


def _image_name(file: _File) -> str:
    """The image that a file names, as a path in the folder of images: beside the file's own path in its folder."""
    name = PurePosixPath(str(file.document.get("imagePath") or "").replace("\\", "/")).name
    return file.name.with_name(name).as_posix() if name else ""


def _read_objects(path: Path, size: tuple[int, int], owned: Mapping[Path, _File]) -> Iterator[Thing]:
    file = owned.get(path)
    if file is None:
        message = "has no JSON file: not labelled yet? label it, save it without shapes, or leave it out"
        yield Flaw(f"image {path.name!r}", Problem("missing-annotation", message), spoils_image=True)
        return
    if problem := file.problem or _size_problem(file.document, size):
        yield Flaw(file.where, problem, spoils_image=True)
        return
    parts = []
    for index, shape in enumerate(file.document["shapes"]):
        parts.append(_part(shape, f"{file.name} shapes[{index}]", size))
        if parts[-1].is_sound and shape.get("shape_type") == "rectangle":
            yield box_as_mask(parts[-1].where, "rectangle")
    yield from objects_of(parts, size)


def _part(shape: Any, where: str, size: tuple[int, int]) -> Part:
    region = read_shape(shape, size)
    if not isinstance(shape, dict):
        return Part(where, "", region)
    flags = [shape.get("flags"), {"difficult": shape.get("difficult")}]  # X-AnyLabeling writes it beside the flags
    details = {key: 1 for key in _FLAG_KEYS if any(flag.get(key) for flag in flags if isinstance(flag, dict))}
    group = shape.get("group_id")
    return Part(where, str(shape.get("label")), region, None if group is None else str(group), details)


def _size_problem(document: Mapping[str, Any], size: tuple[int, int]) -> Problem | None:
    said = document.get("imageHeight"), document.get("imageWidth")
    if all(side is None or finite(side) == true for side, true in zip(said, size, strict=True)):
        return None
    message = f"imageHeight and imageWidth are {show(said[0])} and {show(said[1])}, the image's {size[0]} and {size[1]}"
    return Problem("size-mismatch", f"{message}; give the image that was labelled")
