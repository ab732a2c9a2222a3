"""Choosing how a dataset is read: one file per annotation format.

The readers are our own. Datumaro (1.13, looked at in 2026) keeps holes and parts in Pascal VOC's and Cityscapes'
pictures, but it takes a folder of YOLO segmentation labels, or one with a broken line, for no dataset at all, and
writes an empty file for a mask; it knows none of LabelMe's JSON files (its format of that name is another program's
XML); and an error names the image, not the file and line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from maskwright.data.readers.cityscapes import read_cityscapes
from maskwright.data.readers.cityscapes_polygons import read_cityscapes_polygons
from maskwright.data.readers.coco import read_coco
from maskwright.data.readers.coco_panoptic import read_coco_panoptic
from maskwright.data.readers.id_maps import read_id_maps
from maskwright.data.readers.labelme import read_labelme
from maskwright.data.readers.lvis import read_lvis
from maskwright.data.readers.masks import read_masks
from maskwright.data.readers.sbd import read_sbd
from maskwright.data.readers.voc import read_voc
from maskwright.data.readers.yolo import read_yolo
from maskwright.data.record import Dataset
from maskwright.errors import DataError

# folder, file, whether every object needs a mask → dataset
READERS: dict[str, Callable[[Path, Path, bool], Dataset]] = {
    "coco": read_coco,
    "coco_panoptic": read_coco_panoptic,
    "lvis": read_lvis,
    "voc": read_voc,
    "sbd": read_sbd,
    "cityscapes": read_cityscapes,
    "cityscapes_polygons": read_cityscapes_polygons,
    "masks": read_masks,
    "id_maps": read_id_maps,
    "yolo": read_yolo,
    "labelme": read_labelme,
}


def read_dataset(
    images: str | Path,
    annotations: str | Path,
    format: str = "coco",  # noqa: A002
    *,
    needs_masks: bool = True,
) -> Dataset:
    """Read and check a dataset without opening its images.

    Args:
        images: folder of the image files.
        annotations: annotation file, or the folder of them; which, each reader says.
        format: how the annotations are written, a key of `READERS`.
        needs_masks: an object without a mask is a defect; Faster and Keypoint R-CNN need none.

    Returns:
        at least one usable image; call `refuse_defects` where nothing may be left out.

    Raises:
        DataError: a path is missing, the format is unknown, the file as a whole cannot be read, or no image is usable.
    """
    dataset = read_with_defects(images, annotations, format, needs_masks=needs_masks)
    dataset.refuse_emptiness()
    return dataset


def read_with_defects(
    images: str | Path,
    annotations: str | Path,
    format: str = "coco",  # noqa: A002
    *,
    needs_masks: bool = True,
) -> Dataset:
    """As `read_dataset`, but a dataset without one usable image is no error, so that its defects can be listed."""
    if format not in READERS:
        raise DataError(f"no annotation format called {format!r}; choose one of {', '.join(sorted(READERS))}")
    if not Path(images).is_dir():
        found = "is not a folder" if Path(images).exists() else "does not exist"
        raise DataError(f"image folder {images} {found}; give the folder with the image files")
    if not Path(annotations).exists():
        raise DataError(f"annotation file or folder {annotations} does not exist; check the path")
    return READERS[format](Path(images), Path(annotations), needs_masks)
