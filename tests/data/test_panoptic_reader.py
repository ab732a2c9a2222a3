"""COCO panoptic annotations become maps of what a semantic head is to say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.config.categories import named_categories
from maskwright.data.readers import read_dataset
from maskwright.data.readers.panoptic import PanopticAnnotations, read_panoptic
from maskwright.data.record import Dataset
from maskwright.data.segment_picture import SegmentLabel, SegmentPicture
from maskwright.errors import ConfigError, DataError
from maskwright.structures import Categories

SIZE = (4, 6)
CATEGORIES = [
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 92, "name": "sky", "isthing": 0},
    {"id": 95, "name": "grass", "isthing": 0},
]
STUFF = Categories(("grass", "sky"), (1, 2))
# ids of segments that take more than one byte
CAT, SKY, GRASS = 70_000, 300, 7


def save_picture(path: Path, ids: np.ndarray) -> None:
    Image.fromarray(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)).save(path)


def ids_of_picture() -> np.ndarray:
    ids = np.zeros(SIZE, dtype=np.int64)
    ids[:, 1:3], ids[:2, 3:], ids[2:, 3:] = CAT, SKY, GRASS
    return ids


def entry(**changes: Any) -> dict[str, Any]:
    segments = [{"id": id_, "category_id": of} for id_, of in ((CAT, 3), (SKY, 92), (GRASS, 95))]
    return {"image_id": 1, "file_name": "1.png", "segments_info": segments, **changes}


def read(folder: Path, entries: list[Any], categories: list[dict[str, Any]] | None = None) -> PanopticAnnotations:
    (folder / "panoptic").mkdir(exist_ok=True)
    save_picture(folder / "panoptic" / "1.png", ids_of_picture())
    document = {"images": [], "annotations": entries, "categories": CATEGORIES if categories is None else categories}
    (folder / "panoptic.json").write_text(json.dumps(document))
    return read_panoptic(folder / "panoptic.json", folder / "panoptic")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two images, 1 and 2, without objects."""
    images = [{"id": id_, "file_name": f"{id_}.jpg", "height": SIZE[0], "width": SIZE[1]} for id_ in (1, 2)]
    for image in images:
        Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(tmp_path / str(image["file_name"]))
    document = {"images": images, "annotations": [], "categories": [{"id": 3, "name": "cat"}]}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return read_dataset(tmp_path, tmp_path / "instances.json")


def test_things_become_the_first_output_and_stuff_its_own_by_name(tmp_path: Path, dataset: Dataset) -> None:
    joined = read(tmp_path, [entry()]).added_to(dataset)
    assert joined.segment_classes is not None
    outputs = joined.segment_classes.outputs(STUFF, has_things=True, source="panoptic.json")
    semantic = joined.records[0].targets(dataset.categories, outputs).semantic
    assert semantic is not None
    assert semantic.tolist() == [[255, 0, 0, 2, 2, 2]] * 2 + [[255, 0, 0, 1, 1, 1]] * 2


def test_without_an_output_for_things_only_those_the_head_lists_are_known(tmp_path: Path) -> None:
    classes = read(tmp_path, [entry()]).classes
    assert classes.outputs(STUFF, has_things=False, source="") == {3: 255, 92: 1, 95: 0}
    assert classes.outputs(Categories.of(["sky", "cat", "grass"]), has_things=False, source="") == {3: 1, 92: 0, 95: 2}


def test_stuff_that_the_head_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"panoptic.json has stuff that semantic_head.categories has not: grass; set"):
        read(tmp_path, [entry()]).classes.outputs(Categories.of(["sky"]), has_things=True, source="panoptic.json")


@pytest.mark.parametrize(
    ("entries", "kind", "message"),
    [
        ([entry()], "missing-panoptic", "has no annotation with this image_id"),
        ([entry(), entry(image_id=2, file_name="2.png")], "missing-panoptic", "no segment picture '2.png'"),
        ([entry(), entry(image_id=2, file_name=None)], "bad-panoptic", "needs 'file_name'"),
        ([entry(), entry(image_id=2, segments_info=[{"id": 1, "category_id": 4}])], "bad-panoptic", "'category_id'"),
        ([entry(), entry(image_id=2, segments_info=[7])], "bad-panoptic", "segment 7"),
        ([entry(), "nonsense"], "missing-panoptic", "has no annotation"),
    ],
)
def test_an_image_without_a_sound_map_is_a_defect(
    tmp_path: Path, dataset: Dataset, entries: list[Any], kind: str, message: str
) -> None:
    joined = read(tmp_path, entries).added_to(dataset)
    assert [record.id for record in joined.records] == [1]
    (defect,) = joined.defects
    assert (defect.kind, defect.image_id) == (kind, 2)
    assert message in defect.message
    assert "2.jpg" in defect.where


def test_a_dataset_none_of_whose_images_has_a_map_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(DataError, match="no usable image, but 2 defects"):
        read(tmp_path, []).added_to(dataset)


def test_a_file_that_does_not_tell_things_from_stuff_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no 'isthing' of 0 or 1; is it a panoptic file\?"):
        read(tmp_path, [], [{"id": 1, "name": "cat"}])


def test_one_id_for_a_thing_and_for_stuff_is_refused(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 1, "name": "sky", "isthing": 0}]
    with pytest.raises(DataError, match="id 1 occurs twice"):
        read(tmp_path, [], categories)


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_panoptic(tmp_path / "panoptic.json", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"panoptic.json: cannot be read"):
        read_panoptic(tmp_path / "panoptic.json", tmp_path)


def test_a_picture_of_another_size_or_of_other_segments_is_refused(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png", ids_of_picture())
    with pytest.raises(DataError, match=r"1.png is 4 × 6 pixels \(height × width\), its image 6 × 4"):
        SegmentPicture(tmp_path / "1.png", {CAT: SegmentLabel(3)}).ids((6, 4))
    with pytest.raises(DataError, match=r"1.png shows no segment of its annotation, for example 12"):
        SegmentPicture(tmp_path / "1.png", {12: SegmentLabel(3)}).ids(SIZE)
    with pytest.raises(DataError, match=r"2.png"):
        SegmentPicture(tmp_path / "2.png", {12: SegmentLabel(3)}).ids(SIZE)


def test_a_picture_without_segments_is_known_nowhere(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png", ids_of_picture())
    assert torch.equal(
        SegmentPicture(tmp_path / "1.png", {}).semantic(SIZE, {}), torch.full(SIZE, 255, dtype=torch.uint8)
    )


def test_the_named_list_of_stuff_is_that_of_cocos_file(shared: Path) -> None:
    data = shared / "data" / "coco128"
    panoptic = read_panoptic(data / "panoptic_val2017.json", data / "panoptic_val2017")
    assert panoptic.classes.stuff == Categories.of(
        [category.model_dump() for category in named_categories("coco_stuff")]
    )
    dataset = read_dataset(data / "val2017", data / "instances_val2017.json")
    joined = panoptic.added_to(dataset)
    assert (len(joined.records), joined.defects) == (len(dataset.records), ())
    outputs = panoptic.classes.outputs(panoptic.classes.stuff, has_things=True, source="panoptic_val2017.json")
    for record in joined.records[:3]:
        assert record.segments is not None
        semantic = record.segments.semantic(record.size, outputs)
        # as many pixels of each output as the annotation file says
        infos = panoptic.entries[record.id]["segments_info"]
        areas = np.zeros(256, dtype=int)
        for info in infos:
            areas[outputs[info["category_id"]]] += info["area"]
        found = np.bincount(semantic.numpy().ravel(), minlength=256)
        assert found[:255].tolist() == areas[:255].tolist()
