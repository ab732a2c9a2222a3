from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.record import Dataset
from maskwright.errors import DataError

HEIGHT, WIDTH = 20, 30
SQUARE = [[5, 5, 15, 5, 15, 15, 5, 15]]
Document = dict[str, Any]


def a_dataset() -> Document:
    """Two images of 20 × 30, the second without objects; category ids with a gap."""
    return {
        "images": [
            {"id": 4, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 9, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [an_object(1), an_object(2, category_id=7)],
        "categories": [{"id": 3, "name": "cell"}, {"id": 7, "name": "dust"}],
    }


def an_object(id_: int, **changes: Any) -> dict[str, Any]:
    usual = dict(id=id_, image_id=4, category_id=3, bbox=[5, 5, 10, 10], segmentation=SQUARE, iscrowd=0, area=100)
    return {**usual, **changes}


def write(folder: Path, document: Document | str) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "set.json").write_text(text, encoding="utf-8")
    return folder / "set.json"


def read(folder: Path, document: Document | str) -> Dataset:
    return read_with_defects(folder, write(folder, document))


def with_object(folder: Path, **changes: Any) -> Dataset:
    """Read the dataset with one more annotation, of id 3 in image a.png."""
    document = a_dataset()
    document["annotations"].append(an_object(3, **changes))
    return read(folder, document)


def squares_rle(size: tuple[int, int] = (HEIGHT, WIDTH)) -> dict[str, Any]:
    bitmap = np.zeros(size, dtype=np.uint8, order="F")
    bitmap[5:15, 5:15] = 1
    rle = reference.encode(bitmap)
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def test_a_clean_dataset_has_no_defects(tmp_path: Path) -> None:
    dataset = read(tmp_path, a_dataset())
    assert dataset.defects == ()
    dataset.refuse_defects()
    assert [(record.id, record.path, record.size) for record in dataset.records] == [
        (4, tmp_path / "a.png", (HEIGHT, WIDTH)),
        (9, tmp_path / "b.png", (HEIGHT, WIDTH)),
    ]
    assert dataset.source == str(tmp_path / "set.json")


def test_category_ids_may_have_gaps(tmp_path: Path) -> None:
    dataset = read(tmp_path, a_dataset())
    assert dataset.categories.ids == (3, 7)
    assert dataset.records[0].targets(dataset.categories).labels.tolist() == [0, 1]


def test_an_image_without_objects_stays(tmp_path: Path) -> None:
    dataset = read(tmp_path, a_dataset())
    assert dataset.records[1].annotations == ()
    assert len(dataset.records[1].targets(dataset.categories)) == 0


@pytest.mark.parametrize(
    "segmentation",
    [
        SQUARE,
        squares_rle(),
        {"size": [HEIGHT, WIDTH], "counts": [105, *[10, 10] * 9, 10, 305]},
    ],
    ids=["polygon", "compressed", "uncompressed"],
)
def test_every_kind_of_segmentation_becomes_the_same_mask(tmp_path: Path, segmentation: Any) -> None:
    dataset = with_object(tmp_path, segmentation=segmentation)
    assert dataset.defects == ()
    targets = dataset.records[0].targets(dataset.categories)
    bitmap = targets.masks.bitmap(2)
    assert bitmap.sum() == 100
    assert bitmap[5:15, 5:15].all()


def test_crowds_stay_crowds(tmp_path: Path) -> None:
    dataset = with_object(tmp_path, segmentation=squares_rle(), iscrowd=1)
    assert dataset.defects == ()
    assert dataset.records[0].targets(dataset.categories).is_crowd.tolist() == [False, False, True]


def test_the_coco_dict_has_the_original_annotations(tmp_path: Path) -> None:
    document = a_dataset()
    assert read(tmp_path, document).to_coco() == document


def test_annotations_need_no_id(tmp_path: Path) -> None:
    document = a_dataset()
    for annotation in document["annotations"]:
        del annotation["id"]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert len(dataset.records[0].annotations) == 2


def test_a_missing_size_is_read_from_the_image_file(tmp_path: Path) -> None:
    document = a_dataset()
    del document["images"][0]["height"], document["images"][0]["width"]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert dataset.records[0].size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("segmentation", [SQUARE, squares_rle()], ids=["polygon", "rle"])
def test_a_missing_box_is_taken_from_the_mask(tmp_path: Path, segmentation: Any) -> None:
    dataset = with_object(tmp_path, bbox=None, segmentation=segmentation)
    assert dataset.defects == ()
    assert dataset.records[0].annotations[2]["bbox"] == [5, 5, 10, 10]


def test_a_box_may_overshoot_the_border_a_little(tmp_path: Path) -> None:
    assert with_object(tmp_path, bbox=[-1.5, 0, 33, 21]).defects == ()


def test_a_polygon_may_overshoot_the_border_while_it_covers_some_of_the_image(tmp_path: Path) -> None:
    assert with_object(tmp_path, segmentation=[[-9, 5, 15, 5, 15, 40]]).defects == ()


def test_a_small_polygon_is_rasterised_before_it_is_called_empty(tmp_path: Path) -> None:
    assert with_object(tmp_path, segmentation=[[5, 5, 6.2, 5, 6.2, 6.2, 5, 6.2]]).defects == ()


def test_one_filled_part_is_enough_for_a_mask(tmp_path: Path) -> None:
    assert with_object(tmp_path, segmentation=[[1, 1, 1, 1, 1, 1], *SQUARE]).defects == ()


RLE_OF_ZEROS = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
BAD_OBJECTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "text for an image id": ({"image_id": "5"}, "unknown-image", "'5'"),
    "list for an image id": ({"image_id": [4]}, "unknown-image", "[4]"),
    "missing image": ({"image_id": 5}, "unknown-image", "image_id 5"),
    "unknown category": ({"category_id": 4}, "unknown-category", "category_id 4"),
    "no category": ({"category_id": None}, "unknown-category", "no category_id"),
    "three numbers": ({"bbox": [1, 2, 3]}, "bad-box", "[1, 2, 3]"),
    "text in the box": ({"bbox": [1, 2, "wide", 4]}, "bad-box", "'wide'"),
    "a box that is a number": ({"bbox": 7}, "bad-box", "7"),
    "not a number": ({"bbox": [1, 2, float("nan"), 4]}, "bad-box", "nan"),
    "infinite": ({"bbox": [1, 2, float("inf"), 4]}, "bad-box", "inf"),
    "endless integer": ({"bbox": [1, 2, 10**400, 4]}, "bad-box", "finite"),
    "flat box": ({"bbox": [5, 5, 10, 0]}, "box-without-area", "[5, 5, 10, 0]"),
    "negative box": ({"bbox": [5, 5, -3, 4]}, "box-without-area", "-3"),
    "box left of the image": ({"bbox": [-3, 5, 10, 10]}, "box-outside-image", "30 wide and 20 high"),
    "box below the image": ({"bbox": [5, 15, 10, 8]}, "box-outside-image", "20 high"),
    "box just beyond the border": ({"bbox": [30, 5, 1, 5]}, "box-outside-image", "[30, 5, 1, 5]"),
    "no mask": ({"segmentation": None}, "missing-mask", "no segmentation"),
    "no polygon": ({"segmentation": []}, "missing-mask", "no segmentation"),
    "no mask and no box": ({"segmentation": None, "bbox": None}, "missing-mask", "no segmentation"),
    "two points": ({"segmentation": [[1, 1, 9, 9]]}, "bad-polygon", "4 numbers"),
    "half a point": ({"segmentation": [[1, 1, 9, 9, 1, 9, 3]]}, "bad-polygon", "7 numbers"),
    "one bad polygon of two": ({"segmentation": [*SQUARE, [1, 1, 9, 9, 1]]}, "bad-polygon", "5 numbers"),
    "half a point, not nested": ({"segmentation": SQUARE[0][:7]}, "bad-polygon", "list of polygons"),
    "polygon with text": ({"segmentation": [[1, 1, 9, 9, 1, "x"]]}, "bad-polygon", "finite"),
    "polygon with nan": ({"segmentation": [[1, 1, 9, 9, 1, float("nan")]]}, "bad-polygon", "finite"),
    "text for a mask": ({"segmentation": "mask.png"}, "bad-polygon", "mask.png"),
    "polygon thinner than a pixel": ({"segmentation": [[1, 1, 1.1, 1, 1.1, 1.1]]}, "empty-mask", "no pixel"),
    "polygon on a line": ({"segmentation": [[1, 1, 1, 9, 1, 5]]}, "empty-mask", "no pixel"),
    "polygon outside": ({"segmentation": [[-90, -90, -50, -90, -50, -50]]}, "empty-mask", "30 wide"),
    "run lengths of another size": ({"segmentation": squares_rle((WIDTH, HEIGHT))}, "bad-rle", "[20, 30]"),
    "run lengths without size": ({"segmentation": {"counts": "abc"}}, "bad-rle", "None"),
    "run lengths without counts": ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "bad-rle", "counts"),
    "runs beyond the image": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [500, 101]}}, "bad-rle", "601"),
    "runs that end early": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [500, 99]}}, "bad-rle", "599"),
    "negative runs": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [-5, 605]}}, "bad-rle", "hold -5"),
    "counts cut short": (
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": squares_rle()["counts"][:-2]}},
        "bad-rle",
        "the image has 600",
    ),
    "counts of nonsense": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "é\n~"}}, "bad-rle", "cannot be read"),
    "run lengths of nothing": ({"segmentation": RLE_OF_ZEROS}, "empty-mask", "no pixel"),
}


