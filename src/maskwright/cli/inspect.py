"""`maskwright inspect`: what a checkpoint holds and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.terminal import say
from maskwright.errors import printable

if TYPE_CHECKING:
    from maskwright.checkpoints.fitting import FitReport
    from maskwright.checkpoints.reading import ForeignWeights
    from maskwright.config import MaskRcnnRecipe, Recipe, YolactRecipe
    from maskwright.config.backbone import BackboneConfig
    from maskwright.config.categories import CategoryConfig

# names that are told one by one
_MOST_NAMES = 5


def inspect(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A file of any known format, known by its content.")
    ],
) -> None:
    """Show a checkpoint's lineage, architecture and categories, and which weights would load and which not."""
    from maskwright.checkpoints.reading import read_weights
    from maskwright.config.mask_rcnn import semantics_of
    from maskwright.predict.loading import compare, recipe_of

    found = read_weights(checkpoint)
    num_values = sum(weight.numel() for weight in found.weights.values())
    weights = f"{len(found.weights)} tensors, {num_values:,} numbers"
    _tell(f"checkpoint    {checkpoint}, {checkpoint.stat().st_size / 1e6:.1f} MB")
    _tell(f"lineage       {found.lineage}")
    for line in _place_lines(found):
        _tell(line)
    if found.is_backbone:
        _tell(f"weights       {weights}")
        _tell(f"values        {_values(found)}")
        say("use           a backbone alone: start a training from it, with train.initial_weights=FILE")
        return
    recipe = recipe_of(found, str(checkpoint), {})
    _tell(f"recipe        {recipe.name}")
    _tell(f"architecture  {_architecture(recipe)}")
    _tell(f"categories    {_categories(recipe.categories) or 'none'}")
    if (semantic := semantics_of(recipe)) is not None:
        _tell(f"stuff         {_categories(semantic.categories)}")
    _tell(f"weights       {weights}")
    _tell(f"values        {_values(found)}")
    for line in _fit_lines(compare(found, recipe)):
        _tell(line)
    if found.lineage == "maskwright":
        _tell(f"training      {_training(checkpoint)}")


def _tell(line: str) -> None:
    """Print a line with names from the file, which may be of any length."""
    say(printable(line))


def _place_lines(found: ForeignWeights) -> Iterator[str]:
    """Where in a foreign file the weights are, and what else is there."""
    if found.found_in:
        yield f"found under   {found.found_in}"
    if found.others:
        yield f"not taken     weights under {_shortened(found.others)}"
    if found.left_out:
        yield f"left out      objects of {_shortened(found.left_out)}; none was built"


def _values(found: ForeignWeights) -> str:
    """Whether the weights are numbers that can be computed with."""
    from maskwright.checkpoints.fitting import explain_non_finite

    return explain_non_finite(found.weights) or "all finite"


def _architecture(recipe: Recipe) -> str:
    from maskwright.config import MaskRcnnRecipe, YolactRecipe

    if isinstance(recipe, MaskRcnnRecipe):
        return ", ".join(_mask_rcnn_parts(recipe))
    if isinstance(recipe, YolactRecipe):
        return ", ".join(_yolact_parts(recipe))
    return recipe.family


def _mask_rcnn_parts(recipe: MaskRcnnRecipe) -> list[str]:
    """The network from pixels to heads; heads that are off are not told."""
    kinds = (
        (not recipe.rpn.is_on, "Semantic FPN"),
        (recipe.semantic_head.is_on, "Panoptic FPN"),
        (recipe.keypoint_head.is_on, "Keypoint R-CNN"),
        (recipe.cascade.is_on, "Cascade R-CNN"),
        (recipe.mask_head.is_on, "Mask R-CNN"),
        (True, "Faster R-CNN"),
    )
    parts = [f"{next(name for is_on, name in kinds if is_on)}, {_backbone(recipe.backbone)}"]
    parts += [_neck(recipe)]
    parts += [_box_head(recipe)] if recipe.rpn.is_on else []
    parts += [f"{len(recipe.cascade.ious)} stages more behind it"] if recipe.cascade.is_on else []
    parts += [_mask_head(recipe)] if recipe.mask_head.is_on else []
    parts += [f"{len(recipe.keypoint_head.names)} keypoints"] if recipe.keypoint_head.is_on else []
    parts += [f"semantic head of {recipe.semantic_head.num_outputs} outputs"] if recipe.semantic_head.is_on else []
    return parts


