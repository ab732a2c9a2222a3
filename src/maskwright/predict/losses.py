"""The training losses of given images, for checks and for validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from maskwright.errors import DataError
from maskwright.images.read import ImageSource, read_image
from maskwright.models.build import Segmenter
from maskwright.ops.losses import LossSum
from maskwright.predict.predictor import Predictor
from maskwright.structures import Targets


def losses(predictor: Predictor, images: Sequence[ImageSource], targets: Sequence[Targets]) -> dict[str, float]:
    """The losses of one batch, without augmentation and without changing the model.

    Args:
        predictor: whose model, preprocessing and recipe are used; sampling obeys the recipe, and is deterministic.
        images: B images.
        targets: their objects, in pixels of the images as given.

    Returns:
        Loss name → value as the original system reports it, `train.loss_weights` left out: rpn_objectness, rpn_box,
        class, box, mask of two-stage models; box, class, mask, semantic, mask_iou of YOLACT, its own factors included.

    Raises:
        DataError: not as many targets as images, or a target of another image size.
    """
    with torch.no_grad():
        return {name: float(loss.mean()) for name, loss in loss_sums(predictor, images, targets).items()}


def loss_sums(predictor: Predictor, images: Sequence[ImageSource], targets: Sequence[Targets]) -> dict[str, LossSum]:
    """As `losses`, as sums with their counts and with gradients where these are on."""
    if len(images) != len(targets):
        raise DataError(f"{len(images)} images but {len(targets)} targets: give one Targets for each image")
    pixels = [read_image(image).to(predictor.device) for image in images]
    for place, (image, target) in enumerate(zip(pixels, targets, strict=True)):
        size = tuple(image.shape[1:])
        if size != tuple(target.size):
            raise DataError(f"image {place} is {size} but its targets are for {target.size} (height, width)")
    batch = predictor.preprocess.batch(pixels)
    resized = [
        predictor.preprocess.targets(target, size).to(predictor.device)
        for target, size in zip(targets, batch.sizes, strict=True)
    ]
    with torch.autocast(predictor.device.type, torch.bfloat16, enabled=predictor.precision == "bf16"):
        return cast(Segmenter, predictor.model).losses(batch, resized)
