"""matterport's Mask R-CNN as its PyTorch port names it: background in front, boxes as y x h w."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from maskwright.checkpoints.architecture import architecture_of, category_names
from maskwright.checkpoints.class_rows import background_last
from maskwright.checkpoints.lineage import BackboneFiles, Lineage
from maskwright.checkpoints.names import NameTable
from maskwright.checkpoints.shapes import num_classes_of

_BLOCK, _OUR_BLOCK = "fpn.C{s+2}.{b}.", "backbone.stages.{s}.{b}."
_NAMES = NameTable(
    (
        ("fpn.C1.0.", "backbone.stem.conv."),
        ("fpn.C1.1.", "backbone.stem.norm."),
        (f"{_BLOCK}conv{{c}}.", f"{_OUR_BLOCK}conv{{c}}.conv."),
        (f"{_BLOCK}bn{{c}}.", f"{_OUR_BLOCK}conv{{c}}.norm."),
        (f"{_BLOCK}downsample.0.", f"{_OUR_BLOCK}shortcut.conv."),
        (f"{_BLOCK}downsample.1.", f"{_OUR_BLOCK}shortcut.norm."),
        ("fpn.P{l+2}_conv1.", "fpn.laterals.{l}.conv."),
        ("fpn.P{l+2}_conv2.1.", "fpn.outputs.{l}.conv."),
        ("rpn.conv_shared.", "rpn.head.convs.0."),
        ("rpn.conv_class.", "rpn.head.objectness."),
        ("rpn.conv_bbox.", "rpn.head.deltas."),
        ("classifier.conv{n+1}.", "box_head.fcs.{n}.linear."),
        ("classifier.bn{n+1}.", "box_head.fcs.{n}.norm."),
        ("classifier.linear_class.", "box_head.class_logits."),
        ("classifier.linear_bbox.", "box_head.deltas."),
        ("mask.conv5.", "mask_head.logits."),
        ("mask.conv{n+1}.", "mask_head.convs.{n}.conv."),
        ("mask.bn{n+1}.", "mask_head.convs.{n}.norm."),
        ("mask.deconv.", "mask_head.upsample."),
    )
)


def is_matterport(keys: set[str]) -> bool:
    """Whether a state dict's keys are those of the port."""
    return {"fpn.C1.0.weight", "rpn.conv_class.weight"} <= keys


def is_matterport_backbone(keys: set[str]) -> bool:
    """Whether it is only the backbone."""
    return "fpn.C1.0.weight" in keys and all(key.startswith("fpn.C") for key in keys)


def _recognise(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Its recipe, and the overrides that names and shapes prove; the norms are those of the recipe.

    Raises:
        CheckpointError: a ResNet other than 50 and 101, or no class scores.
    """
    implied = {key: value for key, value in architecture_of(weights).items() if not key.endswith(".norm")}
    implied["categories"] = category_names(num_classes_of(weights), ["coco"])
    return f"matterport/mask_rcnn_r{'101' if implied['backbone.depth'] == 101 else '50'}", implied


def from_matterport(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys, put the background class last and the deltas into the order x y w h.

    Its anchors have their ratios as width ÷ height: in their order, ours are 2, 1 and ½. The objectness keeps its two
    scores for each anchor, background and object. A key that no rule knows keeps its name, so that loading reports it.
    """
    return background_last({key: _reshaped(key, value) for key, value in _NAMES.read_in(state).items()})


def _reshaped(key: str, value: Tensor) -> Tensor:
    """Deltas by groups of four, and convolutions over a whole RoI as the linear layers that they are."""
    if key.startswith(("rpn.head.deltas.", "box_head.deltas.")) and value.ndim > 0 and len(value) % 4 == 0:
        return value.view(-1, 4, *value.shape[1:])[:, [1, 0, 3, 2]].flatten(0, 1)
    if key.startswith("box_head.fcs.") and value.ndim == 4:
        return value.flatten(1)
    return value


MATTERPORT = Lineage(
    "matterport",
    is_matterport,
    from_matterport,
    _recognise,
    (BackboneFiles("matterport", is_matterport_backbone, from_matterport),),
)
