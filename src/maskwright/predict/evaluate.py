"""How good a predictor is on a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from maskwright.config.data import BinaryMaps, FrameName
from maskwright.config.run import Recipe
from maskwright.config.testing import ExpectedResult
from maskwright.data.choices import settle_defects
from maskwright.data.readers import read_dataset
from maskwright.data.readers.options import ReadOptions
from maskwright.data.record import Dataset, count_objects
from maskwright.errors import ConfigError
from maskwright.evaluation import Comparison, Metrics, detection_metrics
from maskwright.evaluation.expected import Check, check_expected, refuse_unknown
from maskwright.evaluation.run import lacking_classes, with_known_mean
from maskwright.evaluation.table import AUGMENTED
from maskwright.predict.findings import Findings, empty_findings, find_in
from maskwright.predict.predictor import Predictor
from maskwright.predict.tables import TABLES
from maskwright.structures import Categories


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An evaluation with what it was computed from.

    Attributes:
        metrics: of the results.
        results: a COCO results list with the dataset's image and category ids.
        comparison: of the results that can be right or wrong with the dataset; None for a model without objects.
        checks: of what is expected of them.
        dataset: what was measured: that which was given, without images that turned out broken.
    """

    metrics: Metrics
    results: list[dict[str, Any]]
    comparison: Comparison | None
    checks: list[Check]
    dataset: Dataset


def evaluate(
    predictor: Predictor,
    images: str | Path,
    annotations: str | Path,
    *,
    format: str = "coco",  # noqa: A002 - the word of the contract
    max_detections: int | None = None,
    skip_bad: bool = False,
    keeps_damaged_images: bool = False,
    exif: FrameName | None = None,
    boxes_as_masks: bool = False,
    only_present: bool = False,
    class_attribute: str | None = None,
    binary_maps: BinaryMaps | None = None,
    crowds: Literal["ignored", "objects"] = "ignored",
    tables: Sequence[str] = (),
) -> Metrics:
    """Metrics of a predictor on annotated images: COCO's, or LVIS's where the annotations cover some classes only.

    Args:
        predictor: what is measured; one from `augmented()` or `tiled()` is measured in the same way.
        images: folder of the image files.
        annotations: annotation file, or the folder of them.
        format: how the annotations are written, a key of `data.readers.READERS`.
        max_detections: per image; by default the recipe's `detect.max_detections`, of a tiled predictor all.
        skip_bad: leave out what cannot be used of the dataset, instead of refusing it.
        keeps_damaged_images: with `skip_bad`, leave out only the objects that cannot be used, and keep their images.
        exif: whether the labels of photographs stored on their side are drawn on the upright or the stored image;
            by default as the image sizes in the annotations say.
        boxes_as_masks: the box of an object without a mask is used as its mask.
        only_present: listed images that are not in the folder are ignored.
        class_attribute: attribute of regions that holds their class (VIA); by default the only one, or the likeliest.
        binary_maps: what an object is in black and white id maps; by default those with several parts are refused.
        crowds: `ignored`: annotations marked as crowds are groups of objects; `objects`: each is one object.
        tables: further measures by name, each a group of the result; see `predict.tables`.

    Raises:
        ConfigError: there is no such table, or nothing that the model finds is in the dataset.
        DataError: the dataset cannot be used, or shares no category with the model.
    """
    options = ReadOptions(
        needs_masks="mask" in predictor.recipe.metric_kinds,
        exif=exif,
        boxes_as_masks=boxes_as_masks,
        only_present=only_present,
        class_attribute=class_attribute,
        binary_maps=binary_maps,
        has_crowds=crowds == "ignored",
    )
    dataset = read_dataset(images, annotations, format, options)
    dataset = settle_defects(dataset, skip_bad=skip_bad, keeps_damaged_images=keeps_damaged_images)
    return evaluate_dataset(predictor, dataset, max_detections, tables=tables).metrics


def evaluate_dataset(
    predictor: Predictor,
    dataset: Dataset,
    max_detections: int | None = None,
    progress: Callable[[int], None] | None = None,
    tables: Sequence[str] = (),
    expected: Mapping[str, ExpectedResult] = MappingProxyType({}),
) -> Evaluation:
    """As `evaluate`, on a dataset that was read before.

    `progress` is called with the number of images done since, and what is `expected` is checked; see `expected_of`.
    """
    _refuse_unmeasurable(predictor, dataset, tables, expected)
    findings = find_in(predictor, dataset, max_detections, progress)
    dataset = findings.seen_of(dataset)
    comparison = comparison_of(findings, predictor.recipe, dataset, max_detections)
    metrics = metrics_of(comparison, findings, predictor.recipe, dataset, tables)
    return Evaluation(metrics, findings.results, comparison, check_expected(metrics, expected), dataset)


def measure(
    findings: Findings,
    recipe: Recipe,
    dataset: Dataset,
    max_detections: int | None = None,
) -> Metrics:
    """The metrics of what a model of the recipe found in a dataset; see `evaluate`.

    Images that turned out broken do not count.

    Raises:
        DataError: no other image is left.
    """
    dataset = findings.seen_of(dataset)
    return metrics_of(comparison_of(findings, recipe, dataset, max_detections), findings, recipe, dataset)


