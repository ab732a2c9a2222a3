"""How an image becomes network input: the pixel values and the size."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field

from maskwright.config.base import StrictModel

Triple = tuple[float, float, float]


class PixelsConfig(StrictModel):
    """Pixel values of the network input: (value / divisor - mean) / std, per channel."""

    channel_order: Literal["rgb", "bgr"] = Field("rgb", description="order in which the network sees the channels")
    divisor: float = Field(255.0, gt=0, description="8-bit values are divided by this first")
    mean: Triple = Field((0.485, 0.456, 0.406), description="subtracted, in the network's channel order (ImageNet's)")
    std: Triple = Field((0.229, 0.224, 0.225), description="divided by, in the network's channel order (ImageNet's)")


class ResizePolicy(StrictModel, ABC):
    """From the size of an image to the size of the network input."""

    mask_interpolation: Literal["nearest", "bilinear"] = Field(
        "nearest", description="how true masks follow: nearest pixel (torchvision), or bilinear and rounded (OpenCV)"
    )
    pad_multiple: int = Field(
        32, gt=0, description="a batch is padded with zeros to multiples of this, right and below"
    )

    cuts_boxes: bool = Field(
        False, description="final boxes are cut down to whole pixels of the image, as YOLACT does; masks are not"
    )

    @abstractmethod
    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
        """Network size of an image of (height, width), times a random factor in training; at least 1 × 1."""


class ShortSideResize(ResizePolicy):
    """The aspect ratio is kept (Mask R-CNN, section 3.1: shorter side 800)."""

    short_side: int = Field(800, gt=0, description="the shorter side becomes this many pixels")
    long_side: int = Field(1333, gt=0, description="unless the longer side would exceed this many")

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
        """Each side is rounded down.

        >>> ShortSideResize().scaled_size((375, 500))
        (800, 1066)
        """
        scale = jitter * min(self.short_side / min(size), self.long_side / max(size))
        return max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale))


class SquareResize(ResizePolicy):
    """Every image becomes a square, whatever its aspect ratio (YOLACT, section 6)."""

    size: int = Field(550, gt=0, description="both sides of the network input, in pixels")
    mask_interpolation: Literal["nearest", "bilinear"] = Field(
        "bilinear", description="how true masks follow: nearest pixel (torchvision), or bilinear and rounded (OpenCV)"
    )
    cuts_boxes: bool = Field(
        True, description="final boxes are cut down to whole pixels of the image, as YOLACT does; masks are not"
    )
    pad_multiple: int = Field(1, gt=0, description="a batch is padded with zeros to multiples of this, right and below")

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:  # noqa: ARG002
        """The same for every image.

        >>> SquareResize().scaled_size((375, 500))
        (550, 550)
        """
        side = max(1, math.floor(self.size * jitter))
        return side, side
