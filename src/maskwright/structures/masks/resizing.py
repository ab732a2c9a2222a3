"""Crops of true masks in the resized image, by the rules of several libraries, without a bitmap of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.pasting import resize_bytes, to_bytes

# half of the range of a byte, and more
_FOREGROUND_BYTE = 128

Interpolation = Literal["nearest", "nearest_corners", "bilinear"]


def resize_crops(
    crops: Sequence[Crop], old: tuple[int, int], new: tuple[int, int], interpolation: Interpolation
) -> list[Crop]:
    """Each crop in the image resized from one (height, width) to another; equal to resizing whole bitmaps.

    Args:
        crops: of the old image.
        old: its (height, width).
        new: (height, width) of the new one.
        interpolation: `nearest`, each new pixel takes one old one by torch's rule; `nearest_corners`, by that of
            SciPy's `zoom`, with corner pixels on corner pixels (matterport); `bilinear`, foreground is what OpenCV's
            8-bit bilinear resize of a 0/1 bitmap makes 1: about one half and more.
    """
    if interpolation == "bilinear":
        return _interpolated(crops, *(linear_sources(*sides) for sides in zip(old, new, strict=True)))
    sources = corner_sources if interpolation == "nearest_corners" else nearest_sources
    return _picked(crops, *(sources(*sides) for sides in zip(old, new, strict=True)))


def mini_crop(crop: Crop, side_px: int, stretches_range: bool) -> Crop:
    """The box of a mask's foreground shrunk (or enlarged) to a square, in 8 bits (matterport).

    Args:
        crop: with or without a margin; one without foreground gives an empty square.
        side_px: side of the square.
        stretches_range: as in `to_bytes`; a mask that fills its box then has nothing but its smallest value, and its
            square becomes empty, as matterport's does by mistake.
    """
    pixels = crop.tight().pixels
    if not pixels.size:
        return Crop(np.zeros((side_px, side_px), dtype=bool))
    picture = to_bytes(torch.from_numpy(pixels.astype(np.float32)), stretches_range)
    return Crop((resize_bytes(picture, (side_px, side_px)) >= _FOREGROUND_BYTE).numpy())


def nearest_sources(old: int, new: int) -> npt.NDArray[np.int64]:
    """(new,) int64 the old pixel that each new pixel shows, by torch's `nearest` rule in float32."""
    sources = np.floor(np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(np.int64)
    return np.asarray(np.minimum(sources, old - 1))


def corner_sources(old: int, new: int) -> npt.NDArray[np.int64]:
    """(new,) int64 the old pixel nearest to each new one, first on first and last on last (SciPy's `zoom`, order 0).

    By SciPy's rounding the last new pixel may lie past the old ones; it shows none, and is given as `old`.
    """
    positions = np.arange(new) * ((old - 1) / max(new - 1, 1))
    return np.where(positions > old - 1, old, np.floor(positions + 0.5)).astype(np.int64)


class LinearSources(NamedTuple):
    """(new,) each: the two old lines that each new line mixes, and their weights in 2048ths."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    first_weight: npt.NDArray[np.int32]
    second_weight: npt.NDArray[np.int32]


def linear_sources(old: int, new: int) -> LinearSources:
    """Sources of bilinear interpolation along one axis by OpenCV's rule: half-pixel centres, weights of 11 bits.

    Beyond the outermost centres both sources are the border line, which then has both weights.
    """
    positions = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    lower = np.floor(positions)
    share = positions - lower
    first, second = lower.astype(np.int64).clip(0), (lower.astype(np.int64) + 1).clip(max=old - 1)
    return LinearSources(first, second, *(np.rint(part * 2048).astype(np.int32) for part in (1 - share, share)))


def _picked(crops: Sequence[Crop], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> list[Crop]:
    """Crops of the image whose lines are these lines of the old one, which never fall."""
    resized = []
    for crop in crops:
        first_row, end_row = np.searchsorted(rows, [crop.top, crop.bottom])
        first_column, end_column = np.searchsorted(columns, [crop.left, crop.right])
        kept_rows, kept_columns = rows[first_row:end_row] - crop.top, columns[first_column:end_column] - crop.left
        resized.append(Crop(crop.pixels[np.ix_(kept_rows, kept_columns)], int(first_row), int(first_column)))
    return resized


def _interpolated(crops: Sequence[Crop], rows: LinearSources, columns: LinearSources) -> list[Crop]:
    resized = []
    for pixels, top, left in crops:
        bordered = np.pad(pixels, 1)  # lines beside the crop mix it with background
        crop_rows, first_row = _touching(rows, top, pixels.shape[0])
        crop_columns, first_column = _touching(columns, left, pixels.shape[1])
        resized.append(Crop(_mixed(bordered, crop_rows, crop_columns), first_row, first_column))
    return resized


def _touching(sources: LinearSources, start: int, length: int) -> tuple[LinearSources, int]:
    """The new lines with a source among `length` old ones from `start`, counted in the bordered crop; the first one."""
    first = int(np.searchsorted(sources.second, start))
    new = slice(first, int(np.searchsorted(sources.first, start + length)))
    kept = LinearSources(
        sources.first[new] - start + 1,
        sources.second[new] - start + 1,
        sources.first_weight[new],
        sources.second_weight[new],
    )
    return kept, first


def _mixed(pixels: Bitmap, rows: LinearSources, columns: LinearSources) -> Bitmap:
    """OpenCV's arithmetic for 8 bits: each of the two rows gives whole quarters, rounded down; two make a pixel."""
    mixed = pixels[:, columns.first] * columns.first_weight + pixels[:, columns.second] * columns.second_weight
    shares = mixed >> 4  # of 128
    quarters = (shares[rows.first] * rows.first_weight[:, None] >> 16) + (
        shares[rows.second] * rows.second_weight[:, None] >> 16
    )
    return np.asarray(quarters >= 2)
