"""SA-1B (Segment Anything): a JSON file for each image with run lengths of its masks, which have no classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.image_json import not_a_list, read_file_per_image
from maskwright.data.readers.listed import size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.record import Dataset

# keys that a file of SA-1B has
SIGNS = (("image", "annotations", "predicted_iou"), ("image", "annotations", "stability_score"))
ONLY_CLASS = "object"


def read_sa1b(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read masks of the Segment Anything dataset, or in its form. All are of one class, `object`.

    Args:
        images: folder of the image files.
        annotations: folder of the JSON files, or one of them.
        options: what the owner of the dataset decides.

    Raises:
        DataError: there is no JSON file.
    """
    return read_file_per_image(
        images, annotations, options, endings=(".json",), names_in=_names_in, things_in=_things_in
    )


def _names_in(document: Any) -> Sequence[str] | Problem:
    image = document.get("image") if isinstance(document, dict) else None
    if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
        return Problem("broken-json", "has no 'image' with a 'file_name'; is it a file of SA-1B?")
    return [image["file_name"]]


def _things_in(where: str, document: Any, size: tuple[int, int]) -> Iterator[Thing]:
    image, found = document["image"], document.get("annotations")
    if flaw := size_flaw(where, (image.get("height"), image.get("width")), size, "image.height and image.width"):
        yield flaw
    elif not isinstance(found, list):
        yield not_a_list(where, "annotations", "SA-1B")
    else:
        yield from (_thing(f"{where} annotations[{index}]", entry) for index, entry in enumerate(found))


def _thing(where: str, entry: Any) -> Thing:
    mask = entry.get("segmentation") if isinstance(entry, dict) else None
    if not isinstance(mask, dict | list):
        return Flaw(where, Problem("missing-mask", f"{show(entry)} has no 'segmentation' with run lengths"))
    return FoundObject(where, ONLY_CLASS, mask)
