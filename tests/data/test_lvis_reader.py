"""LVIS files: where the images are, which classes they were not searched for, how frequent the classes are."""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.record import Dataset, FederatedLabels
from maskwright.errors import DataError

HEIGHT, WIDTH = 20, 30
URL = "http://images.cocodataset.org/train2017/000000000004.jpg"
CATEGORIES = [
    {"id": 1, "name": "acorn", "frequency": "r", "synset": "acorn.n.01"},
    {"id": 2, "name": "bath_mat", "frequency": "c", "synset": "bath_mat.n.01"},
    {"id": 5, "name": "cat", "frequency": "f", "synset": "cat.n.01"},
]


def an_image(**changes: Any) -> dict[str, Any]:
    usual = {"id": 4, "coco_url": URL, "height": HEIGHT, "width": WIDTH}
    return {**usual, "neg_category_ids": [1], "not_exhaustive_category_ids": [5], **changes}


def an_object(**changes: Any) -> dict[str, Any]:
    square = [[5, 5, 15, 5, 15, 15, 5, 15]]
    return {"id": 1, "image_id": 4, "category_id": 5, "bbox": [5, 5, 10, 10], "segmentation": square, **changes}


def read(
    folder: Path,
    image: dict[str, Any] | None = None,
    categories: list[dict[str, Any]] | None = None,
    place: str = "train2017/000000000004.jpg",
) -> Dataset:
    """A file of one image with a cat; its image file lies at `place`."""
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / place)
    document = {
        "images": [an_image() if image is None else image],
        "annotations": [an_object()],
        "categories": CATEGORIES if categories is None else categories,
    }
    (folder / "lvis.json").write_text(json.dumps(document))
    return read_with_defects(folder, folder / "lvis.json", "lvis")


def test_an_image_keeps_what_was_not_looked_for_and_a_class_its_frequency(tmp_path: Path) -> None:
    dataset = read(tmp_path)
    assert dataset.defects == ()
    (record,) = dataset.records
    assert record.federated == FederatedLabels(negative_ids=(1,), not_exhaustive_ids=(5,))
    assert record.annotations == (an_object(),)
    assert dataset.frequencies == {1: "r", 2: "c", 5: "f"}
    assert dataset.categories.names == ("acorn", "bath_mat", "cat")


def test_written_as_coco_nothing_of_it_is_lost(tmp_path: Path) -> None:
    dataset = read(tmp_path)
    (tmp_path / "again.json").write_text(json.dumps(dataset.to_coco()))
    again = read_dataset(tmp_path / "train2017", tmp_path / "again.json", "lvis")
    assert again.records == dataset.records
    assert again.frequencies == dataset.frequencies
    assert again.categories == dataset.categories


@pytest.mark.parametrize("place", ["train2017/000000000004.jpg", "000000000004.jpg"])
def test_version_1_names_images_by_their_address(tmp_path: Path, place: str) -> None:
    assert [record.path for record in read(tmp_path, place=place).records] == [tmp_path / place]


@pytest.mark.parametrize("place", ["COCO_val2014_000000000004.jpg", "000000000004.jpg"])
def test_version_05_names_images_as_coco_2014_did(tmp_path: Path, place: str) -> None:
    image = {**an_image(file_name="COCO_val2014_000000000004.jpg"), "coco_url": None}
    assert [record.path for record in read(tmp_path, image, place=place).records] == [tmp_path / place]


def test_a_file_name_goes_before_an_address(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "mine.png")
    assert read(tmp_path, an_image(file_name="mine.png")).records[0].path == tmp_path / "mine.png"


def test_a_missing_image_is_reported_with_all_places_looked_at(tmp_path: Path) -> None:
    (defect,) = read(tmp_path, place="elsewhere/000000000005.jpg").defects
    assert (defect.kind, defect.image_id) == ("missing-image", 4)
    assert "'train2017/000000000004.jpg' or '000000000004.jpg' in" in defect.message


def test_an_image_with_no_name_at_all_is_a_defect(tmp_path: Path) -> None:
    (defect,) = read(tmp_path, an_image(coco_url="http://images.cocodataset.org/")).defects
    assert defect.kind == "bad-image"


