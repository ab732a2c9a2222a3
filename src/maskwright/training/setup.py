"""Everything a run needs, put together before its first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from maskwright.config.mask_rcnn import keypoints_of
from maskwright.config.roi_heads import KeypointHeadConfig
from maskwright.config.run import Recipe
from maskwright.config.train import TrainConfig
from maskwright.data.loader import TrainingSample, TrainingSet, load_samples
from maskwright.data.opening import open_dataset
from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.samplers import StepSampler, aspect_groups
from maskwright.errors import ConfigError, DataError
from maskwright.evaluation import Metrics, evaluate_detections
from maskwright.images.preprocess import Preprocess
from maskwright.models.backbones.norms import freeze_batch_norms
from maskwright.models.build import build_model
from maskwright.predict.predictor import Predictor
from maskwright.structures import Categories
from maskwright.training.checkpointing import TrainingState
from maskwright.training.distributed import World
from maskwright.training.ema import AveragedWeights
from maskwright.training.folder import RunFolder, claim_run_folder
from maskwright.training.initial import read_initial_weights
from maskwright.training.logbook import Logbook
from maskwright.training.optim import build_optimiser
from maskwright.training.semantic import outputs_of, with_stuff
from maskwright.training.step import Stepper
from maskwright.training.validation import Validation

Report = Callable[[int, Mapping[str, Any], str], None]


@dataclass(frozen=True, eq=False)
class Run:
    """One training run of this process: fixed parts, and the state that steps change."""

    recipe: Recipe
    folder: RunFolder
    world: World
    device: torch.device
    training_set: TrainingSet
    sampler: StepSampler
    validation: Validation | None
    stepper: Stepper
    state: TrainingState
    start: Mapping[str, Any] | None
    logbook: Logbook | None

    def is_over(self) -> bool:
        """Whether the last step is done, or the metric has not improved for `train.patience` evaluations."""
        config, progress = self.recipe.train, self.state.progress
        is_stale = config.patience is not None and progress.stale >= config.patience
        return is_stale or progress.step >= config.iterations

    def samples(self, first: int) -> Iterator[list[TrainingSample]]:
        """This process's samples of step `first` and all that follow."""
        config = self.recipe.train
        share = self.world.share_of(config.batch_size)
        requests = self.sampler.steps(first, config.iterations, share)
        return load_samples(self.training_set, requests, self.recipe.data.workers)

    def predictor(self) -> Predictor:
        """The weights one would use, as users would use them."""
        model = build_model(self.recipe)
        model.load_state_dict(self.state.weights_to_use())
        return Predictor(model, self.recipe, self.device, self.recipe.train.precision)

    def log(self, step: int, numbers: Mapping[str, Any], part: str, report: Report) -> None:
        """Into the log and to whoever watches; the main process only."""
        if self.logbook is not None:
            self.logbook.write(step, numbers, part)
            report(step, numbers, part)

    def write_checkpoint(self) -> None:
        """`last.safetensors`, by the main process."""
        if self.world.is_main:
            self.state.write(self.folder.last, self.recipe)

    def write_best(self, metrics: Metrics | None) -> None:
        """`best.safetensors` and its metrics, by the main process."""
        if self.world.is_main:
            self.state.write_weights(self.folder.best, self.recipe)
            if metrics is not None:
                self.folder.write_metrics(metrics.to_dict())


def prepare_run(recipe: Recipe, output: Path, world: World, device: torch.device, *, resume: bool) -> Run:
    """Read the data, build the model, claim the folder and, on `resume`, restore the state.

    Raises:
        ConfigError: the recipe names no training data, or cannot be trained as it stands.
        DataError: a dataset that cannot be used.
        OutputError: the folder cannot be used; see `claim_run_folder`.
        CheckpointError: the checkpoint to start or resume from is broken, or does not fit.
    """
    train_set, val_set = _datasets(recipe)
    recipe = with_stuff(with_categories(recipe, train_set.categories), train_set, val_set)
    _check_share(recipe, world)
    records = _records(recipe, train_set)
    validation = _validation(recipe, val_set, world)
    is_resumed = resume and RunFolder(output).last.exists()
    initial = None if is_resumed else read_initial_weights(recipe, world)
    model = build_model(recipe)
    start = None if is_resumed else _random_start(recipe) if initial is None else initial.put_into(model)
    folder = world.from_main(claim_run_folder(output, recipe, resume=resume) if world.is_main else None)
    assert folder is not None
    if _has_small_parts(recipe.train):
        freeze_batch_norms(model)
    model = model.to(device)
    average = AveragedWeights(model, recipe.train.ema_decay) if recipe.train.ema_decay is not None else None
    state = TrainingState(model, build_optimiser(model, recipe.train), average)
    if is_resumed:
        state.restore(folder.last)
    preprocess = Preprocess.of(recipe)
    categories = ids_of_dataset(_categories(recipe), train_set.categories, "training")
    model.train()
    joined = DistributedDataParallel(model) if world.size > 1 else model
    groups = aspect_groups([record.size for record in records])
    return Run(
        recipe=recipe,
        folder=folder,
        world=world,
        device=device,
        training_set=TrainingSet(
            records,
            categories,
            recipe.data.augment,
            recipe.resize,
            keypoints=keypoints_of(recipe),
            outputs=outputs_of(recipe, train_set),
        ),
        sampler=StepSampler(
            groups if recipe.data.groups_by_aspect else (0,) * len(records), recipe.train.batch_size, recipe.train.seed
        ),
        validation=validation,
        stepper=Stepper(joined, state.optimiser, preprocess, recipe.train, world, device),
        state=state,
        start=start,
        logbook=Logbook(folder.root, state.progress.step) if world.is_main else None,
    )


