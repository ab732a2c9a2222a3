"""Simple Mask R-CNN's state dicts: a single level of features, otherwise torchvision's ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from maskwright.checkpoints.architecture import architecture_of, category_names
from maskwright.checkpoints.class_rows import background_last
from maskwright.checkpoints.lineage import Lineage
from maskwright.checkpoints.names import NameTable
from maskwright.checkpoints.shapes import num_classes_of
from maskwright.checkpoints.torchvision import BACKBONE_NAMES

_NAMES = NameTable(
    (
        *BACKBONE_NAMES,
        ("backbone.inner_block_module.", "fpn.lateral.conv."),
        ("backbone.layer_block_module.", "fpn.output.conv."),
        ("rpn.head.conv.", "rpn.head.convs.0."),
        ("rpn.head.cls_logits.", "rpn.head.objectness."),
        ("rpn.head.bbox_pred.", "rpn.head.deltas."),
        ("head.box_predictor.fc{n+1}.", "box_head.fcs.{n}."),
        ("head.box_predictor.cls_score.", "box_head.class_logits."),
        ("head.box_predictor.bbox_pred.", "box_head.deltas."),
        ("head.mask_predictor.mask_fcn{n+1}.", "mask_head.convs.{n}.conv."),
        ("head.mask_predictor.mask_conv5.", "mask_head.upsample."),
        ("head.mask_predictor.mask_fcn_logits.", "mask_head.logits."),
    )
)


def is_simple(keys: set[str]) -> bool:
    """Whether a state dict's keys are those of Simple Mask R-CNN."""
    return {"backbone.inner_block_module.weight", "head.box_predictor.cls_score.bias"} <= keys


def _recognise(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Its recipe, and the overrides that names and shapes prove.

    Raises:
        CheckpointError: no ResNet, or no class scores.
    """
    implied = architecture_of(weights)
    del implied["backbone.norm"]  # always frozen, with or without counters
    implied["categories"] = category_names(num_classes_of(weights), ["coco_with_holes"])
    return "simple/mask_rcnn_r50", implied


def from_simple(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys and put the background class last.

    A key that no rule knows keeps its name, so that loading can report it.
    """
    return background_last(_NAMES.read_in(state))


SIMPLE = Lineage("simple", is_simple, from_simple, _recognise)
