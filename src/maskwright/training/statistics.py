"""Mean and standard deviation of the training images' channels, for recipes that have none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskwright.config.images import PixelsConfig
from maskwright.config.run import Recipe
from maskwright.data.record import ImageRecord
from maskwright.errors import DataError
from maskwright.images.read import read_image
from maskwright.training.distributed import World
from maskwright.training.folder import RunFolder

# spread evenly over the records; more would not change the third digit
_MOST_IMAGES = 200
_THREADS = 4  # decoders work outside Python's lock


@dataclass(frozen=True)
class PixelStatistics:
    """Of each channel in the network's order, after division by `pixels.divisor`.

    Attributes:
        mean: over all pixels of the images, each pixel counting the same.
        std: likewise, of the population.
        num_images: that were read.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_images: int


def with_statistics(
    recipe: Recipe, records: Sequence[ImageRecord], begun: RunFolder | None, world: World
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with mean and std, where it lacks them: those of the resumed run, else measured by the main process.

    Args:
        recipe: returned as it is if it has `pixels.mean` and `pixels.std`.
        records: training images.
        begun: folder of the run that is resumed, if there is one.
        world: of which all processes get the same.

    Returns:
        The recipe, and what was measured, for the log: nothing, or `measured` (`mean`, `std`, `images`).

    Raises:
        DataError: an image cannot be read, or a channel has one value everywhere.
    """
    pixels = recipe.pixels
    if pixels.mean is not None and pixels.std is not None:
        return recipe, {}
    if (stored := _stored(begun, pixels)) is not None:
        return _completed(recipe, stored), {}
    found = world.in_main(lambda: measure(records, pixels))
    record = {"mean": found.mean, "std": found.std, "images": found.num_images}
    return _completed(recipe, {"mean": found.mean, "std": found.std}), {"measured": record}


def measure(records: Sequence[ImageRecord], pixels: PixelsConfig) -> PixelStatistics:
    """Statistics of the images, of at most 200 spread evenly over them; a function of only these.

    Raises:
        DataError: an image cannot be read, or a channel has one value everywhere.
    """
    sample = records[:: math.ceil(len(records) / _MOST_IMAGES)]
    with ThreadPoolExecutor(_THREADS) as pool:
        sums = torch.stack(list(pool.map(lambda record: _sums(read_image(record.path, pixels)), sample))).sum(dim=0)
    count, total, squares = sums
    mean = total / count
    std = (squares / count - mean**2).clamp(min=0).sqrt()
    for channel in range(pixels.channels):
        if std[channel] <= 1e-6 * mean[channel].abs():  # what rounding leaves of zero
            raise DataError(
                f"channel {channel} of the training images is {float(mean[channel]):g} everywhere ({len(sample)} of "
                "them were read): leave it out of the files, or give pixels.std"
            )
    if pixels.is_bgr:
        mean, std = mean.flip(0), std.flip(0)
    return PixelStatistics(_rounded(mean / pixels.divisor), _rounded(std / pixels.divisor), len(sample))


def _sums(image: Tensor) -> Tensor:
    """(3, C) of each channel: number of pixels, sum, sum of squares."""
    channels = [channel.double() for channel in image]
    sums = [(channel.numel(), float(channel.sum()), float(channel.square().sum())) for channel in channels]
    return torch.tensor(sums, dtype=torch.float64).T


def _rounded(values: Tensor) -> tuple[float, ...]:
    """To six digits, which the order of summing does not change."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def _stored(begun: RunFolder | None, pixels: PixelsConfig) -> dict[str, Any] | None:
    """The statistics that a run started with; None where its recipe has none that fit."""
    recipe = None if begun is None else begun.begun_with()
    if recipe is None:
        return None
    try:
        table = recipe["pixels"]
        found = {name: tuple(map(float, table[name])) for name in ("mean", "std")}
    except (KeyError, TypeError, ValueError):
        return None
    return found if all(len(numbers) == pixels.channels for numbers in found.values()) else None


def _completed(recipe: Recipe, found: Mapping[str, Any]) -> Recipe:
    lacking = {name: found[name] for name in ("mean", "std") if getattr(recipe.pixels, name) is None}
    return recipe.model_copy(update={"pixels": recipe.pixels.model_copy(update=lacking)})
