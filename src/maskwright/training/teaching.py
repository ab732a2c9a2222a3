"""Whether a training set has objects that the losses can learn from, and how much of it is left out."""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.config.run import Recipe
from maskwright.data.record import Dataset, ImageRecord, count_objects
from maskwright.errors import DataError

# from this share on, what is missing is reported
_MUCH = 0.5
_AS_OBJECTS = "if each of them is one object after all, as in files of tools that mark every mask so (CVAT's brush)"


def refuse_nothing_to_learn(recipe: Recipe, dataset: Dataset, records: Sequence[ImageRecord]) -> None:
    """Refuse a training set in which no loss sees an object: the model would learn only the background.

    Raises:
        DataError: there is none; the message says what there is instead, and the way out.
    """
    num_objects, num_crowds = count_objects(records)
    if num_objects or not recipe.finds_objects:
        return
    if num_crowds:
        raise DataError(
            f"{dataset.source}: each of its {num_crowds} annotations is marked as a crowd (iscrowd 1), which no loss "
            f"learns from, so there is nothing to train on; {_AS_OBJECTS}, set {_key(recipe, 'crowds')}=objects"
        )
    if dataset.defects:
        raise DataError(
            f"{dataset.source}: {_key(recipe, 'skip_bad')} leaves no object to train on, because of "
            f"{dataset.defect_summary()}; `maskwright data check` lists all, so that they can be mended"
        )
    is_chosen = any(table.only is not None for table in recipe.data.tables("train"))
    raise DataError(
        f"{dataset.source}: no image has an object"
        + (f" of the classes in {_key(recipe, 'only')}: name others there" if is_chosen else " to train on")
    )


def teaching_warnings(recipe: Recipe, dataset: Dataset, records: Sequence[ImageRecord]) -> list[str]:
    """One line for each kind of loss that takes half of the annotations or more."""
    num_objects, num_crowds = count_objects(records)
    num_kept = num_objects + num_crowds
    warnings = []
    if num_crowds and num_crowds >= _MUCH * num_kept:
        warnings.append(
            f"{num_crowds} of {num_kept} annotations are marked as crowds (iscrowd 1), which no loss learns from; "
            f"{_AS_OBJECTS}, set {_key(recipe, 'crowds')}=objects"
        )
    num_defects = len(dataset.defects)
    if num_defects and num_defects >= _MUCH * (num_kept + num_defects):
        warnings.append(
            f"{_key(recipe, 'skip_bad')} left out {num_defects} annotations or images, and {num_kept} annotations "
            "remain; `maskwright data check` lists all"
        )
    return warnings


def _key(recipe: Recipe, name: str) -> str:
    """The dotted key of a setting of the training data, as it is typed; of a list, that of its first entry."""
    return f"{recipe.data.keys('train')[0]}.{name}"
