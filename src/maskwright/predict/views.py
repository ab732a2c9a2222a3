"""The views of an image for test-time augmentation, and the way of boxes from the image to them and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maskwright.config.images import ResizePolicy
from maskwright.config.testing import AugmentedConfig
from maskwright.images.preprocess import Preprocess
from maskwright.ops.boxes import scale_boxes
from maskwright.structures import ImageBatch

Size = tuple[int, int]

# of the recipe's own side, in steps of an eighth: 400, 500 … 1200 for detectron2's 800
_SHARES = tuple(eighths / 8 for eighths in range(4, 13))


class View(NamedTuple):
    """An image resized to (height, width), and then mirrored or not."""

    size: Size
    is_mirrored: bool


def views_of(size: Size, resize: ResizePolicy, config: AugmentedConfig) -> list[View]:
    """The views of an image of (height, width), each size as it is and then mirrored (detectron2's order)."""
    sides = config.short_sides or [round(share * resize.side_px) for share in _SHARES]
    sizes = [resize.to_side(side, config.long_side).scaled_size(size) for side in sides]
    return [View(size, is_mirrored) for size in sizes for is_mirrored in ((False, True) if config.flips else (False,))]


@dataclass(frozen=True, eq=False)
class ViewGroup:
    """Some views of an image (C, H, W) that go through the network together."""

    image: Tensor
    views: tuple[View, ...]

    def batch(self, preprocess: Preprocess) -> ImageBatch:
        """The views as network input, mirrored after they were resized; a size that several have is made once."""
        sizes = list(dict.fromkeys(view.size for view in self.views))
        made = preprocess.batch([self.image] * len(sizes), sizes)
        batch = _chosen(made, [sizes.index(view.size) for view in self.views])
        for pixels, view, (top, left) in zip(batch.pixels, self.views, batch.corners, strict=True):
            if view.is_mirrored:
                window = pixels[:, top : top + view.size[0], left : left + view.size[1]]
                window.copy_(window.flip(-1))
        return batch


def _chosen(batch: ImageBatch, indices: Sequence[int]) -> ImageBatch:
    """Some images of a batch, some of them several times; none of them shares its pixels with another."""
    corners = batch.corners or ((0, 0),) * len(batch)
    return ImageBatch(
        batch.pixels[list(indices)],
        tuple(batch.sizes[index] for index in indices),
        tuple(batch.keys[index] for index in indices),
        tuple(corners[index] for index in indices),
    )


def in_image(boxes: Tensor, view: View, size: Size) -> Tensor:
    """Boxes (N, 4) of a view, in pixels of the image of (height, width); they may reach over its border."""
    return scale_boxes(_mirrored(boxes, view), view.size, size)


def in_view(boxes: Tensor, view: View, size: Size) -> Tensor:
    """Boxes (N, 4) of an image of (height, width), in pixels of a view."""
    return _mirrored(scale_boxes(boxes, size, view.size), view)


def _mirrored(boxes: Tensor, view: View) -> Tensor:
    if not view.is_mirrored:
        return boxes
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([view.size[1] - x2, y1, view.size[1] - x1, y2], dim=-1)
