"""Random variation of a training image; image, boxes and masks move together through torchvision's transforms.

Masks travel as crops, never as bitmaps: kernels for them are registered with torchvision's geometric functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from maskwright.config.data import AugmentConfig
from maskwright.structures import CropMasks, Targets

SizePolicy = Callable[[tuple[int, int], float], tuple[int, int]]


class TravellingMasks(tv_tensors.TVTensor):
    """An empty tensor that carries `CropMasks` through torchvision's transforms."""

    masks: CropMasks

    @classmethod
    def carry(cls, masks: CropMasks) -> TravellingMasks:
        """Wrap masks for the journey."""
        carrier = torch.empty(0).as_subclass(cls)
        carrier.masks = masks
        return carrier


def _register(function: Callable[..., Any], move: Callable[..., CropMasks]) -> None:
    def kernel(carrier: TravellingMasks, *arguments: Any, **options: Any) -> TravellingMasks:
        return TravellingMasks.carry(move(carrier.masks, *arguments, **options))

    v2.functional.register_kernel(function, TravellingMasks)(kernel)


_register(functional.resize, lambda masks, size, **_: masks.resized((size[0], size[1])))
_register(functional.crop, lambda masks, top, left, height, width: masks.cut(top, left, height, width))
_register(functional.horizontal_flip, CropMasks.flipped_horizontally)
_register(functional.vertical_flip, CropMasks.flipped_vertically)


class PolicyResize(v2.Transform):
    """Resize to the size policy's scale times a random factor."""

    def __init__(self, policy: SizePolicy, jitter: tuple[float, float]) -> None:
        super().__init__()
        self.policy, self.jitter = policy, jitter

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        low, high = (math.log(bound) for bound in self.jitter)
        factor = math.exp(low + (high - low) * torch.rand(()).item())
        return {"size": self.policy(v2.functional.get_size(flat_inputs[0]), factor)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        # as the network input is resized at test time: bilinear, without antialiasing
        return self._call_kernel(functional.resize, inpt, list(params["size"]), antialias=False)


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


class Transpose(v2.Transform):
    """Exchange rows and columns."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ARG002 - the base class's signature
        if isinstance(inpt, TravellingMasks):
            return TravellingMasks.carry(inpt.masks.transposed())
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            height, width = inpt.canvas_size
            return tv_tensors.BoundingBoxes(inpt[:, [1, 0, 3, 2]], format="XYXY", canvas_size=(width, height))
        if isinstance(inpt, tv_tensors.Image):
            return tv_tensors.Image(inpt.transpose(-1, -2).contiguous())
        return inpt


def build_augmentation(config: AugmentConfig, policy: SizePolicy) -> v2.Transform:
    """The chain of a recipe: resize with jitter, window, flips, colour. `policy` maps (size, factor) to a size."""
    chain: list[v2.Transform] = [PolicyResize(policy, config.scale_jitter)]
    if config.crop_px is not None:
        chain.append(RandomWindow(config.crop_px))
    if config.horizontal_flip:
        chain.append(v2.RandomHorizontalFlip(config.horizontal_flip))
    if config.vertical_flip:
        chain.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.transpose:
        chain.append(v2.RandomApply([Transpose()], config.transpose))
    if config.colour:
        chain.append(v2.RandomApply([v2.RandomPhotometricDistort()], config.colour))
    if config.invert:
        chain.append(v2.RandomInvert(config.invert))
    return v2.Compose(chain)


def augment(
    image: Tensor, targets: Targets, chain: v2.Transform, config: AugmentConfig, key: int
) -> tuple[Tensor, Targets]:
    """Vary one image with its objects; the result is a function of `key` alone.

    Args:
        image: (3, H, W) uint8.
        targets: its objects.
        chain: from `build_augmentation`.
        config: says which cut objects are dropped.
        key: seed of all draws.

    Returns:
        The image and the objects that are left, in pixels of the new image.
    """
    boxes = tv_tensors.BoundingBoxes(targets.boxes, format="XYXY", canvas_size=targets.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        new_image, new_boxes, carrier = chain(tv_tensors.Image(image), boxes, TravellingMasks.carry(targets.masks))
    masks = carrier.masks
    moved = Targets(masks.size, new_boxes.as_subclass(Tensor), targets.labels, masks, targets.is_crowd)
    return new_image.as_subclass(Tensor), _without_cut_off(moved, config)


def _without_cut_off(moved: Targets, config: AugmentConfig) -> Targets:
    """Drop objects that the window cut away; what it cut through gets the box of its visible pixels."""
    boxes = moved.masks.boxes() if config.crop_px is not None else moved.boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    is_kept = (sides >= config.min_side_px).all(dim=1) & (sides > 0).all(dim=1)
    return Targets(moved.size, boxes, moved.labels, moved.masks, moved.is_crowd)[is_kept]
