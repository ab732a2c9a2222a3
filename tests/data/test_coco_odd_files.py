"""COCO files as tools and people write them: read where there is one way to do so, and reported."""

from __future__ import annotations

import base64
import json
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference

from maskwright.data.readers import read_with_defects
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.record import Dataset

HEIGHT, WIDTH = 20, 30
SQUARE = [5, 6, 15, 6, 15, 12, 5, 12]
BOX = [5, 6, 10, 6]
Document = dict[str, Any]


def an_object(id_: Any, **changes: Any) -> Document:
    return {"id": id_, "image_id": 4, "category_id": 3, "bbox": BOX, "segmentation": [SQUARE], "iscrowd": 0, **changes}


def a_document() -> Document:
    """An image of 20 × 30 with one object, and one without."""
    return {
        "images": [
            {"id": 4, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 9, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [an_object(1)],
        "categories": [{"id": 3, "name": "cell"}, {"id": 7, "name": "dust"}],
    }


def save_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)


def read(folder: Path, document: Document) -> Dataset:
    save_images(folder, "a.png", "b.png")
    return read_from(folder, document)


def read_from(folder: Path, document: Document, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    (folder / "set.json").write_text(json.dumps(document), encoding="utf-8")
    return read_with_defects(folder, folder / "set.json", options=options)


def kinds(dataset: Dataset) -> list[str]:
    return [remark.kind for remark in dataset.remarks]


def bitmap_of(dataset: Dataset) -> np.ndarray:
    """The mask of the first object of the first image."""
    return dataset.records[0].targets(dataset.categories).masks.bitmap(0)


def the_square() -> np.ndarray:
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=bool)
    bitmap[6:12, 5:15] = True
    return bitmap


def packed(bitmap: np.ndarray) -> str:
    return reference.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()


def counts_of(bitmap: np.ndarray) -> list[int]:
    flat = np.concatenate([[False], bitmap.ravel(order="F"), [True]])
    borders = np.flatnonzero(np.diff(flat)).tolist()
    counts = np.diff([0, *borders, bitmap.size]).tolist()
    return counts[:-1] if counts[-1] == 0 else counts


def each(entries: list[Document], change: Callable[[int], Any]) -> None:
    for entry in entries:
        entry["id"] = change(entry["id"])


# changes of the document → kinds of the remarks
SAME_IDS: dict[str, tuple[Callable[[Document], Any], list[str]]] = {
    "image ids as text": (lambda d: each(d["images"], str), ["image-ids-as-text"]),
    "one image id as text": (lambda d: d["images"][0].update(id="4"), ["image-ids-as-text"]),
    "image ids as floats": (lambda d: each(d["images"], float), ["image-ids-as-text"]),
    "a reference as text": (lambda d: d["annotations"][0].update(image_id="4"), ["image-id-as-text"]),
    "a reference with zeros": (lambda d: d["annotations"][0].update(image_id="0004"), ["image-id-as-text"]),
    "a reference by file name": (lambda d: d["annotations"][0].update(image_id="a.png"), ["image-id-as-text"]),
    "a class as text": (lambda d: d["annotations"][0].update(category_id="3"), ["category-id-as-text"]),
    "a class by name": (lambda d: d["annotations"][0].update(category_id="cell"), ["category-id-as-text"]),
    "class ids as text": (lambda d: each(d["categories"], str), ["category-ids-as-text"]),
    "an object's id as text": (lambda d: d["annotations"][0].update(id="1"), ["annotation-ids-as-text"]),
    "an object's id that is no number": (lambda d: d["annotations"][0].update(id="a1"), ["annotation-ids-numbered"]),
    "sides as text": (lambda d: d["images"][0].update(height="20", width="30.0"), ["size-as-text"]),
    "sides of nothing": (lambda d: d["images"][0].update(height=0, width=0), ["unknown-size"]),
    "a flag as text": (lambda d: d["annotations"][0].update(iscrowd="0"), ["odd-iscrowd"]),
    "a flag as a truth": (lambda d: d["annotations"][0].update(iscrowd=False), ["odd-iscrowd"]),
    "a flag as a word": (lambda d: d["annotations"][0].update(iscrowd="False"), ["odd-iscrowd"]),
    "a box as text": (lambda d: d["annotations"][0].update(bbox=["5", "6.0", "10", "6"]), ["box-as-text"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "reported"), SAME_IDS.values(), ids=SAME_IDS.keys())
def test_numbers_written_in_another_way_are_read_as_numbers_and_reported(
    tmp_path: Path, change: Callable[[Document], Any], reported: list[str]
) -> None:
    document = a_document()
    change(document)
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert kinds(dataset) == reported
    assert all("\n" not in str(remark) for remark in dataset.remarks)
    usual = read(tmp_path, a_document())
    assert [(record.id, record.size) for record in dataset.records] == [(4, (20, 30)), (9, (20, 30))]
    assert dataset.categories == usual.categories
    assert dict(dataset.records[0].annotations[0]) == dict(usual.records[0].annotations[0])


def test_ids_that_are_no_numbers_are_numbered(tmp_path: Path) -> None:
    document = a_document()
    document["images"][0]["id"], document["images"][1]["id"] = "img-a", "img-b"
    document["categories"][0]["id"] = "c"
    document["annotations"] = [an_object("x", image_id="img-b", category_id="c")]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert [record.id for record in dataset.records] == [1, 2]
    assert dataset.categories.ids == (8, 7)
    assert dataset.records[1].annotations[0]["category_id"] == 8
    assert kinds(dataset) == ["image-ids-numbered", "category-ids-numbered", "annotation-ids-numbered"]


def test_a_number_that_no_text_stands_for_is_no_reference(tmp_path: Path) -> None:
    document = a_document()
    document["images"][0]["id"], document["images"][1]["id"] = "img-a", "img-b"
    document["annotations"] = [an_object(1, image_id=1)]
    assert [defect.kind for defect in read(tmp_path, document).defects] == ["unknown-image"]


def test_two_texts_of_one_number_are_two_ids(tmp_path: Path) -> None:
    document = a_document()
    document["images"][0]["id"], document["images"][1]["id"] = "07", "7"
    document["annotations"] = [an_object(1, image_id="07"), an_object(2, image_id="7")]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert [len(record.annotations) for record in dataset.records] == [1, 1]


def test_a_crowd_flag_of_any_spelling_makes_a_crowd(tmp_path: Path) -> None:
    for flag in ("1", True, 1.0, "true"):
        document = a_document()
        document["annotations"][0]["iscrowd"] = flag
        assert read(tmp_path, document).records[0].annotations[0]["iscrowd"] == 1


@pytest.mark.parametrize("flag", [2, "many", [1], -1])
def test_a_flag_that_says_nothing_is_a_defect(tmp_path: Path, flag: Any) -> None:
    document = a_document()
    document["annotations"][0]["iscrowd"] = flag
    assert [defect.kind for defect in read(tmp_path, document).defects] == ["bad-iscrowd"]


def test_repeated_annotation_ids_are_given_anew(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"] = [an_object(1), an_object(1, category_id=7), an_object(1, image_id=9)]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert kinds(dataset) == ["repeated-annotation-id"]
    assert "and 1 more like it" in dataset.remarks[0].message
    assert [one["id"] for record in dataset.records for one in record.annotations] == [1, 2, 3]


def test_an_annotation_in_equal_words_is_one_object(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"] *= 2
    document["images"].append(document["images"][0])
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert len(dataset.records[0].annotations) == 1
    assert kinds(dataset) == ["repeated-image", "repeated-annotation"]


def test_without_a_class_an_object_is_of_the_only_one(tmp_path: Path) -> None:
    document = a_document()
    del document["annotations"][0]["category_id"], document["categories"][1]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert dataset.records[0].annotations[0]["category_id"] == 3
    assert kinds(dataset) == ["no-category-id"]


def test_without_a_class_for_any_object_all_are_of_one(tmp_path: Path) -> None:
    document = a_document()
    del document["annotations"][0]["category_id"]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert dataset.categories.names == ("object",)
    assert kinds(dataset) == ["no-classes"]
    assert "no annotation has a category_id" in str(dataset.remarks[0])


def test_without_a_class_beside_others_an_object_is_a_defect(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"].append(an_object(2))
    del document["annotations"][1]["category_id"]
    (defect,) = read(tmp_path, document).defects
    assert (defect.kind, defect.message) == ("unknown-category", "has no category_id, so its class is unknown")


ROWS = {"size": [HEIGHT, WIDTH], "counts": packed(the_square())}
COUNTS = counts_of(the_square())
MASKS: dict[str, tuple[Any, str]] = {
    "flat": (SQUARE, "flat-polygon"),
    "flat, as text": ([str(number) for number in SQUARE], "flat-polygon"),
    "points": ([[x, y] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)], "nested-polygon"),
    "polygons of points": ([[[x, y] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)]], "nested-polygon"),
    "named points": ([{"x": x, "y": y} for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)], "nested-polygon"),
    "a level too many": ([[SQUARE]], "nested-polygon"),
    "numbers as text": ([[str(number) for number in SQUARE]], "nested-polygon"),
    "JSON in a text": (json.dumps([SQUARE]), "nested-polygon"),
    "floats": ({"size": [HEIGHT, WIDTH], "counts": [float(count) for count in COUNTS]}, "odd-run-lengths"),
    "floats everywhere": (
        {"size": [float(HEIGHT), float(WIDTH)], "counts": [float(count) for count in COUNTS]}, "odd-run-lengths",
    ),
    "run lengths as text": ({"size": ["20", "30"], "counts": [str(count) for count in COUNTS]}, "odd-run-lengths"),
    "size swapped": ({"size": [WIDTH, HEIGHT], "counts": COUNTS}, "odd-run-lengths"),
    "size swapped, packed": ({"size": [WIDTH, HEIGHT], "counts": packed(the_square())}, "odd-run-lengths"),
    "no size": ({"counts": packed(the_square())}, "odd-run-lengths"),
    "counts alone": (packed(the_square()), "odd-run-lengths"),
    "base64": ({**ROWS, "counts": base64.b64encode(packed(the_square()).encode()).decode()}, "odd-run-lengths"),
    "zlib in base64": (
        {**ROWS, "counts": base64.b64encode(zlib.compress(packed(the_square()).encode())).decode()}, "odd-run-lengths",
    ),
    "a table as Python shows it": (str({**ROWS, "counts": packed(the_square()).encode()}), "odd-run-lengths"),
    "numbers in a text": ({**ROWS, "counts": " ".join(map(str, COUNTS))}, "odd-run-lengths"),
    "a list in a text": ({**ROWS, "counts": str(COUNTS)}, "odd-run-lengths"),
    "numbers of letters": ({**ROWS, "counts": list(packed(the_square()).encode())}, "odd-run-lengths"),
    "in a list": ([ROWS], "odd-run-lengths"),
    "a size as text alone": ({**ROWS, "size": ["20", "30"]}, "odd-run-lengths"),
    "a value for every pixel": (the_square().astype(int).tolist(), "bitmap-as-lists"),
    "bytes as Python shows them": ({**ROWS, "counts": repr(packed(the_square()).encode())}, "odd-run-lengths"),
}  # fmt: skip


@pytest.mark.parametrize(("segmentation", "kind"), MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("box", [BOX, None], ids=["box", "no box"])
def test_a_mask_written_in_another_way_is_read_and_reported(
    tmp_path: Path, segmentation: Any, kind: str, box: Any
) -> None:
    document = a_document()
    document["annotations"][0].update(segmentation=segmentation, bbox=box)
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert kinds(dataset) == [kind]
    assert all(remark.message for remark in dataset.remarks)
    assert np.array_equal(bitmap_of(dataset), the_square())
    assert dataset.records[0].annotations[0]["bbox"] == BOX


def test_bytes_with_a_backslash_are_read_as_python_shows_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    bitmap = next(one for one in (generator.random((HEIGHT, WIDTH)) < 0.2 for _ in range(200)) if "\\" in packed(one))
    document = a_document()
    document["annotations"][0].update(segmentation={**ROWS, "counts": repr(packed(bitmap).encode())}, bbox=None)
    assert np.array_equal(bitmap_of(read(tmp_path, document)), bitmap)


@pytest.mark.parametrize("counts", [counts_of(the_square().T), packed(the_square().T)], ids=["plain", "packed"])
def test_runs_along_the_rows_are_read_so_where_the_box_shows_it(tmp_path: Path, counts: Any) -> None:
    document = a_document()
    document["annotations"][0]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
    dataset = read(tmp_path, document)
    assert kinds(dataset) == ["odd-run-lengths"]
    assert "along the rows" in dataset.remarks[0].message
    assert np.array_equal(bitmap_of(dataset), the_square())


def test_a_box_of_two_corners_is_known_by_its_mask(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"][0]["bbox"] = [5, 6, 15, 12]
    document["annotations"].append(
        an_object(2, segmentation=[[15, 8, 28, 8, 28, 18, 15, 18]], bbox=[15, 8, 28, 18])  # reaches outside as x y w h
    )
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert kinds(dataset) == ["box-as-corners"] * 2
    assert [one["bbox"] for one in dataset.records[0].annotations] == [BOX, [15, 8, 13, 10]]


@pytest.mark.parametrize("box", [[], [0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]])
def test_an_empty_box_is_that_of_the_mask(tmp_path: Path, box: list[float]) -> None:
    document = a_document()
    document["annotations"][0]["bbox"] = box
    dataset = read(tmp_path, document)
    assert (dataset.defects, kinds(dataset)) == ((), ["empty-box"])
    assert dataset.records[0].annotations[0]["bbox"] == BOX


def test_an_outline_that_reaches_outside_is_cut_off_and_reported(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"][0].update(segmentation=[[5, 6, 90, 6, 90, 12, 5, 12]], bbox=None)
    dataset = read(tmp_path, document)
    assert kinds(dataset) == ["outline-cut-off"]
    assert dataset.records[0].annotations[0]["bbox"] == [5, 6, WIDTH - 5, 6]


def test_a_box_that_is_not_around_its_mask_is_reported(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"][0]["bbox"] = [20, 10, 8, 8]
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert kinds(dataset) == ["box-beside-mask"]
    assert dataset.records[0].annotations[0]["bbox"] == [20, 10, 8, 8]


def test_boxes_drawn_roughly_around_their_masks_are_in_order(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"][0]["bbox"] = [3, 4, 13, 9]
    assert kinds(read(tmp_path, document)) == []


def test_runs_along_the_rows_are_not_taken_for_columns(tmp_path: Path) -> None:
    """The size is as swapped as the direction: the mask was encoded turned over, and is not what the box says."""
    turned = {"size": [WIDTH, HEIGHT], "counts": packed(the_square().T)}
    for box in (BOX, None):
        document = a_document()
        document["annotations"][0].update(segmentation=turned, bbox=box)
        assert [defect.kind for defect in read(tmp_path, document).defects] == ["bad-rle"]


@pytest.mark.parametrize(
    ("counts", "hint"),
    [
        ([500.5, 99.5], "500.5"),
        ([500, 99.0], "599 pixels"),
        ([1e308] * 4, "hold 1e+308"),
        ([10**400, 5.0], "must be a whole number"),
        ([500, None], "None"),
        (base64.b64encode(b"no run lengths").decode(), "run lengths"),
        ("b'cut", "run lengths"),
    ],
)
def test_counts_that_cannot_be_read_are_refused_by_their_cause(tmp_path: Path, counts: Any, hint: str) -> None:
    document = a_document()
    document["annotations"][0]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
    (defect,) = read(tmp_path, document).defects
    assert defect.kind == "bad-rle"
    assert hint in defect.message


def shares(polygon: list[float]) -> list[float]:
    return [number / (HEIGHT if place % 2 else WIDTH) for place, number in enumerate(polygon)]


@pytest.mark.parametrize("box", [BOX, shares(BOX), None], ids=["pixels", "shares", "no box"])
@pytest.mark.parametrize("is_flat", [True, False])
def test_polygons_in_shares_of_the_image_are_scaled(tmp_path: Path, box: Any, is_flat: bool) -> None:
    document = a_document()
    outline = shares(SQUARE)
    document["annotations"][0].update(segmentation=outline if is_flat else [outline], bbox=box)
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert np.array_equal(bitmap_of(dataset), the_square())
    assert dataset.records[0].annotations[0]["bbox"] == pytest.approx(BOX)
    assert kinds(dataset) == ["polygon-in-shares", *(["box-in-shares"] if box == shares(BOX) else [])]


def test_boxes_in_shares_beside_masks_in_pixels_are_those_of_the_masks(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"][0]["bbox"] = shares(BOX)
    dataset = read(tmp_path, document)
    assert dataset.defects == ()
    assert dataset.records[0].annotations[0]["bbox"] == BOX


def test_boxes_in_shares_without_masks_are_scaled(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"] = [an_object(id_, segmentation=None, bbox=shares(BOX)) for id_ in (1, 2)]
    save_images(tmp_path, "a.png", "b.png")
    dataset = read_from(tmp_path, document, ReadOptions(needs_masks=False))
    assert dataset.defects == ()
    assert dataset.records[0].annotations[0]["bbox"] == pytest.approx(BOX)
    assert kinds(dataset) == ["box-in-shares"] * 2


def test_boxes_that_are_no_shares_are_checked_as_pixels(tmp_path: Path) -> None:
    for box in ([1, 1, 0, 0], [0.9, 0.9, 0.9, 0.9]):
        document = a_document()
        document["annotations"][0].update(bbox=box)
        dataset = read(tmp_path, document)
        assert [one.kind for one in dataset.defects] == (["box-without-area"] if box[2] == 0 else [])
        assert kinds(dataset) == ([] if box[2] == 0 else ["box-beside-mask"])


def test_shares_beside_pixels_are_refused_by_their_cause(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"].append(an_object(2, segmentation=[[0.2, 0.2, 0.3, 0.2, 0.3, 0.3]], bbox=None))
    (defect,) = read(tmp_path, document).defects
    assert "shares of the image" in defect.message
    assert "larger" not in defect.message


@pytest.mark.parametrize("stray", [[7.0, 7.0], [5, 6, 9, 9], []])
def test_a_stray_part_is_left_out_and_its_object_stays(tmp_path: Path, stray: list[float]) -> None:
    document = a_document()
    document["annotations"][0]["segmentation"].append(stray)
    dataset = read(tmp_path, document)
    assert [(defect.kind, defect.keeps_objects) for defect in dataset.defects] == [("stray-part", True)]
    assert np.array_equal(bitmap_of(dataset), the_square())


def test_an_object_of_stray_parts_alone_is_a_defect(tmp_path: Path) -> None:
    document = a_document()
    document["annotations"][0]["segmentation"] = [[7, 7], [5, 6, 9, 9]]
    (defect,) = read(tmp_path, document).defects
    assert (defect.kind, defect.keeps_objects) == ("bad-polygon", False)


# name in the file → name on disk
NAMES = {
    "another machine": ("/data/upload/1/a.png", "a.png"),
    "Windows": ("C:\\Users\\me\\shots\\a.png", "a.png"),
    "a step up": ("..\\..\\media\\a.png", "a.png"),
    "an address": ("https://host/data/local-files/?d=shots/a.png", "a.png"),
    "an address without folders": ("/data/local-files/?d=a.png", "a.png"),
    "an upload": ("upload/3f2a9c1b-a.png", "a.png"),
    "escapes": ("images/caf%C3%A9%201.png", "café 1.png"),
    "capitals": ("A.PNG", "a.png"),
    "another ending": ("a.jpg", "a.png"),
    "no ending": ("deep/a", "deep/a.png"),
    "small letters": ("a.png", "A.PNG"),
    "another folder": ("a.png", "deep/er/a.png"),
    "other Unicode form": (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")),
}


@pytest.mark.parametrize(("written", "stored"), NAMES.values(), ids=NAMES.keys())
def test_a_file_is_found_by_the_last_part_of_its_name_where_it_is_unique(
    tmp_path: Path, written: str, stored: str
) -> None:
    document = a_document()
    document["images"][0]["file_name"] = written
    save_images(tmp_path, stored, "b.png")
    dataset = read_from(tmp_path, document)
    assert dataset.defects == ()
    assert dataset.records[0].path == tmp_path / stored
    assert kinds(dataset) == ["other-file-name"]


@pytest.mark.parametrize(
    ("names", "stored"),
    [
        (("x/a.png", "y/a.png"), ("a.png",)),
        (("a.png", "x/a.png"), ("a.png",)),
        (("z/a.png", "b.png"), ("x/a.png", "y/a.png", "b.png")),
        (("A.png", "a.PNG"), ("a.png",)),
        (("a.jpg", "b.png"), ("masks/a.png", "b.png")),
    ],
)
def test_a_name_that_could_be_of_two_images_is_not_guessed(
    tmp_path: Path, names: tuple[str, str], stored: tuple[str, ...]
) -> None:
    document = a_document()
    for image, name in zip(document["images"], names, strict=True):
        image["file_name"] = name
    save_images(tmp_path, *stored)
    assert {defect.kind for defect in read_from(tmp_path, document).defects} == {"missing-image"}


def test_of_files_that_differ_in_case_the_one_of_the_same_letters_is_taken(tmp_path: Path) -> None:
    document = a_document()
    document["images"][0]["file_name"] = "elsewhere/A.png"
    save_images(tmp_path, "x/a.png", "y/A.png", "b.png")
    assert read_from(tmp_path, document).records[0].path == tmp_path / "y/A.png"


def test_a_file_of_two_images_is_reported(tmp_path: Path) -> None:
    document = a_document()
    document["images"][1]["file_name"] = "a.png"
    save_images(tmp_path, "a.png")
    dataset = read_from(tmp_path, document)
    assert kinds(dataset) == ["repeated-file"]
    assert str(dataset.remarks[0]).startswith("image 9: has the same file as image 4")


def test_images_that_are_not_listed_are_counted_in_one_line(tmp_path: Path) -> None:
    save_images(tmp_path, "c.png", "d.JPG", "more/e.png", ".hidden.png")
    (tmp_path / "notes.txt").write_text("no image")
    dataset = read(tmp_path, a_document())
    (remark,) = (remark for remark in dataset.remarks if remark.kind == "unlisted-images")
    assert "2 image files" in remark.message
    assert "'c.png'" in remark.message


FIELD = {
    "13_base64_rle": 4,
    "15_float_rle": 4,
    "16_rle_size_wh": 4,
    "17_via_coco": 4,
    "20_str_ids_everywhere": 4,
    "35_normalised_polygons": 4,
    "39_dup_ann_ids": 4,
    "43_iscrowd_odd": 4,
}
RED, GREEN = (220, 30, 30), (30, 200, 40)


@pytest.mark.parametrize(("name", "num_objects"), FIELD.items())
def test_files_from_the_field_show_their_objects(shared: Path, name: str, num_objects: int) -> None:
    folder = shared / "field" / name
    dataset = read_with_defects(folder / "images", folder / "ann.json")
    assert dataset.defects == ()
    assert dataset.remarks
    assert sum(len(record.annotations) for record in dataset.records) == num_objects
    for record in dataset.records:
        pixels = np.asarray(Image.open(record.path).convert("RGB")).astype(int)
        targets = record.targets(dataset.categories)
        for place, colour in enumerate((RED, GREEN)):
            drawn = np.abs(pixels - colour).sum(axis=2) < 120
            mask = targets.masks.bitmap(place)
            assert (mask & drawn).sum() / (mask | drawn).sum() > 0.8
