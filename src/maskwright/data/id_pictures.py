"""From a picture whose values are ids of objects to every object's run lengths, in one pass over the picture."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError  # what NumPy's reading of a damaged header may end in
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from maskwright.errors import DataError
from maskwright.images.decode import blaming, decode
from maskwright.structures.rle import Rle, any_to_rle


def objects_of(ids: npt.NDArray[Any]) -> dict[int, Rle]:
    """The mask of every id, in time and memory of the picture, however many there are.

    Args:
        ids: (H, W) whole numbers; 0 is background.

    Returns:
        id → compressed run lengths, ids ascending. A mask may have several parts and holes.

    >>> objects_of(np.array([[7, 0], [7, 3]]))
    {3: {'size': [2, 2], 'counts': '31'}, 7: {'size': [2, 2], 'counts': '022'}}
    """
    size = (ids.shape[0], ids.shape[1])
    down_columns = ids.T.ravel()
    changes = np.flatnonzero(down_columns[1:] != down_columns[:-1]) + 1
    starts = np.concatenate([[0], changes])[: ids.size]
    ends = np.concatenate([changes, [ids.size]])[: len(starts)]
    owners = down_columns[starts]
    kept = np.flatnonzero(owners)
    kept = kept[np.argsort(owners[kept], kind="stable")]
    starts, ends, owners = starts[kept], ends[kept], owners[kept]

    # where each object's runs begin among all runs; before its first lies background from place 0 on
    is_first = np.concatenate([[True], owners[1:] != owners[:-1]])[: len(owners)]
    before = np.where(is_first, 0, np.concatenate([[0], ends[:-1]])[: len(ends)])
    counts = np.stack([starts - before, ends - starts], axis=1)
    firsts = np.flatnonzero(is_first)
    lasts = np.concatenate([firsts[1:], [len(owners)]])[: len(firsts)]
    return {
        int(owners[first]): _rle(counts[first:last].ravel().tolist(), ids.size - int(ends[last - 1]), size)
        for first, last in zip(firsts, lasts, strict=True)
    }


def _rle(counts: list[int], rest: int, size: tuple[int, int]) -> Rle:
    """From background and foreground runs in turn, and the background after them."""
    return any_to_rle({"counts": [*counts, rest] if rest else counts}, size)


def read_id_picture(path: Path, has_colours: bool = True) -> npt.NDArray[np.int32]:
    """The ids in a picture of 8, 16 or 32 bits, or in a NumPy array (`.npy`).

    Args:
        path: of the file. Of a palette picture the indices count, not the colours.
        has_colours: it may be a colour picture, where an id is red + 256 × green + 65536 × blue.

    Returns:
        (H, W).

    Raises:
        DataError: it cannot be decoded, may have lost exact values (JPEG), has several pages, or holds anything else
            than one whole number from 0 to 2³¹ − 1 a pixel.
        MissingDependency: a TIFF that Pillow does not know, without tifffile.
    """
    values = load_array(path) if path.suffix.lower() == ".npy" else _values_of(path)
    if values.ndim == 3 and values.shape[2] in (1, 2):  # grey, maybe with alpha
        values = values[..., 0]
    if has_colours and values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8:
        red, green, blue = np.moveaxis(values[..., :3].astype(np.int32), -1, 0)
        return np.asarray(red + 256 * green + 65536 * blue)
    if values.ndim != 2:
        expected = "one id a pixel" + (", or 8-bit red, green, blue" if has_colours else ": grey or a palette")
        raise DataError(f"{path} holds {values.dtype} of shape {values.shape}; expected {expected}")
    if values.size and not (values.min() >= 0 and values.max() < 2**31):  # NaN is neither
        found = f"values from {values.min():g} to {values.max():g}"
        raise DataError(f"{path} holds {found}; ids are whole numbers from 0, the background, to 2147483647")
    ids: npt.NDArray[np.int32] = values.astype(np.int32)
    if values.dtype.kind == "f" and (ids != values).any():
        raise DataError(f"{path} holds fractions, for example {values[ids != values][0]:g}; ids are whole numbers")
    return ids


def load_array(path: Path) -> npt.NDArray[Any]:
    """The array of a `.npy` file, without the axes of length 1 that some tools put around (H, W).

    Raises:
        DataError: the file is missing, cut off, or a pickle of Python objects, which could run code.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, SyntaxError, TokenError, TypeError, BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as an array of numbers ({error}); export it as PNG or TIFF, or save the array alone"
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is an archive of arrays; save one array in a .npy file")
    if array.dtype.kind not in "buif":
        raise DataError(f"{path} holds {array.dtype}; expected numbers")
    return np.asarray(array.squeeze() if array.ndim > 2 else array)


def open_picture(path: Path) -> Image.Image:
    """A picture of one page, decoded, whose values mean something else than colours.

    Raises:
        DataError: the file is missing, broken, no picture, or has several pages.
    """
    picture: Image.Image
    with blaming(f"picture {path}"), Image.open(path) as picture:
        if (pages := getattr(picture, "n_frames", 1)) > 1:
            raise DataError(f"{path} has {pages} pages; save the one that is meant")
        picture.load()
    return picture


def _values_of(path: Path) -> npt.NDArray[Any]:
    """(H, W) or (H, W, C)."""
    if path.suffix.lower() in (".tif", ".tiff") and not _is_pillows(path):
        return np.moveaxis(decode(path.read_bytes(), f"picture {path}"), 0, -1)
    picture = open_picture(path)
    if picture.format == "JPEG":
        raise DataError(f"{path} is a JPEG file, which does not keep values exactly; export it as PNG or TIFF")
    return np.asarray(picture)


def _is_pillows(path: Path) -> bool:
    """Whether Pillow knows the layout of a TIFF; 64 bits, for one, it does not."""
    try:
        with blaming(f"picture {path}"), Image.open(path):
            return True
    except DataError as error:
        return not isinstance(error.__context__, UnidentifiedImageError)
