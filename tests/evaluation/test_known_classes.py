"""Classes that a dataset has and a model has not."""

from __future__ import annotations

import math

import pytest

from maskwright.evaluation import Metrics, align_categories
from maskwright.evaluation.run import lacking_classes, with_known_mean
from maskwright.structures import Categories

DATASET = Categories(("cat", "dog", "cow"), (5, 2, 9))


def metrics(**values: float) -> Metrics:
    per_category = {name: {"box": {"AP": value}} for name, value in values.items()}
    return Metrics({"box": {"AP": 0.1}, "per_category": per_category})


def test_classes_of_other_case_and_spacing_are_no_lacking_ones() -> None:
    assert lacking_classes(Categories(("D og", "CAT"), (1, 2)), DATASET) == {9: "cow"}
    assert lacking_classes(DATASET, DATASET) == {}


def test_the_mean_is_over_known_classes_that_have_objects() -> None:
    known = with_known_mean(metrics(cat=0.4, dog=0.2, cow=0.0), Categories(("dog", "cat"), (1, 2)), DATASET)
    assert known["box"] == {"AP": 0.1, "AP_known": pytest.approx(0.3)}
    known = with_known_mean(metrics(cat=0.4, dog=math.nan, cow=0.0), Categories(("dog", "cat"), (1, 2)), DATASET)
    assert known["box"]["AP_known"] == pytest.approx(0.4)


def test_without_a_known_class_that_has_objects_nothing_is_known() -> None:
    known = with_known_mean(metrics(cat=0.4, dog=math.nan, cow=0.0), Categories(("dog",), (1,)), DATASET)
    assert math.isnan(known["box"]["AP_known"])


def test_of_classes_that_differ_in_case_the_one_of_the_same_letters_is_meant() -> None:
    dataset = Categories(("red", "Red "), (1, 2))
    assert align_categories(Categories(("red",), (1,)), dataset) == {1: 1}
    assert align_categories(Categories(("Red ",), (1,)), dataset) == {1: 2}
    assert align_categories(Categories(("RED",), (1,)), dataset) == {1: 1}
