"""Classes: names by label, labels by id."""

from __future__ import annotations

from typing import Any

import pytest

from maskwright.errors import DataError
from maskwright.structures import Categories

COCO = [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 7, "name": "dog"}]


def test_names_get_ids_from_one() -> None:
    categories = Categories.of(["cat", "dog"])
    assert (categories.names, categories.ids) == (("cat", "dog"), (1, 2))


def test_coco_list_makes_the_round_trip() -> None:
    categories = Categories.of(COCO)
    assert Categories.of(categories.to_coco()) == categories
    assert Categories.of(categories) is categories
    assert categories.to_coco() == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]


def test_categories_are_a_sequence_of_names() -> None:
    categories = Categories.of(COCO)
    assert list(categories) == ["cat", "dog"]
    assert (categories[1], categories[:1], len(categories), "dog" in categories) == ("dog", ("cat",), 2, True)


def test_label_of_an_id_is_its_place() -> None:
    assert [Categories.of(COCO).label_of(id_) for id_ in (3, 7)] == [0, 1]


def test_unknown_id_is_answered_with_the_known() -> None:
    with pytest.raises(DataError, match=r"category_id 4.*3 cat, 7 dog"):
        Categories.of(COCO).label_of(4)


def test_two_classes_may_share_a_name_but_not_an_id() -> None:
    assert Categories.of(["N/A", "N/A"]).ids == (1, 2)
    with pytest.raises(DataError, match="id 3 occurs twice"):
        Categories.of([*COCO, {"id": 3, "name": "horse"}])


@pytest.mark.parametrize("entry", [{"id": 1}, {"name": "cat"}, {"id": "one", "name": "cat"}, 5, None])
def test_entry_without_id_or_name_is_shown(entry: Any) -> None:
    with pytest.raises(DataError, match="needs a whole number from 0 as 'id', and a 'name'"):
        Categories.of([entry])


def test_no_classes_are_a_normal_case() -> None:
    assert len(Categories.of([])) == 0


@pytest.mark.parametrize("number", [-1, 1.5, float("inf"), float("nan"), 10**30, "x", None, []])
def test_an_id_is_a_whole_number_from_zero(number: object) -> None:
    with pytest.raises(DataError, match="whole number"):
        Categories.of([{"id": number, "name": "cell"}])


def test_a_hundred_thousand_classes_are_read_at_once() -> None:
    assert len(Categories.of([{"id": number, "name": f"class {number}"} for number in range(100_000)])) == 100_000
