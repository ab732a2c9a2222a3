"""From tables of datasets to one dataset: what is wrong with any of them is reported at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.config.data import DatasetConfig
from maskwright.data.opening import open_dataset, open_datasets
from maskwright.errors import ConfigError, DataError


def config_of(folder: Path, category: str, *, num_bad: int = 0, **keys: Any) -> DatasetConfig:
    """Two images with a square each, and squares without area."""
    folder.mkdir()
    images, annotations = [], []
    for number in (1, 2):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 16, "width": 16})
        outline = [2, 2, 9, 2, 9, 9, 2, 9]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "segmentation": [outline]})
    annotations += [{**annotations[0], "id": 10 + place, "bbox": [1, 1, 0, 0]} for place in range(num_bad)]
    path = folder / "annotations.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": category}]})
    )
    return DatasetConfig(images=str(folder), annotations=str(path), **keys)


def test_tables_are_joined_in_order_and_each_is_renamed_and_repeated_for_itself(tmp_path: Path) -> None:
    first = config_of(tmp_path / "a", "cell", repeats=2)
    second = config_of(tmp_path / "b", "nucleus", rename={"nucleus": "cell"})
    third = config_of(tmp_path / "c", "dust", repeats=0.5)
    dataset = open_datasets([first, second, third], needs_masks=True)
    assert dataset.categories.names == ("cell", "dust")
    assert [record.repeats for record in dataset.records] == [2, 2, 1, 1, 0.5, 0.5]
    assert [record.path.parent.name for record in dataset.records] == ["a", "a", "b", "b", "c", "c"]


def test_defects_of_all_are_reported_at_once_each_with_its_source(tmp_path: Path) -> None:
    first = config_of(tmp_path / "a", "cell", num_bad=1)
    second = config_of(tmp_path / "b", "cell")
    third = config_of(tmp_path / "c", "cell", num_bad=2)
    fourth = DatasetConfig(images=str(tmp_path / "nowhere"), annotations=third.annotations)
    with pytest.raises(DataError) as caught:
        open_datasets([first, second, third, fourth], needs_masks=True)
    reported = str(caught.value)
    assert "\n" not in reported
    assert "a/annotations.json has 1 defect" in reported
    assert "b/annotations.json" not in reported
    assert "c/annotations.json has 2 defects" in reported
    assert "nowhere does not exist" in reported


def test_defects_are_left_out_where_a_table_allows_it_and_listed(tmp_path: Path) -> None:
    first = config_of(tmp_path / "a", "cell", num_bad=1, skip_bad=True)
    second = config_of(tmp_path / "b", "cell", num_bad=2)
    with pytest.raises(DataError, match=r"b/annotations\.json has 2 defects"):
        open_datasets([first, second], needs_masks=True)
    allowed = second.model_copy(update={"skip_bad": True})
    lines = open_datasets([first, allowed], needs_masks=True).skipped_lines()
    assert lines[0].endswith(": 3 defects (box-without-area 3)")
    assert [line.split(": ")[2] for line in lines[1:]] == [
        "annotation 10 of '1.png'", "annotation 10 of '1.png'", "annotation 11 of '1.png'",
    ]  # fmt: skip
    assert ["a/annotations.json" in line for line in lines[1:]] == [True, False, False]


def test_a_class_that_a_dataset_has_not_is_named_with_its_file(tmp_path: Path) -> None:
    config = config_of(tmp_path / "a", "nucleus", rename={"nucleos": "cell"})
    with pytest.raises(ConfigError, match=r"a/annotations\.json has no class 'nucleos'; did you mean 'nucleus'"):
        open_dataset(config, needs_masks=True)
