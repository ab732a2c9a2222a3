"""Annotations that were called by the wrong format are recognised, and the message says which it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.doctor import check_dataset
from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.readers.recognise import other_format
from maskwright.errors import DataError

DOCUMENTS = {
    "coco": {"images": [], "annotations": [], "categories": []},
    "lvis": {"images": [{"neg_category_ids": []}], "annotations": [], "categories": []},
    "coco_panoptic": {"images": [], "annotations": [{"segments_info": []}], "categories": []},
    "labelme": {"shapes": [], "imagePath": "a.png"},
    "cityscapes_polygons": {"imgHeight": 8, "imgWidth": 8, "objects": []},
}
FILES = {
    "voc": ("a.xml", b"\xef\xbb\xbf<annotation></annotation>"),
    "sbd": ("a.mat", b"MATLAB"),
    "yolo": ("a.txt", b"0 0.1 0.1 0.5 0.1 0.5 0.5"),
    "cityscapes": ("city/a_gtFine_instanceIds.png", b""),
    "masks": ("a/1.png", b""),
    "id_maps": ("a.tif", b""),
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "images" / "a.png")
    return tmp_path / "images"


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_json_files_are_known_by_their_keys(images: Path, name: str) -> None:
    file = write(images.parent / "labels" / "a.json", json.dumps(DOCUMENTS[name]).encode())
    assert f"looks like {name}" in other_format(images, file, "voc")
    assert other_format(images, file, name) == ""


@pytest.mark.parametrize("name", FILES)
def test_folders_are_known_by_the_files_in_them(images: Path, name: str) -> None:
    place, content = FILES[name]
    write(images.parent / "labels" / place, content)
    assert f"it looks like {name}:" in other_format(images, images.parent / "labels", "coco")
    with pytest.raises(DataError, match=f"--format {name}"):
        read_with_defects(images, images.parent / "labels")


def test_maps_beside_their_images_are_known_by_their_names(images: Path) -> None:
    write(images / "a_cp_masks.png", b"")
    assert "id_maps" in other_format(images, images, "coco")


def test_one_annotation_of_many_is_answered_with_their_folder(images: Path) -> None:
    file = write(images.parent / "labels" / "a.xml", b"<annotation/>")
    assert f"{file.parent} looks like voc: give that" in other_format(images, file, "coco")


@pytest.mark.parametrize(("name", "start"), [("export.zip", b"PK\x03\x04"), ("a.json.gz", b"\x1f\x8b\x08")])
def test_an_archive_is_to_be_unpacked(images: Path, name: str, start: bytes) -> None:
    file = write(images.parent / name, start + b" and more")
    with pytest.raises(DataError, match="unpack it"):
        read_with_defects(images, file)


def test_what_is_like_nothing_known_gets_no_hint(images: Path) -> None:
    for place, content in (("empty.json", b""), ("a.json", b"{}"), ("notes/a.txt", b"call mum")):
        file = write(images.parent / "labels" / place, content)
        assert other_format(images, file, "coco") == ""
    assert other_format(images, images.parent / "labels" / "notes", "coco") == ""


def test_a_panoptic_file_read_as_coco_says_so_before_its_defects(images: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": []}],
        "categories": [{"id": 1, "name": "cat", "isthing": 1}],
    }
    file = write(images.parent / "panoptic.json", json.dumps(document).encode())
    report = check_dataset(images, file)
    assert report.defects[0].kind == "other-format"
    assert "coco_panoptic" in report.defects[0].message


@pytest.mark.parametrize(("name", "ending"), [("voc", ".xml"), ("sbd", ".mat"), ("yolo", ".txt")])
def test_a_folder_without_annotation_files_is_no_clean_dataset(images: Path, name: str, ending: str) -> None:
    (images.parent / "labels").mkdir()
    with pytest.raises(DataError, match=f"no file \\*{ending} in"):
        check_dataset(images, images.parent / "labels", name)


def test_annotation_files_whose_ending_is_in_capitals_are_defects(images: Path) -> None:
    write(images.parent / "labels" / "a.TXT", b"0 0.1 0.1 0.5 0.1 0.5 0.5")
    assert [defect.kind for defect in read_dataset(images, images.parent / "labels", "yolo").defects] == [
        "misnamed-file"
    ]


def test_an_empty_list_of_images_is_no_clean_dataset(images: Path) -> None:
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    file = write(images.parent / "a.json", json.dumps(document).encode())
    with pytest.raises(DataError, match="the dataset is empty"):
        check_dataset(images, file)


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "a\ud800.png", "a\0b.png"])
def test_a_name_that_no_file_can_have_is_a_missing_image(images: Path, name: str) -> None:
    document = {
        "images": [{"id": 1, "file_name": name, "height": 8, "width": 8}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file = write(images.parent / "a.json", json.dumps(document).encode())
    (defect,) = read_with_defects(images, file).defects
    assert defect.kind == "missing-image"
    assert len(str(defect)) < 1000  # of a name of 5000 letters


def test_names_written_on_windows_are_found(images: Path) -> None:
    (images / "sub").mkdir()
    (images / "a.png").rename(images / "sub" / "a.png")
    document = {
        "images": [{"id": 1, "file_name": "sub\\a.png", "height": 8, "width": 8}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file = write(images.parent / "a.json", json.dumps(document).encode())
    assert read_with_defects(images, file).defects == ()


@pytest.mark.parametrize("flag", ["2", "yes", 2, []])
def test_a_crowd_flag_that_is_neither_0_nor_1_is_a_defect(images: Path, flag: object) -> None:
    square = {"bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": flag, **square}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file = write(images.parent / "a.json", json.dumps(document).encode())
    assert [defect.kind for defect in read_with_defects(images, file).defects] == ["bad-iscrowd"]


def test_a_list_may_name_files_with_their_ending(images: Path) -> None:
    write(images.parent / "Annotations" / "a.xml", b"<annotation></annotation>")
    names = write(images.parent / "val.txt", b"a.png\n")
    assert len(read_dataset(images, names, "voc").records) == 1
