"""torchvision's detection models, both ways, with background in front; and the backbones of its classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from maskwright.checkpoints.architecture import architecture_of, category_names
from maskwright.checkpoints.class_rows import background_first, background_last
from maskwright.checkpoints.lineage import BackboneFiles, Lineage, refuse_softmax
from maskwright.checkpoints.names import NameTable
from maskwright.checkpoints.shapes import num_classes_of
from maskwright.errors import CheckpointError

_BLOCK, _OUR_BLOCK = "backbone.body.layer{s+1}.{b}.", "backbone.stages.{s}.{b}."
BACKBONE_NAMES = (
    ("backbone.body.conv1.", "backbone.stem.conv."),
    ("backbone.body.bn1.", "backbone.stem.norm."),
    (f"{_BLOCK}conv{{c}}.", f"{_OUR_BLOCK}conv{{c}}.conv."),
    (f"{_BLOCK}bn{{c}}.", f"{_OUR_BLOCK}conv{{c}}.norm."),
    (f"{_BLOCK}downsample.0.", f"{_OUR_BLOCK}shortcut.conv."),
    (f"{_BLOCK}downsample.1.", f"{_OUR_BLOCK}shortcut.norm."),
)
_NAMES = (
    *BACKBONE_NAMES,
    ("backbone.fpn.inner_blocks.{l}.0.", "fpn.laterals.{l}.conv."),
    ("backbone.fpn.inner_blocks.{l}.1.", "fpn.laterals.{l}.norm."),
    ("backbone.fpn.layer_blocks.{l}.0.", "fpn.outputs.{l}.conv."),
    ("backbone.fpn.layer_blocks.{l}.1.", "fpn.outputs.{l}.norm."),
    ("rpn.head.conv.{n}.0.", "rpn.head.convs.{n}."),
    ("rpn.head.cls_logits.", "rpn.head.objectness."),
    ("rpn.head.bbox_pred.", "rpn.head.deltas."),
    ("roi_heads.box_predictor.cls_score.", "box_head.class_logits."),
    ("roi_heads.box_predictor.bbox_pred.", "box_head.deltas."),
    ("roi_heads.mask_head.{n}.0.", "mask_head.convs.{n}.conv."),
    ("roi_heads.mask_head.{n}.1.", "mask_head.convs.{n}.norm."),
    ("roi_heads.mask_predictor.conv5_mask.", "mask_head.upsample."),
    ("roi_heads.mask_predictor.mask_fcn_logits.", "mask_head.logits."),
    ("roi_heads.keypoint_head.{2*n}.", "keypoint_head.convs.{n}.conv."),  # ReLUs take the odd numbers
    ("roi_heads.keypoint_predictor.kps_score_lowres.", "keypoint_head.upsample."),
)
# older published files
_OLDER = (
    ("backbone.fpn.inner_blocks.{l}.", "fpn.laterals.{l}.conv."),
    ("backbone.fpn.layer_blocks.{l}.", "fpn.outputs.{l}.conv."),
    ("rpn.head.conv.", "rpn.head.convs.0."),
    ("roi_heads.mask_head.mask_fcn{n+1}.", "mask_head.convs.{n}.conv."),
)
_FC6 = (("roi_heads.box_head.fc{n+6}.", "box_head.fcs.{n}."),)
# the first name of each of its four convolutions, and of each linear layer behind them and a flattening
_CONVS_BEFORE_FCS = (
    ("roi_heads.box_head.{n}.0.", "box_head.convs.{n}.conv."),
    ("roi_heads.box_head.{n}.1.", "box_head.convs.{n}.norm."),
)
_FIRST_CONV, _OUR_FIRST_CONV = "roi_heads.box_head.{n}.0.weight", "box_head.convs.{n}.conv.weight"


def is_torchvision(keys: set[str]) -> bool:
    """Whether a state dict's keys are those of a torchvision detection model with regions of interest."""
    is_two_stage = "rpn.head.cls_logits.weight" in keys and "roi_heads.box_predictor.cls_score.bias" in keys
    return is_two_stage and any(key.startswith("backbone.body.") for key in keys)


