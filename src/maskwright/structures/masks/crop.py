"""One mask as the piece of the image that it lies on, and the arithmetic of such pieces.

No function here makes a bitmap of the image: what two crops have in common lies in both, and what they cover together
lies in the box around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Bitmap = npt.NDArray[np.bool_]


class Crop(NamedTuple):
    """A piece of an image's mask: everything outside is background. It may have a margin of background, too.

    Attributes:
        pixels: (h, w) bool foreground.
        top: row of its first pixel in the image.
        left: column of its first pixel.
    """

    pixels: Bitmap
    top: int = 0
    left: int = 0

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + len(self.pixels)

    @property
    def right(self) -> int:
        """The first column to the right of it."""
        return self.left + int(self.pixels.shape[1])

    @property
    def area(self) -> int:
        """Foreground pixels."""
        return int(np.count_nonzero(self.pixels))

    @property
    def perimeter(self) -> int:
        """Edges of pixels between foreground and background."""
        bordered = np.pad(self.pixels, 1)
        return sum(int(np.count_nonzero(np.diff(bordered, axis=axis))) for axis in (0, 1))

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns: `picture[crop.window]` is the part of an image (H, W, …) that it lies on."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def tight(self) -> Crop:
        """Without the margin around the foreground; (0, 0) pixels at (0, 0) where there is none.

        >>> Crop(np.eye(3, dtype=bool)[:, :2], top=5, left=7).tight().window
        (slice(5, 7, None), slice(7, 9, None))
        """
        rows = np.flatnonzero(self.pixels.any(axis=1))
        if not len(rows):
            return Crop(np.zeros((0, 0), dtype=bool))
        pixels = self.pixels[rows[0] : rows[-1] + 1]
        columns = np.flatnonzero(pixels.any(axis=0))
        return Crop(pixels[:, columns[0] : columns[-1] + 1], self.top + int(rows[0]), self.left + int(columns[0]))

    def cut(self, top: int, left: int, height: int, width: int) -> Crop:
        """What a window of the image shows of it, in pixels of the image; perhaps nothing, at the window's border."""
        first_row, end_row = (min(max(row, top), top + height) for row in (self.top, self.bottom))
        first_column, end_column = (min(max(column, left), left + width) for column in (self.left, self.right))
        rows = slice(first_row - self.top, end_row - self.top)
        return Crop(self.pixels[rows, first_column - self.left : end_column - self.left], first_row, first_column)

    def moved(self, rows: int, columns: int) -> Crop:
        """The same pixels so many rows further down and columns further to the right."""
        return Crop(self.pixels, self.top + rows, self.left + columns)

    def mirrored(self, width: int) -> Crop:
        """The same piece of the mirrored image of a width, left and right exchanged."""
        return Crop(self.pixels[:, ::-1], self.top, width - self.right)

    def upside_down(self, height: int) -> Crop:
        """The same piece of the mirrored image of a height, top and bottom exchanged."""
        return Crop(self.pixels[::-1], height - self.bottom, self.left)

    def transposed(self) -> Crop:
        """The same piece of the image with rows and columns exchanged."""
        return Crop(self.pixels.T, self.left, self.top)

    @staticmethod
    def united(crops: Sequence[Crop]) -> Crop:
        """The foreground of at least one of several crops of an image, on the box around all of them.

        >>> Crop.united([Crop(np.ones((1, 2), dtype=bool)), Crop(np.ones((1, 1), dtype=bool), 1, 2)]).pixels.tolist()
        [[True, True, False], [False, False, True]]
        """
        top, left = min(crop.top for crop in crops), min(crop.left for crop in crops)
        height, width = max(crop.bottom for crop in crops) - top, max(crop.right for crop in crops) - left
        pixels = np.zeros((height, width), dtype=bool)
        for crop in crops:
            crop.moved(-top, -left).paste_into(pixels, True)
        return Crop(pixels, top, left)

    def overlap(self, other: Crop) -> int:
        """Foreground pixels that two crops of an image have in common."""
        mine = self.cut(other.top, other.left, *other.pixels.shape)
        theirs = other.cut(mine.top, mine.left, *mine.pixels.shape)
        return int(np.count_nonzero(mine.pixels & theirs.pixels))

    def iou(self, other: Crop) -> float:
        """Common pixels of two crops of an image as a share of all their pixels; 0 where there are none.

        >>> Crop(np.ones((2, 2), dtype=bool)).iou(Crop(np.ones((2, 2), dtype=bool), 0, 1))
        0.3333333333333333
        """
        num_common = self.overlap(other)
        num_either = self.area + other.area - num_common
        return num_common / num_either if num_either else 0.0

    def paste_into(self, canvas: npt.NDArray[Any], value: Any) -> None:
        """Write a value wherever its foreground is into an image (H, W), in place; it lies inside the image."""
        np.copyto(canvas[self.window], value, where=self.pixels)
