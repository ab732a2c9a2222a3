"""What checkpoints say of the heads on RoIs: settings that their shapes prove, and outputs that stand for classes.

A head that other systems have as well is a row in `_HEADS`; its names there are in the tables of the lineages.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isqrt
from typing import Any, Literal, NamedTuple

from maskwright.checkpoints.shapes import Weights, conv_facts, count_of, is_shared, num_classes_of, rows_of
from maskwright.config.mask_rcnn import MaskRcnnRecipe

Kind = Literal["class", "stuff", "keypoint"]

BACKGROUND = "\0background"  # an output without a name of its own
_POINT_LAYER = re.compile(r"mask_head\.point\.(fcs\.\d+|logits)")
_MASK_LOGITS = ("mask_head.logits", "mask_head.coarse.logits", "mask_head.point.logits")


class Layout(NamedTuple):
    """What the outputs of a layer stand for: `labels` in their order, each with equally many rows, `repeats` times.

    `weight_axis` is the axis of the layer's weight that they are on.
    """

    kind: Kind
    labels: tuple[str, ...]
    repeats: int = 1
    weight_axis: int = 0


class _Head(NamedTuple):
    """A table of the recipe: what weights prove of it, and what the outputs of a layer stand for, if of classes."""

    facts: Callable[[Weights], dict[str, Any]]
    layout: Callable[[MaskRcnnRecipe, str], Layout | None]


def roi_head_facts(weights: Weights) -> dict[str, Any]:
    """Dotted overrides of the tables of all heads beside the boxes."""
    facts: dict[str, Any] = {}
    for head in _HEADS:
        facts |= head.facts(weights)
    return facts


def roi_head_layout(recipe: MaskRcnnRecipe, layer: str) -> Layout | None:
    """What the outputs of a head's layer stand for; None where they are of no classes, or of all at once."""
    return next((layout for head in _HEADS if (layout := head.layout(recipe, layer)) is not None), None)


def input_layout(recipe: MaskRcnnRecipe, layer: str) -> Layout | None:
    """What the last inputs of a layer stand for: in PointRend's layers, the coarse logits of all classes."""
    return _mask_layout(recipe, _MASK_LOGITS[-1]) if _POINT_LAYER.fullmatch(layer) else None


def _mask_facts(weights: Weights) -> dict[str, Any]:
    if "mask_head.point.logits.bias" in weights:
        return _point_facts(weights)
    if "mask_head.logits.weight" not in weights:
        return {"mask_head.is_on": False}
    num_convs = count_of(weights, "mask_head.convs.")
    facts: dict[str, Any] = {
        "mask_head.is_on": True,
        "mask_head.num_convs": num_convs,
        "mask_head.is_class_agnostic": is_shared(weights, "mask_head.logits.bias", 1, num_classes_of(weights)),
    }
    if num_convs:
        return facts | conv_facts(weights, "mask_head", "mask_head.convs.0.")
    upsample = weights.get("mask_head.upsample.bias")  # C4: only the deconvolution
    return facts | {"mask_head.channels": len(upsample) if upsample is not None and upsample.ndim == 1 else None}


def _point_facts(weights: Weights) -> dict[str, Any]:
    """PointRend's; how often its masks are doubled leaves no trace."""
    masks, width = rows_of(weights, "mask_head.point.logits.bias") or 1, rows_of(weights, "mask_head.coarse.halve.bias")
    pixels, inputs = rows_of(weights, "mask_head.coarse.logits.bias"), weights.get("mask_head.coarse.fcs.0.weight")
    cells = inputs.shape[1] // width if width and inputs is not None and inputs.ndim == 2 else None
    return {
        "mask_head.is_on": True,
        "mask_head.kind": "point",
        "mask_head.is_class_agnostic": is_shared(weights, "mask_head.point.logits.bias", 1, num_classes_of(weights)),
        "mask_head.channels": width,
        "mask_head.pool_px": 2 * isqrt(cells) if cells else None,
        "mask_head.points.coarse_px": isqrt(pixels // masks) if pixels else None,
        "mask_head.points.num_coarse_fcs": count_of(weights, "mask_head.coarse.fcs."),
        "mask_head.points.coarse_fc_channels": rows_of(weights, "mask_head.coarse.fcs.0.bias"),
        "mask_head.points.num_fcs": count_of(weights, "mask_head.point.fcs."),
        "mask_head.points.fc_channels": rows_of(weights, "mask_head.point.fcs.0.bias"),
    }


def _mask_layout(recipe: MaskRcnnRecipe, layer: str) -> Layout | None:
    if layer not in _MASK_LOGITS or recipe.mask_head.is_class_agnostic:
        return None
    classes = tuple(category.name for category in recipe.categories)
    return Layout("class", (*classes, BACKGROUND) if recipe.mask_head.is_softmax else classes)


def _keypoint_facts(weights: Weights) -> dict[str, Any]:
    maps = weights.get("keypoint_head.upsample.bias")
    if maps is None or maps.ndim != 1:
        return {"keypoint_head.is_on": False}
    facts: dict[str, Any] = {
        "keypoint_head.is_on": True,
        "keypoint_head.num_convs": count_of(weights, "keypoint_head.convs."),
        "keypoint_head.channels": rows_of(weights, "keypoint_head.convs.0.conv.weight"),
    }
    is_of_coco = len(maps) == 17
    return facts | ({} if is_of_coco else {"keypoint_head.names": [f"keypoint {n}" for n in range(1, len(maps) + 1)]})


def _keypoint_layout(recipe: MaskRcnnRecipe, layer: str) -> Layout | None:
    # a transposed convolution, whose weight has outputs second
    return Layout("keypoint", recipe.keypoint_head.names, weight_axis=1) if layer == "keypoint_head.upsample" else None


_HEADS = (_Head(_mask_facts, _mask_layout), _Head(_keypoint_facts, _keypoint_layout))
