"""The recipe's datasets, fitted to its model: which classes, which images, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from maskwright.config.data import Part
from maskwright.config.roi_heads import KeypointHeadConfig
from maskwright.config.run import Recipe
from maskwright.data.opening import open_datasets, open_split
from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.relabelling import plain_class_name
from maskwright.data.samplers import StepSampler, aspect_groups, repeat_factors
from maskwright.errors import ConfigError, DataError
from maskwright.predict.evaluate import categories_of
from maskwright.structures import Categories


def open_data(recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """Training and validation data, each joined from several datasets where the recipe lists them.

    Raises:
        ConfigError: a dataset lacks its images or its annotations, there is none to train on, or the
            listed ones do not fit together.
        DataError: a dataset cannot be used.
    """
    if incomplete := _incomplete(recipe, "train"):
        raise ConfigError(f"training needs {incomplete[0]}.images=FOLDER and {incomplete[0]}.annotations=FILE")
    if (share := recipe.data.share_of_train) is not None:
        return _open_split(recipe, share)
    validation = open_validation(recipe)
    return _open(recipe, "train"), validation


def open_validation(recipe: Recipe) -> Dataset | None:
    """The validation data of a recipe; None where it names none.

    Raises:
        ConfigError, DataError: as `open_data`.
    """
    if (share := recipe.data.share_of_train) is not None and not _incomplete(recipe, "train"):
        return _open_split(recipe, share)[1]
    if not any(table.images or table.annotations for table in recipe.data.tables("val")):
        return None
    if incomplete := _incomplete(recipe, "val"):
        raise ConfigError(
            f"validation needs both {incomplete[0]}.images=FOLDER and {incomplete[0]}.annotations=FILE, or neither"
        )
    return _open(recipe, "val")


def _open(recipe: Recipe, part: Part) -> Dataset:
    data = recipe.data
    return open_datasets(data.tables(part), needs_masks="mask" in recipe.metric_kinds, keys=data.keys(part))


def _open_split(recipe: Recipe, share: float) -> tuple[Dataset, Dataset]:
    data = recipe.data
    return open_split(data.tables("train"), share, needs_masks="mask" in recipe.metric_kinds, keys=data.keys("train"))


def _incomplete(recipe: Recipe, part: Part) -> list[str]:
    """Keys of the tables that lack images or annotations."""
    return [
        key
        for key, table in zip(recipe.data.keys(part), recipe.data.tables(part), strict=True)
        if table.images is None or table.annotations is None
    ]


def with_categories(recipe: Recipe, categories: Categories) -> Recipe:
    """The recipe with the classes of the training data, if it has none of its own.

    Raises:
        ConfigError: its own differ from them.
    """
    if recipe.categories:
        ids_of_dataset(categories_of(recipe), categories, "train")
        return recipe
    return type(recipe).model_validate({**recipe.model_dump(), "categories": categories.to_coco()})


def ids_of_dataset(own: Categories, dataset: Categories, part: Part) -> Categories:
    """The recipe's classes, each with the id that a dataset's annotations have for the class of that name.

    A class that the dataset lacks gets an id that no annotation has.

    Raises:
        ConfigError: the dataset has classes that the recipe has not; `part` says which dataset.

    >>> ids_of_dataset(Categories(("cat", "dog"), (1, 2)), Categories(("dog", "cat"), (1, 5)), "train").ids
    (5, 1)
    """
    if own == dataset:
        return own
    if unknown := [name for name in dataset.names if name not in own.names]:
        name, take = ("training", "set categories=[] to take them, or ") if part == "train" else ("validation", "")
        spelt = {plain_class_name(one): one for one in reversed(own.names)}
        if near := {one: spelt[plain_class_name(one)] for one in unknown if plain_class_name(one) in spelt}:
            raise ConfigError(
                f"the {name} annotations spell {', '.join(map(repr, near))} in another way than the recipe or the "
                f"training annotations; if these are the same classes, set data.{part}.rename={near}"
            )
        raise ConfigError(
            f"the {name} annotations have categories that the recipe has not: {', '.join(unknown[:5])}; {take}choose "
            f"or rename them by data.{part}.only and data.{part}.rename"
        )
    ids = dict(zip(dataset.names, dataset.ids, strict=True))
    unused = count(min(dataset.ids, default=0) - 1, -1)
    return Categories(own.names, tuple(ids[name] if name in ids else next(unused) for name in own.names))


def records_to_train_on(recipe: Recipe, dataset: Dataset) -> list[ImageRecord]:
    """The images that the recipe trains on.

    Raises:
        ConfigError: the model has other keypoints than the data.
        DataError: there is none.
    """
    records = [record for record in dataset.records if recipe.data.uses_empty_images or record.annotations]
    if not records:
        raise DataError(
            f"{dataset.source}: no image has an object, and data.uses_empty_images is off: nothing to train on"
        )
    keypoints = recipe.keypoints
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


def sampler_of(recipe: Recipe, records: Sequence[ImageRecord]) -> StepSampler:
    """Which of the images each step sees."""
    sizes = [record.size for record in records]
    groups = aspect_groups(sizes) if recipe.data.groups_by_aspect else (0,) * len(records)
    return StepSampler(groups, recipe.train.batch_size, recipe.train.seed, _factors(recipe, records))


def _factors(recipe: Recipe, records: Sequence[ImageRecord]) -> tuple[float, ...] | None:
    """How often each image is drawn in an epoch; None where all are drawn once."""
    factors = tuple(record.repeats for record in records)
    threshold = recipe.data.repeat_threshold
    if threshold is not None:
        of_rare = repeat_factors([record.category_ids() for record in records], threshold)
        factors = tuple(own * rare for own, rare in zip(factors, of_rare, strict=True))
    return None if all(factor == 1 for factor in factors) else factors
