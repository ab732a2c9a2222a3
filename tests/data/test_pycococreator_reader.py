"""Masks that are called after their image, class and number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_with_defects
from maskwright.errors import DataError

HEIGHT, WIDTH = 20, 30


def made(folder: Path, images: list[str], masks: list[str]) -> None:
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    for name in images:
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / name)
    for number, name in enumerate(masks):
        pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        pixels[2:9, number : number + 5] = 255
        Image.fromarray(pixels).save(folder / "annotations" / name)


def test_each_mask_is_an_object_of_its_class_in_its_image(tmp_path) -> None:
    masks = ["1000_square_0.png", "1000_square_1.png", "1000_big_circle_0.png", "1000_1_circle_0.png"]
    made(tmp_path, ["1000.jpeg", "1000_1.jpeg", "1001.jpeg"], masks)
    dataset = read_with_defects(tmp_path / "images", tmp_path / "annotations", "pycococreator")
    assert not dataset.defects
    names = dataset.categories
    found = {
        record.path.stem: sorted(names.names[names.label_of(entry["category_id"])] for entry in record.annotations)
        for record in dataset.records
    }
    assert found == {"1000": ["big_circle", "square", "square"], "1000_1": ["circle"], "1001": []}
    boxes = sorted(entry["bbox"] for entry in dataset.records[0].annotations)
    assert boxes == [[0, 2, 5, 7], [1, 2, 5, 7], [2, 2, 5, 7]]


def test_a_mask_of_no_image_and_one_of_another_size_are_defects(tmp_path) -> None:
    made(tmp_path, ["a.png"], ["a_cell_0.png", "b_cell_0.png", "a_cell_1.png"])
    Image.new("L", (3, 3), 255).save(tmp_path / "annotations" / "a_cell_1.png")
    defects = read_with_defects(tmp_path / "images", tmp_path / "annotations", "pycococreator").defects
    assert [(defect.kind, defect.where) for defect in defects] == [
        ("missing-image", "b_cell_0.png"),
        ("bad-mask", "a_cell_1.png"),
    ]


def test_the_format_is_recognised_when_another_is_asked_for(tmp_path) -> None:
    made(tmp_path, ["a.png"], ["a_cell_0.png"])
    with pytest.raises(DataError, match="--format pycococreator"):
        read_with_defects(tmp_path / "images", tmp_path / "annotations", "coco")


def test_a_folder_without_such_names_is_refused(tmp_path) -> None:
    made(tmp_path, ["a.png"], ["other.png"])
    with pytest.raises(DataError, match="IMAGE_CLASS_NUMBER"):
        read_with_defects(tmp_path / "images", tmp_path / "annotations", "pycococreator")
