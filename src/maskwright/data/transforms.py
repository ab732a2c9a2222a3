"""Random variations as transforms of torchvision's kind; masks, keypoints and maps take part in them.

Masks travel as crops, never as bitmaps: kernels for them are registered with torchvision's geometric functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from maskwright.images.preprocess import Preprocess
from maskwright.ops.boxes import scale_boxes
from maskwright.structures import CropMasks
from maskwright.structures.keypoints import Keypoints
from maskwright.structures.label_map import LabelMap

# factors on brightness and contrast, from and to (SSD, as in torchvision's distortion)
_DISTORTIONS = ((0.875, 1.125), (0.5, 1.5))
_WHITE = 255.0


@dataclass(frozen=True)
class Extents:
    """How large objects are before anything of them is cut off.

    Attributes:
        size: (height, width) of the image in pixels.
        sides: (G, 2) width and height of each object in pixels.
    """

    size: tuple[int, int]
    sides: Tensor

    def resized(self, size: tuple[int, int]) -> Extents:
        """Of the image resized to (height, width)."""
        ratio = self.sides.new_tensor([size[1] / self.size[1], size[0] / self.size[0]])
        return Extents(size, self.sides * ratio)

    def cut(self, top: int, left: int, height: int, width: int) -> Extents:  # noqa: ARG002 - wherever the window is
        """As seen through a window: an object is as large as it was."""
        return Extents((height, width), self.sides)

    def flipped_horizontally(self) -> Extents:
        """Of the mirrored image."""
        return self

    def flipped_vertically(self) -> Extents:
        """Of the image upside down."""
        return self

    def transposed(self) -> Extents:
        """Of the image with rows and columns exchanged."""
        return Extents((self.size[1], self.size[0]), self.sides.flip(1))


# what moves with an image and has no kernel in torchvision
Load = CropMasks | Extents | Keypoints | LabelMap


class Traveller(tv_tensors.TVTensor):
    """An empty tensor that carries what torchvision does not know through its transforms."""

    load: Load

    @classmethod
    def carry(cls, load: Load) -> Traveller:
        """Take masks, keypoints or a map on the journey."""
        carrier = torch.empty(0).as_subclass(cls)
        carrier.load = load
        return carrier


def _register(function: Callable[..., Any], move: Callable[..., Load]) -> None:
    def kernel(carrier: Traveller, *arguments: Any, **options: Any) -> Traveller:
        return Traveller.carry(move(carrier.load, *arguments, **options))

    v2.functional.register_kernel(function, Traveller)(kernel)


def _padded(load: Load, padding: list[int], **_: Any) -> Load:
    """On a larger canvas: a window that begins outside the image."""
    left, top, right, bottom = padding
    return load.cut(-top, -left, top + load.size[0] + bottom, left + load.size[1] + right)


_register(functional.crop, lambda load, *window, **sides: load.cut(*window, **sides))
_register(functional.pad, _padded)
_register(functional.horizontal_flip, lambda load: load.flipped_horizontally())
_register(functional.vertical_flip, lambda load: load.flipped_vertically())


class SsdCrop(v2.RandomIoUCrop):
    """SSD's random crop around objects; what has no object or no smaller crop of whole pixels stays as it is."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        has_objects = any(len(inpt) > 0 for inpt in flat_inputs if isinstance(inpt, tv_tensors.BoundingBoxes))
        smallest_px = self.min_scale * min(v2.functional.get_size(flat_inputs[0]))
        return super().make_params(flat_inputs) if has_objects and smallest_px >= 1 else {}


