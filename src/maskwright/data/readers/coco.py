"""COCO instance annotations: one JSON file with `images`, `annotations` and `categories`.

One bad entry does not hide the next: each becomes a `Defect` and is left out, and reading goes on. Category ids with
gaps, images without objects, crowds, missing annotation ids and missing boxes (taken from the mask) are all in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
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
from maskwright.data.readers.coco_shapes import Shape, ShapeRules, read_shape
from maskwright.data.readers.coco_tidying import TidyDocument, tidy
from maskwright.data.readers.image_files import find_files
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.record import Dataset, Defect, Notice, Remark

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
    return dataset_of(tidy(load_document(annotations), str(annotations)), images, annotations, options)


def dataset_of(
    tidied: TidyDocument,
    images: Path,
    annotations: Path,
    options: ReadOptions,
    file_names: FileNames = own_file_name,
) -> Dataset:
    """The dataset in a document of COCO's kind.

    Args:
        tidied: with images, annotations and categories.
        images: folder of the image files.
        annotations: the file that the document came from, for messages.
        options: with `needs_masks`, an object without `segmentation` is a defect.
        file_names: where in that folder the file of an image may be.

    Raises:
        DataError: its categories are not usable.
    """
    document = tidied.document
    categories = categories_of(document["categories"], annotations)
    names = _keypoint_names(document["categories"])
    files = find_files(document["images"], images, file_names, str(annotations))
    defects: list[Defect] = []
    found = read_images(files.entries, images, defects, options.exif, file_names)
    turned = settle_frames(found, document["annotations"], options.exif)
    notices: list[Notice] = [*tidied.remarks, *files.remarks, *turned, *defects]
    rules = ShapeRules.of(document["annotations"], names, options.needs_masks)
    _hand_out_annotations(document["annotations"], found, frozenset(categories.ids), rules, notices)
    records = (image.record(image_id) for image_id, image in found.items())
    return Dataset(
        tuple(record for record in records if record is not None),
        categories,
        str(annotations),
        tuple(notice for notice in notices if isinstance(notice, Defect)),
        names,
        remarks=tuple(notice for notice in notices if isinstance(notice, Remark)),
    )


def _keypoint_names(entries: list[Any]) -> tuple[str, ...]:
    """The categories' `keypoints` (COCO's person_keypoints); none where categories have different ones."""
    lists = [entry["keypoints"] for entry in entries if isinstance(entry.get("keypoints"), list)]
    named = {tuple(map(str, names)) for names in lists if names}
    return named.pop() if len(named) == 1 else ()


def _hand_out_annotations(
    entries: list[Any],
    images: Mapping[int, CocoImage],
    category_ids: frozenset[int],
    rules: ShapeRules,
    notices: list[Notice],
) -> None:
    """Give each annotation to its image; complaints and remarks about it go to `notices`."""
    for index, annotation in enumerate(entries):
        if not isinstance(annotation, dict):
            message = f"{show(annotation)} is no object"
            notices.append(Defect("bad-annotation", f"annotations[{index}]", message, None))
            continue
        image_id = annotation.get("image_id")
        image = images.get(image_id) if is_id(image_id) else None
        known_id = image_id if image is not None else None
        problems = list(_reference_problems(annotation, image, category_ids))
        shape = Shape(annotation)
        if image is not None and image.size is not None:
            shape = read_shape(annotation, image.size, rules)
        problems += shape.problems
        if problems or shape.stray or shape.remarks:
            where = _where(index, annotation, image)
            notices += [Defect(kind, where, message, known_id) for kind, message in problems]
        if problems or image is None or image.size is None or not image.is_usable:
            continue
        notices += [Remark(kind, where, message, known_id) for kind, message in shape.remarks]
        if shape.stray is not None:
            notices.append(Defect(shape.stray.kind, where, shape.stray.message, known_id, keeps_objects=True))
        image.annotations.append(shape.annotation)


def _reference_problems(
    annotation: Mapping[str, Any], image: CocoImage | None, category_ids: frozenset[int]
) -> Iterator[Problem]:
    """What is wrong with an annotation's ids and its flag."""
    category_id = annotation.get("category_id")
    if image is None:
        yield Problem("unknown-image", f"image_id {show(annotation.get('image_id'))} is not in 'images'")
    if category_id is None:
        yield Problem("unknown-category", "has no category_id, so its class is unknown")
    elif not is_id(category_id) or category_id not in category_ids:
        yield Problem("unknown-category", f"category_id {show(category_id)} is not in 'categories'")
    if annotation.get("iscrowd") not in _CROWD_FLAGS:
        yield Problem("bad-iscrowd", f"iscrowd {show(annotation['iscrowd'])} is neither 0 nor 1")


def _where(index: int, annotation: Mapping[str, Any], image: CocoImage | None) -> str:
    name = f"annotation {show(annotation['id'])}" if "id" in annotation else f"annotations[{index}]"
    return name if image is None else f"{name} of {image.path.name!r}"
