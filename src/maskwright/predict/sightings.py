"""What one window of an image saw, in pixels of the whole image, and how much two sightings have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskwright.ops.boxes import clip_to_windows
from maskwright.structures.masks.crop import Crop

# a box that ends this near to the border of its window may go on beyond it
_BORDER_PX = 2.0


class Window(NamedTuple):
    """A part of an image in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    def cut(self, image: Tensor) -> Tensor:
        """Its pixels of an image (C, H, W)."""
        return image[:, self.top : self.bottom, self.left : self.right].contiguous()

    def shared_with(self, other: Window) -> Window:
        """What both windows see; no pixel where they do not meet."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Window(top, left, max(0, bottom - top), max(0, right - left))

    def inner(self) -> Window:
        """Without a margin of a quarter of its shorter side."""
        margin = min(self.height, self.width) // 4
        return Window(self.top + margin, self.left + margin, self.height - 2 * margin, self.width - 2 * margin)

    def clipped(self, boxes: Tensor) -> Tensor:
        """What the window sees of boxes (N, 4) of the image; no area of those outside."""
        return clip_to_windows(boxes, boxes.new_tensor([self.left, self.top, self.right, self.bottom]))

    def holds(self, box: Tensor) -> bool:
        """Whether a box (4,) of the image does not go beyond it."""
        left, top, right, bottom = map(float, box)
        return left >= self.left and top >= self.top and right <= self.right and bottom <= self.bottom

    def inside(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2 of where no box is cut: as far as a step from those borders that are not the image's own."""
        return (
            self.left + _BORDER_PX if self.left > 0 else -np.inf,
            self.top + _BORDER_PX if self.top > 0 else -np.inf,
            self.right - _BORDER_PX if self.right < size[1] else np.inf,
            self.bottom - _BORDER_PX if self.bottom < size[0] else np.inf,
        )


@dataclass(frozen=True, eq=False)
class Sighting:
    """An object as one window saw it, in pixels of the whole image.

    Attributes:
        window: where it was seen.
        box: (4,) x1 y1 x2 y2.
        label: index of its class.
        score: of the detection.
        crop: its mask, None where the model has none.
        index: among all detections of the image's windows, for what else the model says of it.
    """

    window: Window
    box: Tensor
    label: int
    score: float
    crop: Crop | None = None
    index: int = 0


def agreement(one: Sighting, other: Sighting, zone: Window, box_iou: float) -> float:
    """IoU in a zone that both windows see: of the masks, or of the boxes, as given, where there are none."""
    if one.crop is None or other.crop is None:
        return box_iou
    return one.crop.cut(*zone).iou(other.crop.cut(*zone))


def shared_area(one: Sighting, other: Sighting) -> tuple[tuple[float, float], float]:
    """Areas of the masks, or of the boxes where there are none, and of what they have in common, in pixels."""
    if one.crop is not None and other.crop is not None:
        return (float(one.crop.area), float(other.crop.area)), float(one.crop.overlap(other.crop))
    sides = torch.stack([one.box, other.box])
    low, high = sides[:, :2].amax(dim=0), sides[:, 2:].amin(dim=0)
    first, second = (sides[:, 2:] - sides[:, :2]).prod(dim=1).tolist()
    return (first, second), float((high - low).clamp(min=0).prod())