def _neck(recipe: MaskRcnnRecipe) -> str:
    channels = f"{recipe.fpn.channels} channels{_norm(recipe.fpn.norm)}"
    is_dilated = getattr(recipe.backbone, "res5_dilation", 1) > 1
    return {
        "fpn": f"FPN of {channels}",
        "c4": "features of res4 alone (C4)",
        "c5": f"features of res5 alone{' (DC5)' if is_dilated else ''}",
        "c5_conv": f"features of res5 alone, by convolutions to {channels}",
    }[recipe.neck]


def _box_head(recipe: MaskRcnnRecipe) -> str:
    box = recipe.box_head
    shared = ", class-agnostic" if box.is_class_agnostic else ""
    if recipe.neck == "c4":
        return f"box head of res5{shared}"
    layers = f"{box.num_convs} convolutions and {box.num_fcs} × {box.fc_channels} linear"
    return f"box head of {layers}{_norm(box.norm if box.norm != 'none' else box.fc_norm)}{shared}"


def _mask_head(recipe: MaskRcnnRecipe) -> str:
    mask = recipe.mask_head
    shared = ", class-agnostic" if mask.is_class_agnostic else ""
    if mask.kind == "mlp":
        return f"mask head of 2 × {recipe.box_head.fc_channels} linear to {recipe.mask_px} px{shared}"
    layers = f"{mask.num_convs} × {mask.channels} convolutions to {recipe.mask_px} px"
    return f"mask head of {layers}{_norm(mask.norm)}{shared}"


def _norm(name: str) -> str:
    return "" if name == "none" else f" (norm {name})"


def _yolact_parts(recipe: YolactRecipe) -> list[str]:
    num_anchors = len(recipe.anchors.sizes_px[0]) * len(recipe.anchors.ratios)
    parts = [
        f"YOLACT at {recipe.resize.size} px, {_backbone(recipe.backbone)}",
        f"FPN of {recipe.fpn.channels} channels",
        f"{num_anchors} anchors on a cell",
        f"{recipe.protonet.num_prototypes} prototypes",
    ]
    return parts + (["mask re-scoring"] if recipe.rescoring.is_on else [])


def _backbone(config: BackboneConfig) -> str:
    if config.kind == "timm":
        return f"{config.name} of timm"
    details = [f"width {config.width}", f"norm {config.norm}"]
    if config.kind == "darknet53":
        return f"DarkNet-53 ({', '.join(details)})"
    if config.groups > 1:
        details.append(f"{config.groups} groups of {config.width_per_group or config.width // config.groups}")
    details += ["deep stem"] if config.stem == "deep" else []
    if config.deformable_from is not None:
        details.append("deformable" if config.is_modulated else "deformable, unmodulated")
    return f"{'ResNeXt' if config.groups > 1 else 'ResNet'}-{config.depth} ({', '.join(details)})"


def _categories(categories: Sequence[CategoryConfig]) -> str:
    names = [f"{category.name} ({category.id})" for category in categories]
    more = f", … ({len(names)} in all)" if len(names) > 2 * _MOST_NAMES else ""
    return ", ".join(names[: 2 * _MOST_NAMES]) + more


def _fit_lines(report: FitReport) -> Iterator[str]:
    if report.is_exact:
        yield "fit           every weight has its place"
        return
    yield f"fit           {len(report.fitting)} weights have their place"
    changed = [f"{name} is {given}, expected {wanted}" for name, (given, wanted) in report.mismatched.items()]
    for what, names in (("missing", report.missing), ("unknown", report.unexpected), ("other shape", changed)):
        if names:
            yield f"{what:14}{_shortened(names)}"


def _shortened(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _training(checkpoint: Path) -> str:
    """Where the run stood that wrote the checkpoint, and whether it can go on from it."""
    from maskwright.checkpoints.native import read_native

    content = read_native(checkpoint, with_training=True)
    progress = content.progress
    if not progress:
        return "no run"
    step, best = progress.get("step", 0), progress.get("best")
    if type(step) is not int or not (best is None or (type(best) is float and math.isfinite(best))):
        return "a run whose progress is damaged: weights only"
    parts = [f"step {step}"]
    parts += [f"best metric so far {best:.4f}"] if best is not None else []
    parts += ["holds the run's state, for --resume" if content.training else "weights only"]
    return ", ".join(parts)