class NetworkResize(v2.Transform):
    """From an image as it is read to network input, at a random factor on its scale, by one of several ways."""

    def __init__(self, ways: Sequence[Preprocess], jitter: tuple[float, float]) -> None:
        super().__init__()
        self.ways, self.jitter = ways, jitter

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        drawn = int(torch.randint(len(self.ways), ()).item()) if len(self.ways) > 1 else 0
        low, high = (math.log(bound) for bound in self.jitter)
        factor = math.exp(low + (high - low) * torch.rand(()).item())
        height, width = v2.functional.get_size(flat_inputs[0])
        return {"way": self.ways[drawn], "size": self.ways[drawn].resize.scaled_size((height, width), factor)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        way, size = params["way"], params["size"]
        if isinstance(inpt, Traveller):
            return Traveller.carry(self._resized(inpt.load, way, size))
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            boxes = scale_boxes(inpt.as_subclass(Tensor), inpt.canvas_size, size)
            return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)
        return tv_tensors.Image(way.ready(inpt.as_subclass(Tensor), size))

    def _resized(self, load: Load, way: Preprocess, size: tuple[int, int]) -> Load:
        if isinstance(load, CropMasks):
            return load.resized(size, way.resize.mask_interpolation, way.resize.keeps_thin)
        return load.resized(size)


class RandomWindow(v2.Transform):
    """Keep a random window; an image smaller than the window along an axis stays whole along it."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        image_height, image_width = v2.functional.get_size(flat_inputs[0])
        height, width = min(self.size[0], image_height), min(self.size[1], image_width)
        top = int(torch.randint(image_height - height + 1, ()).item())
        left = int(torch.randint(image_width - width + 1, ()).item())
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(functional.crop, inpt, **params)


class BrightnessAndContrast(v2.Transform):
    """What SSD's distortion of colours is without colours: for images of any number of channels, on a scale up to 1.

    As torchvision's `RandomPhotometricDistort` draws them, brightness and contrast each change in half of the images.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002 - the base class's signature
        draws = torch.rand(4).tolist()
        brightness, contrast = (
            low + (high - low) * draw for (low, high), draw in zip(_DISTORTIONS, draws, strict=False)
        )
        return {
            "brightness": brightness if draws[2] < 0.5 else 1.0,
            "contrast": contrast if draws[3] < 0.5 else 1.0,
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        values = functional.to_dtype(inpt, torch.float32, scale=True) * params["brightness"]
        mean = values.clamp(0, 1).mean()
        values = (mean + (values.clamp(0, 1) - mean) * params["contrast"]).clamp(0, 1)
        return tv_tensors.Image(functional.to_dtype(tv_tensors.Image(values), inpt.dtype, scale=True))


class Transpose(v2.Transform):
    """Exchange rows and columns."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ARG002 - the base class's signature
        if isinstance(inpt, Traveller):
            return Traveller.carry(inpt.load.transposed())
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            height, width = inpt.canvas_size
            return tv_tensors.BoundingBoxes(inpt[:, [1, 0, 3, 2]], format="XYXY", canvas_size=(width, height))
        if isinstance(inpt, tv_tensors.Image):
            return tv_tensors.Image(inpt.transpose(-1, -2).contiguous())
        return inpt


class OnValues(v2.Transform):
    """A change of colours on images as they are read: their floats are from 0 to 255, torchvision's from 0 to 1."""

    def __init__(self, change: v2.Transform) -> None:
        super().__init__()
        self.change = change

    def forward(self, *inputs: Any) -> Any:
        image, *others = inputs
        if image.is_floating_point():
            return (tv_tensors.Image(self.change(tv_tensors.Image(image / _WHITE)) * _WHITE), *others)
        return (self.change(image), *others)


class OnNetworkInput(v2.Transform):
    """A change of colours on network input, whose values are those of the image again while it is made."""

    def __init__(self, change: v2.Transform, preprocess: Preprocess) -> None:
        super().__init__()
        self.change, self.preprocess = change, preprocess

    def forward(self, *inputs: Any) -> Any:
        image, *others = inputs
        values = tv_tensors.Image(self.preprocess.unready(image.as_subclass(Tensor)) / _WHITE)
        changed = self.change(values).as_subclass(Tensor) * _WHITE
        return (tv_tensors.Image(self.preprocess.ready(changed, (changed.shape[-2], changed.shape[-1]))), *others)
