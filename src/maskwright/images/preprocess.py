"""The one way from images to network input, for training, evaluation and prediction alike, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.config.images import PixelsConfig, ResizePolicy
from maskwright.config.run import Recipe
from maskwright.structures import ImageBatch, Instances, Targets


@dataclass(frozen=True)
class Preprocess:
    """The pixel values and the size of the network input, as a recipe states them."""

    pixels: PixelsConfig
    resize: ResizePolicy

    @staticmethod
    def of(recipe: Recipe) -> Preprocess:
        """As the recipe says."""
        return Preprocess(recipe.pixels, recipe.resize)

    def batch(
        self,
        images: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]] | None = None,
        keys: Sequence[int] | None = None,
        at_least: tuple[int, int] = (1, 1),
    ) -> ImageBatch:
        """Normalise, then resize, then pad, in torchvision's order.

        Args:
            images: (3, h, w) uint8 RGB each, all on one device.
            sizes: network size of each image; by default that of the resize policy.
            keys: random key of each image, for the samplers of the losses.
            at_least: smallest (H, W) of the padded batch.
        """
        sizes = [self.resize.scaled_size(_size(image)) for image in images] if sizes is None else sizes
        ready = [_resized(self._normalised(image), size) for image, size in zip(images, sizes, strict=True)]
        multiple = self.resize.pad_multiple
        height = _round_up(max(at_least[0], *(size[0] for size in sizes)), multiple)
        width = _round_up(max(at_least[1], *(size[1] for size in sizes)), multiple)
        padded = torch.stack([F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in ready])
        return ImageBatch(padded, tuple(sizes), tuple(keys) if keys is not None else (0,) * len(images))

    def targets(self, targets: Targets, size: tuple[int, int]) -> Targets:
        """Ground truth of an image at its network size, (height, width)."""
        return targets.resized(size, self.resize.mask_interpolation)

    def restore(self, instances: Instances, size: tuple[int, int]) -> Instances:
        """Carry detections from the network input back to the image of (height, width) they were found in."""
        restored = instances.restored_to(size)
        return replace(restored, boxes=restored.boxes.floor()) if self.resize.cuts_boxes else restored

    def _normalised(self, image: Tensor) -> Tensor:
        values = image.float() / self.pixels.divisor
        if self.pixels.channel_order == "bgr":
            values = values.flip(0)
        mean, std = values.new_tensor(self.pixels.mean), values.new_tensor(self.pixels.std)
        return (values - mean[:, None, None]) / std[:, None, None]


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, without antialiasing, in float (torchvision)."""
    if _size(image) == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]


def _round_up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
