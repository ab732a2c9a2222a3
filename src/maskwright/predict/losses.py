"""The training losses of given images, for checks and for validation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from maskwright.config.run import Recipe
from maskwright.errors import DataError
from maskwright.images.read import ImageSource
from maskwright.ops.losses import LossSum
from maskwright.predict.predictor import Predictor
from maskwright.structures import Targets
from maskwright.structures.label_map import IGNORED


def losses(predictor: Predictor, images: Sequence[ImageSource], targets: Sequence[Targets]) -> dict[str, float]:
    """The losses of one batch, without augmentation and without changing the model.

    Args:
        predictor: whose model, preprocessing and recipe are used; sampling obeys the recipe, and is deterministic.
        images: B images.
        targets: their objects, in pixels of the images as given.

    Returns:
        Loss name → value as the original system reports it, `train.loss_weights` left out. Two-stage models have
        rpn_objectness, rpn_box, class, box, mask, keypoint, semantic; YOLACT has box, class, mask, semantic, mask_iou,
        its own factors included.

    Raises:
        DataError: not as many targets as images, a target of another image size, or a semantic map with a class that
            the model has not.
    """
    with torch.no_grad():
        return {name: float(loss.mean()) for name, loss in loss_sums(predictor, images, targets).items()}


def loss_sums(predictor: Predictor, images: Sequence[ImageSource], targets: Sequence[Targets]) -> dict[str, LossSum]:
    """As `losses`, as sums with their counts and with gradients where these are on."""
    if len(images) != len(targets):
        raise DataError(f"{len(images)} images but {len(targets)} targets: give one Targets for each image")
    pixels = [predictor.preprocess.read(image).to(predictor.device) for image in images]
    for index, (image, target) in enumerate(zip(pixels, targets, strict=True)):
        size = tuple(image.shape[1:])
        if size != tuple(target.size):
            raise DataError(f"image {index} is {size} but its targets are for {target.size} (height, width)")
        _check_semantic(target, predictor.recipe, index)
    preprocess = predictor.preprocess
    # not the batch's own sizes: these may count padding
    sizes = [preprocess.resize.scaled_size(target.size) for target in targets]
    batch = preprocess.batch(pixels, sizes)
    resized = [
        preprocess.targets(target, size).to(predictor.device) for target, size in zip(targets, sizes, strict=True)
    ]
    with torch.autocast(predictor.device.type, torch.bfloat16, enabled=predictor.precision == "bf16"):
        return predictor.model.losses(batch, resized)


def _check_semantic(target: Targets, recipe: Recipe, index: int) -> None:
    head = recipe.semantics
    if head is None or target.semantic is None:
        return
    unknown = target.semantic[(target.semantic >= head.num_outputs) & (target.semantic != IGNORED)]
    if len(unknown):
        raise DataError(
            f"the semantic map of image {index} has class {int(unknown[0])}, but the semantic head has the outputs 0 "
            f"to {head.num_outputs - 1}; give these, or {IGNORED} for pixels to ignore"
        )
