"""What `data check` says of a dataset as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maskwright.data.doctor import check_dataset

SQUARE = [[2.0, 2, 12, 2, 12, 12, 2, 12]]


def remarks_of(folder: Path, annotations: list[dict[str, Any]], names: tuple[str, ...] = ("cell", "dust")) -> list[str]:
    Image.new("RGB", (30, 20)).save(folder / "a.png")
    whole = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": [2, 2, 10, 10], "segmentation": SQUARE, **one}
        for number, one in enumerate(annotations)
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}],
        "annotations": whole,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
    }
    (folder / "a.json").write_text(json.dumps(document))
    report = check_dataset(folder, folder / "a.json")
    assert report.is_clean
    return [remark.kind for remark in report.remarks]


@pytest.mark.parametrize(
    ("annotations", "kinds"),
    [
        ([{}], []),
        ([{}, {}], ["repeated-object"]),
        ([{}, {"category_id": 2}], []),
        ([], ["nothing-to-learn"]),
        ([{"iscrowd": 1}], ["nothing-to-learn"]),
        ([{"iscrowd": 1}, {}], ["repeated-object"]),
    ],
)
def test_objects_that_are_there_twice_or_not_at_all_are_reported(
    tmp_path: Path, annotations: list[dict[str, Any]], kinds: list[str]
) -> None:
    assert remarks_of(tmp_path, annotations) == kinds


def test_classes_of_one_name_are_reported(tmp_path: Path) -> None:
    assert remarks_of(tmp_path, [{}], ("cell", "cell")) == ["repeated-class-name"]
