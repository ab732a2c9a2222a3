"""How an image becomes network input: the pixel values and the size."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from maskwright.config.base import MOST_CHANNELS, MOST_SIDE_PX, StrictModel

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RGB = 3

Statistic = tuple[float, ...] | None


class PixelsConfig(StrictModel):
    """Pixel values of the network input: (value / divisor - mean) / std, per channel.

    Files of any depth are read on one scale, from 0 to 255, so that statistics and published weights keep their
    meaning.
    """

    channels: int = Field(
        3,
        gt=0,
        le=MOST_CHANNELS,
        description="that the network sees; 3: RGB, grey images fill it with equal ones; 1: grey, of RGB its luma; "
        "others: as many as the files have, in their order (NPY, TIFF)",
    )
    bits: Literal[8, 10, 12, 14, 16] = Field(
        8,
        description="8: whole values, and deeper grey comes down to them by the smallest camera depth that holds the "
        "image; floats by 0 to 1 or, where that is too little, by the same depths; more: integers of so many bits "
        "(2^bits - 1 becomes 255) and floats keep their fractions",
    )
    float_range: tuple[float, float] = Field(
        (0.0, 1.0),
        description="values of floating-point files that become 0 and 255; no value may lie outside. With 8 bits, only "
        "another range than 0 to 1 is taken so strictly",
    )
    channel_order: Literal["rgb", "bgr"] = Field("rgb", description="order in which the network sees three channels")
    divisor: float = Field(255.0, gt=0, description="values from 0 to 255 are divided by this first")
    mean: Statistic = Field(
        _IMAGENET_MEAN,
        description="subtracted, in the network's channel order (ImageNet's); none: measured over the training images "
        "before the first step, as where there are not three channels and nothing is given",
    )
    std: Statistic = Field(
        _IMAGENET_STD, description="divided by, in the network's channel order (ImageNet's); none: as mean"
    )

    @property
    def given_float_range(self) -> tuple[float, float] | None:
        """The range of floats where one was chosen; None: each image has its own, see `images.values`."""
        return None if self.float_range == (0.0, 1.0) else self.float_range

    @property
    def is_bgr(self) -> bool:
        """Whether the network sees blue first; other than three channels have the order of their file."""
        return self.channel_order == "bgr" and self.channels == _RGB

    @model_validator(mode="before")
    @classmethod
    def _leave_out_imagenet(cls, table: Any) -> Any:
        """ImageNet's statistics are those of three channels."""
        if isinstance(table, Mapping) and table.get("channels", _RGB) != _RGB:
            return {"mean": None, "std": None, **table}
        return table

    @model_validator(mode="after")
    def _check_statistics(self) -> Self:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers is not None and len(numbers) != self.channels:
                raise ValueError(
                    f"pixels.{name} has {len(numbers)} numbers, but pixels.channels is {self.channels}: give one for "
                    "each channel, or null to measure them over the training images"
                )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("pixels.std: every number must be above 0; leave out a channel that never varies")
        if self.float_range[0] >= self.float_range[1]:
            raise ValueError("pixels.float_range: the first number must be below the second")
        return self


_ROUNDINGS: dict[str, Callable[[float], int]] = {
    "down": math.floor,
    "half_up": lambda side: math.floor(side + 0.5),
    "half_even": round,
}


