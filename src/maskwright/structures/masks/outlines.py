"""The outlines of a mask along its pixels' edges, and several of them joined into one path.

OpenCV's contours run through the centres of border pixels: they lose half a pixel all round and cannot hold an object
one pixel wide. Along the edges the corners are whole numbers, and COCO's rasteriser gives the mask back exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.structures.masks.crop import Bitmap, Crop

# (V, 2) x y corners in pixels of the image, the last not the first again
Contour = npt.NDArray[np.int64]

# distances that are held at once while contours are joined
_BLOCK = 1 << 21
# of all contours together; with more (the mask of a noise image) the time for nearest corners, V², is not worth it
_MOST_CORNERS = 30_000


class Contours(NamedTuple):
    """The contours of one mask; the foreground lies on their right as one follows them.

    Attributes:
        outer: around each part, clockwise as seen on the screen. Pixels that touch at a corner only are two parts.
        holes: around each hole, counterclockwise. Holes that touch at a corner are one contour.
    """

    outer: list[Contour]
    holes: list[Contour]


def trace(crop: Crop) -> Contours:
    """The contours of a mask, found from the runs of its pixels' edges.

    >>> trace(Crop(np.array([[True, True]]), top=5, left=10)).outer[0].tolist()
    [[10, 5], [12, 5], [12, 6], [10, 6]]
    """
    starts, ends, directions = _runs(crop.pixels)
    successors = _successors(starts, ends, directions, crop.pixels.shape[1] + 1)
    contours = Contours([], [])
    for contour in _cycles(successors):
        corners = starts[contour] + np.array([crop.left, crop.top])
        (contours.outer if signed_area(corners) > 0 else contours.holes).append(corners)
    return contours


def trace_parts(crop: Crop) -> list[Contour]:
    """One closed path around each part of a mask, bridges of no width leading to the part's holes.

    COCO's rasteriser gives the parts back exactly, and their union is the mask.

    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
    >>> [signed_area(path) for path in trace_parts(Crop(ring, top=0, left=0))]
    [8.0]
    """
    contours = trace(crop)
    parts = [[outer] for outer in contours.outer]
    for hole, part in zip(contours.holes, _parts_of_holes(contours, crop), strict=True):
        parts[part].append(hole)
    return [join(part) for part in parts]


def signed_area(corners: npt.NDArray[np.generic]) -> float:
    """Pixels that a contour encloses, negative where it runs counterclockwise on the screen."""
    xs, ys = corners.T
    return float(np.sum(xs * np.roll(ys, -1) - ys * np.roll(xs, -1)) / 2)


def _parts_of_holes(contours: Contours, crop: Crop) -> list[int]:
    """The index of the part in which each hole lies."""
    if len(contours.outer) == 1 or not contours.holes:
        return [0] * len(contours.holes)
    owners = _owners_of_left_edges([*contours.outer, *contours.holes], crop)
    parts: dict[int, int] = {index: index for index in range(len(contours.outer))}
    # the pixel above a hole's first corner is of its part, and so are all to the left of it up to the next edge, which
    # is of the part's outline or of a hole that begins higher
    first_corners = [min((y, x) for x, y in hole.tolist()) for hole in contours.holes]
    for hole in sorted(range(len(contours.holes)), key=first_corners.__getitem__):
        top, left = first_corners[hole]
        to_the_left = owners[top - 1 - crop.top, : left + 1 - crop.left]
        neighbour = to_the_left[np.flatnonzero(to_the_left >= 0)[-1]]
        parts[len(contours.outer) + hole] = parts[int(neighbour)]
    return [parts[len(contours.outer) + hole] for hole in range(len(contours.holes))]


def _owners_of_left_edges(contours: list[Contour], crop: Crop) -> npt.NDArray[np.int32]:
    """(h, w) index of the contour that runs up the left edge of a pixel, -1 where none does."""
    owners = np.full(crop.pixels.shape, -1, dtype=np.int32)
    for index, contour in enumerate(contours):
        corners = contour - [crop.left, crop.top]
        for (x, bottom), (_, top) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
            if top < bottom:
                owners[top:bottom, x] = index
    return owners


def _runs(pixels: Bitmap) -> tuple[Contour, Contour, npt.NDArray[np.int64]]:
    """Straight pieces of outline: (R, 2) x y of start and end, (R,) direction 0 right, 1 down, 2 left, 3 up."""
    padded = np.pad(pixels, 1)
    is_filled = padded[1:, 1:-1], padded[:-1, 1:-1]  # below and above each horizontal line of the grid
    is_right, is_left = is_filled[0] & ~is_filled[1], is_filled[1] & ~is_filled[0]
    beside = padded[1:-1, 1:].T, padded[1:-1, :-1].T  # right and left of each vertical line
    is_up, is_down = beside[0] & ~beside[1], beside[1] & ~beside[0]
    pieces = [_run_ends(edges) for edges in (is_right, is_down, is_left, is_up)]
    starts: list[Contour] = []
    ends: list[Contour] = []
    for direction, (line, first, last) in enumerate(pieces):
        begin, end = (first, last) if direction < 2 else (last, first)
        for corners, along in ((starts, begin), (ends, end)):
            corners.append(np.stack([along, line] if direction % 2 == 0 else [line, along], axis=1))
    directions = np.repeat(np.arange(4), [len(corners) for corners in starts])
    return np.concatenate(starts), np.concatenate(ends), directions


def _run_ends(edges: Bitmap) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row, first column and end of every run of true values in the rows."""
    change = np.diff(np.pad(edges, ((0, 0), (1, 1))).view(np.int8), axis=1)
    (rows, first), (_, last) = np.nonzero(change == 1), np.nonzero(change == -1)
    return rows, first, last


