"""COCO annotations and COCO results as far as metrics need them: read, checked, refused with the entry that is wrong.

The types are the format: what they do not name is dropped, what they name and the data lacks is an error.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import index as as_int
from typing import Annotated, Any

import hotcoco.mask
from pydantic import Discriminator, FailFast, Field, Tag, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation.checked_json import EMPTY_IS_NONE, Area, Count, Name, checked
from maskwright.evaluation.coco_masks import refuse_bad_masks
from maskwright.structures.masks.rle import any_to_rle

Id = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(gt=0, lt=2**20)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
BoxXywh = tuple[Finite, Finite, Finite, Finite]
Polygon = Annotated[list[Finite], Field(min_length=6, fail_fast=True)]
Polygons = Annotated[list[Polygon], Field(fail_fast=True)]


class RunLengths(TypedDict):
    """A mask of (height, width) as lengths of runs, compressed (text) or not (numbers)."""

    size: tuple[int, int]
    counts: str | Annotated[list[int], Field(fail_fast=True)]


def _form_of(segmentation: object) -> str:
    return "run lengths" if isinstance(segmentation, Mapping) else "polygons"


Segmentation = Annotated[
    Annotated[RunLengths, Tag("run lengths")] | Annotated[Polygons, Tag("polygons")],
    Discriminator(_form_of),
]


class Image(TypedDict):
    """An image of the dataset; its size in pixels is needed where masks are compared.

    In a federated dataset (LVIS) it says which classes it certainly lacks, and which it may have more of
    than are annotated.
    """

    id: Id
    height: NotRequired[Side]
    width: NotRequired[Side]
    neg_category_ids: NotRequired[list[Id]]
    not_exhaustive_category_ids: NotRequired[list[Id]]


class Category(TypedDict):
    """A class of the dataset; LVIS says whether it is rare (r), common (c) or frequent (f) among training images."""

    id: Id
    name: Name
    frequency: NotRequired[Any]


class Annotation(TypedDict):
    """A ground-truth object; `area` in pixels decides whether it counts as small, medium or large.

    `difficult` is Pascal VOC's mark of an object that need not be found, `ignore` LVIS's.
    """

    image_id: Id
    category_id: Id
    bbox: NotRequired[BoxXywh | None]
    area: NotRequired[Area]
    iscrowd: NotRequired[int | None]
    difficult: NotRequired[int]
    ignore: NotRequired[int]
    segmentation: NotRequired[Annotated[Segmentation | None, EMPTY_IS_NONE]]
    keypoints: NotRequired[Annotated[list[Finite] | None, EMPTY_IS_NONE]]
    num_keypoints: NotRequired[Count]


class CocoDict(TypedDict):
    """What an annotation file holds."""

    images: Annotated[list[Image], FailFast()]
    annotations: Annotated[list[Annotation], FailFast()]
    categories: Annotated[list[Category], FailFast()]


class Result(TypedDict):
    """A detection: a box, a mask, keypoints or several of them; a mask may have a score of its own."""

    image_id: Id
    category_id: Id
    score: Finite
    mask_score: NotRequired[Finite]
    bbox: NotRequired[BoxXywh]
    segmentation: NotRequired[RunLengths]
    keypoints: NotRequired[list[Finite]]


DATASET: TypeAdapter[CocoDict] = TypeAdapter(CocoDict)
RESULTS: TypeAdapter[list[Result]] = TypeAdapter(Annotated[list[Result], FailFast()])


def read_coco(source: str | os.PathLike[str] | Mapping[str, Any]) -> CocoDict:
    """Ground truth from an annotation file or its contents, consistent in itself.

    Annotations get new ids from 1 (files with missing or repeated ids are common) and, where they have none, an area.

    Raises:
        DataError: broken JSON, no image, a missing key, an unknown image or category, or a broken mask.
    """
    where = name_of(source, "annotations")
    dataset = checked(DATASET, source, where, "a COCO dataset: images, annotations, categories")
    if not dataset["images"]:
        raise DataError(f"{where}: has no images, so there is nothing to evaluate on")
    _refuse_repeated([image["id"] for image in dataset["images"]], f"{where}: images")
    _refuse_repeated([category["id"] for category in dataset["categories"]], f"{where}: categories")
    _check_entries(dataset["annotations"], dataset, f"{where}: annotations")
    return {**dataset, "annotations": _completed(dataset, f"{where}: annotations")}


def read_results(source: str | os.PathLike[str] | Iterable[Mapping[str, Any]], dataset: CocoDict) -> list[Result]:
    """Detections from a results file or its contents, fit for `dataset`.

    Raises:
        DataError: broken JSON, not a list, a missing key, an unknown image or category, a mask of another size than
            its image.
    """
    where = name_of(source, "results")
    expected = (
        "a list of image_id, category_id, score and bbox [x, y, width, height], segmentation (run lengths) or keypoints"
    )
    results = checked(RESULTS, source, where, expected)
    _check_entries(results, dataset, where)
    for index, result in enumerate(results):
        if not {"bbox", "segmentation", "keypoints"} & result.keys():
            raise DataError(f"{where}: entry {index}: has neither 'bbox' nor 'segmentation' nor 'keypoints'")
    return results


def comparable_kinds(results: list[Result], results_name: str, dataset: CocoDict, dataset_name: str) -> list[str]:
    """Of `box`, `keypoints` and `mask` those that results and annotations both carry.

    Raises:
        DataError: nothing is on both sides, or only some entries of a side have it.
    """
    has_boxes = carry(results, "bbox", results_name)
    has_masks = _any_mask(results) and _any_mask(dataset["annotations"])
    if has_masks:  # only now must each have one: boxes can be compared whatever the masks are
        carry(results, "segmentation", results_name)
        carry(dataset["annotations"], "segmentation", f"{dataset_name}: annotations")
    has_keypoints = num_keypoints(dataset) > 0 and carry(results, "keypoints", results_name)
    if has_keypoints:
        _check_keypoints(results, results_name, num_keypoints(dataset))
    if not (has_boxes or has_masks or has_keypoints):
        raise DataError(
            f"{results_name}: has neither boxes nor anything else that {dataset_name} has; there is nothing to compare"
        )
    return ["box"] * has_boxes + ["keypoints"] * has_keypoints + ["mask"] * has_masks


def is_federated(dataset: CocoDict) -> bool:
    """Whether annotations cover only some of the classes in each image, and images say which (LVIS)."""
    return any("neg_category_ids" in image for image in dataset["images"])


def num_keypoints(dataset: CocoDict) -> int:
    """K of the annotated objects; zero where none has keypoints."""
    return max((len(annotation.get("keypoints") or ()) // 3 for annotation in dataset["annotations"]), default=0)


def scores_of(results: Sequence[Result], kind: str) -> list[float]:
    """What ranks detections as boxes (`box`) or as masks (`mask`)."""
    if kind == "mask":
        return [result.get("mask_score", result["score"]) for result in results]
    return [result["score"] for result in results]


def carry(entries: Sequence[Mapping[str, Any]], key: str, where: str) -> bool:
    """Whether all entries have `bbox` or `segmentation`; so it is where there are no entries.

    Raises:
        DataError: some have it and some do not.
    """
    is_present = [bool(entry.get(key)) for entry in entries]
    if any(is_present) and not all(is_present):
        raise DataError(f"{where}: entry {is_present.index(False)}: {key!r} is missing, but other entries have it")
    return all(is_present)


def checked_limit(max_detections: int) -> int:
    """The number of detections that count in an image.

    Raises:
        ConfigError: it is no whole number above zero.
    """
    try:
        number = as_int(max_detections)
    except TypeError:
        raise ConfigError(f"max_detections is {max_detections!r}; give a whole number, COCO's own is 100") from None
    if number < 1:
        raise ConfigError(f"max_detections is {number}; at least 1 detection per image is needed")
    return number


def name_of(source: object, otherwise: str) -> str:
    """What messages call the data: its path, or `otherwise` where it was given as values."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else otherwise


