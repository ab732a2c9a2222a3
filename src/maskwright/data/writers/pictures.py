"""Writing masks as pictures: one for each object, or one for each image with the numbers of its objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from maskwright.data.readers.masks import ONLY_CLASS
from maskwright.data.record import Dataset
from maskwright.data.writers.contents import (
    Written,
    crop_of,
    image_names,
    names_by_id,
    paint,
    report_unused,
    singles,
)
from maskwright.data.writers.left_out import LeftOut
from maskwright.errors import DataError
from maskwright.images.ids import write_ids

_FOLDER = "masks"
_LARGEST_16_BIT = 65535


def write_masks(dataset: Dataset, target: Path) -> Written:
    """Write `masks/IMAGE/CLASS/0001.png`, white on black, as large as the image; a negative image has an empty folder.

    There are no folders of classes if `object` is the only class.

    Raises:
        DataError: two categories have the same name, or one that no folder can have.
    """
    names, files = names_by_id(dataset), image_names(dataset)
    for name in names.values():
        if name.startswith(".") or set(name) & set('/\\:*?"<>|'):
            raise DataError(f"{dataset.source}: category {name!r} cannot be the name of a folder; rename it")
    has_classes = tuple(dataset.categories) != (ONLY_CLASS,)
    for record in dataset.records:
        folder = target / _FOLDER / Path(files[record.id]).with_suffix("")
        folder.mkdir(parents=True, exist_ok=True)
        for number, annotation in enumerate(singles(record), start=1):
            crop = crop_of(annotation, record.size)
            if crop is None:
                continue
            pixels = np.zeros(record.size, dtype=np.uint8)
            height, width = crop.pixels.shape
            pixels[crop.top : crop.top + height, crop.left : crop.left + width][crop.pixels] = 255
            own_folder = folder / names[annotation["category_id"]] if has_classes else folder
            own_folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(own_folder / f"{number:04}.png")
    left_out = LeftOut.of(dataset)
    report_unused(dataset, left_out)
    return Written("images", _FOLDER, left_out)


def write_id_maps(dataset: Dataset, target: Path) -> Written:
    """Write `masks/IMAGE.png` with the number of the object at each pixel, 0 for none, in 8 or 16 bits.

    Where objects overlap, the smallest lies on top.

    Raises:
        DataError: an image has over 65535 objects.
    """
    left_out, files = LeftOut.of(dataset), image_names(dataset)
    for record in dataset.records:
        crops = [crop for annotation in singles(record) if (crop := crop_of(annotation, record.size)) is not None]
        painting = paint(crops, record.size)
        painting.report(left_out)
        if len(crops) > _LARGEST_16_BIT:
            raise DataError(
                f"image {record.path} has {len(crops)} objects, 16 bits number {_LARGEST_16_BIT}; write coco"
            )
        path = (target / _FOLDER / files[record.id]).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ids(path, painting.ids)
        if tuple(dataset.categories) != (ONLY_CLASS,):
            left_out.add(f"objects' classes, left out; they read as {ONLY_CLASS!r}", len(crops))
    return Written("images", _FOLDER, left_out)
