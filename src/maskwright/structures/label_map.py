"""A class for every pixel of an image, as ground truth that is cut, mirrored and resized with the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

# of a pixel whose class is not known; it enters no loss
IGNORED = 255


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The true output of a semantic head at each pixel.

    Attributes:
        labels: (H, W) uint8, 255 = ignored.
    """

    labels: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    def resized(self, size: tuple[int, int]) -> LabelMap:
        """The map of the image resized to (height, width): each new pixel takes the old one under its centre.

        By Pillow's own arithmetic, as detectron2 does; torch's `nearest` has another rule.

        >>> LabelMap(torch.tensor([[1, 2, 3, 4]], dtype=torch.uint8)).resized((1, 2)).labels.tolist()
        [[2, 4]]
        """
        pixels = Image.fromarray(self.labels.cpu().numpy()).resize((size[1], size[0]), Image.Resampling.NEAREST)
        return LabelMap(torch.from_numpy(np.array(pixels)).to(self.labels.device))

    def cut(self, top: int, left: int, height: int, width: int) -> LabelMap:
        """The map as seen through a window, which may reach outside the image; what lies there is ignored."""
        below, right = top + height - self.size[0], left + width - self.size[1]
        return LabelMap(F.pad(self.labels, (-left, right, -top, below), value=IGNORED))

    def flipped_horizontally(self) -> LabelMap:
        """The map of the mirrored image, left and right exchanged."""
        return LabelMap(self.labels.flip(1))

    def flipped_vertically(self) -> LabelMap:
        """The map of the mirrored image, top and bottom exchanged."""
        return LabelMap(self.labels.flip(0))

    def transposed(self) -> LabelMap:
        """The map of the image with rows and columns exchanged."""
        return LabelMap(self.labels.T.contiguous())
