"""`maskwright inspect`: what a checkpoint holds and whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.terminal import say

if TYPE_CHECKING:
    from maskwright.checkpoints.fitting import FitReport
    from maskwright.config import MaskRcnnRecipe, Recipe, YolactRecipe
    from maskwright.config.backbone import BackboneConfig

# names that are told one by one
_MOST_NAMES = 5


def inspect(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A .safetensors, .pth or .pt file.")],
) -> None:
    """Show a checkpoint's lineage, architecture and categories, and which weights would load and which not."""
    from maskwright.checkpoints.fitting import compare_weights
    from maskwright.checkpoints.reading import read_weights
    from maskwright.models.build import build_model
    from maskwright.predict.loading import recipe_of

    found = read_weights(checkpoint)
    num_values = sum(weight.numel() for weight in found.weights.values())
    weights = f"{len(found.weights)} tensors, {num_values:,} numbers"
    say(f"checkpoint    {checkpoint}, {checkpoint.stat().st_size / 1e6:.1f} MB")
    say(f"lineage       {found.lineage}")
    if found.is_backbone:
        say(f"weights       {weights}")
        say("use           a backbone alone: start a training from it, with train.initial_weights=FILE")
        return
    recipe = recipe_of(found, str(checkpoint), {})
    say(f"recipe        {recipe.name}")
    say(f"architecture  {_architecture(recipe)}")
    say(f"categories    {_categories(recipe)}")
    say(f"weights       {weights}")
    for line in _fit_lines(compare_weights(found.weights, build_model(recipe))):
        say(line)
    if found.lineage == "maskwright":
        say(f"training      {_training(checkpoint)}")


def _architecture(recipe: Recipe) -> str:
    from maskwright.config import MaskRcnnRecipe, YolactRecipe

    if isinstance(recipe, MaskRcnnRecipe):
        return ", ".join(_mask_rcnn_parts(recipe))
    if isinstance(recipe, YolactRecipe):
        return ", ".join(_yolact_parts(recipe))
    return recipe.family


def _mask_rcnn_parts(recipe: MaskRcnnRecipe) -> list[str]:
    box, mask = recipe.box_head, recipe.mask_head
    return [
        f"Mask R-CNN, {_backbone(recipe.backbone)}",
        f"FPN of {recipe.fpn.channels} channels",
        f"box head of {box.num_convs} convolutions and {box.num_fcs} × {box.fc_channels} linear",
        f"mask head of {mask.num_convs} × {mask.channels} convolutions to {2 * mask.pool_px} px",
    ]


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
    name = "DarkNet-53" if config.kind == "darknet53" else f"ResNet-{config.depth}"
    is_deformable = config.kind == "resnet" and config.deformable_from is not None
    return f"{name} (width {config.width}, norm {config.norm}{', deformable' if is_deformable else ''})"


def _categories(recipe: Recipe) -> str:
    names = [f"{category.name} ({category.id})" for category in recipe.categories]
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
    best = progress.get("best")
    parts = [f"step {progress.get('step')}"]
    parts += [f"best metric so far {best:.4f}"] if best is not None else []
    parts += ["holds the run's state, for --resume" if content.training else "weights only"]
    return ", ".join(parts)
