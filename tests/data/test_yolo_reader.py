"""YOLO segmentation labels: where they are found, what their lines mean, and how wrong ones are named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers.options import ReadOptions
from maskwright.data.readers.yolo import read_yolo
from maskwright.errors import DataError

SQUARE = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"


@pytest.fixture
def root(tmp_path):
    """images/train/a.png, b.png, 40 wide and 20 high, and an empty labels/train."""
    for name in ("a", "b"):
        path = tmp_path / "images" / "train" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20, 40), dtype=np.uint8)).save(path)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    return tmp_path


def read(root, *lines, needs_masks=True):
    (root / "labels" / "train" / "a.txt").write_text("\n".join(lines))
    return read_yolo(root / "images" / "train", root / "labels" / "train", ReadOptions(needs_masks=needs_masks))


def test_an_outline_is_a_mask_in_pixels(root):
    (one,) = read(root, f"0 {SQUARE}").records[0].annotations
    assert one["segmentation"] == [[10, 5, 30, 5, 30, 15, 10, 15]]
    assert one["bbox"] == [10, 5, 20, 10]


def test_an_image_without_a_file_or_with_an_empty_one_has_no_objects(root):
    dataset = read(root, "", "  ")
    assert [record.annotations for record in dataset.records] == [(), ()]
    assert dataset.defects == ()


def test_a_hole_behind_a_bridge_is_a_hole(root):
    hole = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75 0.25 0.25 0.4 0.4 0.4 0.6 0.6 0.6 0.6 0.4 0.4 0.4"
    targets = read(root, f"0 {hole}").records[0].targets(read(root, f"0 {hole}").categories)
    assert targets.masks.bitmaps()[0].sum() == 20 * 10 - 8 * 4


def test_a_box_is_usable_where_no_mask_is_needed(root):
    dataset = read(root, "0 0.5 0.5 0.5 0.5", needs_masks=False)
    assert dataset.records[0].annotations[0]["bbox"] == [10, 5, 20, 10]
    refused = read(root, f"0 {SQUARE}", "0 0.5 0.5 0.5 0.5")
    assert [(defect.kind, defect.where) for defect in refused.defects] == [("missing-mask", "train/a.txt line 2")]


@pytest.mark.parametrize(
    ("line", "kind", "part"),
    [
        ("0 0.1 0.2 0.3 0.4 0.5", "bad-polygon", "5 numbers after the class"),
        ("0 0.1 0.2", "bad-polygon", "2 numbers after the class"),
        ("0", "bad-polygon", "0 numbers after the class"),
        ("7 " + SQUARE, "unknown-category", "class '7' is not among the 1 known"),
        ("cat " + SQUARE, "unknown-category", "class 'cat'"),
        ("-1 " + SQUARE, "unknown-category", "class '-1'"),
        ("0,0.1,0.2", "bad-line", "has ',' in '0,0.1,0.2'"),
        ("0 0,1 0,1 0,5 0,1 0,5 0,5", "bad-line", "points before their decimals"),
        ("0 0.1 0.2 0.3 0.4 0.5 zero", "bad-line", "'zero'"),
        ("0 0.1 0.2 0.3 0.4 0.5 nan", "bad-line", "finite"),
        ("0 10 5 30 5 30 15", "outline-outside-image", "has 30, outside the image"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "empty-mask", "covers no pixel"),
    ],
)
def test_a_wrong_line_is_named_and_the_others_are_read(root, line, kind, part):
    (root / "classes.txt").write_text("cell\n")
    dataset = read(root, f"0 {SQUARE}", "", line, f"0.0 {SQUARE}")
    ((found_kind, where, message),) = [(one.kind, one.where, one.message) for one in dataset.defects]
    assert (found_kind, where) == (kind, "train/a.txt line 3")
    assert part in message
    assert len(dataset.records[0].annotations) == 2


def test_labels_without_an_image_are_a_defect(root):
    (root / "labels" / "train" / "gone.txt").write_text(f"0 {SQUARE}")
    (root / "labels" / "train" / "classes.txt").write_text("cell\n")
    (defect,) = read(root, f"0 {SQUARE}").defects
    assert (defect.kind, defect.where) == ("missing-image", "train/gone.txt")


def test_images_that_differ_in_their_ending_alone_are_a_defect(root):
    (root / "images" / "train" / "a.bmp").write_bytes((root / "images" / "train" / "a.png").read_bytes())
    dataset = read(root, f"0 {SQUARE}")
    assert [defect.kind for defect in dataset.defects] == ["ambiguous-image"]
    assert [record.path.name for record in dataset.records] == ["b.png"]


def test_labels_that_are_no_text_spoil_their_image(root):
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\x00")
    (root / "labels" / "train" / "b.txt").write_text(f"\ufeff0 {SQUARE}", encoding="utf-8")
    dataset = read_yolo(root / "images" / "train", root / "labels" / "train")
    assert [defect.where for defect in dataset.defects] == ["train/a.txt"]
    assert [len(record.annotations) for record in dataset.records] == [1]


@pytest.mark.parametrize("names", ["names: [cell, dust]", "names:\n  0: cell\n  1: dust"])
def test_a_data_yaml_has_the_names_and_leads_to_the_labels(root, names):
    (root / "labels" / "train" / "a.txt").write_text(f"1 {SQUARE}")
    (root / "data.yaml").write_text(f"path: /somewhere/else\ntrain: images/train\nnc: 2\n{names}\n")
    dataset = read_yolo(root / "images" / "train", root / "data.yaml")
    assert dataset.categories.names == ("cell", "dust")
    assert dataset.records[0].annotations[0]["category_id"] == 2
    assert read_yolo(root / "images", root / "data.yaml").records[0].annotations


def test_a_data_yaml_beside_images_of_another_name_needs_the_labels(root):
    (root / "images").rename(root / "pictures")
    (root / "data.yaml").write_text("names: [cell]")
    with pytest.raises(DataError, match="no part of its path is 'images'; give the folder of labels"):
        read_yolo(root / "pictures", root / "data.yaml")


def test_a_data_yaml_without_labels_says_where_they_were_looked_for(root):
    (root / "labels" / "train").rmdir()
    (root / "data.yaml").write_text("names: [cell]")
    with pytest.raises(DataError, match=r"labels.train does not exist"):
        read_yolo(root / "images" / "train", root / "data.yaml")


@pytest.mark.parametrize("place", ["labels/train/classes.txt", "labels/obj.names", "data.yaml"])
def test_names_are_found_near_the_labels(root, place):
    (root / place).write_text("names: [cell, dust]" if place.endswith("yaml") else "cell\ndust\n")
    assert read(root, f"1 {SQUARE}").categories.names == ("cell", "dust")


def test_classes_without_names_are_called_by_their_numbers(root):
    assert read(root, f"2 {SQUARE}").categories.names == ("0", "1", "2")


def test_numbers_with_gaps_keep_their_names(root):
    (root / "data.yaml").write_text("names: {0: cell, 5: dust}")
    dataset = read(root, f"5 {SQUARE}", f"1 {SQUARE}")
    assert dataset.categories.names == ("cell", "dust")
    assert dataset.records[0].annotations[0]["category_id"] == 2
    assert [defect.kind for defect in dataset.defects] == ["unknown-category"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("names: [cell, cell]", "'cell' occurs twice"),
        ("names: cell", "must be a list of names"),
        ("names: []", "names no class"),
        ("train: images", "'names' is None"),
        ("names: [cell\ntrain: x", "line 2"),
        ("- 1", "'names' is None"),
    ],
)
def test_unusable_names_are_refused(root, text, part):
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml") as caught:
        read(root, f"0 {SQUARE}")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", ["names: [no, yes]", "names: {'0': no, '1': yes}", "names:\n- no\n- 'yes'"])
def test_names_are_the_words_that_stand_in_the_file(root, names):
    (root / "data.yaml").write_text(names)
    assert read(root, f"1 {SQUARE}").categories.names == ("no", "yes")


def test_a_class_by_its_name_is_read_and_reported(root):
    (root / "data.yaml").write_text("names: [cell, dust]")
    dataset = read(root, f"dust {SQUARE}")
    assert dataset.defects == ()
    assert [(one.kind, one.where) for one in dataset.remarks] == [("class-by-name", "train/a.txt line 1")]
    assert dataset.records[0].annotations[0]["category_id"] == 2


def test_a_box_before_its_outline_is_left_out_and_reported(root):
    numbers = [float(word) for word in SQUARE.split()]
    xs, ys = numbers[0::2], numbers[1::2]
    box = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
    dataset = read(root, f"0 {' '.join(map(str, box))} {SQUARE}")
    assert [(one.kind, one.where) for one in dataset.remarks] == [("box-before-outline", "train/a.txt line 1")]
    assert dataset.records[0].annotations == read(root, f"0 {SQUARE}").records[0].annotations


def test_a_single_label_file_is_refused(root):
    (root / "labels" / "train" / "a.txt").write_text("")
    with pytest.raises(DataError, match="neither a folder of labels nor"):
        read_yolo(root / "images" / "train", root / "labels" / "train" / "a.txt")


def expanding(levels: int) -> str:
    """A text that stands for a table of 3 to the power of `levels` values."""
    lines = ["a0: &a0 [x, x, x]"]
    lines += [f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}, *a{level - 1}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [expanding(30), "names: " + "[" * 500, "names: !!python/object:os.system {}", f"names: {{{'9' * 5000}: cell}}"],
)
def test_a_hostile_data_yaml_is_refused_in_words(tmp_path, text) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml"):
        read_yolo(tmp_path / "images" / "train", tmp_path / "labels" / "train")