def comparison_of(
    findings: Findings, recipe: Recipe, dataset: Dataset, max_detections: int | None
) -> Comparison | None:
    """The findings that can be right or wrong, beside the dataset; None where a model of the recipe finds no objects.

    Raises:
        DataError: the dataset has no image.
    """
    dataset.refuse_emptiness()
    if not recipe.finds_objects:
        return None
    limit = max_detections or max(recipe.detect.max_detections, findings.most_per_image)
    return Comparison.of(dataset.scorable_results(findings.results), dataset.to_coco(), limit)


def metrics_of(
    comparison: Comparison | None, findings: Findings, recipe: Recipe, dataset: Dataset, tables: Sequence[str] = ()
) -> Metrics:
    """Metrics of objects from the `comparison_of` findings, those of pixels, and further tables by name."""
    groups: dict[str, Any] = {} if findings.segments is None else findings.segments.metrics()
    if comparison is None:
        return Metrics({**groups, "images": len(dataset.records), "seconds": findings.seconds})
    coco = detection_metrics(comparison, findings.seconds, recipe.metric_kinds)
    if lacking_objects(recipe, dataset):
        coco = with_known_mean(coco, categories_of(recipe), dataset.categories)
    return Metrics({**coco, **groups, **{name: TABLES[name](comparison, dataset) for name in tables}})


def lacking_objects(recipe: Recipe, dataset: Dataset) -> dict[str, int]:
    """Class of the dataset that a model of the recipe does not have, and so cannot find → objects of it."""
    lacking = lacking_classes(categories_of(recipe), dataset.categories)
    counts = Counter(
        annotation["category_id"]
        for record in dataset.records
        for annotation in (record.annotations if lacking else ())
        if not annotation.get("iscrowd")
    )
    return {name: counts[id_] for id_, name in lacking.items() if counts[id_]}


def categories_of(recipe: Recipe) -> Categories:
    """The recipe's classes, in the order of the network's outputs."""
    return Categories.of([category.model_dump() for category in recipe.categories])


def known_metrics(recipe: Recipe, dataset: Dataset, tables: Sequence[str] = ()) -> Metrics:
    """Metrics that have all the names of those which a model of the recipe will get on a dataset, at once."""
    metrics = measure(empty_findings(recipe, dataset), recipe, dataset)
    one = next((record for record in dataset.records if record.annotations), dataset.records[0])
    one_image = replace(dataset, records=(one,))
    nothing = Comparison.of([], one_image.to_coco())
    return Metrics({**metrics, **{name: TABLES[name](nothing, one_image) for name in tables}})


def _refuse_unmeasurable(
    predictor: Predictor, dataset: Dataset, tables: Sequence[str], expected: Mapping[str, ExpectedResult]
) -> None:
    """Go on only if there is something to measure.

    Raises:
        ConfigError: an unknown table, a model without objects and a dataset without segments or a table of objects, or
            an expected result that no metric is called by.
        DataError: a table cannot be made from this dataset.
    """
    if unknown := [name for name in tables if name not in TABLES]:
        raise ConfigError(f"there is no table {unknown[0]!r}; choose of {', '.join(TABLES)}")
    if not predictor.recipe.finds_objects and dataset.segment_classes is None:
        raise ConfigError(
            f"recipe {predictor.recipe.name} finds no objects, only a class for every pixel, and {dataset.source} has "
            "no segments to compare these with; give panoptic annotations (--format coco_panoptic) or Cityscapes"
        )
    if tables and not predictor.recipe.finds_objects:
        raise ConfigError(
            f"table {tables[0]!r} is of objects, but recipe {predictor.recipe.name} finds none; leave it out"
        )
    if expected or tables:  # what a table lacks in the data shows in one image
        known = known_metrics(predictor.recipe, dataset, tables)
        refuse_unknown(expected, known, f"a further table needs --table NAME, one of {', '.join(TABLES)}")


def why_nothing_counts(recipe: Recipe, dataset: Dataset) -> str | None:
    """Why no metric of objects can be computed on a dataset, with the way out; None where some can be."""
    num_objects, num_crowds = count_objects(dataset.records)
    if num_objects or not recipe.finds_objects:
        return None
    if num_crowds:
        return (
            f"{dataset.source} has nothing to measure: each of its {num_crowds} annotations is marked as a crowd "
            "(iscrowd 1), which counts neither way; if each of them is one object after all, set crowds to objects "
            "(data.val.crowds=objects, or --crowds objects)"
        )
    return f"{dataset.source} has nothing to measure: none of its {len(dataset.records)} images has an object"


def expected_of(predictor: Predictor) -> dict[str, ExpectedResult]:
    """What the recipe expects of this way of looking: `augmented.mask.AP` with several views, else `mask.AP`."""
    expected, prefix = predictor.recipe.expected, f"{AUGMENTED}."
    if predictor.is_augmented:
        return {name.removeprefix(prefix): value for name, value in expected.items() if name.startswith(prefix)}
    return {name: value for name, value in expected.items() if not name.startswith(prefix)}


def is_own_data(recipe: Recipe, annotations: str | Path) -> bool:
    """Whether a recipe's expected results are of these annotations: its `data.val`, or any where it names none."""
    named = [table.annotations for table in recipe.data.tables("val") if table.annotations is not None]
    if recipe.data.share_of_train is not None:  # a part of its training data is no file of its own
        return False
    return not named or [Path(name).resolve() for name in named] == [Path(annotations).resolve()]
