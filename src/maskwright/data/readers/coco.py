"""COCO instance annotations: one JSON file with `images`, `annotations` and `categories`.

One bad entry does not hide the next: each becomes a `Defect` and is left out, and reading goes on. Category ids with
gaps, images without objects, crowds, missing annotation ids and missing boxes (taken from the mask) are all in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, box_around, box_problem, keypoints_problem, mask_problem, show
from maskwright.data.readers.coco_document import (
    CocoImage,
    FileNames,
    categories_of,
    is_id,
    load_document,
    own_file_name,
    read_images,
    settle_frames,
)
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.record import Dataset, Defect

# none is 0, as in LVIS and in the files of many tools
_CROWD_FLAGS = (0, 1, None)


def read_coco(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a COCO file and check all that can be known without opening the images.

    Args:
        images: folder that every `file_name` is relative to.
        annotations: JSON file.
        options: with `needs_masks`, an object without `segmentation` is a defect.

    Raises:
        DataError: the file is not JSON, lacks one of its three lists, or its categories are not usable.
    """
    return dataset_of(load_document(annotations), images, annotations, options)


def dataset_of(
    document: Mapping[str, list[Any]],
    images: Path,
    annotations: Path,
    options: ReadOptions,
    file_names: FileNames = own_file_name,
) -> Dataset:
    """The dataset in a document of COCO's kind.

    Args:
        document: with images, annotations and categories.
        images: folder of the image files.
        annotations: the file that the document came from, for messages.
        options: with `needs_masks`, an object without `segmentation` is a defect.
        file_names: where in that folder the file of an image may be.

    Raises:
        DataError: its categories are not usable.
    """
    categories = categories_of(document["categories"], annotations)
    names = _keypoint_names(document["categories"])
    defects: list[Defect] = []
    found = read_images(document["images"], images, defects, options.exif, file_names)
    remarks = settle_frames(found, document["annotations"], options.exif)
    check = partial(_shape_problems, keypoint_names=names, needs_masks=options.needs_masks)
    _hand_out_annotations(document["annotations"], found, frozenset(categories.ids), check, defects)
    records = (image.record(image_id) for image_id, image in found.items())
    usable = tuple(record for record in records if record is not None)
    return Dataset(usable, categories, str(annotations), tuple(defects), names, remarks=tuple(remarks))


def _keypoint_names(entries: list[Any]) -> tuple[str, ...]:
    """The categories' `keypoints` (COCO's person_keypoints); none where categories have different ones."""
    lists = [entry["keypoints"] for entry in entries if isinstance(entry.get("keypoints"), list)]
    named = {tuple(map(str, names)) for names in lists if names}
    return named.pop() if len(named) == 1 else ()


def _hand_out_annotations(
    entries: list[Any],
    images: Mapping[int, CocoImage],
    category_ids: frozenset[int],
    shape_problems: Callable[[Mapping[str, Any], CocoImage | None], Iterator[Problem]],
    defects: list[Defect],
) -> None:
    """Give each annotation to its image, or a complaint about it to `defects`."""
    taken: set[int] = set()
    for place, annotation in enumerate(entries):
        if not isinstance(annotation, dict):
            defects.append(Defect("bad-annotation", f"annotations[{place}]", f"{show(annotation)} is no object", None))
            continue
        image_id = annotation.get("image_id")
        image = images.get(image_id) if is_id(image_id) else None
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
    annotation: Mapping[str, Any], image: CocoImage | None, category_ids: frozenset[int], taken: set[int]
) -> Iterator[Problem]:
    """What is wrong with the ids of an annotation; its own is added to those `taken`."""
    own_id, category_id = annotation.get("id"), annotation.get("category_id")
    if is_id(own_id):
        if own_id in taken:
            yield Problem("duplicate-id", f"annotation id {own_id} occurs before; give every annotation its own")
        taken.add(own_id)
    if image is None:
        yield Problem("unknown-image", f"image_id {show(annotation.get('image_id'))} is not in 'images'")
    if not is_id(category_id) or category_id not in category_ids:
        yield Problem("unknown-category", f"category_id {show(category_id)} is not in 'categories'")
    if annotation.get("iscrowd") not in _CROWD_FLAGS:
        yield Problem("bad-iscrowd", f"iscrowd {show(annotation['iscrowd'])} is neither 0 nor 1")


def _shape_problems(
    annotation: Mapping[str, Any], image: CocoImage | None, keypoint_names: Sequence[str], needs_masks: bool
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


def _where(place: int, annotation: Mapping[str, Any], image: CocoImage | None) -> str:
    name = f"annotation {show(annotation['id'])}" if "id" in annotation else f"annotations[{place}]"
    return name if image is None else f"{name} of {image.path.name!r}"


def _with_box(annotation: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    if annotation.get("bbox") is not None:
        return annotation
    return {**annotation, "bbox": box_around(annotation["segmentation"], size)}
