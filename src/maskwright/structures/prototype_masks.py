"""Masks as combinations of an image's prototypes (YOLACT, eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskwright.ops.masks import crop_cells, enlarge_cells, inside_cells
from maskwright.structures.masks import Masks
from maskwright.structures.rle import Crop


@dataclass(frozen=True, eq=False)
class PrototypeMasks(Masks):
    """σ(prototypes · coefficients), cropped to each object's box, stretched onto the image when asked.

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
        combined = torch.einsum("hwk,nk->nhw", self.prototypes, self.coefficients)
        return combined.sigmoid() * inside_cells(crop_cells(self.boxes, self.grid), self.grid)

    def crop(self, index: int) -> Crop:
        """Bilinear stretching of the crop first, the threshold after, so a mask may reach over its box."""
        left, top, right, bottom = crop_cells(self.boxes[index : index + 1], self.grid)[0].tolist()
        cells = (self.prototypes[top:bottom, left:right] @ self.coefficients[index]).sigmoid()
        soft, first_row, first_column = enlarge_cells(cells, (top, left), self.grid, self.extent, self.size)
        return Crop((soft > self.threshold).cpu().numpy(), first_row, first_column)

    def restored(self, size: tuple[int, int], boxes: Tensor) -> PrototypeMasks:  # noqa: ARG002 - their own stay
        return replace(self, size=size)

    def to(self, device: torch.device | str) -> PrototypeMasks:
        return replace(
            self,
            prototypes=self.prototypes.to(device),
            coefficients=self.coefficients.to(device),
            boxes=self.boxes.to(device),
        )
