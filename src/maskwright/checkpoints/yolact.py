"""Files of YOLACT's authors, versions 1 and ++, with the coarsest level and background in front; their backbones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from maskwright.checkpoints.architecture import category_names
from maskwright.checkpoints.lineage import BackboneFiles, Lineage
from maskwright.checkpoints.names import NameTable
from maskwright.config.categories import named_categories
from maskwright.errors import CheckpointError

_BLOCK, _OUR_BLOCK = "backbone.layers.{s}.{b}.", "backbone.stages.{s}.{b}."

# a pyramid level is counted from the coarsest by them and from the finest by us; in their sequences, ReLUs and the
# enlargement between prototype convolutions take numbers too
_RESNET = (
    ("backbone.conv1.", "backbone.stem.conv."),
    ("backbone.bn1.", "backbone.stem.norm."),
    (f"{_BLOCK}conv2.conv_offset_mask.", f"{_OUR_BLOCK}conv2.offsets."),
    (f"{_BLOCK}conv{{c}}.", f"{_OUR_BLOCK}conv{{c}}.conv."),
    (f"{_BLOCK}bn{{c}}.", f"{_OUR_BLOCK}conv{{c}}.norm."),
    (f"{_BLOCK}downsample.0.", f"{_OUR_BLOCK}shortcut.conv."),
    (f"{_BLOCK}downsample.1.", f"{_OUR_BLOCK}shortcut.norm."),
)
_DARKNET = (
    ("backbone._preconv.0.", "backbone.stem.conv."),
    ("backbone._preconv.1.", "backbone.stem.norm."),
    (f"{_BLOCK}conv{{c}}.0.", f"{_OUR_BLOCK}conv{{c}}.conv."),
    (f"{_BLOCK}conv{{c}}.1.", f"{_OUR_BLOCK}conv{{c}}.norm."),
    (f"{_BLOCK}0.", f"{_OUR_BLOCK}conv."),
    (f"{_BLOCK}1.", f"{_OUR_BLOCK}norm."),
)
_NAMES = NameTable(
    (
        *_RESNET,
        ("fpn.lat_layers.{2-l}.", "fpn.laterals.{l}.conv."),
        ("fpn.pred_layers.{2-l}.", "fpn.outputs.{l}.conv."),
        ("fpn.downsample_layers.{n}.", "fpn.extra.convs.{n}."),
        *((f"proto_net.{theirs}.", f"protonet.convs.{ours}.") for ours, theirs in enumerate((0, 2, 4, 8))),
        ("proto_net.10.", "protonet.prototypes."),
        ("prediction_layers.0.upfeature.0.", "head.convs.0."),
        ("prediction_layers.0.conf_layer.", "head.class_logits."),
        ("prediction_layers.0.bbox_layer.", "head.deltas."),
        ("prediction_layers.0.mask_layer.", "head.coefficients."),
        ("semantic_seg_conv.", "semantic_head.logits."),
        ("maskiou_net.maskiou_net.{2*n}.", "rescoring.convs.{n}."),
    ),
    aliases=_DARKNET,
)
# what their own loader ignores: the stages once more under older names, and levels that version 1.0 had in excess
_IGNORED = re.compile(r"backbone\.layer\d\.|fpn\.downsample_layers\.(?![01]\.)")

_MOST_BLOCKS = 23  # of a stage
_CLASS_BIASES, _DELTA_BIASES = "head.class_logits.bias", "head.deltas.bias"
_THEIRS = {
    _CLASS_BIASES: "prediction_layers.0.conf_layer.bias",
    _DELTA_BIASES: "prediction_layers.0.bbox_layer.bias",
}
_OFFSETS = re.compile(r"backbone\.stages\.(\d)\.(\d+)\.conv2\.offsets\.weight")


def is_yolact(keys: set[str]) -> bool:
    """Whether a state dict's keys are those of a YOLACT of its authors."""
    return {"proto_net.0.weight", "prediction_layers.0.conf_layer.weight"} <= keys


