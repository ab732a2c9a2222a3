"""Run lengths in a CSV file, as competitions on Kaggle give them: for each object starts and lengths, counted from 1.

Most competitions count down the columns of an image (Data Science Bowl, Airbus, Severstal, iMaterialist, HuBMAP), some
along its rows (Sartorius, UW-Madison). The objects show which: read the wrong way, they fall apart into stripes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskwright.data.checks import Problem, show
from maskwright.data.readers.image_names import ImageNames
from maskwright.data.readers.listed import ListedImage, one_file, read_listed, size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.record import Dataset, Remark
from maskwright.errors import DataError
from maskwright.images.decode import read_header
from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.rle import Rle, crop_to_rle

# columns that a file has, in the letters of most competitions
SIGNS = (
    ("EncodedPixels",),
    ("encoded_pixels",),
    ("id", "rle"),
    ("id", "annotation", "cell_type"),
    ("id", "segmentation"),
)
ONLY_CLASS = "object"
_IMAGE_COLUMNS = ("imageid", "image_id", "imageid_classid", "image", "id", "filename", "file_name", "img_id")
_RUN_COLUMNS = ("encodedpixels", "encoded_pixels", "rle", "annotation", "segmentation", "mask_rle", "rle_mask")
_CLASS_COLUMNS = ("classid", "class_id", "class", "cell_type", "category", "label", "class_name")
# columns of runs that are counted along the rows, where objects do not show it
_ALONG_ROWS = ("annotation", "segmentation")
# images whose objects are asked
_ASKED_IMAGES = 20
_IMAGE_AND_CLASS = "imageid_classid"
# what stands where an image has no object
_NOTHING = ("", "nan", "-1", "none")


class _Columns(NamedTuple):
    """The columns of a table, by what they hold; in small letters."""

    image: str
    runs: str
    category: str | None


class _Row(NamedTuple):
    line: int
    category: str
    runs: str
    said: tuple[str | None, str | None]


def read_kaggle(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a table of run lengths. Without a column of classes all objects are of one, `object`.

    Args:
        images: folder of the image files, called as the table says, with or without their endings.
        annotations: the CSV file, or the folder that has it.
        options: what the owner of the dataset decides.

    Raises:
        DataError: the file cannot be read, or has no columns of images and run lengths.
    """
    path = one_file(annotations, (".csv",))
    columns, rows = _read_rows(path)
    first = 0 if any(_starts_at_zero(row.runs) for found in rows.values() for row in found) else 1
    is_by_rows = _is_by_rows(rows, first, images, default=columns.runs in _ALONG_ROWS)
    message = f"run lengths are counted along the {'rows' if is_by_rows else 'columns'} of images, from {first}"
    remark = Remark("run-lengths", str(path), message, None)
    listed = [ListedImage(f"image {show(name)}", [name], found) for name, found in rows.items()]
    return read_listed(listed, images, partial(_things, is_by_rows, first), path, options, remarks=[remark])


def _read_rows(path: Path) -> tuple[_Columns, dict[str, list[_Row]]]:
    """Image → its rows, in the order of the file."""
    csv.field_size_limit((1 << 31) - 1)  # runs of a large image are long
    rows: dict[str, list[_Row]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            table.fieldnames = [name.strip().casefold() for name in table.fieldnames or ()]
            columns = _columns(table.fieldnames, path)
            for row in table:
                image, category = _image_and_class(row, columns)
                said = row.get("height"), row.get("width")
                found = _Row(table.line_num, category, str(row.get(columns.runs) or "").strip(), said)
                rows.setdefault(image, []).append(found)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8; save it again as CSV") from None
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None
    if not rows:
        raise DataError(f"{path}: the table has no row")
    return columns, rows


def _columns(names: Sequence[str], path: Path) -> _Columns:
    image, runs, category = (
        next((name for name in wanted if name in names), None)
        for wanted in (_IMAGE_COLUMNS, _RUN_COLUMNS, _CLASS_COLUMNS)
    )
    if image is None or runs is None:
        found = ", ".join(map(show, names)) or "none"
        raise DataError(f"{path}: needs columns ImageId and EncodedPixels (or id and rle), it has {found}")
    return _Columns(image, runs, category)


def _image_and_class(row: Mapping[str, Any], columns: _Columns) -> tuple[str, str]:
    image = str(row.get(columns.image) or "").strip()
    if columns.image == _IMAGE_AND_CLASS:
        image, _, category = image.rpartition("_")
        return image, category
    category = str(row.get(columns.category) or "").strip() if columns.category else ""
    return image, category or ONLY_CLASS


def _is_by_rows(rows: Mapping[str, Sequence[_Row]], first: int, images: Path, *, default: bool) -> bool:
    """Whether the objects of some images are more compact with runs along the rows than down the columns."""
    names = ImageNames(images)
    outlines = {False: 0, True: 0}
    num_asked = 0
    for image, found in rows.items():
        runs = [row.runs for row in found if row.runs.casefold() not in _NOTHING]
        file = names.find([image]) if runs else Problem("no-objects", "")
        if isinstance(file, Problem) or num_asked == _ASKED_IMAGES:
            continue
        num_asked += 1
        for is_by_rows in outlines:
            masks = [_pixels(text, is_by_rows, first, read_header(file.path).size) for text in runs]
            outlines[is_by_rows] += sum(Crop(mask).perimeter for mask in masks if not isinstance(mask, Problem))
    return default if outlines[False] == outlines[True] else outlines[True] < outlines[False]


def _starts_at_zero(runs: str) -> bool:
    return runs.split(maxsplit=1)[:1] == ["0"]


def _things(is_by_rows: bool, first: int, entry: ListedImage, size: tuple[int, int]) -> Iterator[Thing]:
    for row in entry.content:
        where = f"line {row.line}"
        if flaw := size_flaw(where, [side or None for side in row.said], size, "height and width"):
            yield flaw
            return
        if row.runs.casefold() in _NOTHING:
            continue
        mask = _mask(row.runs, is_by_rows, first, size)
        yield Flaw(where, mask) if isinstance(mask, Problem) else FoundObject(where, row.category, mask)


def _mask(runs: str, is_by_rows: bool, first: int, size: tuple[int, int]) -> Rle | Problem:
    """The mask of an object from the starts and lengths of its runs."""
    pixels = _pixels(runs, is_by_rows, first, size)
    return pixels if isinstance(pixels, Problem) else crop_to_rle(Crop(pixels).tight(), size)


def _pixels(runs: str, is_by_rows: bool, first: int, size: tuple[int, int]) -> Bitmap | Problem:
    """(H, W) the same."""
    words = runs.split()
    if len(words) % 2 or not all(word.isascii() and word.isdigit() and len(word) < 15 for word in words):
        return Problem("bad-rle", f"run lengths {show(runs)} are not pairs of whole numbers start, length")
    numbers = np.array(words, dtype=np.int64).reshape(-1, 2)
    starts, ends = numbers[:, 0] - first, numbers.sum(axis=1) - first
    num_pixels = size[0] * size[1]
    if starts.min() < 0 or ends.max() > num_pixels:
        return Problem("bad-rle", f"run lengths reach to pixel {ends.max()}, the image has {num_pixels}")
    changes = np.bincount(starts, minlength=num_pixels + 1) - np.bincount(ends, minlength=num_pixels + 1)
    is_inside = changes[:num_pixels].cumsum() > 0
    return np.asarray(is_inside.reshape(size) if is_by_rows else is_inside.reshape(size[::-1]).T)