@pytest.mark.parametrize(("changes", "kind", "hint"), BAD_OBJECTS.values(), ids=BAD_OBJECTS.keys())
def test_a_bad_annotation_is_one_defect_and_left_out(
    tmp_path: Path, changes: dict[str, Any], kind: str, hint: str
) -> None:
    dataset = with_object(tmp_path, **changes)
    assert [defect.kind for defect in dataset.defects] == [kind]
    assert hint in dataset.defects[0].message
    assert dataset.defects[0].where.startswith("annotation 3")
    if kind != "unknown-image":
        assert dataset.defects[0].where.endswith("of 'a.png'")
        assert dataset.defects[0].image_id == 4
    assert len(str(dataset.defects[0]).splitlines()) == 1
    assert [annotation["id"] for annotation in dataset.records[0].annotations] == [1, 2]


def change_image(**changes: Any) -> Callable[[Document], object]:
    return lambda document: document["images"][0].update(changes)


BAD_IMAGES: dict[str, tuple[Callable[[Document], object], str, str]] = {
    "file missing": (change_image(file_name="gone.png"), "missing-image", "gone.png"),
    "no file name": (change_image(file_name=None), "bad-image", "file_name None"),
    "zero height": (change_image(height=0), "bad-image", "height 0 and width 30"),
    "text for the width": (change_image(width="broad"), "bad-image", "'broad'"),
}


