"""Masks of detections: foreground probabilities on each one's box."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.interface import Masks
from maskwright.structures.masks.pasting import Piece, paste_at_centres, paste_bordered, paste_bytes

# with a border of zeros over whole pixels, with both ends (torchvision) or without the last (Simple Mask R-CNN); at the
# centres of pixels (detectron2); in 8 bits (matterport)
Pasting = Literal["bordered", "exclusive", "centres", "bytes"]
Paste = Callable[[Tensor, Tensor, tuple[int, int]], Piece]
Compare = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True, eq=False)
class RoiMasks(Masks):
    """Foreground probabilities on each detection's own box, stretched onto the image when pixels are needed.

    Attributes:
        size: (height, width) of the image in pixels.
        probabilities: (N, M, M) float.
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the image.
        threshold: a pixel above it is foreground; one at it too with `centres` and `bytes`.
        pasting: how they come onto the image, see `Pasting`.
        stretches_range: before 8-bit pasting a mask's own range becomes 0–1, so the threshold is relative to it.
    """

    size: tuple[int, int]
    probabilities: Tensor
    boxes: Tensor
    threshold: float
    pasting: Pasting = "bordered"
    stretches_range: bool = False

    def __len__(self) -> int:
        return len(self.boxes)

    def chosen(self, index: Tensor | slice) -> RoiMasks:
        return replace(self, probabilities=self.probabilities[index], boxes=self.boxes[index])

    def crop(self, index: int) -> Crop:
        """Bilinear stretching first, the threshold after, so that borders stay smooth at any size."""
        paste, is_foreground = _manner(self.pasting, self.stretches_range)
        values, top, left = paste(self.probabilities[index], self.boxes[index].float(), self.size)
        return Crop(is_foreground(values, self.threshold).cpu().numpy(), top, left)

    def restored(self, size: tuple[int, int], boxes: Tensor) -> RoiMasks:
        return replace(self, size=size, boxes=boxes)

    def to(self, device: torch.device | str) -> RoiMasks:
        return replace(self, probabilities=self.probabilities.to(device), boxes=self.boxes.to(device))


def _manner(pasting: Pasting, stretches_range: bool) -> tuple[Paste, Compare]:
    """How masks come onto the image, and how their values compare with the threshold where they are foreground."""
    manners: dict[Pasting, tuple[Paste, Compare]] = {
        "bordered": (partial(paste_bordered, is_inclusive=True), operator.gt),
        "exclusive": (partial(paste_bordered, is_inclusive=False), operator.gt),
        "centres": (paste_at_centres, operator.ge),
        "bytes": (partial(paste_bytes, stretches_range=stretches_range), operator.ge),
    }
    return manners[pasting]
