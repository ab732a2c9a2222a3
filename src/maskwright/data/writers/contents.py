"""What all writers ask of a dataset: names for its images, masks of its objects, one picture of many masks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.writers.left_out import LeftOut
from maskwright.errors import DataError
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import any_to_rle, rle_to_crop


@dataclass(frozen=True)
class Written:
    """What a writer left in its folder.

    Attributes:
        images: folder in it where the images belong.
        annotations: file or folder in it that the format's reader takes.
        left_out: what the format could not hold.
    """

    images: str
    annotations: str
    left_out: LeftOut


def path_of(record: ImageRecord) -> Path:
    """Where an image's file lies, from the root of the file system on; links are not followed."""
    return Path(os.path.normpath(record.path.absolute()))


def common_folder(dataset: Dataset) -> Path:
    """The folder that all images of a dataset lie in, at whatever depth."""
    return Path(os.path.commonpath([path_of(record).parent for record in dataset.records]))


def image_names(dataset: Dataset) -> dict[int, str]:
    """Image id → its file's name in the new dataset, with `/` where there are folders.

    Names stay as they are, seen from the `common_folder`; where two differ in nothing but their ending, or not even in
    that, or an image is called like a folder of others, the ids of the images are put behind them, since annotation
    files and folders of an image are called like it.
    """
    folder = common_folder(dataset)
    names = {record.id: PurePosixPath(path_of(record).relative_to(folder).as_posix()) for record in dataset.records}
    stems = Counter(_key(name.with_suffix("")) for name in names.values())
    stems.update({_key(parent) for name in names.values() for parent in name.parents})
    return {
        id_: str(name if stems[_key(name.with_suffix(""))] == 1 else _numbered(name, id_, stems))
        for id_, name in names.items()
    }


def _key(name: PurePosixPath) -> str:
    """The same for names that some file systems take for one."""
    return str(name).casefold()


def _numbered(name: PurePosixPath, id_: int, stems: Container[str]) -> PurePosixPath:
    stem = f"{name.stem}_{id_}"
    while _key(name.with_name(stem)) in stems:
        stem += "_"
    return name.with_name(stem + name.suffix)


def crop_of(annotation: Mapping[str, Any], size: tuple[int, int]) -> Crop | None:
    """The mask of an object in an image of (height, width); None where it has only a box."""
    segmentation = annotation.get("segmentation")
    return rle_to_crop(any_to_rle(segmentation, size)) if segmentation else None


def singles(record: ImageRecord) -> Iterator[Mapping[str, Any]]:
    """The annotations that stand for one object each."""
    return (annotation for annotation in record.annotations if not annotation.get("iscrowd"))


def names_by_id(dataset: Dataset) -> dict[int, str]:
    """Category id → name.

    Raises:
        DataError: two categories have one name, by which the format would take them for one.
    """
    names = Counter(dataset.categories.names)
    if repeated := [name for name, times in names.items() if times > 1]:
        raise DataError(
            f"{dataset.source}: several categories are called {repeated[0]!r}, and this format knows them by name; "
            "rename them, or write coco"
        )
    return dict(zip(dataset.categories.ids, dataset.categories.names, strict=True))


class Painting(NamedTuple):
    """Many masks in one picture.

    Attributes:
        ids: (H, W) number of the object at each pixel, from 1 in the order given; 0 where there is none.
        num_lost_pixels: covered by other objects, of all together.
        num_lost_objects: of which no pixel is left.
    """

    ids: npt.NDArray[np.int32]
    num_lost_pixels: int
    num_lost_objects: int

    def report(self, left_out: LeftOut) -> None:
        """Count what is covered."""
        left_out.add("pixels of objects, under smaller objects that overlap them", self.num_lost_pixels)
        left_out.add("objects, wholly under others", self.num_lost_objects)


def paint(crops: Sequence[Crop], size: tuple[int, int]) -> Painting:
    """Draw masks into a picture of (height, width); where they overlap, the smallest lies on top."""
    ids = np.zeros(size, dtype=np.int32)
    areas = np.array([crop.area for crop in crops], dtype=np.int64)
    for index in np.argsort(-areas, kind="stable").tolist():
        crops[index].paste_into(ids, index + 1)
    seen = np.bincount(ids.ravel(), minlength=len(crops) + 1)[1:]
    return Painting(ids, int((areas - seen).sum()), int((seen == 0).sum()))


def report_unused(dataset: Dataset, left_out: LeftOut) -> None:
    """Count the categories that no object has, of formats whose classes are those that occur."""
    used = {annotation["category_id"] for record in dataset.records for annotation in singles(record)}
    left_out.add("categories without objects, left out", len(set(dataset.categories.ids) - used))


def write_text(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file, making the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
