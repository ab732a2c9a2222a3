"""Masks of the objects of one image, kept small until pixels are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import Self

from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.outlines import trace_parts
from maskwright.structures.masks.rle import Rle, crop_to_rle

Index = int | slice | Tensor | npt.NDArray[Any] | list[int]


class Masks(ABC):
    """N masks over an image of `size`; kinds differ in what they keep, all can give crops.

    Attributes:
        size: (height, width) of the image in pixels.
    """

    size: tuple[int, int]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def chosen(self, index: Tensor | slice) -> Self:
        """Some of the masks: an index tensor, a bool mask, or a slice."""

    @abstractmethod
    def restored(self, size: tuple[int, int], boxes: Tensor) -> Masks:
        """The same masks in the image at another (height, width), where their objects have `boxes` (N, 4)."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same masks with their tensors on `device`."""

    def __getitem__(self, index: Index) -> Self:
        """Some of the masks, as masks again; an int gives one mask."""
        return self.chosen(as_index(index, len(self)))

    @abstractmethod
    def crop(self, index: int) -> Crop:
        """The foreground of one mask and where it lies; the crop may have a margin of background."""

    def crops(self) -> Iterable[Crop]:
        """The crops of all masks, one after the other."""
        return (self.crop(index) for index in range(len(self)))

    def rle(self) -> list[Rle]:
        """COCO compressed run lengths of each mask, made from its own crop."""
        return [crop_to_rle(crop, self.size) for crop in self.crops()]

    def bitmap(self, index: int) -> Bitmap:
        """(H, W) bool pixels of one mask."""
        bitmap: Bitmap = self[index].bitmaps()[0]
        return bitmap

    def bitmaps(self) -> Bitmap:
        """(N, H, W) bool pixels: N times the image's size in memory, so call it only for what fits."""
        full = np.zeros((len(self), *self.size), dtype=bool)
        for bitmap, crop in zip(full, self.crops(), strict=True):
            crop.paste_into(bitmap, True)
        return full

    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) foreground pixels of each mask."""
        return np.array([crop.area for crop in self.crops()], dtype=np.int64)

    def polygons(self) -> list[list[npt.NDArray[np.float64]]]:
        """Each mask as COCO polygons, one array (V, 2) of x y vertices in pixels for each separate part.

        They run along the edges of pixels, so that COCO's rasteriser gives the mask back exactly, whatever its shape. A
        hole is part of the path around it, which reaches it along a bridge of no width and returns the same way. An
        empty mask has no polygons.
        """
        return [[path.astype(np.float64) for path in trace_parts(crop)] for crop in self.crops()]


def as_index(index: Index, length: int) -> slice | Tensor:
    """One form for everything that may stand in brackets; an int becomes a slice of one."""
    if isinstance(index, int):
        first = range(length)[index]
        return slice(first, first + 1)
    if isinstance(index, list) and not index:
        return slice(0, 0)
    return index if isinstance(index, slice) else torch.as_tensor(index)
