"""How many channels images have, how deep they are, and which statistics go with that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from maskwright.config import load_recipe, recipe_from_table, recipe_names
from maskwright.config.images import PixelsConfig
from maskwright.errors import ConfigError


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_one_of_colours_and_of_channels_with_one_override(name: str) -> None:
    colours = load_recipe(name).pixels
    assert (colours.channels, colours.bits) == (3, 8) and len(colours.mean or ()) == len(colours.std or ()) == 3
    other = load_recipe(name, {"pixels.channels": 5}).pixels
    assert other == colours.model_copy(update={"channels": 5, "mean": None, "std": None})


def test_given_statistics_stay_and_are_as_many_as_the_channels() -> None:
    given = {"pixels.channels": 2, "pixels.mean": [0.1, 0.2], "pixels.std": [1, 2]}
    pixels = load_recipe("detectron2/mask_rcnn_r50_fpn", given).pixels
    assert (pixels.mean, pixels.std) == ((0.1, 0.2), (1.0, 2.0))
    with pytest.raises(ConfigError, match=r"pixels\.mean has 3 numbers, but pixels\.channels is 2: .* or null"):
        load_recipe("mask_rcnn", {**given, "pixels.mean": [0.1, 0.2, 0.3]})


def test_null_statistics_are_measured_whatever_the_channels() -> None:
    pixels = load_recipe("yolact", {"pixels.mean": None, "pixels.std": None}).pixels
    assert (pixels.channels, pixels.mean, pixels.std) == (3, None, None)


def test_a_recipe_based_on_one_of_channels_can_go_back_to_colours(tmp_path: Path) -> None:
    field, colours = tmp_path / "field.yaml", tmp_path / "colours.yaml"
    field.write_text(yaml.safe_dump({"base": "yolact", "pixels": {"channels": 2, "mean": [1, 2], "std": [3, 4]}}))
    colours.write_text(yaml.safe_dump({"base": str(field), "pixels": {"channels": 3}}))
    assert load_recipe(str(field)).pixels.mean == (1.0, 2.0)
    assert load_recipe(str(colours)).pixels == load_recipe("yolact").pixels


def test_a_recipe_of_before_there_were_channels_means_8_bit_colours() -> None:
    table = load_recipe("mask_rcnn").model_dump(mode="json")
    for key in ("channels", "bits", "float_range"):
        del table["pixels"][key]
    assert recipe_from_table(table, "old").pixels == PixelsConfig()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bits": 9}, "bits"),
        ({"channels": 0}, "channels"),
        ({"std": [1, 0, 1]}, "every number must be above 0"),
        ({"float_range": [1, 1]}, "the first number must be below the second"),
        ({"chanels": 5}, "did you mean pixels.channels"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_key(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_recipe("mask_rcnn", {f"pixels.{key}": value for key, value in changes.items()})
