"""What the names and shapes of a two-stage model's weights say of its recipe, in every lineage.

No file shows everything. Thresholds, anchors, image sizes, dilations and the stride's place leave no trace in names and
shapes: those come from the recipe that the lineage names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskwright.checkpoints.roi_heads import roi_head_facts
from maskwright.checkpoints.shapes import (
    Weights,
    conv_facts,
    count_of,
    is_shared,
    norm_of,
    num_classes_of,
    rows_of,
)
from maskwright.config.categories import MOST_CATEGORIES, named_categories
from maskwright.errors import CheckpointError

_DEPTHS = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}
_MOST_BLOCKS = 36  # of a stage
_PLAIN_TAPS, _MODULATED_TAPS = 18, 27  # offset channels of a 3×3: two coordinates, or those and a weight


def architecture_of(weights: Weights) -> dict[str, Any]:
    """Dotted overrides that the weights prove: backbone, neck, heads and how many layers each has.

    Args:
        weights: under our names, of the two-stage family; meta tensors do.

    Raises:
        CheckpointError: no ResNet that we have, or an RPN without class scores.
    """
    facts: dict[str, Any] = {"neck": neck_of(weights)}
    facts |= backbone_of(weights) | _object_heads(weights)
    if facts["neck"] in ("fpn", "c5_conv"):
        first = "fpn.outputs.0." if facts["neck"] == "fpn" else "fpn.output."
        facts |= {"fpn.channels": rows_of(weights, f"{first}conv.weight"), "fpn.norm": norm_of(weights, first)}
    if "semantic_head.logits.weight" in weights:
        facts |= {"semantic_head.is_on": True} | conv_facts(weights, "semantic_head", "semantic_head.levels.0.0.")
        del facts["semantic_head.has_biases"]
    return {key: value for key, value in facts.items() if value is not None}


def category_names(count: int, lists: Sequence[str], word: str = "class") -> str | list[str]:
    """The known class list of that length, tried in order, or numbered names.

    Raises:
        CheckpointError: there are more than categories can be.

    >>> category_names(80, ["pascal", "coco"]), category_names(2, ["coco"])
    ('coco', ['class 1', 'class 2'])
    """
    if count > MOST_CATEGORIES:
        raise CheckpointError(f"it scores {count:,} classes; at most {MOST_CATEGORIES:,} are read")
    for name in lists:
        try:
            if len(named_categories(name)) == count:
                return name
        except ValueError:  # no list of that name is known yet
            continue
    return [f"{word} {index}" for index in range(1, count + 1)]


def neck_of(weights: Weights) -> str:
    """`fpn`, `c4`, `c5_conv` or `c5`."""
    starts = {".".join(name.split(".")[:2]) for name in weights}
    if "fpn.laterals" in starts:
        return "fpn"
    if "fpn.lateral" in starts:
        return "c5_conv"
    return "c4" if any(name.startswith("res5.") for name in starts) else "c5"


def backbone_of(weights: Weights) -> dict[str, Any]:
    """Overrides of the table `backbone`, for a ResNet.

    Raises:
        CheckpointError: its blocks are those of no ResNet that we have.
    """
    is_deep = "backbone.stem.0.conv.weight" in weights
    stem = "backbone.stem.2." if is_deep else "backbone.stem."
    facts = {
        "backbone.depth": _depth(weights),
        "backbone.stem": "deep" if is_deep else "basic",
        "backbone.norm": norm_of(weights, stem),
        "backbone.has_biases": f"{stem}conv.bias" in weights,
    }
    return {**facts, **_widths(weights, stem), **_deformable(weights)}


def _depth(weights: Weights) -> int:
    """From the third stage's block count and the kind of its blocks."""
    is_bottleneck = "backbone.stages.0.0.conv3.conv.weight" in weights
    num_blocks = count_of(weights, "backbone.stages.2.")
    if (num_blocks, is_bottleneck) not in _DEPTHS:
        depths = ", ".join(map(str, _DEPTHS.values()))
        raise CheckpointError(f"a backbone of {num_blocks} blocks in its third stage is no ResNet-{depths}")
    return _DEPTHS[num_blocks, is_bottleneck]


