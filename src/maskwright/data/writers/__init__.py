"""Writing a dataset in any format that holds its masks: one file per format, the reader's counterpart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskwright.data.record import Dataset
from maskwright.data.writers.coco import write_coco, write_lvis
from maskwright.data.writers.coco_panoptic import write_coco_panoptic
from maskwright.data.writers.contents import Written, common_folder, image_names, path_of
from maskwright.data.writers.labelme import write_labelme
from maskwright.data.writers.left_out import LeftOut
from maskwright.data.writers.pictures import write_id_maps, write_masks
from maskwright.data.writers.voc import write_voc
from maskwright.data.writers.yolo import write_yolo
from maskwright.errors import DataError, OutputError
from maskwright.files import output_errors, unfinished

# a dataset and an empty folder → what is in the folder now
WRITERS: dict[str, Callable[[Dataset, Path], Written]] = {
    "coco": write_coco,
    "coco_panoptic": write_coco_panoptic,
    "id_maps": write_id_maps,
    "labelme": write_labelme,
    "lvis": write_lvis,
    "masks": write_masks,
    "voc": write_voc,
    "yolo": write_yolo,
}

ImagePlacing = Literal["copy", "link", "none"]


@dataclass(frozen=True)
class Conversion:
    """What was written, as the readers take it.

    Attributes:
        images: folder of the images; with `none` the one where they were before.
        annotations: file or folder for the format's reader.
        num_images, num_annotations: of the dataset.
        left_out: what the format could not hold.
    """

    images: Path
    annotations: Path
    num_images: int
    num_annotations: int
    left_out: LeftOut


def write_dataset(
    dataset: Dataset,
    target: str | Path,
    format: str,  # noqa: A002
    images: ImagePlacing = "copy",
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write the usable part of a dataset into a folder, which is there whole in the end or not at all.

    Args:
        dataset: with at least one image.
        target: a folder that is not there yet, or empty.
        format: a key of `WRITERS`.
        images: `copy` the files beside the annotations, `link` to them, or leave them where they are (`none`).
        progress: called with (images done, images in all) after each image that is copied or linked.

    Raises:
        DataError: the format is unknown or cannot hold the dataset, or an image, or all of them, are missing.
        OutputError: the folder has something in it, or cannot be written.
    """
    target = Path(target)
    refuse_unknown(format)
    dataset.refuse_emptiness()
    if images == "none":
        _refuse_renaming(dataset)
    growing = unfinished(target)
    _claim(target, growing)
    try:
        with output_errors(target):
            written = WRITERS[format](dataset, growing)
            if images != "none":
                _put_images(dataset, growing / written.images, images, progress)
            if target.exists():
                target.rmdir()
            growing.rename(target)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    folder = target / written.images if images != "none" else common_folder(dataset)
    num_annotations = sum(len(record.annotations) for record in dataset.records)
    return Conversion(folder, target / written.annotations, len(dataset.records), num_annotations, written.left_out)


def refuse_unknown(format: str) -> None:  # noqa: A002
    """Go on only with a format that can be written.

    Raises:
        DataError: there is none of this name; the message lists those that there are.
    """
    if format not in WRITERS:
        raise DataError(f"no format called {format!r} can be written; choose one of {', '.join(sorted(WRITERS))}")


def _refuse_renaming(dataset: Dataset) -> None:
    names, folder = image_names(dataset), common_folder(dataset)
    for record in dataset.records:
        if folder / names[record.id] != path_of(record):
            raise DataError(
                f"image {record.path} shares its name, but for the ending, with another, or stands twice in "
                f"{dataset.source}; it needs a name of its own, so copy or link the images"
            )


def _claim(target: Path, growing: Path) -> None:
    """Make the folder in which everything grows.

    Raises:
        OutputError: the target is not free, or nothing can be written beside it.
    """
    with output_errors(target):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            found = "is not empty" if target.is_dir() else "is a file"
            raise OutputError(f"output {target} {found}; give a folder that is not there yet")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            growing.mkdir()
        except FileExistsError:
            raise OutputError(
                f"{growing} is there already: another conversion writes it, or one was killed; remove it then"
            ) from None


def _put_images(dataset: Dataset, folder: Path, how: ImagePlacing, progress: Callable[[int, int], None] | None) -> None:
    names = image_names(dataset)
    for done, record in enumerate(dataset.records, start=1):
        target_path = folder / names[record.id]
        if not record.path.is_file():
            raise DataError(f"image {record.path} is gone since it was listed; restore it and start again")
        target_path.parent.mkdir(parents=True, exist_ok=True)
        if how == "link":
            target_path.symlink_to(record.path.resolve())
        else:
            shutil.copyfile(record.path, target_path)
        if progress is not None:
            progress(done, len(dataset.records))