def _recognise(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that fits, and the overrides that names and shapes prove.

    91 outputs are taken as COCO's, with the holes in its numbers, and two with keypoints as background and person.

    Raises:
        CheckpointError: a torchvision model that has no recipe here.
    """
    implied = architecture_of(weights)
    # torchvision's FrozenBatchNorm2d saves no counters: their presence proves BatchNorm2d, whose epsilon is 1e-5
    if implied["backbone.norm"] == "batch":
        implied["backbone.norm_eps"] = 1e-5
    else:
        del implied["backbone.norm"]
        if implied["backbone.depth"] != 50:  # its epsilon is 1e-5 too; 0 is for the weights published on COCO only
            implied["backbone.norm_eps"] = 1e-5
    has_keypoints, has_masks = implied["keypoint_head.is_on"], implied["mask_head.is_on"]
    kind = "keypoint_rcnn" if has_keypoints else "mask_rcnn" if has_masks else "faster_rcnn"
    num_classes = num_classes_of(weights)
    implied["categories"] = (
        ["person"] if has_keypoints and num_classes == 1 else category_names(num_classes, ["coco_with_holes"])
    )
    return f"torchvision/{kind}_r50_fpn{'_v2' if implied['rpn.num_convs'] == 2 else ''}", implied


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys and put the background class last.

    A key that no rule knows keeps its name, so that loading can report it.
    """
    num_convs = _count(state, _FIRST_CONV)
    return background_last(_table(num_convs).read_in(state))


def to_torchvision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: a state dict that torchvision's models load, if they have the same numbers of layers.

    Background gets its rows in the predictors back, which neither side ever reads, as zeros.

    Raises:
        CheckpointError: a part that torchvision's models do not have.
    """
    refuse_softmax(weights, "torchvision")
    _refuse_others(weights)
    return _table(_count(weights, _OUR_FIRST_CONV)).write_out(background_first(weights), "torchvision")


def _refuse_others(weights: Mapping[str, Tensor]) -> None:
    """torchvision has a pyramid, a box and a mask for each class, and no biases in front of a backbone's norms."""
    facts = architecture_of(weights)
    if facts["neck"] != "fpn":
        raise CheckpointError(
            f"torchvision has names only for models with a pyramid, this one has neck={facts['neck']}; keep it as "
            ".safetensors"
        )
    for key in ("box_head.is_class_agnostic", "mask_head.is_class_agnostic", "backbone.has_biases"):
        if facts.get(key):
            raise CheckpointError(f"torchvision's models cannot have {key}, this one has; keep it as .safetensors")


def _table(num_convs: int) -> NameTable:
    """The names of a model with so many convolutions in its box head."""
    fcs = f"roi_heads.box_head.{{2*n+{num_convs + 1}}}."
    box_head = (*_CONVS_BEFORE_FCS, (fcs, "box_head.fcs.{n}.")) if num_convs else _FC6
    return NameTable((*_NAMES, *box_head), _OLDER)


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    count = 0
    while name.format(n=count) in weights:
        count += 1
    return count


_CLASSIFIER = NameTable((theirs.removeprefix("backbone.body."), ours) for theirs, ours in BACKBONE_NAMES)


def is_torchvision_backbone(keys: set[str]) -> bool:
    """Whether the keys are those of a torchvision ResNet; YOLACT's `resnet101_reducedfc.pth` has them too."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= keys


def from_torchvision_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys; the last layer is left out."""
    return _CLASSIFIER.read_in({key: value for key, value in state.items() if not key.startswith("fc.")})


TORCHVISION = Lineage(
    "torchvision",
    is_torchvision,
    from_torchvision,
    _recognise,
    (BackboneFiles("torchvision", is_torchvision_backbone, from_torchvision_backbone),),
    to_torchvision,
)
