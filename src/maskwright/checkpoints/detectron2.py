"""detectron2's models, both ways, and its backbones, also of the Caffe2 era; like ours, its background comes last."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from maskwright.checkpoints.architecture import architecture_of, category_names
from maskwright.checkpoints.lineage import BackboneFiles, Lineage, nearest_recipe, refuse_softmax
from maskwright.checkpoints.names import NameTable
from maskwright.checkpoints.shapes import num_classes_of
from maskwright.config.categories import named_categories
from maskwright.config.loading import recipe_names

# what its own loader ignores: constants of the input and of the anchors, and a classifier behind a backbone
_IGNORED = re.compile(r"pixel_mean|pixel_std|.*anchor_generator\.cell_anchors\.\d+|(stem\.)?(fc|linear)\.\w+")
# of files trained on these data sets; any other length gets numbered names
_CLASS_LISTS = ("coco", "lvis_v0_5", "lvis_v1", "cityscapes")
_COCO_OUTPUTS = 1 + len(named_categories("coco_stuff"))  # of semantic heads: things, then stuff
_STD = (57.375, 57.120, 58.395)  # of ResNeXt-101, blue first: ImageNet's, times 255
_FPN, _SINGLE, _BARE = "backbone.bottom_up.", "backbone.", ""

_NAMES = (
    ("backbone.fpn_lateral{l+2}.", "fpn.laterals.{l}.conv."),
    ("backbone.fpn_lateral{l+2}.norm.", "fpn.laterals.{l}.norm."),
    ("backbone.fpn_output{l+2}.", "fpn.outputs.{l}.conv."),
    ("backbone.fpn_output{l+2}.norm.", "fpn.outputs.{l}.norm."),
    ("proposal_generator.rpn_head.objectness_logits.", "rpn.head.objectness."),
    ("proposal_generator.rpn_head.anchor_deltas.", "rpn.head.deltas."),
    ("roi_heads.mask_head.mask_fcn{n+1}.", "mask_head.convs.{n}.conv."),
    ("roi_heads.mask_head.mask_fcn{n+1}.norm.", "mask_head.convs.{n}.norm."),
    ("roi_heads.mask_head.deconv.", "mask_head.upsample."),
    ("roi_heads.mask_head.predictor.", "mask_head.logits."),
    ("roi_heads.mask_head.coarse_head.reduce_channel_dim_conv.", "mask_head.coarse.project."),
    ("roi_heads.mask_head.coarse_head.reduce_spatial_dim_conv.", "mask_head.coarse.halve."),
    ("roi_heads.mask_head.coarse_head.fc{n+1}.", "mask_head.coarse.fcs.{n}."),
    ("roi_heads.mask_head.coarse_head.prediction.", "mask_head.coarse.logits."),
    ("roi_heads.mask_head.point_head.fc{n+1}.", "mask_head.point.fcs.{n}."),
    ("roi_heads.mask_head.point_head.predictor.", "mask_head.point.logits."),
    ("roi_heads.keypoint_head.conv_fcn{n+1}.", "keypoint_head.convs.{n}.conv."),
    ("roi_heads.keypoint_head.score_lowres.", "keypoint_head.upsample."),
    # enlargements between the convolutions take the odd numbers
    ("sem_seg_head.p{l+2}.{2*n}.", "semantic_head.levels.{l}.{n}.conv."),
    ("sem_seg_head.p{l+2}.{2*n}.norm.", "semantic_head.levels.{l}.{n}.norm."),
    ("sem_seg_head.predictor.", "semantic_head.logits."),
)
# of PointRend's first version, whose own loader renames them too
_OLD_NAMES = (
    ("roi_heads.mask_coarse_head.reduce_channel_dim_conv.", "mask_head.coarse.project."),
    ("roi_heads.mask_coarse_head.reduce_spatial_dim_conv.", "mask_head.coarse.halve."),
    ("roi_heads.mask_coarse_head.coarse_mask_fc{n+1}.", "mask_head.coarse.fcs.{n}."),
    ("roi_heads.mask_head.coarse_head.coarse_mask_fc{n+1}.", "mask_head.coarse.fcs.{n}."),
    ("roi_heads.mask_coarse_head.prediction.", "mask_head.coarse.logits."),
    ("roi_heads.mask_point_head.fc{n+1}.", "mask_head.point.fcs.{n}."),
    ("roi_heads.mask_point_head.predictor.", "mask_head.point.logits."),
)


def _block(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    yield f"{theirs}conv2_offset.", f"{ours}conv2.offsets."
    for layer in ("conv{c}", "shortcut"):
        yield f"{theirs}{layer}.", f"{ours}{layer}.conv."
        yield f"{theirs}{layer}.norm.", f"{ours}{layer}.norm."


def _box_head(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    yield f"roi_heads.box_head.{theirs}conv{{n+1}}.", f"{ours}convs.{{n}}.conv."
    yield f"roi_heads.box_head.{theirs}conv{{n+1}}.norm.", f"{ours}convs.{{n}}.norm."
    yield f"roi_heads.box_head.{theirs}fc{{n+1}}.", f"{ours}fcs.{{n}}."
    yield f"roi_heads.box_predictor.{theirs}cls_score.", f"{ours}class_logits."
    yield f"roi_heads.box_predictor.{theirs}bbox_pred.", f"{ours}deltas."


def _table(prefix: str, *, has_deep_stem: bool, num_rpn_convs: int, has_cascade: bool) -> NameTable:
    """The names of a model, which a few layers have only in company."""
    stem = ("conv{n+1}", "{n}.") if has_deep_stem else ("conv1", "")
    rpn = ("conv.conv{n}", "{n}") if num_rpn_convs > 1 else ("conv", "0")
    cascade = (*_box_head("0.", "box_head."), *_box_head("{i+1}.", "cascade.{i}."))
    return NameTable(
        (
            (f"{prefix}stem.{stem[0]}.", f"backbone.stem.{stem[1]}conv."),
            (f"{prefix}stem.{stem[0]}.norm.", f"backbone.stem.{stem[1]}norm."),
            *_block(f"{prefix}res{{s+2}}.{{b}}.", "backbone.stages.{s}.{b}."),
            *_block("roi_heads.res5.{b}.", "res5.{b}."),
            (f"proposal_generator.rpn_head.{rpn[0]}.", f"rpn.head.convs.{rpn[1]}."),
            *(cascade if has_cascade else _box_head("", "box_head.")),
            *_NAMES,
        ),
        _OLD_NAMES,
    )


def is_detectron2(keys: set[str]) -> bool:
    """Whether a state dict's keys are those of a two-stage model of detectron2, or of its semantic FPN."""
    is_semantic_fpn = {"sem_seg_head.p2.0.weight", "sem_seg_head.predictor.weight"} <= keys
    return is_semantic_fpn or "proposal_generator.rpn_head.objectness_logits.weight" in keys


