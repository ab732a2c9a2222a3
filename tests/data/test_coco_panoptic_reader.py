"""A COCO panoptic file alone is a dataset: things become objects with the pictures' masks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.record import Dataset
from maskwright.data.segment_picture import SegmentLabel
from maskwright.errors import DataError

SIZE = (4, 6)
CATEGORIES = [
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 8, "name": "dog", "isthing": 1},
    {"id": 92, "name": "sky", "isthing": 0},
]
# ids of segments that take more than one byte
CAT, DOGS, SKY = 70_000, 300, 7
SEGMENTS = [{"id": CAT, "category_id": 3}, {"id": DOGS, "category_id": 8, "iscrowd": 1}, {"id": SKY, "category_id": 92}]


def ids_of_picture() -> np.ndarray:
    """Column 0 is nothing; the dogs are two parts."""
    ids = np.zeros(SIZE, dtype=np.int64)
    ids[:, 1:3], ids[:, 3:] = CAT, SKY
    ids[0, 4] = ids[3, 5] = DOGS
    return ids


def save_picture(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)).save(path)


def entry(image_id: int = 1, **changes: Any) -> dict[str, Any]:
    return {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": SEGMENTS, **changes}


def write(folder: Path, entries: list[Any], categories: list[dict[str, Any]] | None = None) -> None:
    """Images 1 and 2, both with the same picture."""
    images = [{"id": id_, "file_name": f"{id_}.jpg", "height": SIZE[0], "width": SIZE[1]} for id_ in (1, 2)]
    for id_ in (1, 2):
        Image.new("RGB", SIZE[::-1]).save(folder / f"{id_}.jpg")
        save_picture(folder / "panoptic" / f"{id_}.png", ids_of_picture())
    document = {"images": images, "annotations": entries, "categories": categories or CATEGORIES}
    (folder / "panoptic.json").write_text(json.dumps(document))


def read(folder: Path) -> Dataset:
    return read_with_defects(folder, folder / "panoptic.json", "coco_panoptic")


def test_things_become_objects_with_the_masks_of_the_picture(tmp_path: Path) -> None:
    write(tmp_path, [entry(1), entry(2)])
    dataset = read(tmp_path)
    assert dataset.defects == ()
    assert dataset.categories.to_coco() == [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]
    cat, dogs = dataset.records[0].annotations
    for annotation, id_ in ((cat, CAT), (dogs, DOGS)):
        assert (coco_mask.decode(annotation["segmentation"]) == (ids_of_picture() == id_)).all()
    assert (cat["category_id"], cat["iscrowd"], cat["bbox"], cat["area"]) == (3, 0, [1, 0, 2, 4], 8)
    assert (dogs["category_id"], dogs["iscrowd"], dogs["bbox"], dogs["area"]) == (8, 1, [4, 0, 2, 4], 2)


def test_every_object_has_an_id_of_its_own_over_all_images(tmp_path: Path) -> None:
    write(tmp_path, [entry(1), entry(2)])
    annotations = read(tmp_path).to_coco()["annotations"]
    assert [(annotation["id"], annotation["image_id"]) for annotation in annotations] == [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
    ]


def test_the_picture_is_also_that_of_all_segments(tmp_path: Path) -> None:
    write(tmp_path, [entry(1), entry(2)])
    dataset = read(tmp_path)
    segments = dataset.records[0].segments
    assert segments is not None
    assert segments.segments == {CAT: SegmentLabel(3), DOGS: SegmentLabel(8, is_crowd=True), SKY: SegmentLabel(92)}
    assert (segments.ids(SIZE) == ids_of_picture()).all()
    assert dataset.segment_classes is not None
    assert dataset.segment_classes.to_coco() == CATEGORIES


def test_a_wrong_area_or_box_in_the_list_does_not_matter(tmp_path: Path) -> None:
    write(
        tmp_path, [entry(1), entry(2, segments_info=[{**SEGMENTS[0], "area": 9, "bbox": [0, 0, 1, 1]}, *SEGMENTS[1:]])]
    )
    dataset = read(tmp_path)
    assert dataset.defects == ()
    assert dataset.records[1].annotations[0]["area"] == 8


@pytest.mark.parametrize(
    ("segments", "kind", "message", "num_objects"),
    [
        ([*SEGMENTS, {"id": 12, "category_id": 3}], "missing-segment", "segment 12 of picture '2.png': is listed", 2),
        (SEGMENTS[1:], "unlisted-segment", "segment 70000 of picture '2.png': is not in 'segments_info'", 1),
        ([{"id": CAT, "category_id": 4}, *SEGMENTS[1:]], "bad-panoptic", "picture '2.png': .*'id': 70000", 1),
        ([*SEGMENTS, {"id": 0, "category_id": 3}], "bad-panoptic", "no known 'category_id' or no 'id' above 0", 2),
        ([*SEGMENTS, {"id": CAT, "category_id": 8}], "duplicate-id", "segment 70000 is listed twice", 2),
        ([*SEGMENTS, 7], "bad-panoptic", "segment 7", 2),
    ],
)
def test_a_bad_segment_is_reported_with_its_picture_and_the_rest_read(
    tmp_path: Path, segments: list[Any], kind: str, message: str, num_objects: int
) -> None:
    write(tmp_path, [entry(1), entry(2, segments_info=segments)])
    dataset = read(tmp_path)
    (defect,) = dataset.defects
    assert (defect.kind, defect.image_id) == (kind, 2)
    assert re.search(message, str(defect))
    assert [len(record.annotations) for record in dataset.records] == [2, num_objects]
    # what is left agrees with its picture
    assert dataset.records[1].segments is not None
    assert dataset.records[1].segments.ids(SIZE).shape == SIZE


def test_an_image_whose_picture_cannot_be_used_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, [entry(1), entry(2)])
    picture = tmp_path / "panoptic" / "2.png"
    save_picture(picture, ids_of_picture()[:3])
    (turned,) = read(tmp_path).defects
    assert (turned.kind, turned.image_id, turned.where) == ("size-mismatch", 2, "image 2 ('2.jpg')")
    assert "'2.png' is 6 wide and 3 high, the annotations say 6 and 4" in turned.message
    picture.write_bytes(picture.read_bytes()[:40])
    dataset = read(tmp_path)
    assert [(defect.kind, defect.image_id) for defect in dataset.defects] == [("bad-panoptic", 2)]
    picture.unlink()
    dataset = read(tmp_path)
    assert [record.id for record in dataset.records] == [1]
    (missing,) = dataset.defects
    assert missing.kind == "missing-panoptic"
    assert "no segment picture '2.png'" in missing.message


def test_entries_that_belong_to_no_image_or_to_one_twice_are_defects(tmp_path: Path) -> None:
    write(tmp_path, [entry(1), entry(2), entry(1, segments_info=[]), entry(5), "nonsense", entry(True)])
    dataset = read(tmp_path)
    assert [(defect.kind, defect.where) for defect in dataset.defects] == [
        ("duplicate-id", "annotations[2]"),
        ("unknown-image", "annotations[3]"),
        ("bad-annotation", "annotations[4]"),
        ("bad-annotation", "annotations[5]"),
    ]
    assert [len(record.annotations) for record in dataset.records] == [2, 2]


def test_an_image_without_an_entry_is_a_defect_and_one_without_segments_is_not(tmp_path: Path) -> None:
    write(tmp_path, [entry(1, segments_info=[])])
    save_picture(tmp_path / "panoptic" / "1.png", np.zeros(SIZE, dtype=np.int64))
    dataset = read(tmp_path)
    assert [(record.id, record.annotations) for record in dataset.records] == [(1, ())]
    assert [(defect.kind, defect.image_id) for defect in dataset.defects] == [("missing-panoptic", 2)]


def test_the_pictures_may_lie_beside_the_images(tmp_path: Path) -> None:
    write(tmp_path, [entry(1), entry(2)])
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    for id_ in (1, 2):
        (tmp_path / f"{id_}.jpg").rename(tmp_path / "images" / f"{id_}.jpg")
    (tmp_path / "panoptic.json").rename(tmp_path / "annotations" / "panoptic.json")
    dataset = read_dataset(tmp_path / "images", tmp_path / "annotations" / "panoptic.json", "coco_panoptic")
    assert (len(dataset.records), dataset.defects) == (2, ())
    (tmp_path / "panoptic").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no folder of its segment pictures; unpack the PNG files to .*panoptic \(or "):
        read_dataset(tmp_path / "images", tmp_path / "annotations" / "panoptic.json", "coco_panoptic")


def test_a_file_without_things_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [], CATEGORIES[2:])
    with pytest.raises(DataError, match="no category has 'isthing' 1, so there are no objects to learn"):
        read(tmp_path)


def test_on_real_data_areas_and_boxes_are_those_that_the_file_states(shared: Path) -> None:
    data = shared / "data" / "coco128"
    dataset = read_dataset(data / "val2017", data / "panoptic_val2017.json", "coco_panoptic")
    assert dataset.defects == ()
    listed = {
        entry["image_id"]: [info for info in entry["segments_info"] if info["category_id"] in dataset.categories.ids]
        for entry in json.loads((data / "panoptic_val2017.json").read_text())["annotations"]
    }
    keys = ("category_id", "area", "bbox", "iscrowd")
    for record in dataset.records:
        found = [tuple(annotation[key] for key in keys) for annotation in record.annotations]
        assert found == [tuple(info[key] for key in keys) for info in listed[record.id]]
