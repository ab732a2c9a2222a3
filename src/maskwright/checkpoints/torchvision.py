"""torchvision's detection state dicts, both ways: their names, and their background class in front."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from maskwright.config.categories import named_categories
from maskwright.errors import CheckpointError

# torchvision's name → ours; digits in \1, \2 …; older published files lack the nested `.0`
_RULES: tuple[tuple[str, str], ...] = (
    (r"backbone\.body\.conv1\.", "backbone.stem.conv."),
    (r"backbone\.body\.bn1\.", "backbone.stem.norm."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.conv(\d)\.", r"backbone.stages.<\1>.\2.conv\3.conv."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.bn(\d)\.", r"backbone.stages.<\1>.\2.conv\3.norm."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.0\.", r"backbone.stages.<\1>.\2.shortcut.conv."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.1\.", r"backbone.stages.<\1>.\2.shortcut.norm."),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.1\.", r"fpn.laterals.\1.norm."),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?(?=weight|bias)", r"fpn.laterals.\1.conv."),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.1\.", r"fpn.outputs.\1.norm."),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?(?=weight|bias)", r"fpn.outputs.\1.conv."),
    (r"rpn\.head\.conv\.(\d)\.0\.", r"rpn.head.convs.\1."),
    (r"rpn\.head\.conv\.(?=weight|bias)", "rpn.head.convs.0."),
    (r"rpn\.head\.cls_logits\.", "rpn.head.objectness."),
    (r"rpn\.head\.bbox_pred\.", "rpn.head.deltas."),
    (r"roi_heads\.box_head\.fc6\.", "box_head.fcs.0."),
    (r"roi_heads\.box_head\.fc7\.", "box_head.fcs.1."),
    (r"roi_heads\.box_head\.(\d)\.0\.", r"box_head.convs.\1.conv."),
    (r"roi_heads\.box_head\.(\d)\.1\.", r"box_head.convs.\1.norm."),
    (r"roi_heads\.box_head\.5\.", "box_head.fcs.0."),
    (r"roi_heads\.box_predictor\.cls_score\.", "box_head.class_logits."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", "box_head.deltas."),
    (r"roi_heads\.mask_head\.(\d)\.0\.", r"mask_head.convs.\1.conv."),
    (r"roi_heads\.mask_head\.(\d)\.1\.", r"mask_head.convs.\1.norm."),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.", r"mask_head.convs.(\1).conv."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "mask_head.upsample."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "mask_head.logits."),
)

_CLASS_BIASES = "roi_heads.box_predictor.cls_score.bias"


def is_torchvision(keys: set[str]) -> bool:
    """Whether a state dict's keys are those of a torchvision detection model."""
    return "rpn.head.cls_logits.weight" in keys and any(key.startswith("backbone.body.") for key in keys)


def torchvision_recipe(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that fits a state dict, and the overrides that its keys and shapes prove.

    Raises:
        CheckpointError: a torchvision model that has no recipe here.
    """
    if "roi_heads.mask_predictor.mask_fcn_logits.weight" not in state:
        raise CheckpointError("a torchvision detector without a mask branch; recipes exist for its Mask R-CNNs only")
    is_v2 = "rpn.head.conv.1.0.weight" in state
    implied: dict[str, Any] = {"backbone.depth": _depth(state)}
    # torchvision's FrozenBatchNorm2d saves no counters: their presence proves BatchNorm2d, whose epsilon is 1e-5
    if "backbone.body.bn1.num_batches_tracked" in state:
        implied |= {"backbone.norm": "batch", "backbone.norm_eps": 1e-5}
    elif implied["backbone.depth"] != 50:  # its epsilon is 1e-5 too; 0 is for the weights published on COCO alone
        implied["backbone.norm_eps"] = 1e-5
    class_biases = state.get(_CLASS_BIASES)
    if class_biases is None or class_biases.ndim != 1:
        raise CheckpointError(f"{_CLASS_BIASES} is no list of numbers, so the number of classes is not known")
    num_classes = len(class_biases) - 1
    if num_classes != len(named_categories("coco_with_holes")):
        implied["categories"] = [f"class {index}" for index in range(1, num_classes + 1)]
    return f"torchvision/mask_rcnn_r50_fpn{'_v2' if is_v2 else ''}", implied


def _depth(state: Mapping[str, Tensor]) -> int:
    """The ResNet's depth, from its third stage's block count and the kind of its blocks."""
    is_bottleneck = "backbone.body.layer1.0.conv3.weight" in state
    num_blocks = len({key.split(".")[3] for key in state if key.startswith("backbone.body.layer3.")})
    depths = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101}
    if (num_blocks, is_bottleneck) not in depths:
        raise CheckpointError(f"a ResNet with {num_blocks} blocks in layer3 is none of {sorted(depths.values())}")
    return depths[num_blocks, is_bottleneck]


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys and put the background class last.

    A key that no rule knows keeps its name, so that loading can report it.
    """
    renamed = {_rename(key): value for key, value in state.items()}
    return {key: _background_last(key, value) for key, value in renamed.items()}


def _rename(key: str) -> str:
    for pattern, replacement in _RULES:
        name, count = re.subn("^" + pattern, replacement, key)
        if count:
            # <n> and (n) count from one in torchvision
            return re.sub(r"[<(](\d)[>)]", lambda match: str(int(match.group(1)) - 1), name)
    return key


def _background_last(key: str, value: Tensor) -> Tensor:
    """torchvision's channel 0 is background in all three predictors; only the class predictor trains it."""
    if value.ndim == 0:  # no predictor; loading will report its shape
        return value
    if key.startswith("box_head.class_logits."):
        return torch.cat([value[1:], value[:1]])
    if key.startswith("box_head.deltas."):
        return value[4:]
    if key.startswith("mask_head.logits."):
        return value[1:]
    return value
