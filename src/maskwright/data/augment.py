"""Random variation of a training image: all of its ground truth goes with it, and both come to the network's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig, ShortSideResize
from maskwright.data.transforms import (
    BrightnessAndContrast,
    Extents,
    Load,
    NetworkResize,
    OnNetworkInput,
    OnValues,
    RandomWindow,
    SsdCrop,
    Transpose,
    Traveller,
)
from maskwright.errors import ConfigError
from maskwright.images.preprocess import Preprocess
from maskwright.ops.boxes import has_area
from maskwright.structures import Targets
from maskwright.structures.keypoints import Keypoints, mirror_order
from maskwright.structures.label_map import LabelMap

# attempts at a crop before another least IoU is drawn, as in SSD's PyTorch ports
_CROP_TRIALS = 50
_RGB = 3
# what rounding leaves between an object's sides before and after a window that does not cut it
_ROUNDING_PX = 1e-3


def build_augmentation(config: AugmentConfig, preprocess: Preprocess) -> v2.Transform:
    """The chain of a recipe: canvas and crop at the image's own size, network input with jitter, window, flips.

    Colours change last, where the window has left the fewest pixels; but before the canvas, whose fill stays as it is.
    Other than three channels have brightness and contrast instead of colours.
    """
    pixels = preprocess.pixels
    distortion = v2.RandomPhotometricDistort() if pixels.channels == _RGB else BrightnessAndContrast()
    chain = [*_ssd_geometry(config, pixels), NetworkResize(_ways(config, preprocess), config.scale_jitter)]
    if config.crop_px is not None:
        chain.append(RandomWindow(config.crop_px))
    if config.horizontal_flip:
        chain.append(v2.RandomHorizontalFlip(config.horizontal_flip))
    if config.vertical_flip:
        chain.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.transpose:
        chain.append(v2.RandomApply([Transpose()], config.transpose))
    if config.colour and config.expand:
        chain.insert(0, v2.RandomApply([OnValues(distortion)], config.colour))
    elif config.colour:
        chain.append(v2.RandomApply([OnNetworkInput(distortion, preprocess)], config.colour))
    if config.invert:
        chain.append(v2.RandomApply([OnNetworkInput(v2.RandomInvert(1.0), preprocess)], config.invert))
    return v2.Compose(chain)


def _ways(config: AugmentConfig, preprocess: Preprocess) -> list[Preprocess]:
    """The recipe's preprocessing, with every short side that training draws from."""
    if config.short_sides is None:
        return [preprocess]
    resize = preprocess.resize
    if not isinstance(resize, ShortSideResize):
        raise ConfigError("data.augment.short_sides: this family's images have no short side; remove it")
    return [replace(preprocess, resize=resize.model_copy(update={"short_side": side})) for side in config.short_sides]


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
    return [round(value) for value in fill] if pixels.bits == 8 else list(fill)


def augment(
    image: Tensor,
    targets: Targets,
    chain: v2.Transform,
    config: AugmentConfig,
    key: int,
    keypoint_names: Sequence[str] = (),
) -> tuple[Tensor, Targets]:
    """Vary one image with its objects; the result is a function of `key` only.

    Args:
        image: (C, H, W) uint8, or float32 from 0 to 255.
        targets: its objects.
        chain: from `build_augmentation`.
        config: says which cut objects are dropped.
        key: seed of all draws.
        keypoint_names: of the objects' keypoints; left_… and right_… change sides in a mirrored image. Without names
            the keypoints are left behind.

    Returns:
        The network input of the image, (C, h, w) float32, and the objects that are left, in pixels of it.
    """
    boxes = tv_tensors.BoundingBoxes(targets.boxes, format="XYXY", canvas_size=targets.size)
    loads: dict[str, Load] = {"masks": targets.masks, "extents": Extents(targets.size, _sides(targets.boxes))}
    if targets.keypoints is not None and keypoint_names:
        loads["keypoints"] = Keypoints(targets.size, targets.keypoints, mirror_order(keypoint_names))
    if targets.semantic is not None:
        loads["semantic"] = LabelMap(targets.semantic)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key)  # torch.manual_seed would set those of the cards too, for good
        carriers = {name: Traveller.carry(load) for name, load in loads.items()}
        new_image, new_boxes, carriers = chain(tv_tensors.Image(image), boxes, carriers)
    arrived: dict[str, Any] = {name: carrier.load for name, carrier in carriers.items()}
    moved = replace(
        targets,
        size=arrived["masks"].size,
        boxes=new_boxes.as_subclass(Tensor),
        masks=arrived["masks"],
        keypoints=arrived["keypoints"].points if "keypoints" in arrived else None,
        semantic=arrived["semantic"].labels if "semantic" in arrived else None,
    )
    has_mask = has_area(targets.masks.boxes())
    return new_image.as_subclass(Tensor), _without_cut_off(moved, arrived["extents"].sides, has_mask, config)


def _without_cut_off(moved: Targets, full_sides: Tensor, has_mask: Tensor, config: AugmentConfig) -> Targets:
    """Drop objects of which nothing is left, and give those that were cut through a box.

    After a window (`crop_px`) it is the box of the visible pixels: any sliver of an object may be left, whose clipped
    box can be mostly background, and RoI masks are learnt on that box. After SSD's crop it stays the clipped box, as
    SSD and YOLACT were trained: the object's centre is inside, so at least half of either side is left, and YOLACT's
    masks, only cropped by the box, lose nothing in a wider one.

    Args:
        moved: all objects.
        full_sides: (G, 2) width and height of each as it would be uncut.
        has_mask: (G,) which have a mask at all; the others go by their box.
        config: of the recipe.
    """
    if not config.iou_crop and config.crop_px is None:
        return moved
    clipped = moved.boxes  # without area where the centre was outside SSD's crop
    visible = torch.where(has_mask[:, None], moved.masks.boxes().to(clipped), clipped)
    boxes = clipped if config.crop_px is None else visible
    is_shortened = _sides(clipped) < full_sides - _ROUNDING_PX
    is_sliver = (is_shortened & (_sides(boxes) < config.min_side_px)).any(dim=1)
    return replace(moved, boxes=boxes)[has_area(clipped) & has_area(visible) & ~is_sliver]


def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]
