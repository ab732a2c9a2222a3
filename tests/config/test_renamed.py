"""Keys that had other names: earlier checkpoints and runs are read, and an error names the new one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

import maskwright as mw
from maskwright.checkpoints.native import NativeCheckpoint, write_native
from maskwright.config import load_recipe, recipe_names, stored_recipe
from maskwright.config.overrides import dotted_keys
from maskwright.config.renamed import RENAMED, Renaming, renaming_of, with_new_names
from maskwright.errors import ConfigError

ASSETS = Path(str(files("maskwright"))) / "assets"

# keys of every old name, with a value that the defaults of `mask_rcnn` do not have
OLD = [
    ("rpn.loss_divisor", "own", "rpn.normalizer=box_positives"),
    ("box_head.box_divisor", "positives", "box_head.box_normalizer=positive_rois"),
    ("keypoint_head.loss_divisor", "planned", "keypoint_head.normalizer=possible_keypoints"),
]


def as_written_before(table: dict[str, Any]) -> dict[str, Any]:
    """A recipe's table with the old names of all keys."""
    old = {name: dict(value) if isinstance(value, dict) else value for name, value in table.items()}
    for one in RENAMED:
        words = {new: word for word, new in one.values.items()}
        old[one.table][one.old] = words[old[one.table].pop(one.new)]
    return old


@pytest.mark.parametrize("name", ["matterport/mask_rcnn_r101", "detectron2/keypoint_rcnn_r50_fpn", "mask_rcnn"])
def test_a_recipe_as_an_earlier_version_wrote_it_is_the_same_recipe(name: str) -> None:
    recipe = load_recipe(name, {"keypoint_head.normalizer": "possible_keypoints"})
    old = as_written_before(recipe.model_dump(mode="json"))
    assert "loss_divisor" in old["rpn"] and "normalizer" not in old["keypoint_head"]
    assert stored_recipe(old, "an old checkpoint") == recipe


def test_a_recipe_of_another_family_has_nothing_to_rename() -> None:
    recipe = load_recipe("yolact")
    assert stored_recipe(recipe.model_dump(mode="json"), "a checkpoint") == recipe


@pytest.mark.parametrize("one", RENAMED, ids=lambda one: f"{one.table}.{one.old}")
def test_new_names_are_keys_with_these_values_and_old_ones_are_not(one: Renaming) -> None:
    recipe = load_recipe("mask_rcnn")
    assert f"{one.table}.{one.new}" in set(dotted_keys(type(recipe)))
    assert f"{one.table}.{one.old}" not in set(dotted_keys(type(recipe)))
    for value in one.values.values():
        assert load_recipe("mask_rcnn", {f"{one.table}.{one.new}": value})


def test_a_damaged_table_is_left_to_the_check_of_recipes() -> None:
    for table in ({"rpn": 3}, {"rpn": None}, {"rpn": {"loss_divisor": [1]}}, {}):
        assert with_new_names(table) == {"rpn": {"normalizer": [1]}} or with_new_names(table) == table
    with pytest.raises(ConfigError, match=r"rpn\.normalizer"):
        stored_recipe({"rpn": {"loss_divisor": "x"}}, "a checkpoint")


@pytest.mark.parametrize(("key", "value", "hint"), OLD)
def test_an_old_name_given_by_hand_is_refused_with_the_new_one(key: str, value: str, hint: str, tmp_path: Path) -> None:
    assert renaming_of(key) is not None
    with pytest.raises(ConfigError, match=f"{key} has another name now: write {hint}"):
        load_recipe("mask_rcnn", {key: value})
    table, _, last = key.rpartition(".")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": "mask_rcnn", table: {last: value}}))
    with pytest.raises(ConfigError, match=f"mine.yaml: {key} has another name now: write {hint}"):
        load_recipe(str(path))


def test_no_shipped_recipe_has_an_old_name() -> None:
    for name in recipe_names():
        assert load_recipe(name)


@pytest.mark.parametrize("name", ["nuclei_mask_rcnn_small", "nuclei_yolact_small"])
def test_bundled_weights_load_by_their_file(name: str) -> None:
    predictor = mw.load(ASSETS / f"{name}.safetensors", device="cpu")
    assert predictor.recipe.name == name.replace("nuclei_", "nuclei/")


def test_a_checkpoint_with_old_names_gives_the_same_predictor(tmp_path: Path) -> None:
    bundled = mw.load("nuclei/mask_rcnn_small", device="cpu")
    table = as_written_before(bundled.recipe.model_dump(mode="json"))
    content = NativeCheckpoint(bundled.model.state_dict(), table, {}, {})
    write_native(tmp_path / "old.safetensors", content)
    loaded = mw.load(tmp_path / "old.safetensors", device="cpu", overrides={"rpn.normalizer": "box_positives"})
    assert loaded.recipe.rpn == bundled.recipe.rpn.model_copy(update={"normalizer": "box_positives"})
    assert loaded.recipe.box_head == bundled.recipe.box_head
    with pytest.raises(ConfigError, match=r"rpn\.loss_divisor has another name now"):
        mw.load(tmp_path / "old.safetensors", device="cpu", overrides={"rpn.loss_divisor": "own"})
