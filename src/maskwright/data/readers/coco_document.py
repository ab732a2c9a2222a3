"""What the JSON files of COCO's family share: the document, its classes, and its images.

COCO's instances, LVIS and COCO panoptic differ in their annotations only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from maskwright.data.checks import Problem, show
from maskwright.data.record import Defect
from maskwright.errors import DataError
from maskwright.images.decode import read_header
from maskwright.structures import Categories

# entry of `images` → paths in the image folder where its file may be, the likeliest first; none: it names no file
FileNames = Callable[[Mapping[str, Any]], Sequence[str]]


@dataclass
class CocoImage:
    """An entry of `images`; one that is not usable stays among them, so that its annotations are not called strays.

    Attributes:
        path: of the file, or where it should be.
        size: (height, width), None where nobody knows it; without it annotations cannot be checked.
        is_usable: nothing is wrong with it.
        annotations: what has been found sound of it so far.
    """

    path: Path
    size: tuple[int, int] | None
    is_usable: bool
    annotations: list[Mapping[str, Any]] = field(default_factory=list)


def load_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            "the file may have been cut short, so copy or export it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON text file ({error}); export it again as JSON") from None


def load_document(path: Path) -> dict[str, list[Any]]:
    """The JSON of a COCO file, whose lists images, annotations and categories are there.

    Raises:
        DataError: it cannot be read, is not JSON, or lacks one of the lists.
    """
    if path.is_dir():
        raise DataError(f"annotations {path} is not a file; give the JSON file, or --format for annotations in folders")
    document = load_json(path)
    if not isinstance(document, dict):
        raise DataError(
            f"{path}: holds a {type(document).__name__}; a COCO dataset is an object with images, annotations"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            problem = "is not a list" if key in document else "is missing"
            raise DataError(f"{path}: {key!r} {problem}; a COCO dataset has lists images, annotations and categories")
    return document


def categories_of(entries: list[Any], path: Path) -> Categories:
    """The classes of a COCO file.

    Raises:
        DataError: there are none, or one has no id or name of its own.
    """
    if not entries:
        raise DataError(f"{path}: 'categories' is empty; list the classes, each with 'id' and 'name'")
    try:
        return Categories.of(entries)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def own_file_name(entry: Mapping[str, Any]) -> Sequence[str]:
    """COCO's rule: the file is where `file_name` says; names written on Windows may have the other slash."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        return []
    return [name, name.replace("\\", "/")] if "\\" in name else [name]


def read_images(
    entries: list[Any], folder: Path, defects: list[Defect], file_names: FileNames = own_file_name
) -> dict[int, CocoImage]:
    """Every image with an id of its own, by that id; complaints go to `defects`."""
    images: dict[int, CocoImage] = {}
    for place, entry in enumerate(entries):
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if not is_id(image_id):
            problem = Problem("bad-image", f"{show(entry)} has no integer 'id'; give every image one of its own")
            defects.append(Defect(problem.kind, f"images[{place}]", problem.message, None))
            continue
        names = file_names(entry)
        where = f"image {image_id} ({show(names[0] if names else entry.get('file_name'))})"
        if image_id in images:
            first = f"image id {image_id} is already taken by {images[image_id].path.name!r}; give every image its own"
            defects.append(Defect("duplicate-id", where, first, image_id))
            continue
        image, found = _read_image(entry, folder, names)
        images[image_id] = image
        if found is not None:
            defects.append(Defect(found.kind, where, found.message, image_id))
    return images


def _read_image(entry: dict[str, Any], folder: Path, names: Sequence[str]) -> tuple[CocoImage, Problem | None]:
    """The image of an entry and the problem that makes it unusable, if there is one."""
    size = _size(entry)
    if not names:
        problem = Problem("bad-image", f"file_name {show(entry.get('file_name'))} is not a file's name")
        return CocoImage(folder, size, False), problem
    path = next((folder / name for name in names if is_file(folder / name)), None)
    if path is None:
        problem = Problem("missing-image", f"there is no file {' or '.join(map(show, names))} in {folder}")
        return CocoImage(folder / names[0], size, False), problem
    if size is not None:
        return CocoImage(path, size, True), None
    if entry.get("height") is not None or entry.get("width") is not None:
        found = f"height {show(entry.get('height'))} and width {show(entry.get('width'))}"
        return CocoImage(path, None, False), Problem("bad-image", f"has {found}; both must be whole numbers above 0")
    try:
        return CocoImage(path, read_header(path).size, True), None
    except DataError as error:
        return CocoImage(path, None, False), Problem("unreadable-image", f"has no height and width, and {error}")


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) where the entry has both and they make sense."""
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if is_id(height) and is_id(width) and height > 0 and width > 0 else None


def is_id(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number, as ids are."""
    return isinstance(value, int) and not isinstance(value, bool)