def _recognise(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that fits, and the overrides that names and shapes prove.

    They do not prove everything. The image size is taken as 550 pixels (name the recipe `yolact/r101_700` or
    `yolact/r101_400` for the others), 80 classes are taken as COCO's, and 20 of a plain ResNet-50 as Pascal's.

    Raises:
        CheckpointError: a network that has no recipe here.
    """
    num_anchors, num_classes = _num_anchors(weights), _num_classes(weights)
    has_rescoring = any(name.startswith("rescoring.") for name in weights)
    implied: dict[str, Any] = {"rescoring.is_on": has_rescoring}
    if "backbone.stages.0.0.conv.weight" in weights:  # a ResNet's blocks have no layer of that name
        name = "yolact/darknet53"
    else:
        deformable = _deformable_blocks(weights)
        implied |= _deformable_pattern(deformable)
        is_plus = bool(deformable) or has_rescoring or num_anchors > 3
        name = f"yolact/{'plus_' if is_plus else ''}r{_depth(weights)}"
    if name == "yolact/r50" and num_classes == len(named_categories("pascal")):
        return "yolact/r50_pascal", implied
    if num_classes != len(named_categories("coco")):
        implied["categories"] = category_names(num_classes, [])
    return name, implied


def _num_anchors(weights: Mapping[str, Tensor]) -> int:
    """Anchors on each cell."""
    return _length(weights, _DELTA_BIASES, 4) // 4


def _num_classes(weights: Mapping[str, Tensor]) -> int:
    """Classes without background, from the class scores of every anchor of a cell."""
    num_anchors = _num_anchors(weights)
    return _length(weights, _CLASS_BIASES, 2 * num_anchors) // num_anchors - 1


def _length(weights: Mapping[str, Tensor], name: str, at_least: int) -> int:
    value = weights.get(name)
    if value is None or value.ndim != 1 or len(value) < at_least:
        raise CheckpointError(
            f"{_THEIRS[name]} is no list of {at_least} or more numbers, so anchors and classes are not known"
        )
    return len(value)


def _depth(weights: Mapping[str, Tensor]) -> int:
    """The ResNet's depth, from its third stage's block count."""
    num_blocks = len({name.split(".")[3] for name in weights if name.startswith("backbone.stages.2.")})
    depths = {6: 50, 23: 101}
    if num_blocks not in depths or "backbone.stages.0.0.conv3.conv.weight" not in weights:
        raise CheckpointError(
            f"a backbone with {num_blocks} blocks in layers.2 is none that YOLACT was released with: ResNet-50, "
            "ResNet-101 or DarkNet-53"
        )
    return depths[num_blocks]


def _deformable_blocks(weights: Mapping[str, Tensor]) -> set[tuple[int, int]]:
    """(stage, block) of all deformable convolutions; stage 0 is res2."""
    found = map(_OFFSETS.fullmatch, weights)
    return {(int(match[1]), int(match[2])) for match in found if match}


def _deformable_pattern(blocks: set[tuple[int, int]]) -> dict[str, Any]:
    """From which stage on, and in every how many of its blocks, counted from its first."""
    if not blocks:
        return {"backbone.deformable_from": None}
    later = [block for _, block in blocks if block > 0]
    return {
        "backbone.deformable_from": min(stage for stage, _ in blocks) + 2,
        "backbone.deformable_every": min(later, default=_MOST_BLOCKS),
    }


def from_yolact(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys and put each anchor's background class last.

    A key that no rule knows keeps its name, so that loading can report it.
    """
    renamed = _NAMES.read_in({key: value for key, value in state.items() if not _IGNORED.match(key)})
    num_anchors = _num_anchors(renamed) if _DELTA_BIASES in renamed else 1
    return {key: _background_last(key, value, num_anchors) for key, value in renamed.items()}


def _background_last(key: str, value: Tensor, num_anchors: int) -> Tensor:
    """Their class 0 of every anchor is background; channels are anchor by anchor."""
    if not key.startswith("head.class_logits.") or value.ndim == 0 or len(value) % num_anchors:
        return value  # of a shape that loading will report
    return torch.roll(value.unflatten(0, (num_anchors, -1)), -1, dims=1).flatten(0, 1)


def is_yolact_backbone(keys: set[str]) -> bool:
    """Whether the keys are those of a backbone of YOLACT's authors, like their `darknet53.pth`."""
    return "layers.0.0.conv1.weight" in keys or "_preconv.0.weight" in keys


def from_yolact_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys."""
    return from_yolact({f"backbone.{key}": value for key, value in state.items()})


YOLACT = Lineage(
    "yolact",
    is_yolact,
    from_yolact,
    _recognise,
    (BackboneFiles("yolact", is_yolact_backbone, from_yolact_backbone),),
)