def is_detectron2_backbone(keys: set[str]) -> bool:
    """Whether the keys are those of a bare ResNet, as its ImageNet files have."""
    return "stem.conv1.weight" in keys


def from_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys; what detectron2 itself ignores is left out.

    A key that no rule knows keeps its name, so that loading can report it.
    """
    is_bare = "stem.conv1.weight" in state
    prefix = _BARE if is_bare else _FPN if f"{_FPN}stem.conv1.weight" in state else _SINGLE
    table = _table(
        prefix,
        has_deep_stem=f"{prefix}stem.conv2.weight" in state,
        num_rpn_convs=2 if "proposal_generator.rpn_head.conv.conv0.weight" in state else 1,
        has_cascade="roi_heads.box_predictor.0.cls_score.weight" in state,
    )
    return table.read_in({key: value for key, value in state.items() if not _IGNORED.fullmatch(key)})


def to_detectron2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: the state dict of a detectron2 model of the same architecture.

    Raises:
        CheckpointError: a part that detectron2's models do not have.
    """
    refuse_softmax(weights, "detectron2")
    table = _table(
        _FPN if "fpn.laterals.0.conv.weight" in weights else _SINGLE,
        has_deep_stem="backbone.stem.0.conv.weight" in weights,
        num_rpn_convs=2 if "rpn.head.convs.1.weight" in weights else 1,
        has_cascade="cascade.0.class_logits.weight" in weights,
    )
    return table.write_out(weights, "detectron2")


