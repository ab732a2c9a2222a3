"""From the recipe's tables of datasets to their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maskwright.config.data import DatasetConfig
from maskwright.data.choices import settle_defects, split
from maskwright.data.joining import join_datasets
from maskwright.data.readers import read_dataset
from maskwright.data.readers.options import ReadOptions
from maskwright.data.readers.panoptic import read_panoptic
from maskwright.data.record import Dataset
from maskwright.data.relabelling import relabel
from maskwright.errors import DataError


def open_datasets(configs: Sequence[DatasetConfig], *, needs_masks: bool, keys: Sequence[str] = ()) -> Dataset:
    """Read datasets as their tables say, and join them where they are several.

    Args:
        configs: one or more, whose `images` and `annotations` are given.
        needs_masks: an object without a mask is a defect.
        keys: of the tables in their recipe, for messages.

    Raises:
        ConfigError: `rename` or `only` names a class that its dataset has not, or the datasets do not go together.
        DataError: datasets that cannot be used, or have defects while their `skip_bad` is off; all are reported.
    """
    return join_datasets(_open_all(configs, needs_masks, keys))


def open_split(
    configs: Sequence[DatasetConfig], share: float, *, needs_masks: bool, keys: Sequence[str] = ()
) -> tuple[Dataset, Dataset]:
    """As `open_datasets`, with a share of the images of each dataset set aside; see `split`.

    Returns:
        the rest, and the images set aside.
    """
    datasets = _open_all(configs, needs_masks, keys)
    parts = [split(dataset, share, Path(str(one.images))) for dataset, one in zip(datasets, configs, strict=True)]
    return join_datasets([rest for rest, _ in parts]), join_datasets([aside for _, aside in parts])


def _open_all(configs: Sequence[DatasetConfig], needs_masks: bool, keys: Sequence[str]) -> list[Dataset]:
    datasets: list[Dataset] = []
    complaints: list[str] = []
    for index, config in enumerate(configs):
        try:
            datasets.append(open_dataset(config, needs_masks=needs_masks, key=keys[index] if keys else ""))
        except DataError as error:
            complaints.append(str(error))
    if complaints:
        raise DataError("; and ".join(complaints))
    return datasets


def open_dataset(config: DatasetConfig, *, needs_masks: bool, key: str = "") -> Dataset:
    """Read one dataset as its table says: its classes renamed and chosen, its images as frequent as they shall be.

    Args:
        config: whose `images` and `annotations` are given.
        needs_masks: an object without a mask is a defect.
        key: of the table in its recipe, for messages.

    Raises:
        ConfigError: `rename` or `only` names a class that the data has not.
        DataError: it cannot be used, or has defects and `skip_bad` is off.
    """
    dataset = read_dataset(
        str(config.images), str(config.annotations), config.format, ReadOptions.of(config, needs_masks=needs_masks)
    )
    if config.panoptic_annotations is not None and config.panoptic_images is not None:
        dataset = read_panoptic(config.panoptic_annotations, config.panoptic_images).added_to(dataset)
    dataset = settle_defects(
        dataset,
        skip_bad=config.skip_bad,
        keeps_damaged_images=config.keeps_damaged_images,
        option=lambda name: f"{key}.{name}=true".removeprefix("."),
    )
    records = tuple(replace(record, repeats=config.repeats) for record in dataset.records)
    return relabel(replace(dataset, records=records), config.rename, config.only)
