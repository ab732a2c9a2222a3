"""Masks that are on the image already, for results of which several things are made: files, pictures, panoptic maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.interface import Masks
from maskwright.structures.masks.packed import CropMasks


class _Bits(NamedTuple):
    """A crop with eight pixels in a byte: a hundred large masks of a large photograph fit into memory."""

    packed: npt.NDArray[np.uint8]
    shape: tuple[int, int]
    top: int
    left: int

    @staticmethod
    def of(crop: Crop) -> _Bits:
        pixels, top, left = crop.tight()
        return _Bits(np.packbits(pixels), (pixels.shape[0], pixels.shape[1]), top, left)

    def crop(self) -> Crop:
        pixels = np.unpackbits(self.packed, count=self.shape[0] * self.shape[1]).view(np.bool_)
        return Crop(pixels.reshape(self.shape), self.top, self.left)


@dataclass(frozen=True, eq=False)
class PastedMasks(Masks):
    """The tight crop of each mask, in an eighth of its memory.

    Attributes:
        size: (height, width) of the image in pixels.
        bits: of N crops.
    """

    size: tuple[int, int]
    bits: tuple[_Bits, ...]

    @staticmethod
    def of(masks: Masks) -> PastedMasks:
        """Masks of any kind, put onto the image one after the other."""
        return PastedMasks(masks.size, tuple(_Bits.of(crop) for crop in masks.crops()))

    def __len__(self) -> int:
        return len(self.bits)

    def chosen(self, index: Tensor | slice) -> PastedMasks:
        indices = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
        return replace(self, bits=tuple(self.bits[chosen] for chosen in indices.tolist()))

    def crop(self, index: int) -> Crop:
        return self.bits[index].crop()

    def restored(self, size: tuple[int, int], boxes: Tensor) -> CropMasks:
        return CropMasks.from_crops(list(self.crops()), self.size).restored(size, boxes)

    def to(self, device: torch.device | str) -> PastedMasks:  # noqa: ARG002 - pixels stay with the CPU
        return self
