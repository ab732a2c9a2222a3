"""How an image becomes network input: the pixel values and the size."""

from __future__ import annotations

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


class ResizeConfig(StrictModel):
    """Size of the network input, the aspect ratio kept (Mask R-CNN, section 3.1: shorter side 800)."""

    short_side: int = Field(800, gt=0, description="the shorter side becomes this many pixels")
    long_side: int = Field(1333, gt=0, description="unless the longer side would exceed this many")
    pad_multiple: int = Field(
        32, gt=0, description="a batch is padded with zeros to multiples of this, right and below"
    )
