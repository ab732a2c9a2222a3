"""What the JSON files of COCO's family share: the document, its classes, and its images.

COCO's instances, LVIS and COCO panoptic differ in their annotations only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from maskwright.config.data import FrameName
from maskwright.data.checks import Problem, show
from maskwright.data.json_text import ALWAYS_READ_BYTES, parse_json
from maskwright.data.label_frames import LabelFrame, fitting_frame, frame_of, read_headers, settled, upright_record
from maskwright.data.record import Defect, ImageRecord, Remark
from maskwright.errors import DataError
from maskwright.images.orientation import UPRIGHT
from maskwright.structures import Categories

# what an image or annotation takes in a file at the least, on average: a file's size bounds how many there may be
_LEAST_ENTRY_BYTES = 20

# entry of `images` → paths in the image folder where its file may be, the likeliest first; none: it names no file
FileNames = Callable[[Mapping[str, Any]], Sequence[str]]


@dataclass
class CocoImage:
    """An entry of `images`; one that is not usable stays among them, so that its annotations are not called strays.

    Attributes:
        where: which it is, for messages.
        path: of the file, or where it should be.
        size: (height, width) that its labels refer to; None where it is unknown, and annotations cannot be checked.
        is_usable: nothing is wrong with it.
        frame: of its labels; None where it is not usable.
        annotations: what has been found sound of it so far.
    """

    where: str
    path: Path
    size: tuple[int, int] | None
    is_usable: bool
    frame: LabelFrame | None = None
    annotations: list[Mapping[str, Any]] = field(default_factory=list)

    def record(self, image_id: int, **further: Any) -> ImageRecord | None:
        """The image with its annotations, upright; None where it is not usable."""
        if self.frame is None or not self.is_usable:
            return None
        record = ImageRecord(image_id, self.path, self.frame.size, tuple(self.annotations), **further)
        return upright_record(record, self.frame)


def load_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it cannot be read or is not JSON.
    """
    try:
        return parse_json(path.read_bytes())
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
    num_entries = sum(len(document[key]) for key in ("images", "annotations", "categories"))
    num_bytes = path.stat().st_size
    if num_bytes > ALWAYS_READ_BYTES and num_bytes < _LEAST_ENTRY_BYTES * num_entries:
        raise DataError(f"{path}: {num_entries} entries in {num_bytes} bytes; they are too short for annotations")
    return document


def categories_of(entries: list[Any], path: Path) -> Categories:
    """The classes of a COCO file.

    Raises:
        DataError: there are none, or one has no id or name of its own.
    """
    if not entries:
        raise DataError(f"{path}: 'categories' is empty; list the classes, each with 'id' and 'name'")
    strange = next((index for index, entry in enumerate(entries) if not isinstance(entry, dict)), None)
    if strange is not None:
        found = show(entries[strange])
        raise DataError(f"{path}: categories[{strange}] is {found}; every entry is a table with 'id' and 'name'")
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
    entries: list[Any],
    folder: Path,
    defects: list[Defect],
    exif: FrameName | None,
    file_names: FileNames = own_file_name,
) -> dict[int, CocoImage]:
    """Every image with an id of its own, by that id; complaints go to `defects`.

    The header of every file is read: annotations for an image of another size are of no use.
    """
    images: dict[int, CocoImage] = {}
    for index, entry in enumerate(entries):
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if not is_id(image_id):
            problem = Problem("bad-image", f"{show(entry)} has no integer 'id'; give every image one of its own")
            defects.append(Defect(problem.kind, f"images[{index}]", problem.message, None))
            continue
        names = file_names(entry)
        where = f"image {image_id} ({show(names[0] if names else entry.get('file_name'))})"
        if image_id in images:
            first = f"image id {image_id} is already taken by {images[image_id].path.name!r}; give every image its own"
            defects.append(Defect("duplicate-id", where, first, image_id))
            continue
        images[image_id], problem_found = _find_image(entry, where, folder, names)
        if problem_found is not None:
            defects.append(Defect(problem_found.kind, where, problem_found.message, image_id))
    defects += _with_frames(images, exif)
    return images


def _find_image(
    entry: dict[str, Any], where: str, folder: Path, names: Sequence[str]
) -> tuple[CocoImage, Problem | None]:
    """The image of an entry, whose file is not opened yet, and the problem that makes it unusable, if there is one."""
    size = _size(entry)
    if not names:
        problem = Problem("bad-image", f"file_name {show(entry.get('file_name'))} is not a file's name")
        return CocoImage(where, folder, size, False), problem
    path = next((folder / name for name in names if is_file(folder / name)), None)
    if path is None:
        problem = Problem("missing-image", f"there is no file {' or '.join(map(show, names))} in {folder}")
        return CocoImage(where, folder / names[0], size, False), problem
    if size is None and (entry.get("height") is not None or entry.get("width") is not None):
        found = f"height {show(entry.get('height'))} and width {show(entry.get('width'))}"
        problem = Problem("bad-image", f"has {found}; both must be whole numbers above 0")
        return CocoImage(where, path, None, False), problem
    return CocoImage(where, path, size, True), None


def _with_frames(images: Mapping[int, CocoImage], exif: FrameName | None) -> Iterator[Defect]:
    """Give each usable image the frame of its labels; a defect for each whose file has no or another size."""
    usable = {id_: image for id_, image in images.items() if image.is_usable}
    headers = read_headers([image.path for image in usable.values()])
    for (image_id, image), header in zip(usable.items(), headers, strict=True):
        if isinstance(header, DataError):
            found: LabelFrame | Problem = Problem("unreadable-image", str(header).removeprefix(f"image {image.path} "))
        else:
            found = frame_of(header, image.size, exif)
        if isinstance(found, Problem):
            image.is_usable = False
            yield Defect(found.kind, image.where, found.message, image_id)
        else:
            image.frame, image.size = found, found.size


def settle_frames(images: Mapping[int, CocoImage], annotations: Sequence[Any], exif: FrameName | None) -> list[Remark]:
    """Decide in which frame the labels of images that are stored on their side are drawn.

    Args:
        images: by id, with the frames that their sizes show.
        annotations: COCO annotations of all images, not checked yet: labels that reach outside their image in one
            frame only show that it is the other.
        exif: what the owner of the dataset says; then nothing is decided.

    Returns:
        a remark for each such image.
    """
    turned = {id_: image for id_, image in images.items() if image.frame and image.frame.header.orientation != UPRIGHT}
    own: dict[int, list[Mapping[str, Any]]] = {id_: [] for id_ in turned}
    for entry in annotations if turned and exif is None else ():
        image_id = entry.get("image_id") if isinstance(entry, Mapping) else None
        if is_id(image_id) and image_id in own:
            own[image_id].append(entry)
    frames = [image.frame for image in turned.values() if image.frame is not None]
    hints = [fitting_frame(frame.header, own[id_]) for id_, frame in zip(turned, frames, strict=True)]
    frames = settled(frames, hints) if exif is None else frames
    remarks: list[Remark] = []
    for (image_id, image), frame in zip(turned.items(), frames, strict=True):
        image.frame, image.size = frame, frame.size
        remarks += frame.remarks(image.where, image_id)
    return remarks


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
    """Whether a value is a whole number as ids are: not below 0, and of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
