"""`key=value` overrides: typed, nested, and helpful when misspelt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.config import MaskRcnnRecipe, load_recipe, parse_override
from maskwright.config.overrides import dotted_keys, merge, nearest_names, nest_overrides
from maskwright.errors import ConfigError

RECIPE = "torchvision/mask_rcnn_r50_fpn"

names = st.text("abcdef_", min_size=1, max_size=4)
tables = st.recursive(
    st.dictionaries(names, st.integers(), max_size=4), lambda t: st.dictionaries(names, t, max_size=3)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.seed=7", ("train.seed", 7)),
        ("train.learning_rate=1e-3", ("train.learning_rate", 0.001)),
        ("rpn.nms_iou=0.6", ("rpn.nms_iou", 0.6)),
        ("anchors.is_rounded=false", ("anchors.is_rounded", False)),
        ("train.patience=null", ("train.patience", None)),
        ("train.steps=[10, 20]", ("train.steps", [10, 20])),
        ("data.train.images=my images/train", ("data.train.images", "my images/train")),
        ("data.train.images=a=b", ("data.train.images", "a=b")),
        (" train.seed = 7", ("train.seed", 7)),
        ("data.train.images=", ("data.train.images", None)),
    ],
)
def test_value_comes_out_typed(text: str, expected: tuple[str, object]) -> None:
    key, value = parse_override(text)
    assert (key, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize("text", ["train.seed", "=3", "  =3", ""])
def test_what_is_no_override_is_shown_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_override(text)


def test_value_that_is_no_yaml_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"train\.steps.*\[10"):
        parse_override("train.steps=[10")


@given(tables, tables)
def test_what_is_laid_over_wins_and_the_rest_stays(base: dict[str, object], changes: dict[str, object]) -> None:
    merged = merge(base, changes)
    assert merge(merged, changes) == merged
    assert merge(base, {}) == base
    assert merge({}, base) == base
    assert set(merged) == set(base) | set(changes)


@given(tables)
def test_merging_leaves_its_arguments_alone(base: dict[str, object]) -> None:
    before = repr(base)
    merge(base, {"a": {"b": 1}, "c": 2})
    assert repr(base) == before


def test_list_replaces_the_old_one_whole() -> None:
    assert merge({"a": [1, 2, 3]}, {"a": [4]}) == {"a": [4]}


def test_value_and_table_of_one_name_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match=r"rpn\.nms_iou.*'rpn'"):
        nest_overrides({"rpn": 3, "rpn.nms_iou": 0.5})


@pytest.mark.parametrize("key", [key for key in dotted_keys(MaskRcnnRecipe) if "." in key and key != "backbone.name"])
def test_every_key_can_be_overridden_with_its_own_value(key: str) -> None:
    recipe = load_recipe(RECIPE)
    value: object = recipe
    for name in key.split("."):
        value = getattr(value, name)
    dumped = value.model_dump() if hasattr(value, "model_dump") else value
    assert load_recipe(RECIPE, {key: dumped}) == recipe


def test_override_is_laid_over_the_recipe() -> None:
    recipe = load_recipe(RECIPE, dict([parse_override("rpn.nms_iou=0.6"), parse_override("train.steps=[1, 2]")]))
    assert isinstance(recipe, MaskRcnnRecipe)
    assert (recipe.rpn.nms_iou, recipe.train.steps) == (0.6, (1, 2))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("rpn.nms_io", "rpn.nms_iou"),
        ("detect.nms_ious", "detect.nms_iou"),
        ("nms_iou", "rpn.nms_iou"),
        ("trian.seed", "train"),
        ("train.learningrate", "train.learning_rate"),
        ("learning_rate", "train.learning_rate"),
        ("data.trian.images", "data.train"),
        ("backbone.dept", "backbone.depth"),
    ],
)
def test_misspelt_key_is_answered_with_the_nearest_right_one(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(RECIPE, {wrong: 1})
    assert "unknown key" in str(caught.value)
    assert right in str(caught.value).partition("did you mean")[2]


def test_key_like_no_other_gets_no_guess() -> None:
    assert nearest_names("qqqqqq", list(dotted_keys(MaskRcnnRecipe))) == []


def test_an_empty_table_empties_and_others_are_laid_over() -> None:
    base = {"expected": {"mask.AP": "0.3 ± 0.1", "box.AP": "0.4 ± 0.1"}}
    assert merge(base, {"expected": {}}) == {"expected": {}}
    assert merge(base, nest_overrides({"expected.mask.AP": "0 ± 1"}))["expected"] == {
        "mask.AP": "0 ± 1",
        "box.AP": "0.4 ± 0.1",
    }
