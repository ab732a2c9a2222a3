"""Random variation of a training image; image, boxes and masks move together through torchvision's transforms.

Masks travel as crops, never as bitmaps: kernels for them are registered with torchvision's geometric functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from maskwright.config.data import AugmentConfig
from maskwright.structures import CropMasks, Targets

# attempts at a crop before another least IoU is drawn, as in SSD's PyTorch ports
_CROP_TRIALS = 50


class Resize(Protocol):
    """How an image comes to the size of the network; a recipe's `resize` table is one."""

    @property
    def mask_interpolation(self) -> Literal["nearest", "bilinear"]:
        """How true masks follow; see `CropMasks.resized`."""

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
        """Network size of an image of (height, width), times a random factor."""


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


def _padded(masks: CropMasks, padding: list[int], **_: Any) -> CropMasks:
    """On a larger canvas: a window that begins outside the image."""
    left, top, right, bottom = padding
    return masks.cut(-top, -left, top + masks.size[0] + bottom, left + masks.size[1] + right)


_register(functional.crop, CropMasks.cut)
_register(functional.pad, _padded)
_register(functional.horizontal_flip, CropMasks.flipped_horizontally)
_register(functional.vertical_flip, CropMasks.flipped_vertically)


class SsdCrop(v2.RandomIoUCrop):
    """SSD's random crop around objects; what has no object or no smaller crop of whole pixels stays as it is."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        has_objects = any(len(inpt) > 0 for inpt in flat_inputs if isinstance(inpt, tv_tensors.BoundingBoxes))
        smallest_px = self.min_scale * min(v2.functional.get_size(flat_inputs[0]))
        return super().make_params(flat_inputs) if has_objects and smallest_px >= 1 else {}


class PolicyResize(v2.Transform):
    """Resize to the policy's size, at a random factor on its scale."""

    def __init__(self, resize: Resize, jitter: tuple[float, float]) -> None:
        super().__init__()
        self.resize, self.jitter = resize, jitter

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        low, high = (math.log(bound) for bound in self.jitter)
        factor = math.exp(low + (high - low) * torch.rand(()).item())
        height, width = v2.functional.get_size(flat_inputs[0])
        return {"size": self.resize.scaled_size((height, width), factor)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, TravellingMasks):
            return TravellingMasks.carry(inpt.masks.resized(params["size"], self.resize.mask_interpolation))
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


def build_augmentation(config: AugmentConfig, resize: Resize) -> v2.Transform:
    """The chain of a recipe: canvas and crop at the image's own size, resize with jitter, window, flips.

    Colours change last, where the window has left the fewest pixels; but before the canvas, whose fill stays as it is.
    """
    colours = [v2.RandomApply([v2.RandomPhotometricDistort()], config.colour)] if config.colour else []
    chain = [*_ssd_geometry(config), PolicyResize(resize, config.scale_jitter)]
    if config.crop_px is not None:
        chain.append(RandomWindow(config.crop_px))
    if config.horizontal_flip:
        chain.append(v2.RandomHorizontalFlip(config.horizontal_flip))
    if config.vertical_flip:
        chain.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.transpose:
        chain.append(v2.RandomApply([Transpose()], config.transpose))
    chain = [*colours, *chain] if config.expand else [*chain, *colours]
    if config.invert:
        chain.append(v2.RandomInvert(config.invert))
    return v2.Compose(chain)


def _ssd_geometry(config: AugmentConfig) -> list[v2.Transform]:
    """Smaller objects, then larger ones: the image on a wide canvas, and a crop of that (SSD, sections 2.2 and 3.6)."""
    chain: list[v2.Transform] = []
    if config.expand:
        fill = [round(value) for value in config.expand_fill]
        chain.append(v2.RandomZoomOut(fill, config.expand_ratio, config.expand))
    if config.iou_crop:
        chain.append(SsdCrop(sampler_options=list(config.iou_crop_choices), trials=_CROP_TRIALS))
    return chain


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
    """Drop objects that were cut away, and give those that were cut through a box.

    After a window (`crop_px`) it is the box of the visible pixels: any sliver of an object may be left, whose clipped
    box can be mostly background, and RoI masks are learnt on that box. After SSD's crop it stays the clipped box, as
    SSD and YOLACT were trained: the object's centre is inside, so at least half of either side is left, and YOLACT's
    masks, only cropped by the box, lose nothing in a wider one.
    """
    is_cut = config.iou_crop or config.crop_px is not None
    visible = moved.masks.boxes() if is_cut else moved.boxes
    boxes = moved.boxes if config.crop_px is None else visible
    is_kept = ((_sides(boxes) >= config.min_side_px) & (_sides(visible) > 0)).all(dim=1)
    if config.iou_crop:  # whose centre was outside the crop got a box without area
        is_kept &= (_sides(moved.boxes) > 0).all(dim=1)
    return Targets(moved.size, boxes, moved.labels, moved.masks, moved.is_crowd)[is_kept]


def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]
