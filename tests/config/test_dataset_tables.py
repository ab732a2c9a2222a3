"""`data.train` and `data.val`: one table or a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from maskwright.config import MaskRcnnRecipe, Recipe, load_recipe, parse_override, recipe_from_table
from maskwright.config.data import AnnotationFormat
from maskwright.config.overrides import dotted_keys, with_overrides
from maskwright.data.readers import READERS
from maskwright.errors import ConfigError

TWO = {
    "data": {
        "train": [
            {"images": "a", "annotations": "a.json"},
            {"images": "b", "annotations": "b.json", "format": "voc", "rename": {"aeroplane": "airplane"}},
        ]
    }
}


def recipe_of(table: dict[str, Any], *overrides: str) -> Recipe:
    return recipe_from_table(table, "here", dict(map(parse_override, overrides)))


def train_images(recipe: Recipe) -> list[str | None]:
    return [table.images for table in recipe.data.tables("train")]


def test_the_formats_of_recipes_are_those_that_can_be_read() -> None:
    assert set(get_args(AnnotationFormat)) == set(READERS)


def test_one_table_is_a_list_of_one() -> None:
    assert train_images(recipe_of({}, "data.train.images=c")) == ["c"]
    assert train_images(recipe_of({})) == [None]


def test_a_list_is_read_from_a_file_and_replaced_whole_by_what_is_based_on_it(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("data: {train: [{images: a}, {images: b}]}\n")
    (tmp_path / "one.yaml").write_text(f"base: {tmp_path / 'list.yaml'}\ndata: {{train: {{images: c}}}}\n")
    assert train_images(load_recipe(str(tmp_path / "list.yaml"))) == ["a", "b"]
    assert train_images(load_recipe(str(tmp_path / "one.yaml"))) == ["c"]


def test_a_list_is_given_as_an_override() -> None:
    recipe = recipe_of({}, "data.val=[{images: c, annotations: c.json}, {images: d, annotations: d.json}]")
    assert [table.images for table in recipe.data.tables("val")] == ["c", "d"]


def test_an_entry_of_a_list_is_changed_by_its_number() -> None:
    recipe = recipe_of(TWO, "data.train.1.images=c", "data.train.1.rename.dog=hound", "data.train.0.repeats=2")
    assert train_images(recipe) == ["a", "c"]
    first, second = recipe.data.tables("train")
    assert (first.repeats, second.format) == (2, "voc")
    assert second.rename == {"aeroplane": "airplane", "dog": "hound"}


def test_overrides_leave_the_table_as_it_was() -> None:
    before = repr(TWO)
    with_overrides(TWO, {"data.train.1.rename.dog": "hound"})
    assert repr(TWO) == before


@pytest.mark.parametrize("table", [{}, TWO])
def test_a_recipe_survives_being_written_and_read(table: dict[str, Any]) -> None:
    recipe = recipe_of(table)
    assert recipe_from_table(recipe.model_dump(), "again") == recipe
    assert recipe_from_table(recipe.model_dump(mode="json"), "again") == recipe


def test_keys_of_the_tables_are_known() -> None:
    assert {"data.train.images", "data.val.only", "data.train.rename"} <= set(dotted_keys(MaskRcnnRecipe))


@pytest.mark.parametrize(
    ("table", "override", "message"),
    [
        (TWO, "data.train.images=c", r"data\.train is a list of 2 .* has no 'images'.* as in data\.train\.0\.images=…"),
        (TWO, "data.train.2.images=c", r"data\.train is a list of 2 .* has no '2'"),
        (TWO, "data.train.1.imags=c", r"unknown key 'data\.train\.1\.imags'; did you mean data\.train\.1\.images"),
        ({}, "data.train.0.images=c", r"data\.train is no list here, .* leave the number out"),
        ({}, "data.train=[]", r"data\.train: the list of datasets is empty"),
        ({}, "data.train=[{images: a, format: coc}]", r"data\.train\.0\.format: .*'coco_panoptic'.* got 'coc'$"),
        ({}, "data.train=[3]", r"data\.train\.0: .* got 3"),
        ({}, "data.train=photos", r"data\.train: .* got 'photos'"),
        ({}, "data.train.repeats=0", r"data\.train\.repeats: .*greater than 0"),
        ({}, "data.train.only=[]", r"data\.train\.only: .*at least 1"),
        ({}, "data.repeat_threshold=1.5", r"data\.repeat_threshold: .*less than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_answered_with_the_way_out(table: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        recipe_of(table, override)
    assert "\n" not in str(caught.value)


def test_entries_of_other_lists_have_numbers_too() -> None:
    assert with_overrides({"train": {"steps": [1, 2]}}, {"train.steps.1": 5}) == {"train": {"steps": [1, 5]}}


@pytest.mark.parametrize("backbone", ["r50", "r101", "x101"])
def test_lvis_recipes_repeat_rare_classes_as_the_originals_do(backbone: str) -> None:
    assert load_recipe(f"detectron2/mask_rcnn_{backbone}_fpn_1x_lvis").data.repeat_threshold == 0.001
