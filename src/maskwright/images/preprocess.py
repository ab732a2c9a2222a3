"""The one way from images to network input, for training, evaluation and prediction alike, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from maskwright.config.images import PixelsConfig, ResizePolicy
from maskwright.config.run import Recipe
from maskwright.errors import ConfigError
from maskwright.images.read import ImageSource, read_image
from maskwright.ops.boxes import clip_boxes, has_area, scale_boxes
from maskwright.structures import ImageBatch, Instances, Targets

Size = tuple[int, int]


@dataclass(frozen=True)
class Preprocess:
    """The pixel values and the size of the network input, as a recipe states them.

    Attributes:
        pixels: values.
        resize: size.
        keypoints_at_centres: annotated keypoints name pixels, and the network sees the centres of these.
    """

    pixels: PixelsConfig
    resize: ResizePolicy
    keypoints_at_centres: bool = False

    @staticmethod
    def of(recipe: Recipe) -> Preprocess:
        """As the recipe says.

        Raises:
            ConfigError: it leaves mean or std to be measured in training, which has not been done.
        """
        if recipe.pixels.mean is None or recipe.pixels.std is None:
            raise ConfigError(
                f"recipe {recipe.name}: pixels.mean and pixels.std are measured in training; without one, give "
                f"{recipe.pixels.channels} numbers for each"
            )
        keypoints = recipe.keypoints
        return Preprocess(recipe.pixels, recipe.resize, keypoints is not None and keypoints.adds_half_pixel)

    def read(self, source: ImageSource) -> Tensor:
        """An image with the channels and the depth that the network sees; see `read_image`."""
        return read_image(source, self.pixels)

    def batch(
        self,
        images: Sequence[Tensor],
        sizes: Sequence[Size] | None = None,
        keys: Sequence[int] | None = None,
        at_least: Size = (1, 1),
    ) -> ImageBatch:
        """Bring images to their network size and pixel values, and pad them to one size.

        Args:
            images: (C, h, w) each, as `read` gives them, all on one device.
            sizes: network size of each image; by default that of the resize policy.
            keys: see `padded`.
            at_least: see `padded`.
        """
        sizes = [self.resize.scaled_size(_size(image)) for image in images] if sizes is None else sizes
        ready = [self.ready(image, size) for image, size in zip(images, sizes, strict=True)]
        return self.padded(ready, keys, at_least)

    def ready(self, image: Tensor, size: Size) -> Tensor:
        """The network input of one image, padding apart.

        Args:
            image: (C, h, w) as `read` gives it.
            size: (height, width) in the network input.

        Returns:
            (C, height, width) float32, normalised.
        """
        if self.resize.filter == "pillow":
            return self._normalised(_resized_by_pillow(image, size))
        return _interpolated(self._normalised(image), size)  # torchvision's order

    def unready(self, image: Tensor) -> Tensor:
        """The values, from 0 to 255 and as `read` orders them, of a network input (C, h, w) that is not padded."""
        mean, std = (image.new_tensor(values)[:, None, None] for values in (self.pixels.mean, self.pixels.std))
        values = (image * std + mean) * self.pixels.divisor
        return values.flip(0) if self.pixels.is_bgr else values

    def padded(self, ready: Sequence[Tensor], keys: Sequence[int] | None = None, at_least: Size = (1, 1)) -> ImageBatch:
        """A batch of network inputs.

        Args:
            ready: (C, h, w) each, as `ready` gives them, all on one device.
            keys: random key of each image, for the samplers of the losses.
            at_least: smallest (H, W) of the batch.
        """
        sizes = [_size(image) for image in ready]
        keys = (0,) * len(ready) if keys is None else tuple(keys)
        corners = None
        if self.resize.canvas_px is not None:
            canvas = max(self.resize.canvas_px, *(max(size) for size in sizes))
            ready = [self._on_canvas(image, canvas) for image in ready]
            corners = tuple(_corner(size, canvas) for size in sizes)
        height, width = (max(at_least[axis], *(_size(image)[axis] for image in ready)) for axis in (0, 1))
        pixels = torch.stack([_padded(image, self._round_up((height, width))) for image in ready])
        if corners is not None:
            return ImageBatch(pixels, tuple(sizes), keys, corners)
        if self.resize.counts_padding:
            sizes = [self._round_up(size) for size in sizes]
        return ImageBatch(pixels, tuple(sizes), keys)

    def targets(self, targets: Targets, size: Size) -> Targets:
        """Ground truth of an image at its network size, (height, width)."""
        resized = self.with_points(targets).resized(size, self.resize.mask_interpolation, self.resize.keeps_thin)
        return self.with_boxes(resized)

    def with_points(self, targets: Targets) -> Targets:
        """Ground truth of an image, before anything moves it: keypoints where the network sees them."""
        return targets.with_keypoints_at_centres() if self.keypoints_at_centres else targets

    def with_boxes(self, targets: Targets) -> Targets:
        """Ground truth at network size: boxes as the recipe takes them."""
        return targets.with_boxes_of_masks() if self.resize.boxes_from_masks else targets

    def restore(self, instances: Instances, size: Size) -> Instances:
        """Carry detections from the network input back to the image of (height, width) they were found in."""
        boxes = self._restored_boxes(instances.boxes, instances.size, size)
        restored = replace(instances.restored_to(size, boxes), keypoints_at_centres=self.keypoints_at_centres)
        return restored[has_area(boxes)] if self.resize.drops_empty else restored

    def _restored_boxes(self, boxes: Tensor, from_size: Size, to_size: Size) -> Tensor:
        if self.resize.restores_by == "smaller":
            boxes = boxes * min(to_size[0] / from_size[0], to_size[1] / from_size[1])
        else:
            boxes = scale_boxes(boxes, from_size, to_size)
        boxes = clip_boxes(boxes, to_size)
        return boxes.floor() if self.resize.cuts_boxes else boxes

    def _on_canvas(self, image: Tensor, canvas: int) -> Tensor:
        """The image in the middle of a square that was black before it was normalised."""
        square = self._normalised(image.new_zeros((len(image), canvas, canvas)))
        (height, width), (top, left) = _size(image), _corner(_size(image), canvas)
        square[:, top : top + height, left : left + width] = image
        return square

    def _normalised(self, image: Tensor) -> Tensor:
        values = image.float() / self.pixels.divisor
        if self.pixels.is_bgr:
            values = values.flip(0)
        mean, std = values.new_tensor(self.pixels.mean), values.new_tensor(self.pixels.std)
        return (values - mean[:, None, None]) / std[:, None, None]

    def _round_up(self, size: Size) -> Size:
        multiple = self.resize.pad_multiple
        return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def _size(image: Tensor) -> Size:
    return image.shape[-2], image.shape[-1]


def _corner(size: Size, canvas: int) -> Size:
    """(top, left) of an image in the middle of a square."""
    return (canvas - size[0]) // 2, (canvas - size[1]) // 2


def _padded(image: Tensor, size: Size) -> Tensor:
    return F.pad(image, (0, size[1] - image.shape[2], 0, size[0] - image.shape[1]))


def _interpolated(image: Tensor, size: Size) -> Tensor:
    """Bilinear, without antialiasing, in float (torchvision)."""
    if _size(image) == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]


def _resized_by_pillow(image: Tensor, size: Size) -> Tensor:
    """uint8 → uint8, float → float; torch's own antialiasing differs by one level in every few thousand values."""
    if _size(image) == size:
        return image
    pixels = image.cpu().numpy()
    if len(pixels) == 3 and image.dtype == torch.uint8:
        resized = _by_pillow(pixels.transpose(1, 2, 0), size).transpose(2, 0, 1)
    else:
        resized = np.stack([_by_pillow(channel, size) for channel in pixels])
    return torch.from_numpy(resized).to(image.device)


def _by_pillow(pixels: npt.NDArray[Any], size: Size) -> npt.NDArray[Any]:
    """(H, W, 3) uint8, or (H, W) uint8 or float32."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
