"""Choosing how a dataset is read: one file per annotation format.

The readers are our own. Datumaro (1.13, looked at in 2026) keeps holes and parts in Pascal VOC's and Cityscapes'
pictures, but it takes a folder of YOLO segmentation labels, or one with a broken line, for no dataset at all, and
writes an empty file for a mask; it knows none of LabelMe's JSON files (its format of that name is another program's
XML); and an error names the image, not the file and line.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from maskwright.data.choices import with_boxes_as_masks, without_absent_images
from maskwright.data.readers.beside import with_remarks
from maskwright.data.readers.cityscapes import read_cityscapes
from maskwright.data.readers.cityscapes_polygons import read_cityscapes_polygons
from maskwright.data.readers.coco import read_coco
from maskwright.data.readers.coco_panoptic import read_coco_panoptic
from maskwright.data.readers.cvat import read_cvat
from maskwright.data.readers.cvat_masks import read_cvat_masks
from maskwright.data.readers.darwin import read_darwin
from maskwright.data.readers.datumaro import read_datumaro
from maskwright.data.readers.id_maps import read_id_maps
from maskwright.data.readers.imagej import read_imagej
from maskwright.data.readers.kaggle import read_kaggle
from maskwright.data.readers.label_studio import read_label_studio
from maskwright.data.readers.labelbox import read_labelbox
from maskwright.data.readers.labelme import read_labelme
from maskwright.data.readers.lvis import read_lvis
from maskwright.data.readers.masks import read_masks
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.pycococreator import read_pycococreator
from maskwright.data.readers.qupath import read_qupath
from maskwright.data.readers.recognise import other_format
from maskwright.data.readers.sa1b import read_sa1b
from maskwright.data.readers.sbd import read_sbd
from maskwright.data.readers.supervisely import read_supervisely
from maskwright.data.readers.via import read_via
from maskwright.data.readers.voc import read_voc
from maskwright.data.readers.yolo import read_yolo
from maskwright.data.record import Dataset, Defect
from maskwright.data.relabelling import with_name_remarks, without_crowds
from maskwright.errors import DataError

# folder, file → dataset
READERS: dict[str, Callable[[Path, Path, ReadOptions], Dataset]] = {
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
    "via": read_via,
    "cvat": read_cvat,
    "cvat_masks": read_cvat_masks,
    "label_studio": read_label_studio,
    "labelbox": read_labelbox,
    "supervisely": read_supervisely,
    "sa1b": read_sa1b,
    "darwin": read_darwin,
    "datumaro": read_datumaro,
    "qupath": read_qupath,
    "imagej": read_imagej,
    "kaggle": read_kaggle,
    "pycococreator": read_pycococreator,
}


def read_dataset(
    images: str | Path,
    annotations: str | Path,
    format: str = "coco",  # noqa: A002
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Dataset:
    """Read and check a dataset without opening its images.

    Args:
        images: folder of the image files.
        annotations: annotation file, or the folder of them; which, each reader says.
        format: how the annotations are written, a key of `READERS`.
        options: what the owner of the dataset decides about its reading.

    Returns:
        at least one usable image; call `refuse_defects` where nothing may be left out.

    Raises:
        DataError: a path is missing, the format is unknown, the file as a whole cannot be read, or no image is usable.
    """
    dataset = read_with_defects(images, annotations, format, options)
    dataset.refuse_emptiness()
    return dataset


def read_with_defects(
    images: str | Path,
    annotations: str | Path,
    format: str = "coco",  # noqa: A002
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Dataset:
    """As `read_dataset`, but a dataset without one usable image is no error, so that its defects can be listed."""
    if format not in READERS:
        raise DataError(f"no annotation format called {format!r}; choose one of {', '.join(sorted(READERS))}")
    try:
        _refuse_missing(Path(images), Path(annotations))
        with _without_collection():
            dataset = _read_as_chosen(Path(images), Path(annotations), format, options)
    except OSError as error:
        raise DataError(f"{annotations}: {error.filename} cannot be read: {error.strerror}") from None
    except DataError as error:
        raise DataError(f"{error}{other_format(Path(images), Path(annotations), format)}") from error.__cause__
    if dataset.defects and not any(record.annotations for record in dataset.records):
        return _with_other_format(dataset, other_format(Path(images), Path(annotations), format))
    return dataset


def _read_as_chosen(images: Path, annotations: Path, format: str, options: ReadOptions) -> Dataset:  # noqa: A002
    """What a reader gives, and what becomes of it by the choices that are the same for all."""
    needs_masks = options.needs_masks and not options.boxes_as_masks
    dataset = READERS[format](images, annotations, replace(options, needs_masks=needs_masks))
    if not options.has_crowds:
        dataset = without_crowds(dataset)
    if options.only_present:
        dataset = without_absent_images(dataset, images)
    if options.boxes_as_masks:
        dataset = with_boxes_as_masks(dataset)
    return with_remarks(with_name_remarks(dataset), images, annotations)


def _refuse_missing(images: Path, annotations: Path) -> None:
    if not images.is_dir():
        found = "is not a folder" if images.exists() else "does not exist"
        raise DataError(f"image folder {images} {found}; give the folder with the image files")
    if not annotations.exists():
        raise DataError(f"annotation file or folder {annotations} does not exist; check the path")


def _with_other_format(dataset: Dataset, found: str) -> Dataset:
    """The dataset with one defect more, the first, where its annotations look like another format's."""
    if not found:
        return dataset
    defect = Defect("other-format", dataset.source, f"no object in it can be used{found}", None)
    return replace(dataset, defects=(defect, *dataset.defects))


@contextmanager
def _without_collection() -> Iterator[None]:
    """Python's search for garbage in cycles stopped: readers make millions of objects and no cycles."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()
