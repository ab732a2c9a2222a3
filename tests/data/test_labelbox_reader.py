"""Labelbox: lines and lists, every shape, masks that are not in the file, several labels, and flaws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.data.tools import box, classes, kinds, masks, write_images, write_json

from maskwright.data.readers import read_dataset
from maskwright.data.readers.labelbox import read_labelbox
from maskwright.errors import DataError

OUTLINE = [{"x": x, "y": y} for x, y in ((2, 3), (12, 3), (12, 13), (2, 13))]
POLYGON = {"name": "cell", "annotation_kind": "ImagePolygon", "polygon": OUTLINE}
BOX = {"name": "cell", "annotation_kind": "ImageBoundingBox"}


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def label(*objects, date="2024-01-01T00:00:00", classifications=()):
    details = {"created_at": date, "updated_at": date}
    annotations = {"objects": list(objects), "classifications": list(classifications), "relationships": []}
    return {"label_kind": "Default", "label_details": details, "annotations": annotations}


def row(*labels, name="a.png", size=(20, 40)):
    source = {"id": "c1", "external_id": name, "row_data": "https://storage/x?sign=1"}
    media = {"height": size[0], "width": size[1], "mime_type": "image/png"}
    return {"data_row": source, "media_attributes": media, "projects": {"p1": {"name": "p", "labels": list(labels)}}}


def write(images, *rows):
    path = images.parent / "export.ndjson"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows) + "\n")
    return path


def read(images, *rows):
    return read_labelbox(images, write(images, *rows))


def test_polygons_and_boxes_are_objects_in_lines_and_lists(images):
    rows = [row(label(POLYGON, {**BOX, "bounding_box": {"left": 5, "top": 4, "width": 10, "height": 6}}))]
    for dataset in (read(images, *rows), read_labelbox(images, write_json(images.parent / "export.json", rows))):
        assert dataset.defects == ()
        assert np.array_equal(masks(dataset)[0], box(2, 3, 12, 13))
        assert np.array_equal(masks(dataset)[1], box(5, 4, 15, 10))
        assert [remark.kind for remark in dataset.remarks] == ["box-as-mask"]


def test_exports_before_2023_are_read(images):
    objects = [{"title": "cell", "value": "cell_1", "polygon": OUTLINE}]
    entry = {"ID": "1", "External ID": "a.png", "Labeled Data": "https://host/a.png", "Label": {"objects": objects}}
    path = write_json(images.parent / "export.json", [entry])
    assert classes(read_labelbox(images, path)) == ["cell"]
    path = write_json(images.parent / "export.json", [{**entry, "Label": {}}])
    assert kinds(read_labelbox(images, path)) == ["missing-annotation"]


@pytest.mark.parametrize("key", ["mask", "composite_mask", "instanceURI"])
def test_a_mask_on_the_server_is_a_defect_that_says_so(images, key):
    dataset = read(images, row(label(POLYGON, {"name": "cell", key: {"url": "https://api.labelbox.com/masks/1"}})))
    assert kinds(dataset) == ["mask-elsewhere"]
    assert "not fetched" in dataset.defects[0].message
    assert len(dataset.records[0].annotations) == 1


def test_of_several_labels_the_newest_is_read(images):
    old = label({**POLYGON, "name": "old"}, date="2023")
    dataset = read(images, row(label(POLYGON, classifications=[{"name": "night"}]), old))
    assert classes(dataset) == ["cell"]
    assert [remark.kind for remark in dataset.remarks] == ["several-annotations", "unused-answer"]


@pytest.mark.parametrize("projects", [{}, None, {"p": {}}, {"p": {"labels": []}}, {"p": {"labels": [3]}}])
def test_an_image_without_a_label_is_a_defect_and_one_with_an_empty_label_a_negative_example(images, projects):
    assert kinds(read(images, {**row(), "projects": projects})) == ["missing-annotation"]
    assert read(images, row(label())).defects == ()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"name": "nose", "point": {"x": 1, "y": 1}}, "shape-without-area"),
        ({"name": "wire", "line": OUTLINE}, "shape-without-area"),
        ({"name": "cell", "annotation_kind": ["x"]}, "shape-without-area"),
        ({"polygon": OUTLINE}, "missing-class"),
        ("cell", "missing-class"),
        ({**POLYGON, "polygon": OUTLINE[:2]}, "bad-polygon"),
        ({**POLYGON, "polygon": [{"x": 1}]}, "bad-shape"),
        ({**POLYGON, "polygon": {"x": 1}}, "bad-shape"),
        ({**BOX, "bounding_box": {"left": 5, "top": 4, "width": 10}}, "bad-shape"),
        ({**BOX, "bounding_box": "all"}, "bad-shape"),
        ({**BOX, "bounding_box": {"left": 5, "top": 4, "width": 0, "height": 6}}, "empty-mask"),
    ],
)
def test_an_object_that_cannot_be_used_is_named_and_the_others_are_read(images, wrong, kind):
    dataset = read(images, row(label(POLYGON, wrong, POLYGON)))
    assert [(defect.kind, defect.where) for defect in dataset.defects] == [(kind, "export.ndjson line 1 objects[1]")]
    assert len(dataset.records[0].annotations) == 2


def test_broken_lines_and_other_rows_are_named_and_the_rest_is_read(images):
    dataset = read(images, row(label(POLYGON)), '{"data_row": ', "[]", row(name="gone.png"), row(name="a.png"))
    assert sorted(kinds(dataset)) == ["bad-image", "broken-json", "duplicate-image", "missing-image"]
    assert len(dataset.records) == 1


@pytest.mark.parametrize("objects", [3, "x", {}])
def test_objects_that_are_no_list_spoil_their_image(images, objects):
    one = label()
    one["annotations"]["objects"] = objects
    assert kinds(read(images, row(one))) == ["bad-shape"]


def test_a_size_that_is_not_the_images_is_a_defect(images):
    assert kinds(read(images, row(label(POLYGON), size=(40, 20)))) == ["size-mismatch"]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", "[3]", "\xff"])
def test_what_is_not_labelboxs_is_refused(images, text):
    (images.parent / "export.ndjson").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"export\.ndjson"):
        read_labelbox(images, images.parent / "export.ndjson")


@pytest.mark.parametrize("wrong", ["coco", "yolo", "via", "cvat"])
def test_it_is_recognised(images, wrong):
    with pytest.raises(DataError, match="--format labelbox"):
        read_dataset(images, write(images, row(label(POLYGON))), wrong)


def test_labels_of_a_video_are_no_empty_image(images):
    one = label()
    one["annotations"] = {"frames": {"1": {"objects": {}}}}
    assert kinds(read(images, row(one))) == ["video"]
