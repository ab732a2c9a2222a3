"""What the owner of a dataset may choose: to leave things out, to take boxes for masks, to set a share aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maskwright.config.data import DataConfig, DatasetConfig
from maskwright.data.choices import settle_defects, split
from maskwright.data.opening import open_dataset, open_datasets, open_split
from maskwright.data.readers import read_with_defects
from maskwright.data.readers.options import ReadOptions
from maskwright.data.record import Dataset
from maskwright.errors import DataError

SQUARE = [2, 2, 9, 2, 9, 9, 2, 9]


def write(folder: Path, num_images: int, present: int | None = None, **changes: Any) -> Path:
    """A file of images with a square each, all or some of them there; the first object has changes."""
    folder.mkdir(exist_ok=True)
    numbers = range(1, num_images + 1)
    for number in numbers[:present]:
        Image.new("RGB", (16, 12)).save(folder / f"{number:03}.png")
    document = {
        "images": [{"id": id_, "file_name": f"{id_:03}.png", "height": 12, "width": 16} for id_ in numbers],
        "annotations": [
            {"id": id_, "image_id": id_, "category_id": 1, "bbox": [2, 2, 7, 7], "segmentation": [SQUARE]}
            for id_ in numbers
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    document["annotations"][0].update(changes)
    (folder / "set.json").write_text(json.dumps(document))
    return folder / "set.json"


def table(file: Path, **keys: Any) -> DatasetConfig:
    return DatasetConfig(images=str(file.parent), annotations=str(file), **keys)


def names(dataset: Dataset) -> list[str]:
    return [record.path.name for record in dataset.records]


def test_an_image_that_lost_an_object_is_left_out_unless_it_is_to_stay(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 3, bbox=[1, 1, 0, 0])
    left = open_dataset(table(file, skip_bad=True), needs_masks=True)
    assert names(left) == ["002.png", "003.png"]
    (remark,) = left.remarks
    assert "1 image is left out" in remark.message
    assert "keeps_damaged_images=true" in remark.message
    kept = open_dataset(table(file, skip_bad=True, keeps_damaged_images=True), needs_masks=True)
    assert [len(record.annotations) for record in kept.records] == [0, 1, 1]


def test_an_image_that_lost_a_stray_part_stays(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 2, segmentation=[SQUARE, [1, 1]])
    with pytest.raises(DataError, match="stray-part"):
        open_dataset(table(file), needs_masks=True)
    dataset = open_dataset(table(file, skip_bad=True), needs_masks=True)
    assert [len(record.annotations) for record in dataset.records] == [1, 1]


def test_what_every_image_lost_an_object_of_is_empty(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 1, bbox=[1, 1, 0, 0])
    with pytest.raises(DataError, match="no usable image"):
        open_dataset(table(file, skip_bad=True), needs_masks=True)


def test_messages_name_a_choice_as_it_is_typed_there(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 3, present=2, segmentation=None)
    both = [table(file), table(file)]
    with pytest.raises(DataError) as caught:
        open_datasets(both, needs_masks=True, keys=DataConfig(train=tuple(both)).keys("train"))
    for typed in ("data.train.0.skip_bad=true", "data.train.1.skip_bad=true", "data.train.0.only_present=true"):
        assert typed in str(caught.value)
    assert "data.train.1.boxes_as_masks=true" in str(caught.value)
    with pytest.raises(DataError, match=r"data\.val\.skip_bad=true"):
        open_datasets(both[:1], needs_masks=True, keys=DataConfig().keys("val"))
    with pytest.raises(DataError, match="skip_bad=True"):
        settle_defects(read_with_defects(file.parent, file), skip_bad=False)


def test_only_the_images_that_are_there_are_used_where_that_is_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 5, present=3)
    dataset = read_with_defects(file.parent, file, options=ReadOptions(only_present=True))
    assert names(dataset) == ["001.png", "002.png", "003.png"]
    assert dataset.defects == ()
    (remark,) = dataset.remarks
    assert "2 of 5 listed images are not in" in remark.message
    assert "'004.png'" in remark.message


def test_defects_of_absent_images_go_with_them_and_others_stay(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 3, present=2, bbox=[1, 1, 0, 0])
    document = json.loads(file.read_text())
    document["annotations"][2]["bbox"] = [1, 1, 0, 0]
    file.write_text(json.dumps(document))
    dataset = read_with_defects(file.parent, file, options=ReadOptions(only_present=True))
    assert [(defect.kind, defect.image_id) for defect in dataset.defects] == [("box-without-area", 1)]


def test_a_folder_with_none_of_the_images_is_no_dataset(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 2, present=0)
    dataset = read_with_defects(file.parent, file, options=ReadOptions(only_present=True))
    assert {defect.kind for defect in dataset.defects} == {"missing-image"}


@pytest.mark.parametrize("segmentation", [None, [], [[2, 2, 7, 7]], [2, 2, 7, 7], [[2, 2, 9, 9]]])
def test_boxes_are_masks_on_request_only(tmp_path: Path, segmentation: Any) -> None:
    file = write(tmp_path / "a", 2, segmentation=segmentation)
    with pytest.raises(DataError, match=r"boxes_as_masks=true takes boxes for masks"):
        open_dataset(table(file), needs_masks=True)
    dataset = open_dataset(table(file, boxes_as_masks=True), needs_masks=True)
    assert [record.annotations[0]["segmentation"] for record in dataset.records] == [[SQUARE], [SQUARE]]
    assert "1 objects have no mask" in " ".join(map(str, dataset.remarks))


def test_a_share_is_set_aside_by_names_alone(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 20)
    rest, aside = open_split([table(file)], 0.2, needs_masks=True)
    assert 1 <= len(aside.records) <= 8
    assert sorted(names(rest) + names(aside)) == [f"{number:03}.png" for number in range(1, 21)]
    elsewhere = write(tmp_path / "b", 20)
    assert names(open_split([table(elsewhere)], 0.2, needs_masks=True)[1]) == names(aside)


def test_with_more_images_all_stay_on_their_side(tmp_path: Path) -> None:
    before_rest, before = open_split([table(write(tmp_path / "a", 40))], 0.25, needs_masks=True)
    after_rest, after = open_split([table(write(tmp_path / "b", 70))], 0.25, needs_masks=True)
    assert set(names(before)) <= set(names(after))
    assert set(names(before_rest)) <= set(names(after_rest))


def test_the_share_is_nearly_met(tmp_path: Path) -> None:
    _, aside = open_split([table(write(tmp_path / "a", 400))], 0.25, needs_masks=True)
    assert 75 <= len(aside.records) <= 125


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("num_images", [2, 3, 10])
def test_each_part_has_an_image(tmp_path: Path, num_images: int, share: float) -> None:
    rest, aside = open_split([table(write(tmp_path / "a", num_images))], share, needs_masks=True)
    assert rest.records and aside.records
    assert len(rest.records) + len(aside.records) == num_images


def test_images_of_one_file_stay_together(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 6)
    document = json.loads(file.read_text())
    document["images"] += [{**image, "id": image["id"] + 10} for image in document["images"]]
    file.write_text(json.dumps(document))
    rest, aside = open_split([table(file)], 0.5, needs_masks=True)
    assert len(rest.records) + len(aside.records) == 12
    assert len(rest.records) % 2 == len(aside.records) % 2 == 0
    assert set(names(rest)).isdisjoint(names(aside))


def test_of_one_image_no_share_is_set_aside(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 1)
    with pytest.raises(DataError, match="one image cannot be divided into training"):
        split(read_with_defects(file.parent, file), 0.5, file.parent)


def test_several_datasets_are_split_each_for_itself(tmp_path: Path) -> None:
    tables = [table(write(tmp_path / name, 4)) for name in ("a", "b")]
    rest, aside = open_split(tables, 0.25, needs_masks=True)
    assert [record.path.parent.name for record in aside.records] == ["a", "b"]
    assert len(rest.records) == 6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": {"share": 0.2}}, "data.val.share sets a share"),
        ({"val": {"share": 0.2, "images": "x"}}, "all other settings from data.train"),
        ({"val": [{"share": 0.2}, {"images": "x", "annotations": "y"}]}, "all other settings from data.train"),
        ({"val": {"share": 0.2, "skip_bad": True}}, "all other settings from data.train"),
    ],
)
def test_a_share_that_cannot_be_meant_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig.model_validate(data)


def test_class_names_that_differ_in_spelling_are_reported_with_what_mends_it(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 2)
    document = json.loads(file.read_text())
    document["categories"] = [{"id": 1, "name": "red"}, {"id": 2, "name": "Red "}, {"id": 3, "name": "green"}]
    file.write_text(json.dumps(document))
    (remark,) = open_dataset(table(file), needs_masks=True).remarks
    assert "rename={'Red ': 'red'}" in remark.message
    assert open_dataset(table(file, rename={"Red ": "red"}), needs_masks=True).remarks == ()