def _check_keypoints(results: Sequence[Result], where: str, expected: int) -> None:
    for index, result in enumerate(results):
        if len(result["keypoints"]) != 3 * expected:
            raise DataError(
                f"{where}: entry {index}: 'keypoints' has {len(result['keypoints'])} numbers, but x, y and score of "
                f"the {expected} annotated keypoints are {3 * expected}"
            )


def _any_mask(entries: Sequence[Mapping[str, Any]]) -> bool:
    """An empty list has masks too: there is nothing to show otherwise."""
    return not entries or any(entry.get("segmentation") for entry in entries)


def _check_entries(entries: Sequence[Mapping[str, Any]], dataset: CocoDict, where: str) -> None:
    """What holds for annotations and results alike: known images and categories, sound masks."""
    _check_ids(entries, "image_id", {image["id"] for image in dataset["images"]}, where)
    _check_ids(entries, "category_id", {category["id"] for category in dataset["categories"]}, where)
    refuse_bad_masks(entries, sizes_of(dataset), where)


def _check_ids(entries: Sequence[Mapping[str, Any]], key: str, known: set[int], where: str) -> None:
    for index, entry in enumerate(entries):
        if entry[key] not in known:
            some = ", ".join(map(str, islice(sorted(known), 10))) + (", …" if len(known) > 10 else "")
            raise DataError(f"{where}: entry {index}: unknown {key} {entry[key]}; the dataset has {some}")


