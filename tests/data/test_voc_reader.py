"""Pascal VOC's XML files and pictures of numbers become boxes, classes and masks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.readers.options import ReadOptions
from maskwright.data.readers.voc import PASCAL
from maskwright.data.record import Dataset
from maskwright.errors import DataError

SIZE = (6, 8)

OBJECT = """
  <object>
    <name>{name}</name><truncated>{truncated}</truncated><difficult>{difficult}</difficult>
    <bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
  </object>"""


def an_object(name: str = "cat", box: tuple[Any, ...] = (1, 1, 3, 2), difficult: int = 0, truncated: int = 0) -> str:
    sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return OBJECT.format(name=name, difficult=difficult, truncated=truncated, **sides)


def xml_of(*objects: str, size: tuple[Any, Any] = SIZE) -> str:
    height, width = size
    shape = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n  <filename>a.jpg</filename>\n  {shape}{''.join(objects)}\n</annotation>\n"


def save_indexed(path: Path, values: np.ndarray) -> None:
    picture = Image.fromarray(values.astype(np.uint8))
    picture.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    path.parent.mkdir(exist_ok=True)
    picture.save(path)


def numbers_of_picture() -> np.ndarray:
    """Object 1 at the upper left, object 2 at the lower right, void between and around."""
    numbers = np.zeros(SIZE, dtype=np.uint8)
    numbers[0:2, 0:3], numbers[3:6, 4:8], numbers[2, :] = 1, 2, 255
    return numbers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of one image with a cat and a difficult dog, and both pictures of them."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "Annotations" / "a.xml").write_text(
        xml_of(an_object(), an_object("dog", (5, 4, 8, 6), difficult=1, truncated=1))
    )
    numbers = numbers_of_picture()
    save_indexed(tmp_path / "SegmentationObject" / "a.png", numbers)
    save_indexed(tmp_path / "SegmentationClass" / "a.png", np.choose(numbers.clip(0, 3), [0, 8, 12, 255]))
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("a\n")
    return tmp_path


def read(root: Path, annotations: str = "Annotations", *, needs_masks: bool = True) -> Dataset:
    return read_with_defects(root / "JPEGImages", root / annotations, "voc", ReadOptions(needs_masks=needs_masks))


def defects_of(root: Path, annotations: str = "Annotations", *, needs_masks: bool = True) -> list[tuple[str, str]]:
    return [(found.kind, str(found)) for found in read(root, annotations, needs_masks=needs_masks).defects]


@pytest.mark.parametrize("annotations", ["Annotations", "ImageSets/Segmentation/val.txt"])
def test_boxes_masks_classes_and_flags_are_those_of_the_files(root: Path, annotations: str) -> None:
    dataset = read(root, annotations)
    assert dataset.defects == ()
    assert dataset.categories == PASCAL
    cat, dog = dataset.records[0].annotations
    assert (cat["category_id"], dog["category_id"]) == (8, 12)
    # pixels counted from 1, the last included, become continuous edges
    assert (cat["bbox"], dog["bbox"]) == ([0, 0, 3, 2], [4, 3, 4, 3])
    assert "difficult" not in cat
    assert (dog["difficult"], dog["truncated"]) == (1, 1)
    for number, found in enumerate((cat, dog), start=1):
        assert (coco_mask.decode(found["segmentation"]) == (numbers_of_picture() == number)).all()


def test_a_list_about_a_class_names_all_its_images(root: Path) -> None:
    shutil.copy(root / "JPEGImages" / "a.jpg", root / "JPEGImages" / "b.jpg")
    (root / "Annotations" / "b.xml").write_text(xml_of())
    (root / "ImageSets" / "Main" / "cat_val.txt").write_text("a  1\nb -1\n")
    dataset = read(root, "ImageSets/Main/cat_val.txt")
    assert [record.path.name for record in dataset.records] == ["a.jpg", "b.jpg"]
    assert dataset.records[1].annotations == ()  # a negative example needs no picture


def test_boxes_alone_serve_where_no_masks_are_needed(root: Path) -> None:
    shutil.rmtree(root / "SegmentationObject")
    dataset = read(root, needs_masks=False)
    assert dataset.defects == ()
    assert ["segmentation" in annotation for annotation in dataset.records[0].annotations] == [False, False]
    ((kind, text),) = defects_of(root)
    assert kind == "missing-mask-picture"
    assert text.startswith("a.xml: ")
    assert read(root).records == ()


def test_classes_that_are_not_all_pascals_are_those_that_occur(root: Path) -> None:
    (root / "Annotations" / "a.xml").write_text(xml_of(an_object("cat"), an_object("zebra", (5, 4, 8, 6))))
    dataset = read(root)
    assert dataset.categories.names == ("cat", "zebra")
    assert dataset.defects == ()  # the picture of classes cannot tell a zebra


def test_an_object_that_only_one_of_xml_and_picture_knows_is_reported(root: Path) -> None:
    (root / "Annotations" / "a.xml").write_text(xml_of(an_object()))
    assert defects_of(root) == [
        (
            "unknown-object",
            f"a.xml, object[2]: {root}/SegmentationObject/a.png shows an object 2, the XML lists 1",
        )
    ]
    third = an_object("cow", (1, 5, 2, 6))
    (root / "Annotations" / "a.xml").write_text(xml_of(an_object(), an_object("dog", (5, 4, 8, 6)), third))
    ((kind, text),) = defects_of(root)
    assert kind == "missing-mask"
    assert text.startswith("a.xml, line 14, object[3]: ")
    assert len(read(root).records[0].annotations) == 2
    assert defects_of(root, needs_masks=False) == []


def test_a_class_that_xml_and_picture_tell_differently_is_reported(root: Path) -> None:
    (root / "Annotations" / "a.xml").write_text(xml_of(an_object("cow"), an_object("dog", (5, 4, 8, 6))))
    assert defects_of(root) == [
        ("class-mismatch", "a.xml, line 4, object[1]: is a cow, but its pixels in SegmentationClass are cat")
    ]


def test_an_image_of_another_size_is_left_out(root: Path) -> None:
    (root / "Annotations" / "a.xml").write_text(xml_of(an_object(), size=(8, 6)))
    ((kind, text),) = defects_of(root)
    assert kind == "wrong-size"
    assert text == "a.xml: line 3: size has height '8' and width '6', the image is 6 high and 8 wide"
    assert read(root).records == ()


@pytest.mark.parametrize(
    ("change", "kind", "parts"),
    [
        (lambda text: text.replace("<xmin>1</xmin><ymin>1</ymin><xmax>3", "<xmin>one</xmin><ymin>1</ymin><xmax>3"),
         "bad-box", ["a.xml, line 4, object[1]", "line 6", "'one'"]),
        (lambda text: text.replace("<xmax>3", "<xmax>nan"), "bad-box", ["object[1]", "line 6", "not finite"]),
        (lambda text: text.replace("<xmax>3", "<xmax>0"), "box-without-area", ["object[1]", "no area"]),
        (lambda text: text.replace("<xmax>8", "<xmax>80"), "box-outside-image", ["object[2]", "line 9"]),
        (lambda text: text.replace("<name>cat</name>", ""), "bad-annotation", ["object[1]", "has no name"]),
        (lambda text: text.replace("</annotation>", ""), "bad-annotation", ["a.xml, line 1", "broken XML"]),
        (lambda text: text.replace("annotation>", "note>"), "bad-annotation", ["line 1", "<note>"]),
        (lambda text: f"<!DOCTYPE x>{text}", "bad-annotation", ["line 1", "DOCTYPE"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_reported_with_file_and_line(
    root: Path, change: Any, kind: str, parts: list[str]
) -> None:
    path = root / "Annotations" / "a.xml"
    path.write_text(change(path.read_text()))
    ((found_kind, text),) = defects_of(root)
    assert found_kind == kind
    assert all(part in text for part in parts), text


def test_a_box_may_be_missing_or_have_fractions(root: Path) -> None:
    text = xml_of(an_object(box=(1.5, 1, 3, 2.25)), an_object("dog"))
    before, after = text.rsplit("<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>2</ymax></bndbox>", 1)
    (root / "Annotations" / "a.xml").write_text(before + after)
    assert [annotation["bbox"] for annotation in read(root).records[0].annotations] == [
        [0.5, 0, 2.5, 2.25],
        [4, 3, 4, 3],
    ]


@pytest.mark.parametrize("folder", ["SegmentationObject", "SegmentationClass"])
def test_a_picture_that_cannot_be_used_spoils_its_image(root: Path, folder: str) -> None:
    path = root / folder / "a.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 30])
    assert [(kind, str(path) in text) for kind, text in defects_of(root)] == [("bad-annotation", True)]
    save_indexed(path, np.zeros((6, 9)))
    ((_, text),) = defects_of(root)
    assert "is 6 × 9 (height × width), its image 6 × 8" in text
    Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(path)
    ((_, text),) = defects_of(root)
    assert "grey or a palette" in text
    assert read(root).records == ()


def test_images_and_xml_files_that_are_missing_are_named(root: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("a\nb\nc\n")
    shutil.copy(root / "JPEGImages" / "a.jpg", root / "JPEGImages" / "b.jpg")
    found = defects_of(root, "ImageSets/Segmentation/val.txt")
    assert [kind for kind, _ in found] == ["missing-image", "bad-annotation"]
    assert "'c'" in found[0][1]
    assert "b.xml does not exist" in found[1][1]
    with pytest.raises(DataError, match=r"first .*no image called 'c'"):
        read(root, "ImageSets/Segmentation/val.txt").refuse_defects()


def test_real_nuclei_come_back_exactly(tmp_path: Path, shared: Path) -> None:
    source = read_dataset(shared / "data" / "nuclei" / "val", shared / "data" / "nuclei" / "val.json")
    (tmp_path / "Annotations").mkdir()
    expected = {}
    for record in source.records[:12]:
        masks = [coco_mask.decode(annotation["segmentation"]) for annotation in record.annotations]
        numbers = np.zeros(record.size, dtype=np.uint8)
        for number, mask in enumerate(masks, start=1):
            numbers[mask > 0] = number
        corners = [(x + 1, y + 1, x + w, y + h) for x, y, w, h in (found["bbox"] for found in record.annotations)]
        (tmp_path / "Annotations" / f"{record.path.stem}.xml").write_text(
            xml_of(*(an_object("nucleus", box) for box in corners), size=record.size)
        )
        save_indexed(tmp_path / "SegmentationObject" / f"{record.path.stem}.png", numbers)
        expected[record.path.name] = ([found["bbox"] for found in record.annotations], numbers)
    found = read_with_defects(shared / "data" / "nuclei" / "val", tmp_path / "Annotations", "voc")
    assert found.defects == ()
    assert found.categories.names == ("nucleus",)
    for record in found.records:
        boxes, numbers = expected.pop(record.path.name)
        assert [annotation["bbox"] for annotation in record.annotations] == boxes
        for number, annotation in enumerate(record.annotations, start=1):
            assert (coco_mask.decode(annotation["segmentation"]) == (numbers == number)).all()
    assert expected == {}
