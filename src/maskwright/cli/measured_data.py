"""The dataset that `maskwright evaluate` measures on: that of its options, or the recipe's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.cli.options import as_flag
from maskwright.errors import ConfigError, DataError

if TYPE_CHECKING:
    from maskwright.config.run import Recipe
    from maskwright.data.readers.options import ReadOptions
    from maskwright.data.record import Dataset


@dataclass(frozen=True)
class MeasuredData:
    """What the options say of a dataset.

    Attributes:
        images: folder of the image files; None measures on the recipe's own data.
        annotations: file or folder; None likewise.
        format: how they are written.
        options: about their reading; the model decides `needs_masks`.
        skips_bad: what cannot be used is left out.
        keeps_damaged: images stay without those of their objects that had to go.

    Raises:
        ConfigError: options of a dataset are given without it.
    """

    images: Path | None
    annotations: Path | None
    format: str
    options: ReadOptions
    skips_bad: bool
    keeps_damaged: bool

    def __post_init__(self) -> None:
        if (self.images is None) != (self.annotations is None):
            lacking = "--annotations" if self.annotations is None else "--images"
            raise ConfigError(
                f"{lacking} is missing: give it too, or omit both options to measure on the recipe's data.val"
            )
        if self.images is None and (self.format, self.options) != ("coco", type(self.options)()):
            raise ConfigError(
                "--format and the options of reading are about --images and --annotations: give these too, or change "
                "the recipe's data.val, for example with --set data.val.format=yolo"
            )

    def open(self, recipe: Recipe, model: str) -> Dataset:
        """Read it.

        Raises:
            ConfigError: neither the options nor the recipe of the model name data.
            DataError: it cannot be used, or has defects that are not to be left out.
        """
        from maskwright.data.choices import settle_defects
        from maskwright.data.readers import read_dataset

        if self.images is None or self.annotations is None:
            return self._own(recipe, model)
        options = replace(self.options, needs_masks="mask" in recipe.metric_kinds)
        dataset = read_dataset(self.images, self.annotations, self.format, options)
        return settle_defects(dataset, skip_bad=self.skips_bad, keeps_damaged_images=self.keeps_damaged, option=as_flag)

    def _own(self, recipe: Recipe, model: str) -> Dataset:
        """The recipe's `data.val`."""
        from maskwright.training.datasets import open_validation

        try:
            dataset = open_validation(recipe.skipping_bad(self.keeps_damaged) if self.skips_bad else recipe)
        except DataError as error:
            raise DataError(
                f"{error} (this is data.val of the recipe of {model}; --images and --annotations measure on other data)"
            ) from error
        if dataset is None:
            raise ConfigError(
                f"there is nothing to measure on: the recipe of {model} names no data.val; give --images DIR and "
                "--annotations PATH"
            )
        return dataset
