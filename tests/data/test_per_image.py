"""The frame of formats with a file per image finds files, takes what can be used and tells the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.checks import Problem
from maskwright.data.readers.annotated import find_annotated, read_names
from maskwright.data.readers.options import ReadOptions
from maskwright.data.readers.per_image import (
    Flaw,
    FoundObject,
    by_name,
    find_images,
    images_of,
    read_per_image,
)
from maskwright.data.record import Dataset
from maskwright.errors import DataError
from maskwright.structures import Categories

SQUARE = [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]]


def save_images(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 10), dtype=np.uint8)).save(folder / name)
    return [folder / name for name in names]


def read(images: list[Path], *things: FoundObject | Flaw, **options: object) -> Dataset:
    chosen = {"categories": None, "options": ReadOptions(), **options}
    return read_per_image(images, lambda path, size: things, "somewhere", **chosen)  # type: ignore[arg-type]  # tests mix


def test_images_are_found_in_folders_within_and_hidden_ones_are_not(tmp_path: Path) -> None:
    save_images(tmp_path, "b.png", "a/c.JPG", "._b.png", ".ipynb_checkpoints/b.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    assert find_images(tmp_path) == [tmp_path / "a" / "c.JPG", tmp_path / "b.png"]


def test_files_go_by_their_path_in_the_folder_without_ending(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "x.1.png", tmp_path / "x.png", tmp_path / "x.jpg"]
    assert by_name(files, tmp_path) == {"a/x.1": files[:1], "x": files[1:]}


def test_a_name_with_no_image_or_two_is_a_defect_that_tells_which(tmp_path: Path) -> None:
    groups = {"one": [tmp_path / "one.png"], "two": [tmp_path / "two.png", tmp_path / "two.jpg"]}
    images, defects = images_of({"one": "1.xml", "two": "2.xml", "none": "3.xml"}, groups, tmp_path)
    assert images == {tmp_path / "one.png": "one"}
    assert [(defect.kind, defect.where) for defect in defects] == [
        ("ambiguous-image", "2.xml"),
        ("missing-image", "3.xml"),
    ]
    assert "two.png, two.jpg" in str(defects[0])
    assert "'none'" in str(defects[1])


def test_a_list_may_have_flags_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("\ufeffa\r\n\r\nb  1\r\nc -1\r\nd 0\r\ne 2\r\nmy image 1\r\n".encode())
    assert read_names(tmp_path / "train.txt") == ["a", "b", "c", "d", "e 2", "my image"]


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "is empty"), (b"\xff\xfe\x00\xd8", "is no text")])
def test_a_list_without_names_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_names(tmp_path / "train.txt")


def test_annotations_of_a_list_lie_beside_the_images_or_above_the_list(tmp_path: Path) -> None:
    save_images(tmp_path, "elsewhere/img/a.png")
    (tmp_path / "voc" / "Annotations").mkdir(parents=True)
    (tmp_path / "voc" / "ImageSets" / "Main").mkdir(parents=True)
    names = tmp_path / "voc" / "ImageSets" / "Main" / "val.txt"
    names.write_text("a\n")
    assert find_annotated(tmp_path / "elsewhere" / "img", names, ".xml", "Annotations").folder == (
        (tmp_path / "voc" / "Annotations").resolve()
    )
    (tmp_path / "elsewhere" / "Annotations").mkdir()
    found = find_annotated(tmp_path / "elsewhere" / "img", names, ".xml", "Annotations")
    assert found.folder == (tmp_path / "elsewhere" / "Annotations").resolve()
    assert list(found.names.values()) == ["a"]
    with pytest.raises(DataError, match="no folder inst beside"):
        find_annotated(tmp_path / "elsewhere" / "img", names, ".mat", "inst")


def test_one_annotation_file_in_place_of_their_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match="give the folder"):
        find_annotated(tmp_path, tmp_path / "a.xml", ".xml", "Annotations")


def test_objects_become_coco_annotations_with_a_box_around_the_mask(tmp_path: Path) -> None:
    images = save_images(tmp_path, "a.png", "b.png")
    dataset = read(images, FoundObject("a", "cat", SQUARE, details={"difficult": 1}), FoundObject("a", "ant", SQUARE))
    assert [record.id for record in dataset.records] == [1, 2]
    assert dataset.categories == Categories(("ant", "cat"), (1, 2))
    first = dataset.records[0].annotations[0]
    assert first["bbox"] == [1, 1, 4, 4]
    assert (first["category_id"], first["difficult"], first["iscrowd"]) == (2, 1, 0)
    assert [annotation["id"] for record in dataset.records for annotation in record.annotations] == [1, 2, 3, 4]


def test_usual_classes_are_taken_unless_others_occur(tmp_path: Path) -> None:
    images, usual = save_images(tmp_path, "a.png"), Categories.of(["dog", "cat"])
    assert read(images, usual=usual).categories == usual
    assert read(images, FoundObject("a", "cat", SQUARE), usual=usual).categories == usual
    assert read(images, FoundObject("a", "eel", SQUARE), usual=usual).categories.names == ("eel",)


def test_without_any_object_there_is_still_a_class(tmp_path: Path) -> None:
    assert read(save_images(tmp_path, "a.png")).categories.names == ("object",)


def test_an_object_that_cannot_be_used_is_left_out_and_the_image_stays(tmp_path: Path) -> None:
    dataset = read(
        save_images(tmp_path, "a.png"),
        FoundObject("a:1", "cat", SQUARE),
        FoundObject("a:2", "cat", None),
        FoundObject("a:3", "eel", SQUARE),
        Flaw("a:4", Problem("odd", "is odd")),
        categories=Categories.of(["cat"]),
    )
    assert len(dataset.records[0].annotations) == 1
    assert [(defect.kind, defect.where, defect.image_id) for defect in dataset.defects] == [
        ("missing-mask", "a:2", 1),
        ("unknown-category", "a:3", 1),
        ("odd", "a:4", 1),
    ]


def test_an_image_whose_file_is_missing_broken_or_spoilt_keeps_its_number(tmp_path: Path) -> None:
    def objects(path: Path, size: tuple[int, int]) -> Iterator[FoundObject | Flaw]:
        yield FoundObject(path.name, "cat", SQUARE)
        if path.stem == "c":
            yield Flaw(path.name, Problem("odd", "is odd"), spoils_image=True)
        if path.stem == "d":
            raise DataError("d.xml, line 3: broken XML")

    images = save_images(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png")
    images[0].unlink()
    images[1].write_bytes(b"no image")
    dataset = read_per_image(images, objects, "somewhere", categories=None, options=ReadOptions())
    assert [record.id for record in dataset.records] == [5]
    assert [(defect.kind, defect.image_id) for defect in dataset.defects] == [
        ("missing-image", 1),
        ("unreadable-image", 2),
        ("odd", 3),
        ("bad-annotation", 4),
    ]
    assert "line 3" in str(dataset.defects[3])


def test_a_stray_part_of_a_mask_is_left_out_alone(tmp_path: Path) -> None:
    dataset = read(save_images(tmp_path, "a.png"), FoundObject("line 1", "cell", [*SQUARE, [3.0, 3.0]]))
    assert [(defect.kind, defect.where, defect.keeps_objects) for defect in dataset.defects] == [
        ("stray-part", "line 1", True)
    ]
    assert dataset.records[0].annotations[0]["segmentation"] == SQUARE