def _refuse_repeated(ids: Sequence[int], where: str) -> None:
    repeated = [id_ for id_, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DataError(f"{where}: id {repeated[0]} occurs twice; every entry needs an id of its own")


def _completed(dataset: CocoDict, where: str) -> list[Annotation]:
    sizes = sizes_of(dataset)
    completed = []
    length = 3 * num_keypoints(dataset)
    for number, annotation in enumerate(dataset["annotations"], start=1):
        height, width = sizes[annotation["image_id"]]
        if annotation.get("bbox") is None:
            around = _box_around(annotation, (height or 0, width or 0), f"{where}: entry {number - 1}")
            annotation = {**annotation, "bbox": around}
        area = annotation.get("area")
        if area is None:
            area = _area(annotation, (height or 0, width or 0))
        numbered: Any = {**annotation, "id": number, "area": area, "iscrowd": annotation.get("iscrowd") or 0}
        if length:  # an object without keypoints has them all unlabelled, and is neither found nor missed
            keypoints = [*(annotation.get("keypoints") or ()), *[0.0] * length][:length]
            counted = sum(flag > 0 for flag in keypoints[2::3])
            given = annotation.get("num_keypoints")
            numbered |= {"keypoints": keypoints, "num_keypoints": counted if given is None else given}
        completed.append(numbered)
    return completed


def _area(annotation: Annotation, size: tuple[int, int]) -> float:
    """Pixels of the object's mask, or of its box where it has no mask."""
    segmentation = annotation.get("segmentation")
    if segmentation:
        return float(hotcoco.mask.area(any_to_rle(segmentation, size)))
    return math.prod((annotation.get("bbox") or ())[2:])


def _box_around(annotation: Annotation, size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    """x y width height of the object's mask.

    Raises:
        DataError: it has none.
    """
    segmentation = annotation.get("segmentation")
    if not segmentation:
        raise DataError(f"{where}: has neither 'bbox' nor 'segmentation'; every object needs one")
    left, top, width, height = hotcoco.mask.to_bbox(any_to_rle(segmentation, size))
    return float(left), float(top), float(width), float(height)


def sizes_of(dataset: CocoDict) -> dict[int, tuple[int | None, int | None]]:
    """(height, width) of the images by id, as far as they are known."""
    return {image["id"]: (image.get("height"), image.get("width")) for image in dataset["images"]}
