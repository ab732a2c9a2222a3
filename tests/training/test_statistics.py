"""Mean and standard deviation of training images are numpy's, whatever the kind of image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from maskwright.config import load_recipe
from maskwright.config.images import PixelsConfig
from maskwright.data.record import ImageRecord
from maskwright.errors import ConfigError, DataError
from maskwright.images.preprocess import Preprocess
from maskwright.training.distributed import World
from maskwright.training.folder import RunFolder
from maskwright.training.statistics import measure, with_statistics

ALONE = World(0, 1, 0)


def record(number: int, path: Path, size: tuple[int, int]) -> ImageRecord:
    return ImageRecord(number, path, size, ())


def write_npy(folder: Path, channels: int, num_images: int = 3, dtype: Any = np.uint16) -> list[ImageRecord]:
    random, records = np.random.default_rng(4), []
    for number in range(num_images):
        size = (10 + number, 20)
        path = folder / f"{number}.npy"
        np.save(path, random.integers(0, np.iinfo(dtype).max, (channels, *size), dtype=dtype))
        records.append(record(number, path, size))
    return records


def expected(records: list[ImageRecord], factor: float) -> tuple[list[float], list[float]]:
    """Of (C, H, W) files."""
    pixels = np.concatenate([np.load(one.path).reshape(len(np.load(one.path)), -1) for one in records], axis=1)
    return (pixels.mean(axis=1) * factor).tolist(), (pixels.std(axis=1) * factor).tolist()


@pytest.mark.parametrize("divisor", [1.0, 255.0])
@pytest.mark.parametrize(("dtype", "bits", "scale"), [(np.uint8, 8, 1.0), (np.uint16, 16, 255 / 65535)])
def test_they_are_those_of_numpy_over_all_pixels(
    tmp_path: Path, dtype: Any, bits: int, scale: float, divisor: float
) -> None:
    records = write_npy(tmp_path, 5, dtype=dtype)
    found = measure(records, PixelsConfig.model_validate({"channels": 5, "bits": bits, "divisor": divisor}))
    mean, std = expected(records, scale / divisor)
    assert found.mean == pytest.approx(mean, rel=1e-5) and found.std == pytest.approx(std, rel=1e-5)
    assert found.num_images == 3


def test_what_they_normalise_has_mean_zero_and_deviation_one(tmp_path: Path) -> None:
    records = write_npy(tmp_path, 2, num_images=1, dtype=np.uint8)
    recipe = load_recipe("mask_rcnn", {"pixels.channels": 2})
    recipe, _ = with_statistics(recipe, records, None, ALONE)
    preprocess = Preprocess.of(recipe)
    image = preprocess.read(records[0].path)
    pixels = preprocess.batch([image], sizes=[records[0].size]).pixels[0, :, : records[0].size[0], : records[0].size[1]]
    assert pixels.mean(dim=(1, 2)).tolist() == pytest.approx([0, 0], abs=1e-4)
    assert pixels.std(dim=(1, 2), correction=0).tolist() == pytest.approx([1, 1], abs=1e-4)


def test_networks_that_see_blue_first_get_them_in_that_order(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "a.png"
    Image.fromarray(random.integers(0, [50, 100, 200], (9, 8, 3)).astype(np.uint8)).save(path)
    rgb, bgr = (
        measure([record(1, path, (9, 8))], PixelsConfig(channel_order=order, mean=None, std=None))
        for order in ("rgb", "bgr")
    )
    assert rgb.mean == bgr.mean[::-1] and rgb.mean[0] < rgb.mean[2]


def test_of_many_images_the_same_few_hundred_are_read(tmp_path: Path) -> None:
    (one,) = write_npy(tmp_path, 2, num_images=1)
    pixels = PixelsConfig(channels=2, bits=16)
    assert measure([one] * 401, pixels).num_images == 134
    assert measure([one] * 401, pixels) == measure([one] * 401, pixels)


def test_given_numbers_stay_and_only_what_is_missing_is_measured(tmp_path: Path) -> None:
    records = write_npy(tmp_path, 2, dtype=np.uint8)
    given = {"pixels.channels": 2, "pixels.mean": [0.1, 0.2]}
    recipe, reported = with_statistics(load_recipe("mask_rcnn", given), records, None, ALONE)
    assert recipe.pixels.mean == (0.1, 0.2) and recipe.pixels.std == reported["measured"]["std"]
    again, reported = with_statistics(recipe, records, None, ALONE)
    assert again is recipe and reported == {}


def test_a_run_that_is_taken_up_again_keeps_those_it_began_with(tmp_path: Path) -> None:
    recipe = load_recipe("mask_rcnn", {"pixels.channels": 2})
    begun = RunFolder(tmp_path / "run")
    begun.root.mkdir()
    begun.recipe.write_text(yaml.safe_dump({"pixels": {"mean": [1.5, 2.5], "std": [3.5, 4.5]}}))
    resumed, reported = with_statistics(recipe, [], begun, ALONE)
    assert (resumed.pixels.mean, resumed.pixels.std, reported) == ((1.5, 2.5), (3.5, 4.5), {})
    records = write_npy(tmp_path, 2, dtype=np.uint8)
    for broken in ("", "pixels: {mean: [1], std: [2]}", "pixels: {mean: a}", "[1", "pixels: {mean: null, std: null}"):
        begun.recipe.write_text(broken)
        assert "measured" in with_statistics(recipe, records, begun, ALONE)[1]


def test_a_channel_that_never_varies_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.stack([np.arange(12).reshape(3, 4), np.full((3, 4), 7)]).astype(np.uint8))
    with pytest.raises(DataError, match="channel 1 of the training images is 7 everywhere"):
        measure([record(1, path, (3, 4))], PixelsConfig(channels=2))


def test_a_broken_image_is_named_while_measuring(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"a\.npy is broken"):
        measure([record(1, path, (3, 4))], PixelsConfig(channels=2))


def test_without_a_training_the_numbers_must_be_given() -> None:
    with pytest.raises(ConfigError, match="are measured in training; without one, give 5 numbers for each"):
        Preprocess.of(load_recipe("mask_rcnn", {"pixels.channels": 5}))