@pytest.mark.parametrize(
    ("changes", "kind", "message", "kept"),
    [
        ({"neg_category_ids": [1, 77]}, "unknown-category", "neg_category_ids has 77", ((1,), (5,))),
        ({"neg_category_ids": ["1", 2]}, "unknown-category", "neg_category_ids has '1'", ((2,), (5,))),
        ({"not_exhaustive_category_ids": [3]}, "unknown-category", "exhaustive_category_ids has 3", ((1,), ())),
        ({"neg_category_ids": [5, 1]}, "contradicting-labels", "has 5, but the image has annotations", ((1,), (5,))),
        (
            {"neg_category_ids": [1, 2], "not_exhaustive_category_ids": [2]},
            "contradicting-labels",
            "class 2 is in neg_category_ids and in not_exhaustive_category_ids",
            ((1,), (2,)),
        ),
        ({"not_exhaustive_category_ids": None}, "bad-class-list", "None is not a list of category ids", ((1,), ())),
        ({"neg_category_ids": 7}, "bad-class-list", "neg_category_ids 7 is not a list", ((), (5,))),
    ],
)
def test_a_bad_entry_of_a_list_is_reported_and_the_rest_kept(
    tmp_path: Path, changes: dict[str, Any], kind: str, message: str, kept: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    dataset = read(tmp_path, an_image(**changes))
    (defect,) = dataset.defects
    assert (defect.kind, defect.image_id) == (kind, 4)
    assert "image 4 ('000000000004.jpg')" in defect.where
    assert message in defect.message
    assert dataset.records[0].federated == FederatedLabels(*kept)
    assert len(dataset.records[0].annotations) == 1


@pytest.mark.parametrize("frequency", ["x", None, 3, ["r"]])
def test_a_frequency_that_is_none_is_a_defect_of_its_class(tmp_path: Path, frequency: Any) -> None:
    dataset = read(tmp_path, categories=[*CATEGORIES[:2], {**CATEGORIES[2], "frequency": frequency}])
    (defect,) = dataset.defects
    assert (defect.kind, defect.where) == ("bad-frequency", "category 5 ('cat')")
    assert "not one of r, c, f" in defect.message
    assert dataset.frequencies == {1: "r", 2: "c"}
    assert ["frequency" in entry for entry in dataset.to_coco()["categories"]] == [True, True, False]


def test_plain_coco_is_no_lvis(tmp_path: Path) -> None:
    image = {"id": 4, "file_name": "000000000004.jpg", "height": HEIGHT, "width": WIDTH}
    with pytest.raises(
        DataError, match=r"no image has 'neg_category_ids', so this is not LVIS; read it with format coco"
    ):
        read(tmp_path, image)


def test_of_two_images_with_one_id_the_first_counts(tmp_path: Path) -> None:
    read(tmp_path)
    document = json.loads((tmp_path / "lvis.json").read_text())
    document["images"] += [an_image(neg_category_ids=[2]), "nonsense"]
    (tmp_path / "lvis.json").write_text(json.dumps(document))
    dataset = read_with_defects(tmp_path, tmp_path / "lvis.json", "lvis")
    assert [defect.kind for defect in dataset.defects] == ["duplicate-id", "bad-image"]
    assert dataset.records[0].federated == FederatedLabels((1,), (5,))


def test_ten_thousand_annotations_are_read_and_checked_in_a_second(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    annotations = []
    for id_ in range(10_000):
        left, top = draw.uniform(0, 5, 2)
        polygon = [left, top, left + 20, top, left + 20, top + 10, left, top + 10]
        annotations.append(an_object(id=id_, image_id=id_ % 500, bbox=[left, top, 20, 10], segmentation=[polygon]))
    read(tmp_path)
    images = [an_image(id=id_) for id_ in range(500)]
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (tmp_path / "lvis.json").write_text(json.dumps(document))
    started = process_time()
    dataset = read_with_defects(tmp_path, tmp_path / "lvis.json", "lvis")
    assert process_time() - started < 1
    assert (sum(len(record.annotations) for record in dataset.records), dataset.defects) == (10_000, ())
