"""Semantic Boundaries Dataset: a MATLAB file per image with a picture of its objects, of Pascal VOC's classes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.data.checks import Problem
from maskwright.data.id_pictures import objects_of
from maskwright.data.readers.annotated import AnnotatedImages, find_annotated
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, read_per_image
from maskwright.data.readers.voc import PASCAL
from maskwright.data.record import Dataset
from maskwright.errors import DataError, MissingDependency


def read_sbd(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read SBD annotations; boxes are those around the masks.

    Args:
        images: folder `img`.
        annotations: folder `inst`, where images without a file are passed over; or a list file, such as `train.txt`,
            for the images that it names. `inst` then lies beside `images`, or up to three folders above the list.
        options: `needs_masks` makes no difference, every object has one.

    Raises:
        DataError: the list names nothing, or there is no folder of MATLAB files.
        MissingDependency: SciPy, which reads them, is not installed.
    """
    _import_loadmat()
    found = find_annotated(images, annotations, ".mat", "inst")
    return read_per_image(
        list(found.names),
        partial(_objects, found),
        str(annotations),
        categories=PASCAL,
        options=options,
        defects=found.defects,
    )


def _objects(found: AnnotatedImages, image: Path, size: tuple[int, int]) -> Iterator[FoundObject | Flaw]:
    """What the MATLAB file of an image says is in it."""
    path = found.folder / f"{found.names[image]}.mat"
    numbers, categories = _load(path)
    if numbers.shape != size:
        sizes = f"{numbers.shape[0]} × {numbers.shape[1]} (height × width), the image {size[0]} × {size[1]}"
        raise DataError(f"{path}: GTinst.Segmentation is {sizes}")
    masks = objects_of(numbers)
    for number, category in enumerate(categories.tolist(), start=1):
        where = f"{path.name}, GTinst.Categories({number})"  # as MATLAB counts
        if category not in range(1, len(PASCAL) + 1):
            message = f"class {category} is none of Pascal VOC's, which are 1 to {len(PASCAL)}"
            yield Flaw(where, Problem("unknown-category", message))
        elif number not in masks:
            yield Flaw(where, Problem("empty-mask", f"no pixel of GTinst.Segmentation is {number}"))
        else:
            yield FoundObject(where, PASCAL[int(category) - 1], masks[number])
    for number in sorted(set(masks) - set(range(1, len(categories) + 1))):
        message = f"shows an object {number}, GTinst.Categories has {len(categories)}"
        yield Flaw(f"{path.name}, GTinst.Segmentation", Problem("unknown-object", message))


def _load(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(H, W) number of the object at each pixel, from 1, and (n,) class of each object.

    Raises:
        DataError: the file cannot be read or has not these two.
    """
    loadmat, mat_read_error = _import_loadmat()
    try:
        with path.open("rb") as file:
            truth = loadmat(file, variable_names=["GTinst"])["GTinst"]
        numbers, categories = (np.asarray(truth[field][0, 0]) for field in ("Segmentation", "Categories"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except NotImplementedError:
        raise DataError(f"{path} is a MATLAB 7.3 file; save it in MATLAB with -v7, as SBD's own are") from None
    except (KeyError, IndexError):
        raise DataError(
            f"{path} has no struct GTinst with Segmentation and Categories; is it of the folder inst?"
        ) from None
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        OverflowError,
        MemoryError,
        struct.error,
        zlib.error,
        mat_read_error,
    ) as error:
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}); restore it") from None
    if numbers.ndim != 2 or numbers.dtype.kind not in "bui" or categories.dtype.kind not in "buif":
        found = f"{numbers.dtype} of shape {numbers.shape} and {categories.dtype}"
        raise DataError(f"{path}: GTinst.Segmentation and Categories are {found}; expected (H, W) and (n, 1) integers")
    return numbers, categories.ravel()


def _import_loadmat() -> tuple[Any, type[Exception]]:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise MissingDependency("scipy", "sbd") from None
    return loadmat, MatReadError
