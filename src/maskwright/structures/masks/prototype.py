"""Masks as combinations of an image's prototypes (YOLACT, eq. 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskwright.ops.masks import crop_cells, enlarge_cells, inside_cells, stretch
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.interface import Masks

# masks assembled in one product; bounds the scratch memory to some megabytes
_MASKS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class PrototypeMasks(Masks):
    """σ(prototypes · coefficients), cropped to each object's box, stretched onto the image when pixels are needed.

    Attributes:
        size: (height, width) of the image in pixels.
        prototypes: (h, w, k) float.
        coefficients: (N, k) float.
        boxes: (N, 4) x1 y1 x2 y2 in cells of the prototypes; outside of them, and one cell around, is background.
        extent: (rows, columns) of the prototypes that the image takes; the rest is padding.
        threshold: a pixel strictly above it is foreground.
    """

    size: tuple[int, int]
    prototypes: Tensor
    coefficients: Tensor
    boxes: Tensor
    extent: tuple[float, float]
    threshold: float

    def __len__(self) -> int:
        return len(self.coefficients)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the prototypes."""
        return self.prototypes.shape[0], self.prototypes.shape[1]

    def chosen(self, index: Tensor | slice) -> PrototypeMasks:
        return replace(self, coefficients=self.coefficients[index], boxes=self.boxes[index])

    def probabilities(self) -> Tensor:
        """(N, h, w) foreground probabilities on the grid of the prototypes, zero outside the crops."""
        with torch.autocast(self.prototypes.device.type, enabled=False):  # sums of k products that nearly cancel
            combined = torch.einsum("hwk,nk->nhw", self.prototypes, self.coefficients)
        return combined.sigmoid() * inside_cells(crop_cells(self.boxes, self.grid), self.grid)

    def crop(self, index: int) -> Crop:
        return next(iter(self[index].crops()))

    def crops(self) -> Iterator[Crop]:
        """Bilinear stretching of the crop first, the threshold after, so a mask may reach over its box."""
        rows, columns = (
            stretch(*axis, self.boxes.device) for axis in zip(self.grid, self.extent, self.size, strict=True)
        )
        for first in range(0, len(self), _MASKS_AT_ONCE):
            some = self.chosen(slice(first, first + _MASKS_AT_ONCE))
            cells = crop_cells(some.boxes, self.grid).tolist()
            for probabilities, (left, top, right, bottom) in zip(some.probabilities(), cells, strict=True):
                piece = probabilities[top:bottom, left:right]
                soft, row, column = enlarge_cells(piece, (top, left), rows, columns)
                yield Crop((soft > self.threshold).cpu().numpy(), row, column)

    def restored(self, size: tuple[int, int], boxes: Tensor) -> PrototypeMasks:  # noqa: ARG002 - their own stay
        return replace(self, size=size)

    def to(self, device: torch.device | str) -> PrototypeMasks:
        return replace(
            self,
            prototypes=self.prototypes.to(device),
            coefficients=self.coefficients.to(device),
            boxes=self.boxes.to(device),
        )
