"""`maskwright inspect`: what a checkpoint holds and whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.terminal import say

if TYPE_CHECKING:
    from maskwright.checkpoints.fitting import FitReport
    from maskwright.config import Recipe

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
    recipe = recipe_of(found, str(checkpoint), {})
    num_values = sum(weight.numel() for weight in found.weights.values())
    say(f"checkpoint    {checkpoint}, {checkpoint.stat().st_size / 1e6:.1f} MB")
    say(f"lineage       {found.lineage}")
    say(f"recipe        {recipe.name}")
    say(f"architecture  {_architecture(recipe)}")
    say(f"categories    {_categories(recipe)}")
    say(f"weights       {len(found.weights)} tensors, {num_values:,} numbers")
    for line in _fit_lines(compare_weights(found.weights, build_model(recipe))):
        say(line)
    if found.lineage == "maskwright":
        say(f"training      {_training(checkpoint)}")


def _architecture(recipe: Recipe) -> str:
    from maskwright.config import MaskRcnnRecipe

    if not isinstance(recipe, MaskRcnnRecipe):
        return recipe.family
    backbone, box, mask = recipe.backbone, recipe.box_head, recipe.mask_head
    return ", ".join(
        [
            f"Mask R-CNN, ResNet-{backbone.depth} (width {backbone.width}, norm {backbone.norm})",
            f"FPN of {recipe.fpn.channels} channels",
            f"box head of {box.num_convs} convolutions and {box.num_fcs} × {box.fc_channels} linear",
            f"mask head of {mask.num_convs} × {mask.channels} convolutions to {2 * mask.pool_px} px",
        ]
    )


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
