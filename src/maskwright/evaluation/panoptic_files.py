"""Panoptic quality of two COCO panoptic files: JSON that lists segments, and a folder with a picture for each image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from typing_extensions import NotRequired, TypedDict

from maskwright.errors import DataError
from maskwright.evaluation.checked_json import checked
from maskwright.evaluation.coco_format import Id
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.panoptic import PanopticTally
from maskwright.images.ids import read_ids

PathLike = str | os.PathLike[str]


class _Segment(TypedDict):
    id: Id
    category_id: Id
    iscrowd: NotRequired[int]


class _Entry(TypedDict):
    image_id: Id
    file_name: str
    segments_info: list[_Segment]


class _Class(TypedDict):
    id: Id
    name: str
    isthing: int


class _Results(TypedDict):
    annotations: list[_Entry]


class _Annotations(_Results):
    categories: list[_Class]


_RESULTS: TypeAdapter[_Results] = TypeAdapter(_Results)
_ANNOTATIONS: TypeAdapter[_Annotations] = TypeAdapter(_Annotations)
_ENTRIES = "annotations with image_id, file_name and segments_info (id, category_id)"


def evaluate_panoptic(
    results: PathLike,
    annotations: PathLike,
    result_pictures: PathLike | None = None,
    annotation_pictures: PathLike | None = None,
) -> Metrics:
    """Compare the segments in a panoptic results file with those of an annotation file.

    Args:
        results: JSON file in COCO's panoptic form, with an entry for every annotated image.
        annotations: JSON file of the ground truth, whose categories count. Areas are counted in the pictures.
        result_pictures: folder of the PNG files that the results name; without it, the path of the results without its
            `.json`, as in panopticapi.
        annotation_pictures: the same of the annotations.

    Returns:
        What `PanopticTally.metrics` gives.

    Raises:
        DataError: a file that cannot be read or does not fit, or an image without results; the message names it.
    """
    truth = checked(_ANNOTATIONS, annotations, os.fspath(annotations), f"{_ENTRIES}, and categories with isthing")
    found = checked(_RESULTS, results, os.fspath(results), _ENTRIES)
    folders = _folder(annotations, annotation_pictures), _folder(results, result_pictures)
    entries = {entry["image_id"]: entry for entry in found["annotations"]}
    tally = PanopticTally(truth["categories"])
    for true in truth["annotations"]:
        image_id = true["image_id"]
        if image_id not in entries:
            raise DataError(f"{os.fspath(results)}: has no entry for image {image_id}; every annotated image needs one")
        own = entries[image_id]
        maps = [segment_ids(folder / side["file_name"]) for folder, side in zip(folders, (true, own), strict=True)]
        true_segments = {
            segment["id"]: (segment["category_id"], bool(segment.get("iscrowd"))) for segment in true["segments_info"]
        }
        found_segments = {segment["id"]: segment["category_id"] for segment in own["segments_info"]}
        try:
            tally.add(maps[0], true_segments, maps[1], found_segments)
        except DataError as error:
            raise DataError(f"{os.fspath(results)}: image {image_id}: {error}") from None
    return tally.metrics()


def segment_ids(path: Path) -> npt.NDArray[np.int32]:
    """(H, W) the number that the colour of each pixel of a picture stands for: red + 256 × green + 65536 × blue.

    Raises:
        DataError: the file is missing or broken, or does not keep values exactly.
    """
    return read_ids(path, "colours")


def _folder(path: PathLike, given: PathLike | None) -> Path:
    folder = Path(path).with_suffix("") if given is None else Path(given)
    if not folder.is_dir():
        raise DataError(f"folder of segment pictures {folder} does not exist; give that of the PNG files of {path}")
    return folder
