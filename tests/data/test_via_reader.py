"""VGG Image Annotator: its three JSON layouts and its CSV, every shape, the attribute that is the class, and flaws."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from tests.data.tools import box, classes, kinds, masks, write_images, write_json

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.readers.options import DEFAULT_OPTIONS
from maskwright.data.readers.via import read_via
from maskwright.errors import DataError

SQUARE = {"name": "polygon", "all_points_x": [2, 12, 12, 2], "all_points_y": [3, 3, 13, 13]}


def region(shape=SQUARE, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entries(*regions, name="a.png"):
    return {f"{name}123": {"filename": name, "size": 123, "regions": list(regions), "file_attributes": {}}}


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def read(images, document, **options):
    path = write_json(images.parent / "via.json", document)
    return read_via(images, path, replace(DEFAULT_OPTIONS, **options))


def project(metadata):
    return {"_via_settings": {}, "_via_img_metadata": metadata, "_via_attributes": {"region": {}, "file": {}}}


def of_version_1(metadata):
    return {
        key: {**entry, "fileref": "", "regions": {str(i): one for i, one in enumerate(entry["regions"])}}
        for key, entry in metadata.items()
    }


@pytest.mark.parametrize("layout", [dict, project, of_version_1])
def test_annotations_projects_and_files_of_version_1_are_one(images, layout):
    dataset = read(images, layout(entries(region(kind="cell"), region(kind="dust"))))
    assert (dataset.defects, dataset.remarks) == ((), ())
    assert classes(dataset) == ["cell", "dust"]
    assert np.array_equal(masks(dataset)[0], box(2, 3, 12, 13))


def test_the_csv_file_says_the_same(images):
    path = images.parent / "via_region_data.csv"
    head = ("filename", "file_size", "file_attributes", "region_count", "region_id")
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*head, "region_shape_attributes", "region_attributes"])
        rows.writerow(["a.png", 1, "{}", 2, 0, json.dumps(SQUARE), '{"kind":"cell"}'])
        rows.writerow(["a.png", 1, "{}", 2, 1, "{broken", '{"kind":"cell"}'])
        rows.writerow(["b.png", 1, "{}", 0, 0, "{}", "{}"])
    write_images(images, "b.png")
    dataset = read_via(images, path)
    assert np.array_equal(masks(dataset)[0], box(2, 3, 12, 13))
    assert dataset.records[1].annotations == ()
    assert kinds(dataset) == ["bad-shape"]


def test_every_shape_with_an_area_is_an_object(images):
    shapes = [
        {"name": "rect", "x": 5, "y": 4, "width": 10, "height": 6},
        {"name": "circle", "cx": 20, "cy": 10, "r": 5},
        {"name": "ellipse", "cx": 20, "cy": 10, "rx": 8, "ry": 3},
        {"name": "ellipse", "cx": 20, "cy": 10, "rx": 8, "ry": 3, "theta": np.pi / 2},
    ]
    dataset = read(images, entries(*(region(shape, kind="cell") for shape in shapes)))
    assert dataset.defects == ()
    found = masks(dataset)
    assert np.array_equal(found[0], box(5, 4, 15, 10))
    y, x = np.mgrid[:20, :40] + 0.5
    assert (found[1] ^ (np.hypot(x - 20, y - 10) < 5)).sum() <= 4
    assert (found[2] ^ (np.hypot((x - 20) / 8, (y - 10) / 3) < 1)).sum() <= 6
    assert (found[3] ^ (np.hypot((x - 20) / 3, (y - 10) / 8) < 1)).sum() <= 6
    assert [remark.kind for remark in dataset.remarks] == ["box-as-mask"]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ({"name": "point", "cx": 1, "cy": 1}, "shape-without-area"),
        ({"name": "polyline", "all_points_x": [1, 2, 3], "all_points_y": [1, 2, 1]}, "shape-without-area"),
        ({"name": ["polygon"]}, "shape-without-area"),
        ({}, "shape-without-area"),
        (None, "bad-shape"),
        ("polygon", "bad-shape"),
        ({**SQUARE, "all_points_x": [1, 2]}, "bad-shape"),
        ({**SQUARE, "all_points_x": None}, "bad-shape"),
        ({**SQUARE, "all_points_x": [1, 2, 3, float("nan")]}, "bad-shape"),
        ({**SQUARE, "all_points_x": [1, 2, 3, {}]}, "bad-shape"),
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}, "bad-polygon"),
        ({"name": "rect", "x": 1, "y": 1, "width": "wide", "height": 2}, "bad-shape"),
        ({"name": "rect", "x": 1e308, "y": 1, "width": 1e308, "height": 2}, "bad-polygon"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": float("inf")}, "bad-shape"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": 10**400}, "bad-shape"),
        ({"name": "circle", "cx": 5, "cy": 5, "r": 0}, "empty-mask"),
        ({"name": "ellipse", "cx": 5, "cy": 5, "rx": 4, "ry": 4, "theta": "up"}, "bad-shape"),
    ],
)
def test_a_region_that_cannot_be_used_is_named_and_the_others_are_read(images, shape, kind):
    dataset = read(images, entries(region(kind="cell"), region(shape, kind="cell"), region(kind="cell")))
    assert [(defect.kind, defect.where) for defect in dataset.defects] == [(kind, "image 'a.png' regions[1]")]
    assert len(dataset.records[0].annotations) == 2


def test_the_class_is_the_attribute_that_is_asked_for(images):
    regions = entries(region(species="cat", colour="red"))
    assert classes(read(images, regions, class_attribute="colour")) == ["red"]
    with pytest.raises(DataError, match=r"'species', 'colour'; say which .*--class-attribute NAME"):
        read(images, regions)
    with pytest.raises(DataError, match=r"no region has an attribute 'kind'; .* 'species', 'colour'"):
        read(images, regions, class_attribute="kind")


def test_of_several_attributes_the_only_one_with_a_usual_name_is_taken_and_reported(images):
    dataset = read(images, entries(region(Class="cat", colour="red")))
    assert classes(dataset) == ["cat"]
    assert "'Class'" in dataset.remarks[0].message


def test_regions_without_attributes_are_of_one_class_which_is_reported(images):
    dataset = read(images, entries(region()))
    assert classes(dataset) == ["object"]
    assert [remark.kind for remark in dataset.remarks] == ["no-classes"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", "missing-class"),
        (None, "missing-class"),
        ({}, "missing-class"),
        ({"a": True, "b": True}, "several-classes"),
    ],
)
def test_a_region_without_one_class_is_a_defect(images, value, kind):
    assert kinds(read(images, entries(region(kind=value), region(kind="cell")))) == [kind]


def test_check_boxes_give_the_class_that_is_ticked(images):
    assert classes(read(images, entries(region(kind={"cell": True, "dust": False})))) == ["cell"]


def test_images_of_other_paths_are_found_and_others_are_reported(images):
    write_images(images, "b.png")
    regions = [region(kind="cell")]
    document = {**entries(*regions, name="C:\\old\\a.png"), **entries(*regions, name="gone.png")}
    dataset = read(images, {**document, "x": {"filename": 3, "regions": []}})
    assert sorted(kinds(dataset)) == ["bad-image", "missing-image"]
    assert sorted(remark.kind for remark in dataset.remarks) == ["image-name", "unlisted-images"]


def test_a_file_belongs_to_the_image_of_its_very_name_before_others_whose_names_are_alike(images):
    near, own = entries(region(kind="x"), name="old/a.png"), entries(region(kind="y"), name="a.png")
    dataset = read(images, {**near, **own, "again": entries(region(kind="z"))["a.png123"]})
    assert classes(dataset) == ["y"]
    assert sorted(kinds(dataset)) == ["ambiguous-image", "duplicate-image"]


def test_a_file_that_several_images_may_mean_is_taken_for_none(images):
    document = {**entries(region(kind="x"), name="old/a.png"), **entries(region(kind="y"), name="new/a.png")}
    dataset = read(images, document)
    assert dataset.records == ()
    assert kinds(dataset) == ["ambiguous-image"] * 2


@pytest.mark.parametrize("document", [[], {}, {"a": 3}, {"_via_img_metadata": []}, {"project": {}, "view": {}}])
def test_what_is_not_vias_is_refused(images, document):
    with pytest.raises(DataError, match="VIA"):
        read(images, document)


def test_a_project_of_version_3_is_refused_with_the_way_out(images):
    with pytest.raises(DataError, match="VIA 3"):
        read(images, {"project": {}, "metadata": {}, "view": {}, "file": {}})


@pytest.mark.parametrize("wrong", ["coco", "yolo", "labelme", "voc"])
def test_it_is_recognised(images, wrong):
    path = write_json(images.parent / "via.json", entries(region(kind="cell")))
    with pytest.raises(DataError, match="--format via"):
        read_dataset(images, path, wrong)
    assert read_with_defects(images, images.parent, "via").defects == ()
