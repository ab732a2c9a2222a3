"""Metrics read like the nested dict of metrics.json, and never change."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import FrozenInstanceError

import pytest

from maskwright.errors import ConfigError
from maskwright.evaluation import Metrics, metrics_table

PLAIN = {
    "box": {"AP": 0.25, "APs": None},
    "mask": {"AP": 0.5, "APs": None},
    "per_category": {"St. Bernard": {"mask": {"AP": 0.5}}, "cat": {"mask": {"AP": None}}},
    "images": 3,
    "seconds": 1.5,
}


def test_metrics_read_like_the_nested_dict():
    metrics = Metrics(PLAIN)
    assert metrics["mask"]["AP"] == 0.5
    assert metrics["images"] == 3
    assert list(metrics) == list(PLAIN)
    assert "keypoints" not in metrics


def test_what_has_no_ground_truth_is_nan_here_and_none_in_json():
    metrics = Metrics(PLAIN)
    assert math.isnan(metrics["mask"]["APs"])
    assert not metrics["mask"]["APs"] > 0.1
    assert metrics.to_dict() == PLAIN
    assert Metrics(json.loads(json.dumps(metrics.to_dict()))).to_dict() == PLAIN


def test_the_same_numbers_are_equal_even_where_there_is_none():
    assert Metrics(PLAIN) == Metrics(PLAIN) == PLAIN
    assert Metrics(PLAIN) != {**PLAIN, "images": 4}


def test_lookup_goes_down_by_dots_even_through_names_with_dots():
    metrics = Metrics(PLAIN)
    assert metrics.lookup("mask.AP") == 0.5
    assert metrics.lookup("images") == 3
    assert metrics.lookup("per_category.St. Bernard.mask.AP") == 0.5


def test_flat_has_every_number_under_the_name_that_lookup_takes():
    metrics = Metrics(PLAIN)
    assert len(metrics.flat()) == 8
    assert {name: metrics.lookup(name) for name in metrics.flat()}.keys() == metrics.flat().keys()


def test_a_misspelt_metric_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no metric is called 'mask\.ap'; there are .*mask\.AP"):
        Metrics(PLAIN).lookup("mask.ap")
    with pytest.raises(ConfigError, match=r"box\.AP, box\.APs, mask\.AP"):
        Metrics(PLAIN).lookup("?")


def test_a_group_is_no_number():
    with pytest.raises(ConfigError, match="no metric is called 'mask'"):
        Metrics(PLAIN).lookup("mask")


def test_metrics_are_frozen_and_travel_between_processes():
    metrics = Metrics(PLAIN)
    with pytest.raises(FrozenInstanceError):
        metrics.entries = {}
    with pytest.raises(TypeError):
        metrics["box"] = {}
    assert pickle.loads(pickle.dumps(metrics)).to_dict() == PLAIN


def cells(metrics: Metrics) -> list[list[str]]:
    columns = [list(column.cells) for column in metrics_table(metrics).columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_the_table_shows_boxes_and_masks_and_then_each_category():
    rows = cells(Metrics(PLAIN))
    assert [row[:3] for row in rows] == [
        ["all", "box", "0.250"],
        ["all", "mask", "0.500"],
        ["St. Bernard", "mask", "0.500"],
        ["cat", "mask", "–"],
    ]


def test_the_table_of_one_category_does_not_repeat_it():
    assert len(cells(Metrics({**PLAIN, "per_category": {"cat": {"mask": {"AP": 0.5}}}}))) == 2


def test_the_table_tells_of_detections_that_were_left_out():
    table = metrics_table(Metrics({**PLAIN, "max_detections": 100, "truncated_images": 2}))
    assert table.caption is not None
    assert "2 images have more detections" in str(table.caption)
    assert metrics_table(Metrics(PLAIN)).caption == "3 images, 1.5 s"


def test_yolacts_table_is_shown_below_cocos():
    row = {"all": 0.5, "50": 0.75, "95": 0.25}
    coco, yolact = metrics_table(Metrics({**PLAIN, "yolact": {"box": row, "mask": row}})).renderables
    assert coco.caption == "3 images, 1.5 s"
    assert [column.header for column in yolact.columns] == ["of", "all", "50", "95"]
    assert [list(column.cells) for column in yolact.columns][1:] == [["0.500"] * 2, ["0.750"] * 2, ["0.250"] * 2]
