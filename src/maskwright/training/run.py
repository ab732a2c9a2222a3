"""Training as one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.checkpoints.fetching import FetchProgress
from maskwright.config import Recipe, load_recipe
from maskwright.evaluation import Metrics
from maskwright.evaluation.expected import Check, check_expected
from maskwright.files import FolderLock
from maskwright.predict.device import choose_device
from maskwright.training.broken_images import saved_before_broken_images
from maskwright.training.distributed import joined_world
from maskwright.training.fit import fit
from maskwright.training.setup import ProgressCallback, prepare_run
from maskwright.training.workers import killed_worker_errors


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training left behind.

    Attributes:
        last: checkpoint of the last step, with the run's state.
        best: checkpoint with the best metric; the last weights without a validation set that has any.
        metrics: of the last evaluation, None without a validation set, and in all processes but the main one.
        best_metrics: of the best checkpoint, as in `metrics.json`; None as `metrics`.
        best_step: steps that the best checkpoint has behind it; None where no metric chose it.
        steps: optimiser steps done.
        checks: of the recipe's expected results against these metrics.
    """

    last: Path
    best: Path
    metrics: Metrics | None
    best_metrics: Metrics | None
    best_step: int | None
    steps: int
    checks: list[Check]


def train(
    recipe: str | Path | Recipe,
    overrides: Mapping[str, Any] | None = None,
    output: str | Path = "runs/train",
    *,
    resume: bool = False,
    device: str = "auto",
    report: ProgressCallback = lambda step, numbers, part: None,
    progress: FetchProgress | None = None,
) -> TrainResult:
    """Train a recipe; under torchrun, together with the other processes.

    Args:
        recipe: a name, a file, or a resolved recipe.
        overrides: dotted keys and values; at least data.train.images and data.train.annotations, unless the recipe
            has them.
        output: folder of the run, which gets `checkpoints/last.safetensors` and `best.safetensors`, `recipe.yaml`,
            `log.jsonl`, `metrics.json` and TensorBoard events.
        resume: continue the run in `output`; starts again if that was stopped before its first checkpoint.
        device: `auto`, `cpu`, `cuda`, …
        report: called with (step, numbers, part) as the run proceeds, in the main process. Part is "start" (machine,
            data, length, what `train.initial_weights` gave), "train" (a step), "estimate" (time and memory, after the
            first step), "val", "skipped" (images that turned out broken), "stop" (why it ends early), or "augmented"
            (the last evaluation once more).
        progress: called while weights to start from are fetched, as in `maskwright.load`; in the main process.

    Raises:
        ConfigError, DataError, OutputError, CheckpointError: before the first step; another run has the folder, say.
        DataError: an image turned out broken; `last.safetensors` is of the step before it.
        OutputError: the disk is full; the checkpoints on it are whole.
        TrainingError: a loss or gradient became non-finite, or a worker was killed; the checkpoints on disk are from
            before.
    """
    resolved = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe), overrides)
    target = choose_device(device)
    with joined_world(target) as world, FolderLock(Path(output)) as lock:
        world.in_main(lock.take_if_there)
        run = prepare_run(resolved, Path(output), world, target, resume=resume, lock=lock, progress=progress)
        try:
            with killed_worker_errors(), saved_before_broken_images(run):
                metrics = fit(run, report)
        finally:
            if run.logbook is not None:
                run.logbook.close()
        if run.state.progress.best is None:
            run.write_best(metrics)
        elif run.state.progress.is_best:  # the best weights are the last ones, and more may be known of them now
            run.write_metrics(metrics)
        checks = [] if metrics is None else check_expected(metrics, run.recipe.expected)
        standing = run.state.progress
        best_metrics = None if metrics is None else run.folder.read_metrics()
        return TrainResult(
            run.folder.last, run.folder.best, metrics, best_metrics, standing.best_step, standing.step, checks
        )
