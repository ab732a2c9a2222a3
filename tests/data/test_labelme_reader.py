"""LabelMe files: what their shapes cover, whose they are, and how wrong ones are named."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers.labelme import read_labelme
from maskwright.errors import DataError


def png_text(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(points, kind="polygon", label="cell", **more):
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, "group_id": None, **more}


TRIANGLE = [[2, 2], [12, 2], [12, 12]]


@pytest.fixture
def folder(tmp_path):
    """An image a.png, 40 wide and 20 high."""
    Image.fromarray(np.zeros((20, 40), dtype=np.uint8)).save(tmp_path / "a.png")
    return tmp_path


def write(folder, *shapes, name="a.json", **more):
    document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": "AAAA"}
    (folder / name).write_text(json.dumps({**document, "imageHeight": 20, "imageWidth": 40, **more}))


def read(folder, *shapes, **more):
    write(folder, *shapes, **more)
    return read_labelme(folder, folder)


def areas(dataset):
    return dataset.records[0].targets(dataset.categories).masks.bitmaps().sum(axis=(1, 2)).tolist()


def test_polygons_rectangles_and_circles_are_objects(folder):
    dataset = read(
        folder,
        shape([[2, 2], [12, 2], [12, 12], [2, 12]]),
        shape([[30, 12], [20, 2]], "rectangle"),
        shape([[10, 10], [15, 10]], "circle", "disc"),
        shape([[5, 0], [10, 5], [5, 10], [0, 5]], "oriented_rectangle"),
    )
    assert dataset.defects == ()
    assert dataset.categories.names == ("cell", "disc")
    assert areas(dataset) == pytest.approx([100, 100, np.pi * 25, 50], abs=4)


def test_a_mask_lies_at_its_box_with_both_ends(folder):
    pixels = np.array([[True, False, True], [True, True, True]])
    dataset = read(folder, shape([[5, 7], [7, 8]], "mask", mask=png_text(pixels)))
    bitmap = dataset.records[0].targets(dataset.categories).masks.bitmaps()[0]
    assert bitmap[7:9, 5:8].tolist() == pixels.tolist()
    assert bitmap.sum() == 5


def test_shapes_of_a_group_are_one_object_as_long_as_they_have_one_label(folder):
    dataset = read(
        folder,
        shape([[0, 0], [4, 4]], "rectangle", group_id=1),
        shape([[10, 0], [14, 4]], "rectangle", group_id=1),
        shape([[20, 0], [24, 4]], "rectangle", label="dust", group_id=1),
        shape([[30, 0], [31, 1]], "mask", mask=png_text(np.ones((2, 2), dtype=bool)), group_id=1),
        shape([[30, 10], [34, 14]], "rectangle"),
    )
    assert areas(dataset) == [16 + 16 + 4, 16, 16]


def test_flags_mark_crowds_and_difficult_objects(folder):
    dataset = read(folder, shape(TRIANGLE, flags={"iscrowd": True, "difficult": False}), shape(TRIANGLE, flags=None))
    assert [one["iscrowd"] for one in dataset.records[0].annotations] == [1, 0]
    assert not any("difficult" in one for one in dataset.records[0].annotations)


def test_a_file_without_shapes_is_a_negative_example(folder):
    dataset = read(folder)
    assert (dataset.records[0].annotations, dataset.defects) == ((), ())


def test_an_image_without_a_file_is_not_labelled_yet(folder):
    (defect,) = read_labelme(folder, folder).defects
    assert (defect.kind, defect.where) == ("missing-annotation", "image 'a.png'")
    assert "leave it out" in defect.message


@pytest.mark.parametrize(
    ("wrong", "kind", "part"),
    [
        (shape(TRIANGLE[:2]), "bad-polygon", "a polygon has 2 points"),
        (shape([[1, 1], [9, 9]], "line"), "shape-without-area", "a line covers no pixels"),
        (shape([[1, 1]], "point"), "shape-without-area", "a point covers no pixels"),
        (shape(TRIANGLE, "linestrip"), "shape-without-area", "a linestrip"),
        (shape(TRIANGLE, ["polygon"]), "shape-without-area", "covers no pixels"),
        (shape([[1, 1]], "circle"), "bad-shape", "a circle has 1 points"),
        (shape([[1, 1, 1]]), "bad-shape", "not a list of finite pairs"),
        (shape([["1", None], [2, 2], [3, 3]]), "bad-shape", "not a list of finite pairs"),
        (shape(TRIANGLE, label=None), "bad-shape", "no 'label'"),
        ("cell", "bad-shape", "no 'label'"),
        (shape([[0, 0], [1, 1]], "mask"), "bad-mask", "no PNG file in base64"),
        (shape([[0, 0], [1, 1]], "mask", mask="AAAA"), "bad-mask", "picture cannot be read"),
        (shape([[0, 0], [5, 5]], "mask", mask=png_text(np.ones((2, 2), bool))), "bad-mask", "2 × 2 pixels"),
        (shape([[39, 0], [40, 1]], "mask", mask=png_text(np.ones((2, 2), bool))), "bad-mask", "outside the image"),
        (shape([[50, 50], [60, 50], [60, 60]]), "empty-mask", "covers no pixel"),
    ],
)
def test_a_wrong_shape_is_named_and_the_others_are_read(folder, wrong, kind, part):
    dataset = read(folder, shape(TRIANGLE), shape(TRIANGLE), wrong, shape(TRIANGLE))
    ((found_kind, where, message),) = [(one.kind, one.where, one.message) for one in dataset.defects]
    assert (found_kind, where) == (kind, "a.json shapes[2]")
    assert part in message
    assert len(dataset.records[0].annotations) == 3


def test_broken_json_names_line_and_column(folder):
    (folder / "a.json").write_text('{\n "shapes": [}')
    (defect,) = read_labelme(folder, folder).defects
    assert (defect.kind, defect.where) == ("broken-json", "a.json line 2 column 13")


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"shapes": 3}', b"\xff\xfe\x01", b""])
def test_other_files_are_named(folder, text):
    (folder / "a.json").write_bytes(text)
    (defect,) = read_labelme(folder, folder).defects
    assert defect.kind == "broken-json"
    assert defect.where.startswith("a.json")


def test_a_size_that_is_not_the_images_is_a_defect(folder):
    (defect,) = read(folder, shape(TRIANGLE), imageHeight=40, imageWidth=20).defects
    assert (defect.kind, defect.where) == ("size-mismatch", "a.json")
    assert "40 and 20, the image's 20 and 40" in defect.message


def test_an_outline_that_reaches_outside_is_cut_off_and_reported(folder):
    dataset = read(folder, shape([[1, 1], [90, 1], [90, 9], [1, 9]]))
    (remark,) = dataset.remarks
    assert (remark.kind, remark.where) == ("outline-cut-off", "a.json shapes[0]")
    assert areas(dataset) == [39 * 8]


def test_labels_and_sizes_may_be_numbers_or_texts(folder):
    dataset = read(folder, shape(TRIANGLE, label=5), imageHeight="20", imageWidth="40")
    assert dataset.defects == ()
    assert dataset.categories.names == ("5",)


@pytest.mark.parametrize("path", ["../pictures/a.png", "C:\\data\\a.png", "a.png"])
def test_files_in_a_folder_of_their_own_belong_to_the_image_they_name(folder, path):
    (folder / "labels").mkdir()
    write(folder / "labels", shape(TRIANGLE), name="0001.json", imagePath=path)
    dataset = read_labelme(folder, folder / "labels")
    assert dataset.defects == ()
    assert len(dataset.records[0].annotations) == 1


@pytest.mark.parametrize("path", [None, "old name.png", 7])
def test_a_file_called_like_an_image_belongs_to_it(folder, path):
    assert read(folder, shape(TRIANGLE), imagePath=path).defects == ()


def test_files_without_an_image_and_second_files_of_one_are_defects(folder):
    write(folder, shape(TRIANGLE))
    write(folder, shape(TRIANGLE), name="b.json", imagePath="gone.png")
    write(folder, shape(TRIANGLE), name="c.json")
    found = [(defect.kind, defect.where) for defect in read_labelme(folder, folder).defects]
    assert found == [("missing-image", "b.json"), ("duplicate-annotation", "c.json")]


def test_classes_keep_the_order_of_labels_txt_if_it_has_them_all(folder):
    (folder / "labels.txt").write_text("__ignore__\n_background_\nzebra\ncell\n")
    assert read(folder, shape(TRIANGLE)).categories.names == ("zebra", "cell")
    assert read(folder, shape(TRIANGLE), shape(TRIANGLE, label="ant")).categories.names == ("ant", "cell")


def test_a_single_file_is_refused(folder):
    write(folder)
    with pytest.raises(DataError, match="is not a folder"):
        read_labelme(folder, folder / "a.json")


@pytest.mark.parametrize("kind", ["rotation", "rotated_rectangle", "quadrilateral", "rectangle"])
def test_four_corners_are_an_outline_whatever_they_are_called(folder, kind):
    dataset = read(folder, shape([[5, 0], [10, 5], [5, 10], [0, 5]], kind, direction=0.78, difficult=True))
    assert dataset.defects == ()
    assert areas(dataset) == pytest.approx([50], abs=4)
    assert dataset.records[0].annotations[0]["difficult"] == 1


def test_absurd_circles_are_read_at_once(folder):
    dataset = read(folder, shape([[1e308, 1], [-1e308, 1]], "circle"), shape([[5, 5], [1e300, 5]], "circle"))
    assert "bad-polygon" in [defect.kind for defect in dataset.defects]


def test_a_stray_point_is_a_part_of_its_group_and_an_object_without_one(folder):
    stray = shape([[8, 8]], group_id=1)
    dataset = read(folder, shape(TRIANGLE, group_id=1), stray, shape([[8, 8], [9, 9]]))
    assert [(defect.kind, defect.keeps_objects) for defect in dataset.defects] == [
        ("bad-polygon", True), ("bad-polygon", False),
    ]  # fmt: skip
    assert len(dataset.records[0].annotations) == 1


def test_a_large_file_of_almost_only_brackets_is_a_defect_at_once(folder):
    (folder / "a.json").write_text('{"shapes": [' + "[]," * 400_000 + '[]], "imagePath": "a.png"}')
    found = {defect.kind for defect in read_labelme(folder, folder).defects}
    assert "broken-json" in found