def _random_start(recipe: Recipe) -> dict[str, Any] | None:
    """What the log says of a start without initial weights: nothing, unless a part of them will never be learnt."""
    num_stages = recipe.backbone.frozen_stages
    return {"initial_weights": None, "frozen_stages": num_stages} if num_stages else None


def with_categories(recipe: Recipe, categories: Categories) -> Recipe:
    """The recipe with the dataset's categories, where it has none of its own.

    Raises:
        ConfigError: it has other ones.
    """
    own = _categories(recipe)
    if len(own) == 0:
        entries = [{"id": id_, "name": name} for id_, name in zip(categories.ids, categories.names, strict=True)]
        return type(recipe).model_validate({**recipe.model_dump(), "categories": entries})
    ids_of_dataset(own, categories, "training")
    return recipe


def ids_of_dataset(own: Categories, dataset: Categories, part: str) -> Categories:
    """The recipe's classes, each with the id that a dataset's annotations have for the class of that name.

    Raises:
        ConfigError: the dataset has classes that the recipe has not; `part` says which dataset.

    >>> ids_of_dataset(Categories(("cat", "dog"), (1, 2)), Categories(("dog", "cat"), (1, 5)), "training").ids
    (5, 1)
    """
    if own == dataset:
        return own
    if unknown := [name for name in dataset.names if name not in own.names]:
        raise ConfigError(
            f"the {part} annotations have categories that the recipe has not: {', '.join(unknown[:5])}; "
            "set categories=[] to take those of the training annotations"
        )
    ids = dict(zip(dataset.names, dataset.ids, strict=True))
    unused = count(min(dataset.ids, default=0) - 1, -1)
    return Categories(own.names, tuple(ids[name] if name in ids else next(unused) for name in own.names))


def _categories(recipe: Recipe) -> Categories:
    return Categories.of([category.model_dump() for category in recipe.categories])


def _records(recipe: Recipe, dataset: Dataset) -> list[ImageRecord]:
    records = [record for record in dataset.records if recipe.data.uses_empty_images or record.annotations]
    if not records:
        raise DataError(
            f"{dataset.source}: no image has an object, and data.uses_empty_images is off: nothing to train on"
        )
    keypoints = keypoints_of(recipe)
    return records if keypoints is None else _with_keypoints(records, dataset, keypoints)


def _with_keypoints(records: list[ImageRecord], dataset: Dataset, keypoints: KeypointHeadConfig) -> list[ImageRecord]:
    """The images that have enough keypoints to learn from.

    Raises:
        ConfigError: the model has other keypoints than the data.
        DataError: no image has enough.
    """
    if dataset.keypoint_names not in ((), keypoints.names):
        raise ConfigError(
            f"keypoint_head.names are {', '.join(keypoints.names)}, but those of {dataset.source} are "
            f"{', '.join(dataset.keypoint_names)}; set keypoint_head.names to these"
        )
    kept = [record for record in records if record.count_keypoints() >= keypoints.min_keypoints]
    if not any(record.count_keypoints() for record in kept):
        raise DataError(
            f"{dataset.source}: no image has {max(1, keypoints.min_keypoints)} labelled keypoints; annotate "
            "'keypoints' as in COCO's person_keypoints files, or set keypoint_head.is_on=false"
        )
    return kept


def _datasets(recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    train, val = recipe.data.train, recipe.data.val
    if train.images is None or train.annotations is None:
        raise ConfigError("training needs data.train.images=FOLDER and data.train.annotations=FILE")
    if (val.images is None) != (val.annotations is None):
        raise ConfigError("validation needs both data.val.images=FOLDER and data.val.annotations=FILE, or neither")
    needs_masks = "mask" in recipe.measured
    validation = open_dataset(val, needs_masks=needs_masks) if val.images is not None else None
    return open_dataset(train, needs_masks=needs_masks), validation


def _check_share(recipe: Recipe, world: World) -> None:
    parts = world.size * recipe.train.accumulate
    if recipe.train.batch_size % parts:
        raise ConfigError(
            f"train.batch_size {recipe.train.batch_size} does not divide into {world.size} processes × "
            f"train.accumulate {recipe.train.accumulate}; choose a multiple of {parts}"
        )


def _has_small_parts(config: TrainConfig) -> bool:
    """Whether too few images are computed together to tell statistics; batch norms take them over all processes."""
    limit = config.freezes_norms_below
    return limit is not None and config.batch_size // config.accumulate < limit


def _validation(recipe: Recipe, dataset: Dataset | None, world: World) -> Validation | None:
    if dataset is None:
        return None
    limit = recipe.train.max_detections or recipe.detect.max_detections
    if recipe.finds_objects:
        _check_best_metric(recipe, dataset, limit)
    categories = ids_of_dataset(_categories(recipe), dataset.categories, "validation")
    return Validation(dataset, categories, outputs_of(recipe, dataset), limit, world)


def _check_best_metric(recipe: Recipe, dataset: Dataset, limit: int) -> None:
    """Now, not after the first thousand steps."""
    name, tables = recipe.train.best_metric, recipe.measured
    if name.partition(".")[0] not in (*tables, "per_category"):
        raise ConfigError(
            f"train.best_metric is {name}, but the model gives {' and '.join(tables)} alone; set it to {tables[0]}.AP"
        )
    try:
        evaluate_detections([], dataset.to_coco(), limit, 0.0, tables).lookup(name)
    except ConfigError as error:
        raise ConfigError(f"train.best_metric: {error}") from error