def _widths(weights: Weights, stem: str) -> dict[str, Any]:
    """Width, groups and channels of each, from the shapes of the first block and the stem."""
    wide, narrow = "backbone.stages.0.0.conv3.conv.weight", "backbone.stages.0.0.conv2.conv.weight"
    middle = weights.get(narrow)
    if middle is None or middle.ndim != 4 or 0 in middle.shape:
        return {}
    width = (rows_of(weights, wide) or 0) // 4 if wide in weights else len(middle)
    groups = len(middle) // middle.shape[1] if wide in weights else 1
    stem_channels = rows_of(weights, f"{stem}conv.weight")
    return {
        "backbone.width": width or None,
        "backbone.groups": groups or None,
        "backbone.width_per_group": len(middle) // max(1, groups) if len(middle) != width else None,
        "backbone.stem_channels": stem_channels if stem_channels != width else None,
    }


def _deformable(weights: Weights) -> dict[str, Any]:
    """From which stage on, in every how many of its blocks, and whether the taps are weighted too."""
    end = ".conv2.offsets.weight"
    layers = [name for name in weights if name.startswith("backbone.stages.") and name.endswith(end)]
    if not layers:
        return {"backbone.deformable_from": None}
    blocks = [(int(name.split(".")[2]), int(name.split(".")[3])) for name in layers]
    taps = rows_of(weights, layers[0])
    if taps not in (_PLAIN_TAPS, _MODULATED_TAPS):
        raise CheckpointError(f"{layers[0]} has {taps} channels; deformable convolutions here have 18 or 27")
    return {
        "backbone.deformable_from": min(stage for stage, _ in blocks) + 2,
        "backbone.deformable_every": min((block for _, block in blocks if block > 0), default=_MOST_BLOCKS),
        "backbone.is_modulated": taps == _MODULATED_TAPS,
        "backbone.deformable_biases": layers[0].replace(end, ".conv2.conv.bias") in weights,
    }


def _object_heads(weights: Weights) -> dict[str, Any]:
    """Everything behind an RPN; without one it is a semantic FPN."""
    if not any(name.startswith("rpn.") for name in weights):
        return {"rpn.is_on": False, "mask_head.is_on": False}
    return _rpn(weights) | _box_head(weights) | roi_head_facts(weights)


def _rpn(weights: Weights) -> dict[str, Any]:
    first = weights.get("rpn.head.convs.0.weight")
    is_wider = first is not None and first.ndim == 4 and len(first) != first.shape[1]
    scores, deltas = rows_of(weights, "rpn.head.objectness.bias"), rows_of(weights, "rpn.head.deltas.bias")
    return {
        "rpn.is_on": True,
        "rpn.num_convs": max(1, count_of(weights, "rpn.head.convs.")),
        "rpn.channels": len(first) if first is not None and is_wider else None,
        "rpn.is_softmax": scores is not None and deltas is not None and 2 * scores == deltas,
    }


def _box_head(weights: Weights) -> dict[str, Any]:
    num_classes, num_fcs = num_classes_of(weights), count_of(weights, "box_head.fcs.")
    is_normed = "box_head.fcs.0.norm.weight" in weights
    num_stages = count_of(weights, "cascade.")
    facts: dict[str, Any] = {
        "box_head.num_fcs": num_fcs,
        "box_head.fc_norm": "batch" if is_normed else "none",
        "box_head.fc_channels": rows_of(weights, f"box_head.fcs.0.{'linear.' if is_normed else ''}weight"),
        "box_head.num_convs": count_of(weights, "box_head.convs."),
        "box_head.is_class_agnostic": is_shared(weights, "box_head.deltas.bias", 4, num_classes),
        "cascade.is_on": num_stages > 0,
    }
    facts["box_head.is_class_agnostic"] |= num_stages > 0
    if facts["box_head.num_convs"]:
        facts |= conv_facts(weights, "box_head", "box_head.convs.0.", channels="conv_channels")
    return facts
