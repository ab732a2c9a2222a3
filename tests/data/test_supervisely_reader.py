"""Supervisely: datasets and projects, every shape, holes, bitmaps, classes of meta.json, and flaws."""

from __future__ import annotations

import base64
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.data.tools import box, classes, kinds, masks, write_images, write_json

from maskwright.data.readers import read_dataset
from maskwright.data.readers.supervisely import read_supervisely
from maskwright.errors import DataError

SQUARE = {"exterior": [[2, 3], [12, 3], [12, 13], [2, 13]], "interior": []}


def shape(points=SQUARE, kind="polygon", title="cell", **more):
    return {"id": 1, "classTitle": title, "geometryType": kind, "points": points, "tags": [], **more}


def packed(pixels, mode="P"):
    picture = Image.fromarray(pixels.astype(np.uint8), mode="P" if mode == "P" else "L")
    options = {}
    if mode == "P":
        picture.putpalette([0, 0, 0, 255, 255, 255])
        options = {"transparency": 0}
    if mode == "RGBA":
        alpha = Image.fromarray(pixels.astype(np.uint8) * 255)
        picture = Image.merge("RGBA", [alpha.point(lambda _: 0)] * 3 + [alpha])
    buffer = BytesIO()
    picture.save(buffer, format="PNG", **options)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def bitmap(data, origin=(7, 5)):
    return {"classTitle": "cell", "geometryType": "bitmap", "bitmap": {"data": data, "origin": list(origin)}}


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "img")
    return tmp_path


def read(folder, *objects, size=None, name="a.png.json"):
    document = {"description": "", "tags": [], "size": size or {"height": 20, "width": 40}, "objects": list(objects)}
    write_json(folder / "ann" / name, document)
    return read_supervisely(folder / "img", folder / "ann")


def test_every_shape_with_an_area_is_an_object(folder):
    hole = {**SQUARE, "interior": [[[4, 5], [8, 5], [8, 9], [4, 9]]]}
    dataset = read(
        folder,
        shape(),
        shape(hole),
        shape({"exterior": [[15, 10], [5, 4]], "interior": []}, "rectangle"),
        shape(kind="multipolygon", parts=[hole, {"exterior": [[20, 0], [24, 0], [24, 4], [20, 4]]}]),
    )
    assert dataset.defects == ()
    found = masks(dataset)
    assert np.array_equal(found[0], box(2, 3, 12, 13))
    assert np.array_equal(found[1], box(2, 3, 12, 13) & ~box(4, 5, 8, 9))
    assert np.array_equal(found[2], box(5, 4, 15, 10))
    assert np.array_equal(found[3], found[1] | box(20, 0, 24, 4))


@pytest.mark.parametrize("mode", ["P", "L", "RGBA"])
def test_a_bitmap_lies_at_its_origin(folder, mode):
    pixels = np.array([[True, False, True], [True, True, True]])
    dataset = read(folder, bitmap(packed(pixels, mode)))
    assert dataset.defects == ()
    assert np.array_equal(masks(dataset)[0][5:7, 7:10], pixels)
    assert masks(dataset)[0].sum() == 5


def test_shapes_of_one_instance_are_one_object(folder):
    far = {"exterior": [[20, 0], [24, 0], [24, 4], [20, 4]], "interior": []}
    dataset = read(folder, shape(instance="k1"), shape(far, instance="k1"), shape(far))
    assert [int(mask.sum()) for mask in masks(dataset)] == [116, 16]


def test_a_project_is_read_with_the_classes_of_its_meta_file(tmp_path):
    write_images(tmp_path, "one/img/a.png", "two/img/a.png")
    write_json(tmp_path / "meta.json", {"classes": [{"title": "dust"}, {"title": "cell"}], "tags": []})
    for place, title in (("one", "cell"), ("two", "dust")):
        document = {"tags": [], "size": {"height": 20, "width": 40}, "objects": [shape(title=title)]}
        write_json(tmp_path / place / "ann" / "a.png.json", document)
    dataset = read_supervisely(tmp_path, tmp_path)
    assert (dataset.defects, dataset.remarks) == ((), ())
    assert dataset.categories.names == ("dust", "cell")
    assert [classes(dataset, index) for index in range(2)] == [["cell"], ["dust"]]
    assert [record.path.parent.parent.name for record in dataset.records] == ["one", "two"]
    assert read_supervisely(tmp_path / "one" / "img", tmp_path / "one" / "ann").categories.names == ("dust", "cell")


