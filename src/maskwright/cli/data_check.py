"""`maskwright data check`: all that is wrong with a dataset, at once, and what a recipe would lose of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.options import (
    AnnotationsHelp,
    BinaryMapsOption,
    BoxesAsMasksOption,
    ClassAttributeOption,
    ExifOption,
    FormatOption,
    ImagesHelp,
    OnlyPresentOption,
    SetOption,
    as_flag,
    read_overrides,
)
from maskwright.cli.terminal import keeping, progress, say
from maskwright.errors import ConfigError

if TYPE_CHECKING:
    from maskwright.config import Recipe
    from maskwright.data.readers.options import ReadOptions
    from maskwright.data.record import ImageRecord, Option

_Images = Annotated[
    str, typer.Argument(metavar="IMAGES", help=f"{ImagesHelp} Or a recipe: its data.train and data.val are checked.")
]
_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="ANNOTATIONS", help=f"{AnnotationsHelp} After a recipe: KEY=VALUE changes to it."),
]
_RecipeName = Annotated[
    str | None, typer.Option("--recipe", metavar="R", help="Count the objects that this recipe would lose.")
]

# findings of a kind that are listed one by one
_MOST_PER_KIND = 10


def check(
    images: _Images,
    annotations: _Words = None,
    format: FormatOption = "coco",  # noqa: A002 - the word of the command line
    pixels: Annotated[
        bool,
        typer.Option(
            " /--no-pixels",
            show_default=False,
            help="Read only the headers of images, not their pixels; quick, but finds less.",
        ),
    ] = True,
    exif: ExifOption = None,
    class_attribute: ClassAttributeOption = None,
    boxes_as_masks: BoxesAsMasksOption = False,
    only_present: OnlyPresentOption = False,
    binary_maps: BinaryMapsOption = None,
    boxes_only: Annotated[
        bool, typer.Option("--boxes-only", help="Objects need no masks (Faster and Keypoint R-CNN).")
    ] = False,
    lists_all: Annotated[
        bool, typer.Option("--all", help=f"List every finding, not the first {_MOST_PER_KIND} of a kind.")
    ] = False,
    recipe_name: _RecipeName = None,
    changes: SetOption = None,
) -> None:
    """List the defects of a dataset in any format, and count them; the exit status is 2 where there are any.

    ANNOTATIONS is one file, as COCO and LVIS have it, or the folder with a file for every image.

    With a recipe instead of IMAGES, the data of the recipe are checked: maskwright data check mask_rcnn
    data.train.images=photos data.train.annotations=photos.json. The objects that the recipe would lose are counted
    then, or with --recipe.
    """
    from maskwright.config import load_recipe
    from maskwright.data.readers.options import ReadOptions

    words, settings = annotations or [], _CheckSettings(pixels, None if lists_all else _MOST_PER_KIND)
    if _is_recipe(images):
        is_clean = _check_recipe(load_recipe(images, read_overrides([*words, *(changes or [])])), settings)
    else:
        file = _single(words)
        if recipe_name is None and changes:
            raise ConfigError("--set changes a recipe: give one with --recipe")
        recipe = None if recipe_name is None else load_recipe(recipe_name, read_overrides(changes))
        options = ReadOptions(
            needs_masks=not boxes_only,
            exif=exif,
            class_attribute=class_attribute,
            boxes_as_masks=boxes_as_masks,
            only_present=only_present,
            binary_maps=binary_maps,
        )
        is_clean = settings.check(Path(images), file, format, options, recipe, as_flag)
    if not is_clean:
        raise typer.Exit(2)


def _is_recipe(name: str) -> bool:
    from maskwright.config import is_recipe_file, recipe_names

    return is_recipe_file(name) or (name in recipe_names() and not Path(name).is_dir())


def _single(words: Sequence[str]) -> Path:
    if len(words) != 1:
        raise ConfigError(
            f"IMAGES is followed by one argument, ANNOTATIONS, but {len(words)} are given"
            + (f" ({' '.join(words)})" if words else "")
            + "; check a recipe's own data with `maskwright data check RECIPE KEY=VALUE…`"
        )
    return Path(words[0])


@dataclass(frozen=True)
class _CheckSettings:
    """How closely datasets are looked at, and how many findings of a kind are listed one by one (None: all)."""

    pixels: bool
    most_per_kind: int | None

    def check(
        self, images: Path, annotations: Path, form: str, options: ReadOptions, recipe: Recipe | None, option: Option
    ) -> bool:
        """Whether a dataset is free of defects; `recipe` says besides what it would lose of it."""
        from maskwright.data.doctor import check_dataset
        from maskwright.data.readers import read_with_defects
        from maskwright.data.record import ways_out

        with keeping(lambda: "nothing is changed"), progress("images") as advance:
            report = check_dataset(images, annotations, form, self.pixels, lambda _, total: advance(1, total), options)
        for line in report.lines(self.most_per_kind):
            say(line)
        for way in ways_out(report.defects, option):
            say(f"             {way}")
        if recipe is not None:
            _print_losses(recipe, read_with_defects(images, annotations, form, options).records)
        return report.is_clean


def _print_losses(recipe: Recipe, records: Sequence[ImageRecord]) -> None:
    from maskwright.data.network_scale import scale_lines, scale_summary

    say(f"recipe       {recipe.name}: {scale_summary(recipe, records)}")
    for line in scale_lines(recipe, records):
        say(f"  {line}")


def _check_recipe(recipe: Recipe, settings: _CheckSettings) -> bool:
    """Whether the datasets of a recipe are free of defects."""
    from maskwright.config.data import PARTS
    from maskwright.data.readers.options import ReadOptions

    tables = [each for part in PARTS for each in zip(recipe.data.keys(part), recipe.data.tables(part), strict=True)]
    named = [(key, table) for key, table in tables if table.images or table.annotations]
    if not named:
        raise ConfigError(
            f"recipe {recipe.name} names no data: give data.train.images=DIR and data.train.annotations=PATH"
        )
    are_clean = dict.fromkeys(PARTS, True)
    for key, table in named:
        if table.images is None or table.annotations is None:
            raise ConfigError(f"{key} needs both {key}.images=DIR and {key}.annotations=PATH")
        say(f"{key}:")
        part = next(part for part in PARTS if key.startswith(f"data.{part}"))
        are_clean[part] &= settings.check(
            Path(table.images),
            Path(table.annotations),
            table.format,
            ReadOptions.of(table, needs_masks="mask" in recipe.metric_kinds),
            None,
            partial("{0}.{1}=true".format, key),
        )
    if are_clean["train"] and any(table.images for table in recipe.data.tables("train")):
        _print_training_losses(recipe)
    return all(are_clean.values())


def _print_training_losses(recipe: Recipe) -> None:
    """Count what the recipe would lose of its sound training data.

    Raises:
        ConfigError: its choices of classes do not fit the data.
        DataError: nothing is left to train on, as a training would say.
    """
    from maskwright.data.opening import open_datasets
    from maskwright.training.teaching import refuse_nothing_to_learn

    dataset = open_datasets(
        recipe.data.tables("train"), needs_masks="mask" in recipe.metric_kinds, keys=recipe.data.keys("train")
    )
    _print_losses(recipe, dataset.records)
    refuse_nothing_to_learn(recipe, dataset, dataset.records)
