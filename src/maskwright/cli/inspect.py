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
    from maskwright.config.categories import CategoryConfig

# names that are listed one by one
_MOST_NAMES = 5


def inspect(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A file of any known format, known by its content.")
    ],
) -> None:
    """Show a checkpoint's lineage, architecture and categories, and which weights would load and which not."""
    from maskwright.checkpoints.loading import compare, recipe_of
    from maskwright.checkpoints.reading import read_weights

    found = read_weights(checkpoint)
    num_values = sum(weight.numel() for weight in found.weights.values())
    weights = f"{len(found.weights)} tensors, {num_values:,} numbers"
    _print(f"checkpoint    {checkpoint}, {checkpoint.stat().st_size / 1e6:.1f} MB")
    _print(f"lineage       {found.lineage}")
    for line in _place_lines(found):
        _print(line)
    if found.is_backbone:
        _print(f"weights       {weights}")
        _print(f"values        {_values(found)}")
        say("use           only a backbone: start a training from it, with train.initial_weights=FILE")
        return
    recipe = recipe_of(found, str(checkpoint), {})
    _print(f"recipe        {recipe.name}")
    _print(f"architecture  {', '.join(recipe.architecture)}")
    _print(f"categories    {_categories(recipe.categories) or 'none'}")
    if (semantics := recipe.semantics) is not None:
        _print(f"stuff         {_categories(semantics.categories)}")
    _print(f"weights       {weights}")
    _print(f"values        {_values(found)}")
    for line in _fit_lines(compare(found, recipe)):
        _print(line)
    if found.lineage == "maskwright":
        _print(f"training      {_training(found)}")


def _print(line: str) -> None:
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


def _categories(categories: Sequence[CategoryConfig]) -> str:
    names = [f"{category.name} ({category.id})" for category in categories]
    more = f", … ({len(names)} in all)" if len(names) > 2 * _MOST_NAMES else ""
    return ", ".join(names[: 2 * _MOST_NAMES]) + more


def _fit_lines(report: FitReport) -> Iterator[str]:
    if report.is_exact:
        yield "fit           every weight fits"
        return
    yield f"fit           {len(report.fitting)} weights fit"
    changed = [f"{name} is {given}, expected {wanted}" for name, (given, wanted) in report.mismatched.items()]
    for what, names in (("missing", report.missing), ("unknown", report.unexpected), ("other shape", changed)):
        if names:
            yield f"{what:14}{_shortened(names)}"


def _shortened(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _training(found: ForeignWeights) -> str:
    """Where the run stood that wrote the checkpoint, and whether it can go on from it."""
    progress = found.progress
    if not progress:
        return "no run"
    step, best = progress.get("step", 0), progress.get("best")
    if type(step) is not int or not (best is None or (type(best) is float and math.isfinite(best))):
        return "a run whose progress is damaged: weights only"
    parts = [f"step {step}"]
    parts += [f"best metric so far {best:.4f}"] if best is not None else []
    parts += ["holds the run's state, for --resume" if found.is_resumable else "weights only"]
    return ", ".join(parts)