def test_files_without_the_ending_of_their_image_belong_to_it(folder):
    assert read(folder, shape(), name="a.json").defects == ()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (shape({"exterior": [[1, 1]], "interior": []}, "point"), "shape-without-area"),
        (shape(kind="line"), "shape-without-area"),
        (shape(kind=["polygon"]), "shape-without-area"),
        (shape(title=None), "missing-class"),
        ("cell", "bad-shape"),
        (shape(None), "bad-shape"),
        (shape({"exterior": None}), "bad-shape"),
        (shape({"exterior": [[1, 1], [2, 2]]}), "bad-polygon"),
        (shape({**SQUARE, "interior": "none"}), "bad-shape"),
        (shape({**SQUARE, "interior": [[[1, 1]]]}), "bad-polygon"),
        (shape({"exterior": [[1, 1], [2, float("inf")], [3, 3]]}), "bad-shape"),
        (shape({"exterior": [[90, 90], [99, 90], [99, 99]], "interior": [[[1, 1], [2, 2], [3, 1]]]}), "empty-mask"),
        (shape(kind="rectangle"), "bad-shape"),
        (shape(kind="multipolygon", parts=[]), "bad-shape"),
        (bitmap(None), "bad-mask"),
        (bitmap("AAAA"), "bad-mask"),
        (bitmap("å"), "bad-mask"),
        (bitmap(base64.b64encode(zlib.compress(b"no picture")).decode()), "bad-mask"),
        (bitmap(base64.b64encode(zlib.compress(bytes(10**7))).decode()), "bad-mask"),
        (bitmap(packed(np.ones((2, 2))), (39, 0)), "bad-mask"),
        (bitmap(packed(np.ones((2, 2))), (-1, 0)), "bad-mask"),
        (bitmap(packed(np.ones((30, 2)))), "bad-mask"),
        (bitmap(packed(np.zeros((2, 2)))), "empty-mask"),
        ({"classTitle": "cell", "geometryType": "bitmap", "bitmap": {"data": "", "origin": [1]}}, "bad-mask"),
        ({"classTitle": "cell", "geometryType": "bitmap", "bitmap": None}, "bad-mask"),
    ],
)
def test_a_shape_that_cannot_be_used_is_named_and_the_others_are_read(folder, wrong, kind):
    dataset = read(folder, shape(), wrong, shape())
    assert [(defect.kind, defect.where) for defect in dataset.defects] == [(kind, "a.png.json objects[1]")]
    assert len(dataset.records[0].annotations) == 2


def test_a_size_that_is_not_the_images_is_a_defect(folder):
    assert kinds(read(folder, shape(), size={"height": 40, "width": 20})) == ["size-mismatch"]


@pytest.mark.parametrize(
    ("text", "kind"), [("{", "bad-annotation"), ("[]", "broken-json"), ('{"objects": 3}', "broken-json")]
)
def test_broken_files_spoil_their_image_alone(folder, text, kind):
    write_images(folder / "img", "b.png")
    (folder / "ann").mkdir()
    (folder / "ann" / "b.png.json").write_text(text)
    dataset = read(folder, shape())
    assert kinds(dataset) == [kind]
    assert len(dataset.records) == 1


def test_a_file_or_a_folder_without_annotations_is_refused(folder):
    write_json(folder / "meta.json", {"classes": 3})
    with pytest.raises(DataError, match="is a file"):
        read_supervisely(folder / "img", folder / "meta.json")
    with pytest.raises(DataError, match="no annotation"):
        read_supervisely(folder / "img", folder / "img")


@pytest.mark.parametrize("wrong", ["coco", "labelme", "yolo", "masks"])
def test_it_is_recognised(folder, wrong):
    read(folder, shape())
    with pytest.raises(DataError, match="--format supervisely"):
        read_dataset(folder / "img", folder / "ann", wrong)