def _successors(starts: Contour, ends: Contour, directions: npt.NDArray[np.int64], stride: int) -> list[int]:
    """Which piece follows each: where two pixels touch at a corner, the path turns right and stays with its own."""
    keys = (starts[:, 1] * stride + starts[:, 0]) * 4 + directions
    order = np.argsort(keys)
    corner = (ends[:, 1] * stride + ends[:, 0]) * 4
    right, left = corner + (directions + 1) % 4, corner + (directions + 3) % 4
    position = np.searchsorted(keys, right, sorter=order).clip(max=max(0, len(keys) - 1))
    is_right = keys[order[position]] == right
    position = np.where(is_right, position, np.searchsorted(keys, left, sorter=order))
    successors: list[int] = order[position].tolist()
    return successors


def _cycles(successors: list[int]) -> list[list[int]]:
    is_seen = bytearray(len(successors))
    cycles = []
    for first in range(len(successors)):
        if is_seen[first]:
            continue
        cycle, piece = [], first
        while not is_seen[piece]:
            is_seen[piece] = 1
            cycle.append(piece)
            piece = successors[piece]
        cycles.append(cycle)
    return cycles


def join(contours: list[Contour]) -> Contour:
    """One closed path through all contours, along bridges of no width that are walked there and back.

    Fills by the even-odd and by the non-zero rule both see only the contours. Every contour is reached from the corner
    nearest to it among those already joined, so that a rasteriser which draws outlines too adds as little as can be.

    Args:
        contours: at least one; parts and holes in opposite directions, as `trace` gives them.
    """
    if len(contours) == 1:
        return contours[0]
    links = _nearest_links(contours)
    visitors: list[dict[int, list[Contour]]] = [{} for _ in contours]
    for contour, entry, host, corner in reversed(links):
        path = _with_visitors(contours[contour], visitors[contour], entry)
        visitors[host].setdefault(corner, []).append(path)
    return _with_visitors(contours[0], visitors[0], 0)[:-1]


def _with_visitors(contour: Contour, visitors: dict[int, list[Contour]], entry: int) -> Contour:
    """A contour from a corner of its own round to the same, with a visit wherever a bridge leaves."""
    pieces = []
    for step in range(len(contour)):
        index = (entry + step) % len(contour)
        here = contour[index : index + 1]
        pieces.append(here)
        for path in visitors.get(index, ()):
            pieces += [path, here]
    return np.concatenate([*pieces, contour[entry : entry + 1]])


def _nearest_links(contours: list[Contour]) -> list[tuple[int, int, int, int]]:
    """(contour, its corner, contour joined before, its corner) of each bridge, as they are built: Prim's tree."""
    corners = np.concatenate(contours)
    if len(corners) > _MOST_CORNERS:
        return [(contour, 0, 0, 0) for contour in range(1, len(contours))]
    lengths = [len(contour) for contour in contours]
    first = np.cumsum([0, *lengths[:-1]])
    owner = np.repeat(np.arange(len(contours)), lengths)
    distance = np.full(len(corners), np.iinfo(np.int64).max)
    nearest = np.zeros(len(corners), dtype=np.int64)
    is_left = np.ones(len(corners), dtype=bool)
    links: list[tuple[int, int, int, int]] = []
    newest = 0
    while True:
        is_left[first[newest] : first[newest] + lengths[newest]] = False
        if not is_left.any():
            return links
        _shorten(distance, nearest, np.flatnonzero(is_left), corners, first[newest], lengths[newest])
        entry = int(np.argmin(np.where(is_left, distance, np.iinfo(np.int64).max)))
        newest, host = int(owner[entry]), int(owner[nearest[entry]])
        links.append((newest, entry - int(first[newest]), host, int(nearest[entry] - first[host])))


def _shorten(
    distance: npt.NDArray[np.int64],
    nearest: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    corners: Contour,
    first: int,
    length: int,
) -> None:
    """Bring squared distances to the joined corners up to date, now that `length` corners from `first` joined them."""
    step = max(1, _BLOCK // len(left))
    for start in range(first, first + length, step):
        block = corners[start : min(start + step, first + length)]
        apart = ((corners[left, None] - block[None]) ** 2).sum(axis=2)
        index = apart.argmin(axis=1)
        found = apart[np.arange(len(left)), index]
        is_nearer = found < distance[left]
        distance[left[is_nearer]] = found[is_nearer]
        nearest[left[is_nearer]] = start + index[is_nearer]
