"""`maskwright train`: a recipe and your data become checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.cli.options import DeviceOption, OverridesArgument, read_overrides
from maskwright.cli.row_lines import row_lines
from maskwright.cli.terminal import keeping, print_metrics, print_table, say

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
    report = line_printer(resolved.train.iterations, is_resumed=resume)
    with keeping(lambda: _what_is_kept(output)):
        result = run_training(resolved, output=output, resume=resume, device=device, report=report)
    if int(os.environ.get("RANK", "0")) == 0:  # torchrun sets it
        _tell_result(result, output)
        refuse_missed(result.checks)


# of the validation's numbers, those on its line
_TOLD = ("box.AP", "mask.AP", "keypoints.AP", "semantic.mIoU", "panoptic.PQ")


def _start_lines(numbers: Mapping[str, Any]) -> Iterator[str]:
    """What was left out of the data and measured on it; what was taken of the initial weights, and what not and why."""
    yield from (*numbers.get("remarks", ()), *numbers.get("left_out", ()))
    if "measured" in numbers:
        yield _measured_line(numbers["measured"])
    if "initial_weights" not in numbers:
        return
    if numbers["initial_weights"] is None:
        yield (
            f"starts at random, and backbone.frozen_stages={numbers['frozen_stages']} keeps the first stages so: give "
            "train.initial_weights, for example imagenet where the recipe lists it, or set backbone.frozen_stages=0"
        )
        return
    whole = "part of" if "random" in numbers else f"the {numbers['taken']} of"
    yield f"starts from {whole} {numbers['initial_weights']}: {numbers['tensors']} tensors"
    if "stem" in numbers:
        yield f"  stem {numbers['stem']}"
    for reason, names in _by_reason(numbers.get("skipped", {})).items():
        yield f"  not taken: {', '.join(names)} ({reason})"
    if "random" in numbers:
        yield f"  start at random: {', '.join(numbers['random']) or 'none'}"
    for kind in ("class", "stuff", "keypoint"):
        yield from row_lines(kind, numbers.get(f"{kind}_rows"))


def _measured_line(measured: Mapping[str, Any]) -> str:
    means, stds = (", ".join(f"{value:.4g}" for value in measured[name]) for name in ("mean", "std"))
    return f"measured over {measured['images']} images: pixels.mean {means}; pixels.std {stds}"


def _by_reason(skipped: Mapping[str, str]) -> dict[str, list[str]]:
    """Reason → names that have it."""
    names: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        names.setdefault(reason, []).append(name)
    return names


def line_printer(total: int, *, is_resumed: bool) -> Callable[[int, Mapping[str, Any], str], None]:
    """A report for `train` that prints a line each time.

    Args:
        total: steps of the run.
        is_resumed: the first line then comes after an unknown number of steps, and tells no time per step.
    """
    previous = None if is_resumed else 0

    def report(step: int, numbers: Mapping[str, Any], part: str) -> None:
        nonlocal previous
        if part == "start":
            for text in _start_lines(numbers):
                say(text)
            return
        if part in ("val", "augmented"):
            what = "validation" if part == "val" else "with test-time augmentation"
            say(f"step {step}/{total}  {what}  {_validation_numbers(numbers)}")
            return
        line = f"step {step}/{total}  loss {numbers['loss']:.4f}  lr {numbers['learning_rate']:.2e}"
        if previous is not None:
            seconds = numbers["seconds"] / max(step - previous, 1)
            line += f"  {seconds:.2f} s/step  eta {timedelta(seconds=round(seconds * (total - step)))}"
        previous = step
        say(line)

    return report


def _validation_numbers(numbers: Mapping[str, float]) -> str:
    losses = [value for name, value in numbers.items() if name.startswith("loss_")]
    told = [f"loss {sum(losses):.4f}"] if losses else []
    scores = [f"{name.replace('.', ' ')} {numbers[name]:.3f}" for name in _TOLD if name in numbers]
    return "  ".join([*told, *(scores or ["no objects to measure"])])


def _what_is_kept(output: Path) -> str:
    last = output / "checkpoints" / "last.safetensors"
    if not last.exists():
        return "before the first checkpoint; begin anew with the same command and --resume"
    return f"the run up to its last checkpoint is in {last}; go on with the same command and --resume"


def _tell_result(result: TrainResult, output: Path) -> None:
    from maskwright.evaluation.expected import expected_table

    if result.metrics is not None:
        print_metrics(result.metrics)
    say(f"{result.steps} steps done")
    say(f"best weights  {result.best}")
    say(f"last weights  {result.last}")
    if result.checks:
        print_table(expected_table(result.checks))
    say(f"use them with: maskwright predict IMAGES --model {result.best} --output {output / 'predictions'}")
