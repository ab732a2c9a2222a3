"""Everything that a run needs, prepared before its first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from maskwright.checkpoints.fetching import FetchProgress
from maskwright.config.run import Recipe
from maskwright.config.train import TrainConfig
from maskwright.data.loader import TrainingSample, TrainingSet, load_samples
from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.samplers import StepSampler
from maskwright.errors import ConfigError
from maskwright.evaluation import Metrics
from maskwright.evaluation.expected import refuse_unknown
from maskwright.evaluation.table import AUGMENTED, MEASURED
from maskwright.files import FolderLock
from maskwright.images.preprocess import Preprocess
from maskwright.models.backbones.norms import freeze_batch_norms
from maskwright.models.build import build_model
from maskwright.predict.augmented import refuse_unjoinable
from maskwright.predict.evaluate import categories_of, known_metrics
from maskwright.predict.predictor import Predictor
from maskwright.training.beginning import put_initial_weights
from maskwright.training.checkpointing import TrainingState
from maskwright.training.datasets import (
    ids_of_dataset,
    open_data,
    records_to_train_on,
    sampler_of,
    with_categories,
)
from maskwright.training.distributed import World
from maskwright.training.ema import AveragedWeights
from maskwright.training.facts import data_facts, machine_facts
from maskwright.training.fingerprint import Fingerprint, fingerprint
from maskwright.training.folder import RunFolder, claim_run_folder, refuse_at_start
from maskwright.training.logbook import Logbook
from maskwright.training.optim import build_optimiser
from maskwright.training.resolving import with_length, with_precision
from maskwright.training.semantic import outputs_of, with_stuff
from maskwright.training.statistics import with_statistics
from maskwright.training.step import Stepper
from maskwright.training.teaching import refuse_nothing_to_learn
from maskwright.training.validation import Validation

ProgressCallback = Callable[[int, Mapping[str, Any], str], None]


@dataclass(frozen=True, eq=False)
class Run:
    """One training run of this process: fixed parts, and the state that steps change.

    `skipped` has the broken images that this process met.
    """

    recipe: Recipe
    folder: RunFolder
    world: World
    device: torch.device
    training_set: TrainingSet
    sampler: StepSampler
    validation: Validation | None
    stepper: Stepper
    state: TrainingState
    start: Mapping[str, Any]
    is_resumed: bool
    logbook: Logbook | None
    skipped: dict[str, None] = field(default_factory=dict)

    def is_over(self) -> bool:
        """Whether the last step is done, or the metric has not improved for `train.patience` evaluations."""
        config, progress = self.recipe.train, self.state.progress
        is_stale = config.patience is not None and progress.stale >= config.patience
        return is_stale or progress.step >= config.num_steps

    def samples(self, first: int) -> Iterator[list[TrainingSample]]:
        """This process's samples of step `first` and all that follow.

        Raises:
            DataError: one of these, or of another process's, cannot be used.
        """
        config = self.recipe.train
        share = self.world.share_of(config.batch_size)
        requests = self.sampler.steps(first, config.num_steps, share)
        loaded = load_samples(self.training_set, requests, self.recipe.data.workers)
        while (samples := self.world.together(lambda: next(loaded, None))) is not None:
            self.skipped.update((sample.stands_in_for, None) for sample in samples if sample.stands_in_for)
            yield samples

    @property
    def may_skip(self) -> bool:
        """Whether any dataset allows the run to leave out images that turn out to be broken."""
        validated = () if self.validation is None else self.validation.dataset.records
        return any(record.is_skippable for record in (*self.training_set.records, *validated))

    def skipped_lines(self) -> list[str]:
        """The images that turned out to be broken in this process, in training and in validation."""
        return [*self.skipped, *(() if self.validation is None else self.validation.broken)]

    def predictor(self) -> Predictor:
        """A predictor with the weights that users would use."""
        model = build_model(self.recipe)
        model.load_state_dict(self.state.weights_to_use())
        return Predictor(model, self.recipe, self.device, self.recipe.train.precision)

    def log(self, step: int, numbers: Mapping[str, Any], part: str, report: ProgressCallback) -> None:
        """Into the log and to the callbacks; the main process only."""
        if self.logbook is not None:
            self.logbook.write(step, numbers, part)
        self.show(step, numbers, part, report)

    def show(self, step: int, numbers: Mapping[str, Any], part: str, report: ProgressCallback) -> None:
        """To the callback only, not into the log; the main process only."""
        if self.world.is_main:
            report(step, numbers, part)

    def write_checkpoint(self) -> None:
        """`last.safetensors`, by the main process."""
        self.world.in_main(lambda: self.state.write(self.folder.last, self.recipe))

    def write_best(self, metrics: Metrics | None) -> None:
        """`best.safetensors` and its metrics, which the main process has, by that process."""
        self.world.in_main(lambda: self.state.write_weights(self.folder.best, self.recipe))
        self.write_metrics(metrics)

    def write_metrics(self, metrics: Metrics | None) -> None:
        """`metrics.json`, where there are any, by the main process."""
        self.world.in_main(lambda: None if metrics is None else self.folder.write_metrics(metrics.to_dict()))


def prepare_run(
    recipe: Recipe,
    output: Path,
    world: World,
    device: torch.device,
    *,
    resume: bool,
    lock: FolderLock | None = None,
    progress: FetchProgress | None = None,
) -> Run:
    """Read the data, build the model, claim and lock the folder and, on `resume`, restore the state.

    Raises:
        ConfigError: the recipe names no training data, or cannot be trained as it stands.
        DataError: a dataset that cannot be used.
        OutputError: the folder cannot be used; see `claim_run_folder`.
        CheckpointError: the checkpoint to start or resume from is broken, or does not fit.
    """
    world.in_main(lambda: refuse_at_start(output, resume=resume))
    recipe, train_set, records, validation = world.together(lambda: _read_data(recipe, world))
    begun = RunFolder(output) if resume else None
    recipe, measured = with_statistics(recipe, records, begun, world)
    recipe, precision = with_precision(recipe, device, begun, world)
    sampler = sampler_of(recipe, records)
    is_resumed = begun is not None and begun.last.exists()
    model = build_model(recipe)
    weights = {} if is_resumed else put_initial_weights(model, recipe, world, progress)
    measured_on = None if validation is None else validation.dataset
    start = {
        **machine_facts(recipe, model, device),
        **precision,
        **data_facts(recipe, train_set, records, sampler.images_per_epoch, measured_on),
        **measured,
        **weights,
        **_findings(train_set, validation),
    }
    folder = world.in_main(lambda: claim_run_folder(output, recipe, resume=resume, lock=lock))
    if _has_small_parts(recipe.train):
        freeze_batch_norms(model)
    model = model.to(device)
    average = AveragedWeights(model, recipe.train.ema_decay) if recipe.train.ema_decay is not None else None
    state = TrainingState(model, build_optimiser(model, recipe.train), average, data=_fingerprints(records, validation))
    if is_resumed:
        state.restore(folder.last)
    preprocess = Preprocess.of(recipe)
    categories = ids_of_dataset(categories_of(recipe), train_set.categories, "train")
    model.train()
    joined = DistributedDataParallel(model) if world.is_joined else model
    return Run(
        recipe=recipe,
        folder=folder,
        world=world,
        device=device,
        training_set=TrainingSet(
            records,
            categories,
            recipe.data.augment,
            preprocess,
            keypoints=recipe.keypoints,
            outputs=outputs_of(recipe, train_set),
        ),
        sampler=sampler,
        validation=validation,
        stepper=Stepper(joined, state.optimiser, preprocess, recipe.train, world, device),
        state=state,
        start=start,
        is_resumed=is_resumed,
        logbook=Logbook(folder.root, state.progress.step) if world.is_main else None,
    )


def _read_data(given: Recipe, world: World) -> tuple[Recipe, Dataset, list[ImageRecord], Validation | None]:
    """The recipe with the classes of its data, the training set, its images to train on, and the validation."""
    train_set, val_set = open_data(given)
    refuse_nothing_to_learn(given, train_set, train_set.records)
    records = records_to_train_on(given, train_set)
    given = with_length(given, sampler_of(given, records).images_per_epoch)
    recipe = with_stuff(with_categories(given, train_set.categories), train_set, val_set)
    _check_share(recipe, world)
    return recipe, train_set, records, _validation(recipe, val_set, world)


def _fingerprints(records: list[ImageRecord], validation: Validation | None) -> dict[str, Fingerprint]:
    found = {"train": fingerprint(records)}
    return found if validation is None else {**found, "val": fingerprint(validation.dataset.records)}


def _findings(train_set: Dataset, validation: Validation | None) -> dict[str, Any]:
    """What the log says of the data: what was read in another way than it is written, what `skip_bad` left out."""
    datasets = [train_set] if validation is None else [train_set, validation.dataset]
    findings = {
        "remarks": [line for dataset in datasets for line in dataset.remark_lines()],
        "left_out": [line for dataset in datasets for line in dataset.skipped_lines()],
    }
    return {name: lines for name, lines in findings.items() if lines}


def _check_share(recipe: Recipe, world: World) -> None:
    parts = world.size * recipe.train.accumulate
    if recipe.train.batch_size % parts:
        raise ConfigError(
            f"train.batch_size {recipe.train.batch_size} does not divide into {world.size} processes × "
            f"train.accumulate {recipe.train.accumulate}; choose a multiple of {parts}"
        )


def _has_small_parts(config: TrainConfig) -> bool:
    """Whether too few images are computed together for statistics; batch norms take them over all processes."""
    limit = config.freezes_norms_below
    return limit is not None and config.batch_size // config.accumulate < limit


def _validation(recipe: Recipe, dataset: Dataset | None, world: World) -> Validation | None:
    if dataset is None:
        if recipe.expected:
            raise ConfigError("expected results are of data.val; give data.val.images and data.val.annotations")
        return None
    limit = recipe.train.max_detections or recipe.detect.max_detections
    _check_metric_names(recipe, dataset)
    categories = ids_of_dataset(categories_of(recipe), dataset.categories, "val")
    return Validation(dataset, categories, outputs_of(recipe, dataset), limit, world)


def _check_metric_names(recipe: Recipe, dataset: Dataset) -> None:
    """Check the names now, not after the last step."""
    metrics = known_metrics(recipe, dataset)
    name, groups = recipe.train.best_metric, [group for group in MEASURED if group in metrics]
    if name.partition(".")[0] not in (*groups, "per_category"):
        raise ConfigError(
            f"train.best_metric is {name}, but the model gives only {' and '.join(groups)}; set it to "
            f"{groups[0]}.{next(iter(metrics[groups[0]]))}"
        )
    try:
        metrics.lookup(name)
    except ConfigError as error:
        raise ConfigError(f"train.best_metric: {error}") from error
    if recipe.train.evaluates_augmented:
        refuse_unjoinable(recipe)
        metrics = Metrics({**metrics, AUGMENTED: metrics})
    refuse_unknown(recipe.expected, metrics, "augmented ones need train.evaluates_augmented=true")
