"""The length of a run in steps or in epochs, and the word `none`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from maskwright.config import load_recipe, parse_override, recipe_from_table
from maskwright.config.train import TrainConfig
from maskwright.errors import ConfigError


def test_epochs_take_the_place_of_iterations_and_the_other_way_round(tmp_path: Path) -> None:
    in_epochs = tmp_path / "in_epochs.yaml"
    in_epochs.write_text(yaml.safe_dump({"base": "mask_rcnn", "train": {"epochs": 12}}))
    for recipe in (load_recipe("mask_rcnn", {"train.epochs": 12}), load_recipe(str(in_epochs))):
        assert (recipe.train.iterations, recipe.train.epochs) == (None, 12)
        assert recipe_from_table(recipe.model_dump(mode="json"), "again") == recipe
    recipe = load_recipe(str(in_epochs), {"train.iterations": 50})
    assert (recipe.train.iterations, recipe.train.epochs) == (50, None)
    assert load_recipe("mask_rcnn").train.epochs is None


def test_both_at_once_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_recipe("mask_rcnn", {"train.epochs": 2, "train.iterations": 100})
    assert str(raised.value) == (
        "mask_rcnn: train: train.iterations and train.epochs each say how long the run is, and both are given: give "
        "one of them"
    )
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump({"base": "mask_rcnn", "train": {"epochs": 2, "iterations": 100}}))
    with pytest.raises(ConfigError, match="both are given"):
        load_recipe(str(path))
    with pytest.raises(ConfigError, match="neither is given"):
        load_recipe("mask_rcnn", {"train.iterations": None})


@pytest.mark.parametrize("epochs", [0, -1, float("inf"), float("nan"), 1e300, "many"])
def test_epochs_are_a_number_that_a_run_can_have(epochs: object) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs: "):
        load_recipe("mask_rcnn", {"train.epochs": epochs})


def test_no_epochs_are_no_length(tmp_path: Path) -> None:
    assert load_recipe("mask_rcnn", {"train.epochs": "none"}).train.iterations == 20_000
    assert load_recipe("mask_rcnn", {"train.epochs": None}).train.iterations == 20_000


@pytest.mark.parametrize("key", ["train.patience", "train.evaluate_every", "train.initial_weights", "train.clip_norm"])
def test_none_is_understood_where_there_may_be_none(key: str) -> None:
    name, value = parse_override(f"{key}=none")
    table, _, last = name.partition(".")
    assert getattr(getattr(load_recipe("mask_rcnn", {name: value}), table), last) is None


def test_none_stays_a_word_where_it_is_one() -> None:
    assert load_recipe("mask_rcnn", dict([parse_override("fpn.norm=none")])).fpn.norm == "none"
    with pytest.raises(ConfigError, match=r"train\.batch_size: .* got 'none'"):
        load_recipe("mask_rcnn", dict([parse_override("train.batch_size=none")]))


def test_none_in_a_recipe_file_and_in_a_list_of_datasets_is_understood_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: mask_rcnn\ntrain: {clip_norm: none}\ndata: {train: [{images: a, annotations: none}]}\n")
    recipe = load_recipe(str(path))
    assert recipe.train.clip_norm is None
    assert recipe.data.tables("train")[0].annotations is None
    assert TrainConfig(evaluate_every="none").evaluate_every is None