class ResizePolicy(StrictModel, ABC):
    """From the size of an image to the size of the network input."""

    mask_interpolation: Literal["nearest", "nearest_corners", "bilinear"] = Field(
        "nearest",
        description="how true masks follow: nearest pixel (torchvision), the same with corner pixels on corner pixels "
        "(matterport), or bilinear and rounded (OpenCV)",
    )
    keeps_thin: bool = Field(
        True,
        description="an object that becomes thinner than a pixel keeps the pixels that it covers most, where its mask "
        "would break up or vanish (the originals lose it)",
    )
    boxes_from_masks: bool = Field(
        False, description="true boxes are those around the resized masks, not the annotated ones (matterport)"
    )
    pad_multiple: int = Field(
        32, gt=0, le=MOST_SIDE_PX, description="a batch is padded with zeros to multiples of this, right and below"
    )
    pads_batches: bool = Field(
        False,
        description="images of a list go through the network in one padded batch whatever their sizes, as in the "
        "originals; their borders see the padding, so that scores depend on the other images of the batch",
    )
    cuts_boxes: bool = Field(
        False, description="final boxes are cut down to whole pixels of the image, as YOLACT does; masks are not"
    )
    filter: Literal["bilinear", "pillow"] = Field(
        "bilinear",
        description="of training and test images alike: bilinear in float, without antialiasing (torchvision), or "
        "Pillow's bilinear on 8-bit values, which antialiases (detectron2, matterport)",
    )
    counts_padding: bool = Field(
        False,
        description="padding is taken for a part of the image, so that boxes come out stretched by padded ÷ resized "
        "size; Simple Mask R-CNN does so by mistake",
    )
    restores_by: Literal["axes", "smaller"] = Field(
        "axes", description="boxes go back to the image by each axis's own ratio, or by the smaller (matterport)"
    )
    drops_empty: bool = Field(
        False, description="detections whose box has no area on the image are left out (detectron2, matterport)"
    )

    @property
    def canvas_px(self) -> int | None:
        """Side of the square in whose middle each image lies; None: images lie at the top left."""
        return None

    @property
    @abstractmethod
    def side_px(self) -> int:
        """The side that images are resized to: the shorter one, or that of the square."""

    @abstractmethod
    def to_side(self, side_px: int, long_side: int) -> Self:
        """The same policy with another `side_px`, which images are made smaller for too, and another limit on sides."""

    @abstractmethod
    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
        """Network size of an image of (height, width), times a random factor in training; at least 1 × 1."""


class ShortSideResize(ResizePolicy):
    """The aspect ratio is kept (Mask R-CNN, section 3.1: shorter side 800)."""

    short_side: int = Field(800, gt=0, le=MOST_SIDE_PX, description="the shorter side becomes this many pixels")
    long_side: int = Field(1333, gt=0, le=MOST_SIDE_PX, description="unless the longer side would exceed this many")
    only_enlarges: bool = Field(False, description="a shorter side above short_side stays as it is (matterport)")
    rounding: Literal["down", "half_up", "half_even"] = Field(
        "down", description="of the new sides: torchvision down, detectron2 half up, Python's round half to even"
    )
    is_centred: bool = Field(
        False, description="each image lies in the middle of a black square of long_side pixels (matterport)"
    )

    @property
    def canvas_px(self) -> int | None:
        """As `is_centred` says."""
        return self.long_side if self.is_centred else None

    @property
    def side_px(self) -> int:
        return self.short_side

    def to_side(self, side_px: int, long_side: int) -> Self:
        return self.model_copy(update={"short_side": side_px, "long_side": long_side, "only_enlarges": False})

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
        """Each side is rounded by itself.

        >>> ShortSideResize().scaled_size((375, 500)), ShortSideResize(rounding="half_up").scaled_size((375, 500))
        ((800, 1066), (800, 1067))
        """
        enlarged = self.short_side / min(size)
        scale = max(1.0, enlarged) if self.only_enlarges else enlarged
        limit = self.long_side / max(size)
        sides = [side * min(scale, limit) for side in size]
        if self.rounding == "half_up" and scale > limit:  # detectron2 scales twice: other roundings
            first = [self.short_side if side == min(size) else side * scale for side in size]
            sides = [side * (self.long_side / max(first)) for side in first]
        height, width = (max(1, _ROUNDINGS[self.rounding](jitter * side)) for side in sides)
        return height, width


class SquareResize(ResizePolicy):
    """Every image becomes a square, whatever its aspect ratio (YOLACT, section 6)."""

    size: int = Field(550, gt=0, le=MOST_SIDE_PX, description="both sides of the network input, in pixels")
    mask_interpolation: Literal["nearest", "nearest_corners", "bilinear"] = Field(
        "bilinear", description="how true masks follow; see ResizePolicy"
    )
    cuts_boxes: bool = Field(
        True, description="final boxes are cut down to whole pixels of the image, as YOLACT does; masks are not"
    )
    pad_multiple: int = Field(
        1, gt=0, le=MOST_SIDE_PX, description="a batch is padded with zeros to multiples of this, right and below"
    )

    @property
    def side_px(self) -> int:
        return self.size

    def to_side(self, side_px: int, long_side: int) -> Self:
        return self.model_copy(update={"size": min(side_px, long_side)})

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:  # noqa: ARG002
        """The same for every image.

        >>> SquareResize().scaled_size((375, 500))
        (550, 550)
        """
        side = max(1, math.floor(self.size * jitter))
        return side, side
