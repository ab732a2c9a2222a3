"""What a training says, in words: its start, its steps, its evaluations and its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from maskwright.cli.row_lines import row_lines
from maskwright.cli.terminal import say, warn

# of the validation's numbers, those on its line
_SHOWN = ("box.AP", "mask.AP", "keypoints.AP", "semantic.mIoU", "panoptic.PQ")
_MOST_CLASSES = 10


class LinePrinter:
    """A report for `train` that prints a line each time.

    Attributes:
        total: steps of the run, known from its start on.
        previous: step of the last line; None before the first of a run that was taken up again, whose seconds are
            those of an unknown number of steps.
    """

    def __init__(self) -> None:
        self.total = 0
        self.previous: int | None = None

    def __call__(self, step: int, numbers: Mapping[str, Any], part: str) -> None:
        """Print what `training.run.train` reports."""
        if part == "start":
            self.total, self.previous = numbers["steps"], step
            _print_start(step, numbers)
        elif part in ("val", "augmented"):
            what = "validation" if part == "val" else "with test-time augmentation"
            say(f"step {step}/{self.total}  {what}  {_validation_numbers(numbers)}")
        elif part == "estimate":
            say(_estimate(numbers, self.total - step))
        elif part == "skipped":
            for line in numbers["images"]:
                warn(f"skipped: {line}")
        elif part == "stop":
            say(f"step {step}/{self.total}  {_reason_to_stop(numbers)}")
        else:
            self._print_step(step, numbers)

    def _print_step(self, step: int, numbers: Mapping[str, Any]) -> None:
        line = f"step {step}/{self.total}  loss {numbers['loss']:.4f}  lr {numbers['learning_rate']:.2e}"
        if self.previous is not None:
            seconds = numbers["seconds"] / max(step - self.previous, 1)
            line += f"  {seconds:.2f} s/step  eta {_time(seconds * (self.total - step))}"
        self.previous = step
        say(line)


def _print_start(step: int, numbers: Mapping[str, Any]) -> None:
    for line in (*_facts(numbers), *_weights_lines(numbers)):
        say(line)
    if step:
        say(f"goes on after step {step}")
    for line in numbers.get("warnings", ()):
        warn(line)
    if numbers.get("initial_weights", "") is None:
        is_unwanted = "random_because" in numbers or numbers["frozen_stages"] > 0
        (warn if is_unwanted else say)(_random_line(numbers))
    if "smaller" in numbers:
        warn(
            f"a network of {_millions(numbers['weights'])} weights takes minutes for a step without a GPU; the recipe "
            f"that fits this machine is {numbers['smaller']} with categories=[]"
        )


def _facts(numbers: Mapping[str, Any]) -> Iterator[str]:
    """The machine, the network, the data and the length of the run."""
    reason = f" ({numbers['precision_reason']})" if "precision_reason" in numbers else ""
    yield f"device        {numbers['device']}; {numbers['precision']}{reason}"
    yield f"network       {_millions(numbers['weights'])} weights"
    num_validation = numbers["validation_images"]
    validation = (
        f"{num_validation} images" if num_validation else "nothing: give data.val, to see how good the model is"
    )
    yield f"training      {numbers['images']} images with {numbers['objects']} objects"
    yield f"evaluation    on {validation}"
    classes = numbers["classes"]
    more = ", …" if len(classes) > _MOST_CLASSES else ""
    yield f"classes       {len(classes)}: {', '.join(classes[:_MOST_CLASSES])}{more}"
    yield (f"length        {numbers['steps']} steps of {numbers['batch_size']} images: {numbers['epochs']:g} epochs")
    yield from (*numbers.get("remarks", ()), *numbers.get("left_out", ()))
    if "no_events" in numbers:
        yield f"no events     {numbers['no_events']}; log.jsonl has all the numbers"
    if "measured" in numbers:
        yield _measured_line(numbers["measured"])


def _weights_lines(numbers: Mapping[str, Any]) -> Iterator[str]:
    """What was taken of the initial weights, and what not and why."""
    if numbers.get("initial_weights") is None:
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


def _random_line(numbers: Mapping[str, Any]) -> str:
    """That nothing was learnt before, and how to begin with more."""
    line = "starts at random"
    if "random_because" in numbers:
        line += f", without COCO weights ({numbers['random_because']})"
    if num_frozen := numbers["frozen_stages"]:
        line += f", and backbone.frozen_stages={num_frozen} keeps the first stages random: set that to 0, or give "
    else:
        line += ", which takes far more images and steps than a start from weights that were trained before: give "
    return f"{line}train.initial_weights=FILE, or a name that the recipe lists, such as imagenet"


def _measured_line(measured: Mapping[str, Any]) -> str:
    means, stds = (", ".join(f"{value:.4g}" for value in measured[name]) for name in ("mean", "std"))
    return f"measured over {measured['images']} images: pixels.mean {means}; pixels.std {stds}"


def _by_reason(skipped: Mapping[str, str]) -> dict[str, list[str]]:
    """Reason → names that have it."""
    names: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        names.setdefault(reason, []).append(name)
    return names


def _estimate(numbers: Mapping[str, Any], num_left: int) -> str:
    memory = numbers["memory_bytes"]
    peak = "" if memory is None else f"; memory so far {memory / 1e9:.1f} GB"
    return (
        f"estimate      at most {_time(numbers['seconds'])} for the other {num_left} steps, at the pace of the first "
        f"({numbers['seconds_per_step']:.1f} s), without evaluations{peak}"
    )


def _reason_to_stop(numbers: Mapping[str, Any]) -> str:
    name, evaluations = numbers["best_metric"], numbers["evaluations"]
    best = numbers["best"]
    so_far = (
        "has never had a value"
        if best is None
        else f"has not risen above the {best:.3f} of step {numbers['best_step']}"
    )
    return (
        f"stops early: {name} {so_far}, and the validation loss has not fallen, in {evaluations} evaluations "
        f"(train.patience={evaluations})"
    )


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} million"


def _validation_numbers(numbers: Mapping[str, float]) -> str:
    losses = [value for name, value in numbers.items() if name.startswith("loss_")]
    parts = [f"loss {sum(losses):.4f}"] if losses else []
    scores = [f"{name.replace('.', ' ')} {numbers[name]:.3f}" for name in _SHOWN if name in numbers]
    return "  ".join([*parts, *(scores or ["no objects to measure"])])
