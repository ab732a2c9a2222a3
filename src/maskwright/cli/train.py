"""`maskwright train`: a recipe and your data become checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.options import DeviceOption, OverridesArgument, read_overrides
from maskwright.cli.terminal import fetching_bar, keeping, print_metrics, print_table, say
from maskwright.cli.train_lines import LinePrinter

if TYPE_CHECKING:
    from maskwright.training.run import TrainResult


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or recipe file (.yaml).")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder of the run.")],
    changes: OverridesArgument = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in DIR, as if never stopped.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Train a model on your images.

    For example: maskwright train mask_rcnn data.train.images=photos data.train.annotations=photos.json
    data.val.images=more data.val.annotations=more.json --output runs/first

    Writes DIR/checkpoints/last.safetensors and best.safetensors, each a --model for every other command, and
    metrics.json, log.jsonl and TensorBoard events. Works under torchrun. The exit status is 1 where the results are not
    those that the recipe expects.
    """
    from maskwright.config import load_recipe
    from maskwright.evaluation.expected import refuse_missed
    from maskwright.training.run import train as run_training

    resolved = load_recipe(recipe, read_overrides(changes))
    with keeping(lambda: _what_is_kept(output)), fetching_bar() as progress:
        result = run_training(
            resolved, output=output, resume=resume, device=device, report=LinePrinter(), progress=progress
        )
    if int(os.environ.get("RANK", "0")) == 0:  # torchrun sets it
        _print_result(result, output)
        refuse_missed(result.checks)


def _what_is_kept(output: Path) -> str:
    last = output / "checkpoints" / "last.safetensors"
    if not last.exists():
        flag = " and --resume" if (output / "recipe.yaml").exists() else ""
        return f"before the first checkpoint; begin anew with the same command{flag}"
    return f"the run up to its last checkpoint is in {last}; go on with the same command and --resume"


def _print_result(result: TrainResult, output: Path) -> None:
    from maskwright.evaluation.expected import expected_table

    say(f"{result.steps} steps done")
    if result.best_metrics is not None:
        at = "" if result.best_step is None else f", of step {result.best_step}"
        say(f"the best checkpoint{at}:")
        print_metrics(result.best_metrics)
    say(f"best weights  {result.best}")
    say(f"              {_size(result.best)}: the weights to predict with")
    say(f"last weights  {result.last}")
    say(f"              {_size(result.last)}: those of the last step with the state of the run, for --resume")
    if result.checks:
        print_table(expected_table(result.checks))
    say(f"use them with: maskwright predict IMAGES --model {result.best} --output {output / 'predictions'}")


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
