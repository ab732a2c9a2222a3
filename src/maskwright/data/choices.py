"""What becomes of a dataset by the choices of its owner: which defects are let pass, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskwright.data.checks import show
from maskwright.data.record import Dataset, Option, Remark, plain_option
from maskwright.errors import DataError

MISSING_IMAGE = "missing-image"


def without_absent_images(dataset: Dataset, folder: Path) -> Dataset:
    """The dataset of those images only that are in the folder; a remark counts the others.

    Where none is there, the dataset stays as it is, with a defect for each.
    """
    absent = [defect for defect in dataset.defects if defect.kind == MISSING_IMAGE]
    if not absent or not dataset.records:
        return dataset
    ids = {defect.image_id for defect in absent if defect.image_id is not None}
    defects = tuple(defect for defect in dataset.defects if defect.kind != MISSING_IMAGE and defect.image_id not in ids)
    listed = len(absent) + len(dataset.records)
    message = f"{len(absent)} of {listed} listed images are not in {folder} and are left out, first {absent[0].where}"
    remark = Remark("absent-images", dataset.source, message, None)
    return replace(dataset, defects=defects, remarks=(*dataset.remarks, remark))


def with_boxes_as_masks(dataset: Dataset) -> Dataset:
    """The dataset with boxes as the masks of objects without a mask; a remark counts them."""
    num_boxes = sum(not one.get("segmentation") for record in dataset.records for one in record.annotations)
    if not num_boxes:
        return dataset
    message = f"{num_boxes} objects have no mask; their boxes are taken for masks"
    return replace(
        dataset,
        records=tuple(
            replace(record, annotations=tuple(map(_with_box_as_mask, record.annotations))) for record in dataset.records
        ),
        remarks=(*dataset.remarks, Remark("boxes-as-masks", dataset.source, message, None)),
    )


def _with_box_as_mask(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    if annotation.get("segmentation"):
        return annotation
    left, top, width, height = annotation["bbox"]
    right, bottom = left + width, top + height
    return {**annotation, "segmentation": [[left, top, right, top, right, bottom, left, bottom]]}


def settle_defects(
    dataset: Dataset,
    *,
    skip_bad: bool,
    keeps_damaged_images: bool = False,
    option: Option = plain_option,
) -> Dataset:
    """The dataset without what cannot be used, if it may be left out.

    An image of which an object had to be left out goes as well: it would teach that there is nothing.

    Args:
        dataset: as it was read.
        skip_bad: defects may be left out.
        keeps_damaged_images: images stay without those of their objects that had to go.
        option: how its owner types a choice.

    Raises:
        DataError: there are defects and `skip_bad` is off, or no image is left.
    """
    if not skip_bad:
        dataset.refuse_defects(option)
        return dataset
    dataset = replace(dataset, records=tuple(replace(record, is_skippable=True) for record in dataset.records))
    if keeps_damaged_images:
        return dataset
    lost = {defect.image_id for defect in dataset.defects if not defect.keeps_objects}
    damaged = [record for record in dataset.records if record.id in lost]
    if not damaged:
        return dataset
    images = "1 image is" if len(damaged) == 1 else f"{len(damaged)} images are"
    message = (
        f"{images} left out, because objects of them cannot be used, first {show(damaged[0].path.name)}; "
        f"{option('keeps_damaged_images')} keeps their other objects"
    )
    left = replace(
        dataset,
        records=tuple(record for record in dataset.records if record.id not in lost),
        remarks=(*dataset.remarks, Remark("damaged-images", dataset.source, message, None)),
    )
    left.refuse_emptiness()
    return left


def split(dataset: Dataset, share: float, folder: Path) -> tuple[Dataset, Dataset]:
    """A dataset in two, image by image, the same on every machine and whatever else the dataset has.

    A hash of its name puts an image on one side, so that it stays there when images are added; the share is met nearly.
    Each part has an image. Images of one file stay together.

    Args:
        dataset: of two images or more.
        share: of its images that go to the second part, above 0 and below 1.
        folder: that names are relative to.

    Returns:
        the rest, and the part of the share.

    Raises:
        DataError: there are not two image files.
    """
    names = {record.path: _name_in(folder, record.path) for record in dataset.records}
    ranks = {path: _rank(name) for path, name in names.items()}
    ranked = sorted(ranks, key=ranks.__getitem__)
    if len(ranked) < 2:
        raise DataError(
            f"{dataset.source}: one image cannot be divided into training and "
            "validation; add images, or give data.val its own images"
        )
    count = min(max(1, sum(rank < share for rank in ranks.values())), len(ranked) - 1)
    chosen = frozenset(ranked[:count])
    rest = tuple(record for record in dataset.records if record.path not in chosen)
    aside = tuple(record for record in dataset.records if record.path in chosen)
    return replace(dataset, records=rest), replace(dataset, records=aside)


def _name_in(folder: Path, path: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.name


def _rank(name: str) -> float:
    """A number from 0 to 1 that looks random and depends on the name only."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return int.from_bytes(digest, "big") / 256**16
