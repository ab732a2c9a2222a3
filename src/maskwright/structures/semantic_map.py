"""A class for every pixel of an image, kept as the small map of logits that the network gave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.structures.categories import Categories

# classes enlarged at once: all 54 of COCO at 800 × 1333 pixels would take half a gigabyte
_CLASSES_AT_ONCE = 8


@dataclass(frozen=True)
class PanopticRule:
    """Who gets a pixel that several want.

    Attributes:
        score_threshold: objects enter the map from this score on.
        overlap_share: an object is left out when better ones took more than this share of its pixels.
        min_stuff_px: stuff that fewer pixels are left of is dropped.
    """

    score_threshold: float
    overlap_share: float
    min_stuff_px: int


@dataclass(frozen=True)
class PanopticClasses:
    """What segments can be.

    Attributes:
        things: classes of objects.
        stuff: classes of the semantic head.
        has_things: the semantic head's output 0 stands for all things, so that its stuff begins with output 1.
    """

    things: Categories
    stuff: Categories
    has_things: bool

    def to_coco(self) -> list[dict[str, Any]]:
        """The `categories` list of a COCO panoptic file."""
        return [*self.things.to_coco(isthing=1), *self.stuff.to_coco(isthing=0)]


@dataclass(frozen=True, eq=False)
class SemanticMap:
    """Semantic segmentation of an image of `size`, enlarged when asked for; its S classes are the head's outputs.

    Attributes:
        size: (height, width) of the image in pixels.
        grid: (S, h, w) float logits, one cell for each `stride_px` pixels of the network input; at least as many cells
            as cover the image and, where the input is padded, one more.
        input_size: (height, width) of the image in the network input, whose top left corner is the grid's.
        stride_px: of the grid.
        stuff: classes of the outputs, after the first if `has_things`.
        has_things: output 0 stands for all things.
        rule: how stuff and objects share the pixels of a panoptic map.
    """

    size: tuple[int, int]
    grid: Tensor
    input_size: tuple[int, int]
    stride_px: int
    stuff: Categories
    has_things: bool
    rule: PanopticRule

    def labels(self) -> Tensor:
        """(H, W) uint8 the output that is the largest at each pixel, in the memory of a few classes."""
        best = self.grid.new_full(self.size, -torch.inf)
        labels = torch.zeros(self.size, dtype=torch.uint8, device=self.grid.device)
        for first in range(0, len(self.grid), _CLASSES_AT_ONCE):
            values, outputs = self._enlarged(self.grid[first : first + _CLASSES_AT_ONCE]).max(dim=0)
            labels = torch.where(values > best, (outputs + first).to(torch.uint8), labels)
            best = torch.maximum(values, best)
        return labels

    def logits(self) -> Tensor:
        """(S, H, W) logits at every pixel: S times the image's size in memory, four bytes each."""
        return self._enlarged(self.grid)

    def panoptic_classes(self, things: Categories) -> PanopticClasses:
        """What segments can be where the objects are of the classes `things`, whose ids no stuff has."""
        return PanopticClasses(things, self.stuff.apart_from(things), self.has_things)

    def restored(self, size: tuple[int, int]) -> SemanticMap:
        """The same segmentation of the image at another (height, width)."""
        return replace(self, size=size)

    def to(self, device: torch.device | str) -> SemanticMap:
        """The same segmentation with its tensor on `device`."""
        return replace(self, grid=self.grid.to(device))

    def _enlarged(self, grid: Tensor) -> Tensor:
        """To the network input first, padding cut off, then to the image, bilinearly both times (detectron2)."""
        height, width = self.input_size
        fine = F.interpolate(grid[None], scale_factor=self.stride_px, mode="bilinear", align_corners=False)
        fine = fine[:, :, :height, :width]
        return F.interpolate(fine, size=self.size, mode="bilinear", align_corners=False)[0]
