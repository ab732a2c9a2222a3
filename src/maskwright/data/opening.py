"""From the recipe's table of a dataset to its records."""

from __future__ import annotations

from maskwright.config.data import DatasetConfig
from maskwright.data.readers import read_dataset
from maskwright.data.readers.panoptic import read_panoptic
from maskwright.data.record import Dataset


def open_dataset(config: DatasetConfig, *, needs_masks: bool) -> Dataset:
    """Read a dataset as its table says.

    Args:
        config: whose `images` and `annotations` are given.
        needs_masks: an object without a mask is a defect.

    Raises:
        DataError: it cannot be used, or has defects and `skip_bad` is off.
    """
    dataset = read_dataset(str(config.images), str(config.annotations), config.format, needs_masks=needs_masks)
    if config.panoptic_annotations is not None and config.panoptic_images is not None:
        dataset = read_panoptic(config.panoptic_annotations, config.panoptic_images).added_to(dataset)
    if not config.skip_bad:
        dataset.refuse_defects()
    return dataset
