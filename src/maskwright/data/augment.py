"""Random variation of a training image: all of its ground truth goes with it through torchvision's transforms.

Masks travel as crops, never as bitmaps: kernels for them are registered with torchvision's geometric functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig, ShortSideResize
from maskwright.errors import ConfigError
from maskwright.structures import CropMasks, Targets
from maskwright.structures.keypoints import Keypoints, mirror_order
from maskwright.structures.label_map import LabelMap
from maskwright.structures.mask_resizing import Interpolation

# what moves with an image and has no kernel in torchvision
Load = CropMasks | Keypoints | LabelMap

# attempts at a crop before another least IoU is drawn, as in SSD's PyTorch ports
_CROP_TRIALS = 50
# factors on brightness and contrast, from and to (SSD, as in torchvision's distortion)
_DISTORTIONS = ((0.875, 1.125), (0.5, 1.5))
_RGB = 3
_WHITE = 255.0
_RGB_8_BIT = PixelsConfig()


class Resize(Protocol):
    """How an image comes to the size of the network; a recipe's `resize` table is one."""

    @property
    def mask_interpolation(self) -> Interpolation:
        """How true masks follow; see `CropMasks.resized`."""

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
        """Network size of an image of (height, width), times a random factor."""


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


class PolicyResize(v2.Transform):
    """Resize to the size of a policy, drawn from those given, at a random factor on its scale."""

    def __init__(self, policies: Sequence[Resize], jitter: tuple[float, float]) -> None:
        super().__init__()
        self.policies, self.jitter = policies, jitter
        self.mask_interpolation = policies[0].mask_interpolation

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        drawn = int(torch.randint(len(self.policies), ()).item()) if len(self.policies) > 1 else 0
        low, high = (math.log(bound) for bound in self.jitter)
        factor = math.exp(low + (high - low) * torch.rand(()).item())
        height, width = v2.functional.get_size(flat_inputs[0])
        return {"size": self.policies[drawn].scaled_size((height, width), factor)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, Traveller):
            return Traveller.carry(self._resized(inpt.load, params["size"]))
        # as the network input is resized at test time: bilinear, without antialiasing
        return self._call_kernel(functional.resize, inpt, list(params["size"]), antialias=False)

    def _resized(self, load: Load, size: tuple[int, int]) -> Load:
        return load.resized(size, self.mask_interpolation) if isinstance(load, CropMasks) else load.resized(size)


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


def build_augmentation(config: AugmentConfig, resize: Resize, pixels: PixelsConfig = _RGB_8_BIT) -> v2.Transform:
    """The chain of a recipe: canvas and crop at the image's own size, resize with jitter, window, flips.

    Colours change last, where the window has left the fewest pixels; but before the canvas, whose fill stays as it is.
    Other than three channels have brightness and contrast in place of colours.
    """
    distortion = v2.RandomPhotometricDistort() if pixels.channels == _RGB else BrightnessAndContrast()
    colours = [v2.RandomApply([distortion], config.colour)] if config.colour else []
    chain = [*_ssd_geometry(config, pixels), PolicyResize(_policies(config, resize), config.scale_jitter)]
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


def _policies(config: AugmentConfig, resize: Resize) -> list[Resize]:
    """The policy for every short side that training draws from, or the one policy there is."""
    if config.short_sides is None:
        return [resize]
    if not isinstance(resize, ShortSideResize):
        raise ConfigError("data.augment.short_sides: this family's images have no short side; remove it")
    return [resize.model_copy(update={"short_side": side}) for side in config.short_sides]


def _ssd_geometry(config: AugmentConfig, pixels: PixelsConfig) -> list[v2.Transform]:
    """Smaller objects, then larger ones: the image on a wide canvas, and a crop of that (SSD, sections 2.2 and 3.6)."""
    chain: list[v2.Transform] = []
    if config.expand:
        chain.append(v2.RandomZoomOut(_canvas_fill(config, pixels), config.expand_ratio, config.expand))
    if config.iou_crop:
        chain.append(SsdCrop(sampler_options=list(config.iou_crop_choices), trials=_CROP_TRIALS))
    return chain


def _canvas_fill(config: AugmentConfig, pixels: PixelsConfig) -> list[float]:
    """Of each channel, as the chain sees images; what has no colour gets the mean that the network subtracts."""
    fill: Sequence[float] = config.expand_fill
    if pixels.channels != _RGB:
        fill = [value * pixels.divisor for value in pixels.mean or (0.0,) * pixels.channels]
    return [round(value) for value in fill] if pixels.bits == 8 else [value / _WHITE for value in fill]


def augment(
    image: Tensor,
    targets: Targets,
    chain: v2.Transform,
    config: AugmentConfig,
    key: int,
    keypoint_names: Sequence[str] = (),
) -> tuple[Tensor, Targets]:
    """Vary one image with its objects; the result is a function of `key` alone.

    Args:
        image: (C, H, W) uint8, or float32 from 0 to 255.
        targets: its objects.
        chain: from `build_augmentation`.
        config: says which cut objects are dropped.
        key: seed of all draws.
        keypoint_names: of the objects' keypoints; left_… and right_… change places in a mirrored image. Without names
            the keypoints are left behind.

    Returns:
        The image and the objects that are left, in pixels of the new image.
    """
    is_float = image.is_floating_point()
    boxes = tv_tensors.BoundingBoxes(targets.boxes, format="XYXY", canvas_size=targets.size)
    loads: dict[str, Load] = {"masks": targets.masks}
    if targets.keypoints is not None and keypoint_names:
        loads["keypoints"] = Keypoints(targets.size, targets.keypoints, mirror_order(keypoint_names))
    if targets.semantic is not None:
        loads["semantic"] = LabelMap(targets.semantic)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        carriers = {name: Traveller.carry(load) for name, load in loads.items()}
        start = image / _WHITE if is_float else image  # torchvision takes floats to be from 0 to 1
        new_image, new_boxes, carriers = chain(tv_tensors.Image(start), boxes, carriers)
    arrived: dict[str, Any] = {name: carrier.load for name, carrier in carriers.items()}
    moved = replace(
        targets,
        size=arrived["masks"].size,
        boxes=new_boxes.as_subclass(Tensor),
        masks=arrived["masks"],
        keypoints=arrived["keypoints"].points if "keypoints" in arrived else None,
        semantic=arrived["semantic"].labels if "semantic" in arrived else None,
    )
    new_image = new_image.as_subclass(Tensor)
    return new_image * _WHITE if is_float else new_image, _without_cut_off(moved, config)


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
    return replace(moved, boxes=boxes)[is_kept]


def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]
