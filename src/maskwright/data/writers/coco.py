"""Writing COCO and LVIS: one JSON file that keeps all there is of an object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import hotcoco.mask

from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.writers.contents import Written, image_names
from maskwright.data.writers.left_out import LeftOut
from maskwright.structures.masks.rle import any_to_rle

_FILE = "annotations.json"
# of LVIS: rare classes are in at most 10 images of the training set, common ones in at most 100 (its paper)
_MOST_IMAGES = {"r": 10, "c": 100}


def write_coco(dataset: Dataset, target: Path) -> Written:
    """Write `annotations.json`: polygons stay polygons, other masks are compressed run lengths."""
    left_out = LeftOut.of(dataset, "crowds", "keypoints", "difficult", "boxes", "other")
    document = _document(dataset)
    for image in document["images"]:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            image.pop(key, None)  # a COCO tool would take the image as annotated in full all the same
    _write(target / _FILE, document)
    return Written("images", _FILE, left_out)


def write_lvis(dataset: Dataset, target: Path) -> Written:
    """Write `annotations.json` with what LVIS says more: how frequent a class is, and where it was not searched for.

    Images of which nothing of the kind is known are annotated in full: all classes without an object are negative. LVIS
    has no crowds; a class that has one in an image is not exhaustively annotated there.
    """
    left_out = LeftOut.of(dataset, "crowds", "keypoints", "difficult", "boxes", "federated", "other")
    document = _document(dataset)
    crowds = [annotation for annotation in document["annotations"] if annotation["iscrowd"]]
    left_out.add("crowds, written as classes that are not exhaustively annotated in their images", len(crowds))
    document["annotations"] = [annotation for annotation in document["annotations"] if not annotation["iscrowd"]]
    _add_coverage(document, crowds)
    _add_frequencies(document)
    _write(target / _FILE, document)
    return Written("images", _FILE, left_out)


def _document(dataset: Dataset) -> dict[str, Any]:
    """The COCO file of a dataset, with the images' new names and everything that COCO tools ask for."""
    names = image_names(dataset)
    document = dataset.to_coco()
    for image in document["images"]:
        image["file_name"] = names[image["id"]]
    taken = [annotation.get("id") for annotation in document["annotations"]]
    integers = [id_ for id_ in taken if isinstance(id_, int)]
    is_sound = len(integers) == len(taken) == len(set(integers))
    numbers = iter(integers) if is_sound else count(1)
    document["annotations"] = [
        _annotation(annotation, record, next(numbers))
        for record in dataset.records
        for annotation in record.annotations
    ]
    if dataset.keypoint_names:
        with_keypoints = {one["category_id"] for one in document["annotations"] if one.get("keypoints")}
        for category in document["categories"]:
            if category["id"] in with_keypoints:
                category["keypoints"] = list(dataset.keypoint_names)
    return document


def _annotation(annotation: Mapping[str, Any], record: ImageRecord, id_: int) -> dict[str, Any]:
    segmentation = annotation.get("segmentation")
    x, y, w, h = annotation["bbox"]
    complete = {"iscrowd": 0, **annotation, "id": id_, "image_id": record.id, "bbox": [x, y, w, h]}
    if not segmentation:
        return {"area": w * h, **complete}
    rle = any_to_rle(segmentation, record.size)
    if isinstance(segmentation, Mapping):
        complete["segmentation"] = rle
    return {"area": float(hotcoco.mask.area(rle)), **complete}


def _add_coverage(document: dict[str, Any], crowds: list[dict[str, Any]]) -> None:
    present: dict[int, set[int]] = {image["id"]: set() for image in document["images"]}
    not_exhaustive: dict[int, set[int]] = {image["id"]: set() for image in document["images"]}
    for annotation in document["annotations"]:
        present[annotation["image_id"]].add(annotation["category_id"])
    for crowd in crowds:
        not_exhaustive[crowd["image_id"]].add(crowd["category_id"])
    everything = {category["id"] for category in document["categories"]}
    for image in document["images"]:
        absent = everything - present[image["id"]] - not_exhaustive[image["id"]]
        negative = image.get("neg_category_ids", sorted(absent))
        known = not_exhaustive[image["id"]] | set(image.get("not_exhaustive_category_ids", ()))
        image.update(neg_category_ids=negative, not_exhaustive_category_ids=sorted(known))


def _add_frequencies(document: dict[str, Any]) -> None:
    """How frequent each class is, by its images in this very dataset where nothing else is known."""
    images: dict[int, set[int]] = {category["id"]: set() for category in document["categories"]}
    instances = dict.fromkeys(images, 0)
    for annotation in document["annotations"]:
        images[annotation["category_id"]].add(annotation["image_id"])
        instances[annotation["category_id"]] += 1
    for category in document["categories"]:
        num_images = len(images[category["id"]])
        found = next((letter for letter, most in _MOST_IMAGES.items() if num_images <= most), "f")
        category.setdefault("frequency", found)
        category.update(image_count=num_images, instance_count=instances[category["id"]])


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_pieces(document))


def _pieces(document: Mapping[str, Any]) -> Iterator[str]:
    """The file with one entry a line, so that it can be searched and compared."""
    last = len(document) - 1
    yield "{\n"
    for index, (key, entries) in enumerate(document.items()):
        lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
        yield f"{json.dumps(key)}: [\n{lines}\n]{',' if index < last else ''}\n"
    yield "}\n"