def _recognise(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The nearest recipe, and the overrides that names and shapes prove.

    They do not prove everything. The stride is taken to sit in the first 1×1 of a block, as in the MSRA weights of
    ResNet-50 and 101 with frozen norms, and in the 3×3 of all others (ResNeXt, GroupNorm, SyncBN, deep stems). 80,
    1203, 1230 and 8 classes are taken as COCO's, LVIS's (v1 and v0.5) and Cityscapes's, whose recipes bring image
    sizes along, and 54 outputs of a semantic FPN as COCO's things and stuff. The schedule leaves no trace, and no
    difference in use.

    Raises:
        CheckpointError: no ResNet, or an RPN without class scores.
    """
    implied = architecture_of(weights)
    is_msra = implied["backbone.norm"] == "frozen_batch" and implied["backbone.stem"] == "basic"
    is_resnext = implied.get("backbone.groups", 1) > 1
    implied["backbone.stride_in_1x1"] = is_msra and not is_resnext
    implied |= _classes(weights, implied)
    neck = {"c5": "dc5"}.get(implied["neck"], implied["neck"])
    for kind in (_kind(implied), "mask_rcnn"):
        parts = ("detectron2/", f"/{kind}_", "" if kind.endswith("_fpn") else f"_{neck}")
        if alike := [name for name in recipe_names() if all(part in name for part in parts)]:
            break
    name = nearest_recipe(alike, implied)
    if is_resnext and "_x1" not in name:  # a combination that has no recipe; those of ResNeXts know their pixels
        implied["pixels.std"] = list(_STD)
    return name, implied


def _classes(weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides with the classes of objects and of stuff."""
    biases = weights.get("semantic_head.logits.bias")
    num_outputs = len(biases) if biases is not None and biases.ndim == 1 else 0
    if not facts["rpn.is_on"]:
        return _classes_of_semantic_fpn(num_outputs)
    num_classes = num_classes_of(weights)
    is_of_people = facts["keypoint_head.is_on"] and num_classes == 1
    objects = {"categories": ["person"] if is_of_people else category_names(num_classes, _CLASS_LISTS)}
    if num_outputs == 0:
        return objects
    return {**objects, "semantic_head.categories": category_names(num_outputs - 1, ["coco_stuff"], "stuff")}


def _classes_of_semantic_fpn(num_outputs: int) -> dict[str, Any]:
    """With as many outputs as COCO has, its own, the first of them all things; otherwise no output means things."""
    if num_outputs == _COCO_OUTPUTS:
        return {"semantic_head.has_things": True, "semantic_head.categories": "coco_stuff"}
    names = category_names(num_outputs, ["coco_stuff"])
    return {"categories": [], "semantic_head.has_things": False, "semantic_head.categories": names}


def _kind(facts: Mapping[str, Any]) -> str:
    if facts.get("semantic_head.is_on"):
        return "panoptic_fpn" if facts["rpn.is_on"] else "semantic_fpn"
    if facts["keypoint_head.is_on"]:
        return "keypoint_rcnn"
    if facts["cascade.is_on"]:
        return "cascade_mask_rcnn"
    if facts.get("mask_head.kind") == "point":
        return "pointrend_mask_rcnn"
    return "mask_rcnn" if facts["mask_head.is_on"] else "faster_rcnn"


# ImageNet backbones of the Caffe2 era: MSRA's R-50.pkl, R-101.pkl and their like
_CAFFE2_LAYERS = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_CAFFE2_LAYER = re.compile(
    r"(?:res(?P<stage>[2-5])_(?P<block>\d+)_branch(?P<branch>1|2[abc])|(?:res_)?conv1)_(?P<part>(?:bn_|gn_)?[a-z_]+)"
)
_CAFFE2_PARTS = {
    "w": "weight",
    **{f"{norm}_{part}": "norm.weight" for norm in ("bn", "gn") for part in ("s", "gamma")},
    **{f"{norm}_{part}": "norm.bias" for norm in ("bn", "gn") for part in ("b", "beta")},
    **dict.fromkeys(("bn_rm", "bn_running_mean"), "norm.running_mean"),
    **dict.fromkeys(("bn_riv", "bn_running_var"), "norm.running_var"),
}
_EPS = 1e-5  # of the frozen norms that the weights are for


def is_caffe2(keys: set[str]) -> bool:
    """Whether the keys are those of a bare backbone; whole Detectron models have an RPN beside it."""
    return {"conv1_w", "res2_0_branch2a_w"} <= keys and not any("rpn" in key for key in keys)


def from_caffe2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """detectron2's names for the layers of the backbone; momenta, classifier and the stem's idle bias are left out.

    Where normalisations come as only scale and bias, their statistics were merged into these: they get a mean and a
    variance that change nothing, as in detectron2 (its FrozenBatchNorm2d starts with a variance of 1 − ε).
    """
    named = {_caffe2_name(key): value for key, value in state.items()}
    found = {key: value for key, value in named.items() if key is not None}
    merged = [key.removesuffix("bn_s") for key in state if key.endswith("_bn_s")]
    for layer in merged:
        name = _caffe2_name(f"{layer}bn_s")
        if name is not None and name.replace(".weight", ".running_mean") not in found:
            scale = found[name]
            found[name.replace(".weight", ".running_mean")] = torch.zeros_like(scale)
            found[name.replace(".weight", ".running_var")] = torch.ones_like(scale) - _EPS
    return found


def _caffe2_name(key: str) -> str | None:
    match = _CAFFE2_LAYER.fullmatch(key)
    if match is None or match["part"] not in _CAFFE2_PARTS:
        return None
    if match["stage"] is None:
        return f"stem.conv1.{_CAFFE2_PARTS[match['part']]}"
    return f"res{match['stage']}.{match['block']}.{_CAFFE2_LAYERS[match['branch']]}.{_CAFFE2_PARTS[match['part']]}"


def _from_caffe2_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys, by way of detectron2's."""
    return from_detectron2(from_caffe2(state))


DETECTRON2 = Lineage(
    "detectron2",
    is_detectron2,
    from_detectron2,
    _recognise,
    (
        BackboneFiles("detectron2", is_detectron2_backbone, from_detectron2),
        BackboneFiles("caffe2", is_caffe2, _from_caffe2_backbone),
    ),
    to_detectron2,
)
