"""Metrics on a terminal: every group in words, as wide as a terminal, and no longer than a reader's patience."""

from __future__ import annotations

import math
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from maskwright.evaluation import Metrics, metrics_table
from maskwright.evaluation.table import sections

AP = {"AP": 0.401, "AP50": 0.5, "AP75": 0.3, "APs": 0.1, "APm": 0.2, "APl": math.nan, "AR": 0.5}
SEMANTIC = {"mIoU": 0.31, "fwIoU": 0.32, "per_category": {"sky": {"IoU": 0.33}, "car": {"IoU": 0.34}}, "images": 3}


def shown(metrics: dict[str, Any], width: int = 80) -> str:
    text = StringIO()
    Console(width=width, file=text).print(metrics_table(Metrics(metrics)))
    return text.getvalue()


def coco(num_categories: int, **numbers: Any) -> dict[str, Any]:
    both = {"box": {**AP, **numbers}, "mask": {**AP, **numbers}}
    return {**both, "per_category": {f"class {n}": both for n in range(num_categories)}, "images": 1, "seconds": 2.0}


def test_groups_stand_below_the_main_table_under_their_headings():
    more = {
        "boundary": {**AP, "per_category": {"cat": AP}},
        "voc": {"box": {"AP50": 0.7}, "mask": {"AP50": 0.71, "AP70": 0.72}, "images": 3},
        "panoptic": {"PQ": 0.6, "PQ_things": 0.61, "PQ_stuff": 0.62},
        "semantic": SEMANTIC,
    }
    text = shown({**coco(2), **more, "augmented": {**coco(1), "semantic": SEMANTIC}})
    headings = ("class 1", "1 image, 2.0 s", "Boundary AP", "Pascal VOC", "Panoptic quality", "Semantic segmentation",
                "With test-time augmentation")  # fmt: skip
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "images │" not in text
    assert "per_category" not in text


@pytest.mark.parametrize("kinds", [("box",), ("box", "mask")])
def test_numbers_are_not_cut_off_where_a_table_has_many(kinds):
    row = {"all": 0.123, **{str(threshold): threshold / 100 for threshold in range(50, 100, 5)}}
    text = shown({**coco(1203, APr=0.11, APc=0.12, APf=0.13), "yolact": dict.fromkeys(kinds, row)})
    assert "…" not in text
    assert all(f"{number:.3f}" in text for number in (*row.values(), 0.11, 0.12, 0.13))


def test_more_than_a_hundred_categories_are_counted_and_not_listed():
    assert "class 99" in shown(coco(100))
    text = shown(coco(101))
    assert "class 99" not in text
    assert "101 categories are too many to list here" in text


def test_classes_of_pixels_are_listed_where_there_are_no_objects():
    text = shown({"semantic": SEMANTIC, "images": 3, "seconds": 1.0})
    assert "0.340" in text
    assert text.rstrip().endswith("3 images, 1.0 s")
    assert "AP" not in text


def test_names_are_no_markup():
    text = shown({**coco(1), "[red]": {"[bold]": 0.25, "per_category": {}}})
    assert "[red]" in text
    assert "[bold]" in text


def test_categories_of_a_section_are_apart_from_its_means():
    both = {"box": {"AP50": 0.7}, "mask": {"AP50": 0.71}}
    (section,) = sections(Metrics({**coco(2), "voc": {**both, "per_category": {"cat": both}, "images": 2}}))
    assert (section.heading, section.rows, section.parts) == ("Pascal VOC", both, {"category": {"cat": both}})
