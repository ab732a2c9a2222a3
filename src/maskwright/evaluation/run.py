"""Predictions over a dataset as one COCO results list, and their metrics; knows neither models nor datasets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import isnan
from typing import Any, TypeVar

import torch

from maskwright.errors import DataError
from maskwright.evaluation.coco import coco_metrics
from maskwright.evaluation.comparison import Comparison
from maskwright.evaluation.metrics import Metrics, distinct_names
from maskwright.evaluation.table import KINDS
from maskwright.structures.categories import Categories
from maskwright.structures.instances import Instances

ImageT = TypeVar("ImageT")


def collect_results(
    predict: Callable[[Sequence[ImageT]], Sequence[Instances]],
    batches: Iterable[Sequence[tuple[int, ImageT]]],
    categories: Categories,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """What `predict` finds in every image, as entries of a COCO results list with the dataset's category ids.

    Masks are kept as run lengths only, so memory grows with the objects and not with the pixels.

    Args:
        predict: images → their `Instances`, in the same order.
        batches: batches of (image_id, image), whatever `predict` takes as an image.
        categories: those of the dataset; a class that it does not have is left out.
        progress: called after each batch with the number of its images.

    Raises:
        DataError: model and dataset have no class in common.
    """
    results: list[dict[str, Any]] = []
    for batch in batches:
        found = predict([image for _, image in batch])
        for (image_id, _), instances in zip(batch, found, strict=True):
            results += _entries(instances, image_id, categories)
        if progress is not None:
            progress(len(batch))
    return results


def detection_metrics(comparison: Comparison, seconds: float, kinds: Collection[str]) -> Metrics:
    """The metrics of `evaluate_results` and, beside them, the `seconds` that prediction took.

    `kinds` are those of `box`, `mask` and `keypoints` that the model gives: where it found nothing, its results do not
    say which of these are missing and which are zero.
    """
    metrics = coco_metrics(comparison)
    per_category = {name: _without_others(tables, kinds) for name, tables in metrics["per_category"].items()}
    return Metrics({**_without_others(metrics, kinds), "per_category": per_category, "seconds": seconds})


def _without_others(tables: Mapping[str, Any], kinds: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in tables.items() if name in kinds or name not in KINDS}


def align_categories(model: Categories, dataset: Categories) -> dict[int, int]:
    """Which category id of the dataset each category id of the model stands for: classes of the same name.

    Case and white space in names do not matter. Classes of the model that the dataset lacks are not in the result.

    Raises:
        DataError: not a single name is common.

    >>> align_categories(Categories(("Cell", "traffic light"), (1, 2)), Categories(("Traffic Light",), (10,)))
    {2: 10}
    """
    if model == dataset:
        return {id_: id_ for id_ in dataset.ids}
    aligned = _common(model, dataset)
    if not aligned:
        raise DataError(
            f"model and dataset have no category in common: the model knows {_shortened(model)}, the dataset "
            f"{_shortened(dataset)}; rename the dataset's categories or take a model trained on them"
        )
    return aligned


def lacking_classes(model: Categories, dataset: Categories) -> dict[int, str]:
    """Id and name of each class of the dataset that the model does not have, and so cannot find.

    >>> lacking_classes(Categories(("cell",), (1,)), Categories(("Cell", "dust"), (4, 7)))
    {7: 'dust'}
    """
    known = set(dataset.ids if model == dataset else _common(model, dataset).values())
    return {id_: name for id_, name in zip(dataset.ids, dataset.names, strict=True) if id_ not in known}


def with_known_mean(metrics: Metrics, model: Categories, dataset: Categories) -> Metrics:
    """The metrics with `AP_known` beside each AP: the mean over the classes that the model has.

    In AP itself each class that the model lacks counts as zero.
    """
    lacking = lacking_classes(model, dataset)
    names = distinct_names(dict(sorted(zip(dataset.ids, dataset.names, strict=True))))
    tables = [
        table for id_, name in names.items() if id_ not in lacking and (table := metrics["per_category"].get(name))
    ]
    means = {
        kind: _mean_of(table[kind]["AP"] for table in tables if kind in table) for kind in KINDS if kind in metrics
    }
    return Metrics({**metrics, **{kind: {**metrics[kind], "AP_known": mean} for kind, mean in means.items()}})


def _mean_of(values: Iterable[float]) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = [value for value in values if not isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def _common(model: Categories, dataset: Categories) -> dict[int, int]:
    """Category id of the model → that of the dataset's class of its name, in the same letters where there is one."""
    exact = dict(zip(dataset.names, dataset.ids, strict=True))
    plain = {_plain(name): id_ for name, id_ in reversed(exact.items())}
    found = {id_: exact.get(name, plain.get(_plain(name))) for id_, name in zip(model.ids, model.names, strict=True)}
    return {id_: other for id_, other in found.items() if other is not None}


def _entries(instances: Instances, image_id: int, categories: Categories) -> list[dict[str, Any]]:
    aligned = align_categories(instances.categories, categories)
    is_known = torch.tensor([id_ in aligned for id_ in instances.categories.ids])
    known = instances if is_known.all() else instances[is_known[instances.labels.cpu()]]  # before masks are encoded
    return [{**entry, "category_id": aligned[entry["category_id"]]} for entry in known.to_coco(image_id)]


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _shortened(categories: Categories) -> str:
    return ", ".join(categories.names[:5]) + (f" and {len(categories) - 5} more" if len(categories) > 5 else "")
