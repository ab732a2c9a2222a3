"""COCO instance annotations: one JSON file with `images`, `annotations` and `categories`.

One bad entry does not hide the next: each becomes a `Defect` and is left out, and reading goes on. Category ids with
gaps, images without objects, crowds, missing annotation ids and missing boxes (taken from the mask) are all in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from maskwright.data.checks import Problem, box_around, box_problem, keypoints_problem, mask_problem, show
from maskwright.data.record import Dataset, Defect, ImageRecord
from maskwright.errors import DataError
from maskwright.images.read import image_size
from maskwright.structures import Categories


def read_coco(images: Path, annotations: Path, needs_masks: bool = True) -> Dataset:
    """Read a COCO file and check all that can be known without opening the images.

    Args:
        images: folder that every `file_name` is relative to.
        annotations: JSON file.
        needs_masks: an object without `segmentation` is a defect.

    Raises:
        DataError: the file is not JSON, lacks one of its three lists, or its categories are not usable.
    """
    document = load_document(annotations)
    categories = categories_of(document["categories"], annotations)
    names = _keypoint_names(document["categories"])
    defects: list[Defect] = []
    found = _read_images(document["images"], images, defects)
    check = partial(_shape_problems, keypoint_names=names, needs_masks=needs_masks)
    _hand_out_annotations(document["annotations"], found, frozenset(categories.ids), check, defects)
    records = tuple(
        ImageRecord(image_id, image.path, image.size, tuple(image.annotations))
        for image_id, image in found.items()
        if image.size is not None and image.is_usable
    )
    return Dataset(records, categories, str(annotations), tuple(defects), names)


@dataclass
class _Image:
    """An entry of `images`; one that is not usable stays here, so that its annotations are not called strays.

    `size` is (height, width), None where nobody knows it; without it annotations cannot be checked.
    """

    path: Path
    size: tuple[int, int] | None
    is_usable: bool
    annotations: list[Mapping[str, Any]] = field(default_factory=list)


def load_document(path: Path) -> dict[str, list[Any]]:
    """The JSON of a COCO file, whose lists images, annotations and categories are there.

    Raises:
        DataError: it cannot be read, is not JSON, or lacks one of the lists.
    """
    if path.is_dir():
        raise DataError(f"annotations {path} is not a file; give the JSON file, or --format for annotations in folders")
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            "the file may have been cut short, so copy or export it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON text file ({error}); export it again as COCO JSON") from None
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


def _keypoint_names(entries: list[Any]) -> tuple[str, ...]:
    """The categories' `keypoints` (COCO's person_keypoints); none where categories have different ones."""
    lists = [entry["keypoints"] for entry in entries if isinstance(entry.get("keypoints"), list)]
    named = {tuple(map(str, names)) for names in lists if names}
    return named.pop() if len(named) == 1 else ()


def _read_images(entries: list[Any], folder: Path, defects: list[Defect]) -> dict[int, _Image]:
    """Every image with an id of its own, by that id; complaints go to `defects`."""
    images: dict[int, _Image] = {}
    for place, entry in enumerate(entries):
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if not _is_id(image_id):
            problem = Problem("bad-image", f"{show(entry)} has no integer 'id'; give every image one of its own")
            defects.append(Defect(problem.kind, f"images[{place}]", problem.message, None))
            continue
        name = entry.get("file_name")
        where = f"image {image_id} ({show(name)})"
        if image_id in images:
            first = f"image id {image_id} is already taken by {images[image_id].path.name!r}; give every image its own"
            defects.append(Defect("duplicate-id", where, first, image_id))
            continue
        image, found = _read_image(entry, folder)
        images[image_id] = image
        if found is not None:
            defects.append(Defect(found.kind, where, found.message, image_id))
    return images


def _read_image(entry: dict[str, Any], folder: Path) -> tuple[_Image, Problem | None]:
    """The image of an entry and the problem that makes it unusable, if there is one."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        return _Image(folder, _size(entry), False), Problem("bad-image", f"file_name {show(name)} is not a file's name")
    path, size = folder / name, _size(entry)
    if not path.is_file():
        return _Image(path, size, False), Problem("missing-image", f"there is no file {name!r} in {folder}")
    if size is not None:
        return _Image(path, size, True), None
    if entry.get("height") is not None or entry.get("width") is not None:
        found = f"height {show(entry.get('height'))} and width {show(entry.get('width'))}"
        return _Image(path, None, False), Problem("bad-image", f"has {found}; both must be whole numbers above 0")
    try:
        return _Image(path, image_size(path), True), None
    except DataError as error:
        return _Image(path, None, False), Problem("unreadable-image", f"has no height and width, and {error}")


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) where the entry has both and they make sense."""
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if _is_id(height) and _is_id(width) and height > 0 and width > 0 else None


def _hand_out_annotations(
    entries: list[Any],
    images: Mapping[int, _Image],
    category_ids: frozenset[int],
    shape_problems: Callable[[Mapping[str, Any], _Image | None], Iterator[Problem]],
    defects: list[Defect],
) -> None:
    """Give each annotation to its image, or a complaint about it to `defects`."""
    taken: set[int] = set()
    for place, annotation in enumerate(entries):
        if not isinstance(annotation, dict):
            defects.append(Defect("bad-annotation", f"annotations[{place}]", f"{show(annotation)} is no object", None))
            continue
        image_id = annotation.get("image_id")
        image = images.get(image_id) if _is_id(image_id) else None
        problems = [
            *_reference_problems(annotation, image, category_ids, taken),
            *shape_problems(annotation, image),
        ]
        if problems:
            where = _where(place, annotation, image)
            known_id = image_id if image is not None else None
            defects += [Defect(kind, where, message, known_id) for kind, message in problems]
        elif image is not None and image.size is not None and image.is_usable:
            image.annotations.append(_with_box(annotation, image.size))


def _reference_problems(
    annotation: Mapping[str, Any], image: _Image | None, category_ids: frozenset[int], taken: set[int]
) -> Iterator[Problem]:
    """What is wrong with the ids of an annotation; its own is added to those `taken`."""
    own_id, category_id = annotation.get("id"), annotation.get("category_id")
    if _is_id(own_id):
        if own_id in taken:
            yield Problem("duplicate-id", f"annotation id {own_id} occurs before; give every annotation its own")
        taken.add(own_id)
    if image is None:
        yield Problem("unknown-image", f"image_id {show(annotation.get('image_id'))} is not in 'images'")
    if not _is_id(category_id) or category_id not in category_ids:
        yield Problem("unknown-category", f"category_id {show(category_id)} is not in 'categories'")


def _shape_problems(
    annotation: Mapping[str, Any], image: _Image | None, keypoint_names: Sequence[str], needs_masks: bool
) -> Iterator[Problem]:
    """What is wrong with the box, or else the mask, or the keypoints: one slip often spoils all, and is told once."""
    if image is None or image.size is None:
        return
    box_xywh, segmentation = annotation.get("bbox"), annotation.get("segmentation")
    has_mask = bool(segmentation) or needs_masks
    problem = None if box_xywh is None and has_mask else box_problem(box_xywh, image.size)
    if has_mask:
        problem = problem or mask_problem(segmentation, image.size)
    problem = problem or keypoints_problem(annotation.get("keypoints"), keypoint_names)
    if problem is not None:
        yield problem


def _where(place: int, annotation: Mapping[str, Any], image: _Image | None) -> str:
    name = f"annotation {show(annotation['id'])}" if "id" in annotation else f"annotations[{place}]"
    return name if image is None else f"{name} of {image.path.name!r}"


def _with_box(annotation: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    if annotation.get("bbox") is not None:
        return annotation
    return {**annotation, "bbox": box_around(annotation["segmentation"], size)}


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
