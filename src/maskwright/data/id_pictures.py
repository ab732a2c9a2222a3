"""From a picture whose values are ids of objects to every object's run lengths, in one pass over the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.errors import MissingDependency
from maskwright.structures.masks.rle import Rle, any_to_rle, rle_to_crop


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

    # where each object's runs begin among all runs; before its first lies background, from index 0 on
    is_first = np.concatenate([[True], owners[1:] != owners[:-1]])[: len(owners)]
    before = np.where(is_first, 0, np.concatenate([[0], ends[:-1]])[: len(ends)])
    counts = np.stack([starts - before, ends - starts], axis=1)
    firsts = np.flatnonzero(is_first)
    lasts = np.concatenate([firsts[1:], [len(owners)]])[: len(firsts)]
    return {
        int(owners[first]): _rle(counts[first:last].ravel().tolist(), ids.size - int(ends[last - 1]), size)
        for first, last in zip(firsts, lasts, strict=True)
    }


def connected_parts(mask: Rle) -> list[Rle]:
    """The parts of a mask that touch each other nowhere, neither by an edge nor by a corner, from left to right.

    >>> mask = objects_of(np.array([[7, 0, 7]]))[7]
    >>> [part["counts"] for part in connected_parts(mask)]
    ['012', '21']

    Raises:
        MissingDependency: SciPy is not installed.
    """
    try:
        from scipy import ndimage
    except ModuleNotFoundError as error:
        raise MissingDependency("scipy", "parts", "finding the connected parts of a mask") from error

    crop = rle_to_crop(mask)
    labels, _ = ndimage.label(crop.pixels, structure=np.ones((3, 3)))
    size = (int(mask["size"][0]), int(mask["size"][1]))
    picture = np.zeros(size, dtype=np.int32)
    picture[crop.window] = labels
    return list(objects_of(picture).values())


def _rle(counts: list[int], rest: int, size: tuple[int, int]) -> Rle:
    """From background and foreground runs in turn, and the background after them."""
    return any_to_rle({"counts": [*counts, rest] if rest else counts}, size)