@pytest.mark.parametrize(("spoil", "kind", "hint"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_a_bad_image_is_one_defect_and_left_out_with_its_objects(
    tmp_path: Path, spoil: Callable[[Document], object], kind: str, hint: str
) -> None:
    document = a_dataset()
    spoil(document)
    dataset = read(tmp_path, document)
    assert [(defect.kind, defect.image_id) for defect in dataset.defects] == [(kind, 4)]
    assert hint in dataset.defects[0].message
    assert [record.id for record in dataset.records] == [9]


def test_an_image_without_size_whose_file_is_broken_is_unreadable(tmp_path: Path) -> None:
    document = a_dataset()
    document["images"][0] = {"id": 4, "file_name": "broken.png"}
    (tmp_path / "broken.png").write_bytes(b"no image")
    dataset = read(tmp_path, document)
    assert [defect.kind for defect in dataset.defects] == ["unreadable-image"]


@pytest.mark.parametrize("entry", [{"file_name": "a.png"}, {"id": " ", "file_name": "a.png"}, {"id": True}, 5, None])
def test_an_image_without_id_is_a_defect(tmp_path: Path, entry: Any) -> None:
    document = a_dataset()
    document["images"].append(entry)
    dataset = read(tmp_path, document)
    assert [(defect.kind, defect.where) for defect in dataset.defects] == [("bad-image", "images[2]")]


def test_of_two_images_with_one_id_the_first_stays(tmp_path: Path) -> None:
    document = a_dataset()
    document["images"][1]["id"] = 4
    dataset = read(tmp_path, document)
    assert [(defect.kind, defect.where) for defect in dataset.defects] == [("duplicate-id", "image 4 ('b.png')")]
    assert [record.path.name for record in dataset.records] == ["a.png"]


def test_an_annotation_that_is_no_object_is_a_defect(tmp_path: Path) -> None:
    document = a_dataset()
    document["annotations"].append([1, 2])
    assert [defect.kind for defect in read(tmp_path, document).defects] == ["bad-annotation"]


def test_defects_do_not_hide_each_other(tmp_path: Path) -> None:
    dataset = with_object(tmp_path, iscrowd=2, category_id=99, bbox=[1, 1, 0, 0])
    assert [defect.kind for defect in dataset.defects] == ["unknown-category", "bad-iscrowd", "box-without-area"]


def test_objects_of_a_missing_file_are_checked_too(tmp_path: Path) -> None:
    document = a_dataset()
    document["images"][0]["file_name"] = "gone.png"
    document["annotations"][0]["bbox"] = [5, 5, 0, 5]
    assert [defect.kind for defect in read(tmp_path, document).defects] == ["missing-image", "box-without-area"]


def test_refusing_defects_says_in_one_line_what_and_where_and_how_many(tmp_path: Path) -> None:
    document = a_dataset()
    document["annotations"] += [an_object(3, bbox=[5, 5, 0, 5]), an_object(4, bbox=[5, 5, 0, 5])]
    document["images"].append({"id": 12, "file_name": "gone.png"})
    with pytest.raises(DataError) as caught:
        read(tmp_path, document).refuse_defects()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in (str(tmp_path / "set.json"), "3 defects", "box-without-area 2", "missing-image 1", "gone.png"):
        assert part in message
    assert "maskwright data check" in message
    assert "skip_bad" in message


def test_broken_json_is_refused_with_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, '{"images": [],\n "annotations": [1, 2')
    with pytest.raises(DataError, match=r"set\.json: broken JSON at line 2, column 22"):
        read_dataset(tmp_path, path)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "line 1, column 1"),
        ("[" * 100_000, "not a JSON text file|broken JSON"),
        ("[]", "holds a list"),
        ('{"images": [], "annotations": []}', "'categories' is missing"),
        ('{"images": [], "annotations": 5, "categories": []}', "'annotations' is not a list"),
        ('{"images": [], "annotations": [], "categories": []}', "'categories' is empty"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "set.json: categories: entry"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, "b"]}',
            r"categories\[1\] is 'b'; every entry is a table",
        ),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "the dataset is empty"),
    ],
)
def test_a_file_that_is_no_dataset_is_refused(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        read_dataset(tmp_path, write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    with pytest.raises(DataError, match="not a JSON text file"):
        read_dataset(tmp_path, tmp_path / "set.json")


def test_a_dataset_whose_images_are_all_missing_is_refused(tmp_path: Path) -> None:
    document = a_dataset()
    (tmp_path / "elsewhere").mkdir()
    path = write(tmp_path, document)
    with pytest.raises(DataError, match=r"no usable image, but 2 defects .*a\.png"):
        read_dataset(tmp_path / "elsewhere", path)


def test_missing_paths_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, a_dataset())
    with pytest.raises(DataError, match=r"image folder .*nowhere does not exist"):
        read_dataset(tmp_path / "nowhere", path)
    with pytest.raises(DataError, match="is not a folder"):
        read_dataset(path, path)
    with pytest.raises(DataError, match=r"annotation file or folder .*nothing\.json does not exist"):
        read_dataset(tmp_path, tmp_path / "nothing.json")
    with pytest.raises(DataError, match="is not a file"):
        read_dataset(tmp_path, tmp_path)
    with pytest.raises(DataError, match=r"no annotation format called 'voc2'; choose one of .*coco"):
        read_dataset(tmp_path, path, "voc2")


@pytest.mark.parametrize(
    ("images", "annotations", "num_annotations"),
    [
        ("nuclei/val", "nuclei/val.json", 4689),
        ("nuclei/train", "nuclei/train.json", 20201),
        ("coco128/val2017", "coco128/instances_val2017.json", 712),
        ("coco128/train2017", "coco128/instances_train2017.json", 746),
    ],
)
def test_real_datasets_are_clean(shared: Path, images: str, annotations: str, num_annotations: int) -> None:
    dataset = read_dataset(shared / "data" / images, shared / "data" / annotations)
    assert dataset.defects == ()
    assert sum(len(record.annotations) for record in dataset.records) == num_annotations


@pytest.mark.parametrize(
    "images",
    ["[]," * 400_000 + "[]", "{}," * 400_000 + "{}", '{"id":1},' * 130_000 + "{}", '"' + "[" * 1_200_000 + '"'],
    ids=["lists", "tables", "short entries", "brackets"],
)
def test_a_large_file_of_next_to_nothing_is_refused_at_once(images: str, tmp_path: Path) -> None:
    document = f'{{"images": [{images}], "annotations": [], "categories": [{{"id": 1, "name": "a"}}]}}'
    with pytest.raises(DataError, match=r"almost only brackets|too short for annotations"):
        read(tmp_path, document)
