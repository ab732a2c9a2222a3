"""What a semantic head learns from: the segments of the training images."""

from __future__ import annotations

from maskwright.config.run import Recipe
from maskwright.data.record import Dataset
from maskwright.errors import ConfigError
from maskwright.structures import Categories

# category id of a dataset → output of the semantic head
Outputs = dict[int, int]


def with_stuff(recipe: Recipe, train: Dataset, val: Dataset | None) -> Recipe:
    """The recipe with the stuff of the training annotations, if its semantic head has no classes of its own.

    Raises:
        ConfigError: the training data has no segments; or the validation data has none for a semantic FPN, which has no
            other loss.
    """
    semantics = recipe.semantics
    if semantics is None:
        return recipe
    if train.segment_classes is None:
        raise ConfigError(
            "semantic_head learns from data.train.panoptic_annotations=FILE and data.train.panoptic_images=FOLDER; "
            f"give both{', or train without it: semantic_head.is_on=false' if recipe.finds_objects else ''}"
        )
    if val is not None and val.segment_classes is None and not recipe.finds_objects:
        raise ConfigError(
            "a semantic FPN is validated on data.val.panoptic_annotations=FILE and data.val.panoptic_images=FOLDER; "
            "give both, or no data.val at all"
        )
    if semantics.categories:
        return recipe
    head = {**semantics.model_dump(), "categories": train.segment_classes.stuff.to_coco()}
    return type(recipe).model_validate({**recipe.model_dump(), "semantic_head": head})


def outputs_of(recipe: Recipe, dataset: Dataset) -> Outputs | None:
    """The output of the recipe's semantic head for each category of a dataset; None where either has no segments.

    Raises:
        ConfigError: the data has stuff classes that the head lacks.
    """
    head = recipe.semantics
    if head is None or dataset.segment_classes is None:
        return None
    stuff = Categories.of([category.model_dump() for category in head.categories])
    return dataset.segment_classes.outputs(stuff, head.has_things, dataset.source)
