"""CVAT for images: every shape, groups, labels, and what cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.data.tools import box, classes, kinds, masks, write_images

from maskwright.data.readers import read_dataset
from maskwright.data.readers.cvat import read_cvat
from maskwright.errors import DataError

SQUARE = '<polygon label="cell" points="2.00,3.00;12.00,3.00;12.00,13.00;2.00,13.00" occluded="0" z_order="0"/>'


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def document(*shapes, name="a.png", size='width="40" height="20"', meta=""):
    image = f'<image id="0" name="{name}" {size}>\n' + "\n".join(shapes) + "\n</image>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{image}</annotations>'


def write(images, text):
    path = images.parent / "annotations.xml"
    path.write_text(text, encoding="utf-8")
    return path


def read(images, *shapes, **more):
    return read_cvat(images, write(images, document(*shapes, **more)))


def test_every_shape_with_an_area_is_an_object(images):
    dataset = read(
        images,
        SQUARE,
        '<box label="cell" xtl="5" ytl="4" xbr="15" ybr="10"/>',
        '<box label="cell" xtl="15" ytl="8" xbr="25" ybr="12" rotation="90.0"/>',
        '<ellipse label="cell" cx="20" cy="10" rx="8" ry="3"/>',
        '<ellipse label="cell" cx="20" cy="10" rx="8" ry="3" rotation="90"/>',
        '<mask label="cell" rle="1, 2, 3" left="7" top="5" width="3" height="2"/>',
    )
    assert dataset.defects == ()
    found = masks(dataset)
    assert np.array_equal(found[0], box(2, 3, 12, 13))
    assert np.array_equal(found[1], box(5, 4, 15, 10))
    assert np.array_equal(found[2], box(18, 5, 22, 15))
    y, x = np.mgrid[:20, :40] + 0.5
    assert (found[3] ^ (np.hypot((x - 20) / 8, (y - 10) / 3) < 1)).sum() <= 6
    assert (found[4] ^ (np.hypot((x - 20) / 3, (y - 10) / 8) < 1)).sum() <= 6
    assert np.array_equal(found[5], box(8, 5, 10, 6))
    assert [remark.kind for remark in dataset.remarks] == ["box-as-mask"] * 2


def test_shapes_of_one_label_and_group_are_one_object(images):
    part = '<box label="{}" xtl="{}" ytl="0" xbr="{}" ybr="4" group_id="{}"/>'
    places = [("cell", 0, 1), ("cell", 10, 1), ("dust", 20, 1), ("cell", 30, 0)]
    dataset = read(images, *(part.format(label, x, x + 4, group) for label, x, group in places))
    assert [int(mask.sum()) for mask in masks(dataset)] == [32, 16, 16]
    assert "joined-shapes" in [remark.kind for remark in dataset.remarks]


def test_classes_keep_the_order_of_the_tasks_labels(images):
    labels = "<labels><label><name>dust</name></label><label><name>cell</name></label></labels>"
    meta = f"<meta><task><id>1</id>{labels}</task></meta>"
    assert read(images, SQUARE, meta=meta).categories.names == ("dust", "cell")
    other = SQUARE.replace("cell", "ant")
    assert read(images, SQUARE, other, meta=meta).categories.names == ("ant", "cell")


def test_an_image_without_shapes_is_a_negative_example(images):
    dataset = read(images)
    assert (dataset.records[0].annotations, dataset.defects) == ((), ())


def test_attributes_and_tags_are_reported_not_lost_without_a_word(images):
    shape = SQUARE.replace("/>", '><attribute name="size">big</attribute></polygon>')
    dataset = read(images, shape, '<tag label="night" source="manual"></tag>')
    assert classes(dataset) == ["cell"]
    assert [remark.kind for remark in dataset.remarks] == ["unused-attributes", "unused-tags"]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ('<polyline label="cell" points="1,1;5,5;9,1"/>', "shape-without-area"),
        ('<points label="cell" points="1,1"/>', "shape-without-area"),
        ('<cuboid label="cell" xtl1="1"/>', "shape-without-area"),
        ('<skeleton label="cell"><points label="nose" points="1,1"/></skeleton>', "shape-without-area"),
        ('<polygon points="1,1;5,5;9,1"/>', "missing-class"),
        ('<polygon label="cell" points="1,1;5,5"/>', "bad-polygon"),
        ('<polygon label="cell"/>', "bad-polygon"),
        ('<polygon label="cell" points="1,1;5;9,1"/>', "bad-shape"),
        ('<polygon label="cell" points="1,1;nan,5;9,1"/>', "bad-shape"),
        ('<box label="cell" xtl="5" ytl="4" xbr="15"/>', "bad-shape"),
        ('<box label="cell" xtl="5" ytl="4" xbr="5" ybr="4"/>', "empty-mask"),
        ('<ellipse label="cell" cx="20" cy="10" rx="inf" ry="3"/>', "bad-shape"),
        ('<mask label="cell" rle="1, 2" left="7" top="5" width="3" height="2"/>', "bad-rle"),
        ('<mask label="cell" rle="-1, 7" left="7" top="5" width="3" height="2"/>', "bad-rle"),
        ('<mask label="cell" left="7" top="5" width="3" height="2"/>', "bad-rle"),
        ('<mask label="cell" rle="0, 6" left="38" top="5" width="3" height="2"/>', "bad-mask"),
        ('<mask label="cell" rle="0, 6" left="0" top="0" width="1e9" height="1e9"/>', "bad-mask"),
    ],
)
def test_a_shape_that_cannot_be_used_is_named_by_its_line(images, shape, kind):
    dataset = read(images, SQUARE, shape, SQUARE)
    assert kinds(dataset) == [kind]
    assert dataset.defects[0].where.startswith("annotations.xml, line 4, ")
    assert len(dataset.records[0].annotations) == 2


def test_a_size_that_is_not_the_images_is_a_defect(images):
    assert kinds(read(images, SQUARE, size='width="20" height="40"')) == ["size-mismatch"]


def test_names_are_found_in_other_folders_and_nameless_images_are_defects(images):
    assert read(images, SQUARE, name="task/a.png").remarks[0].kind == "image-name"
    assert kinds(read(images, SQUARE, name="")) == ["bad-image"]


def test_tracks_of_a_video_are_refused_with_the_way_out(images):
    path = write(images, '<annotations><track id="0" label="cell"><box frame="0"/></track></annotations>')
    with pytest.raises(DataError, match=r"CVAT for images 1\.1"):
        read_cvat(images, path)


@pytest.mark.parametrize("text", ["<annotation/>", "<annotations/>", "<annotations", "", "no XML"])
def test_what_is_not_cvats_is_refused(images, text):
    with pytest.raises(DataError, match=r"annotations\.xml"):
        read_cvat(images, write(images, text))


@pytest.mark.parametrize("wrong", ["coco", "yolo", "voc", "via"])
def test_it_is_recognised(images, wrong):
    with pytest.raises(DataError, match="--format cvat"):
        read_dataset(images, write(images, document(SQUARE)), wrong)


@pytest.mark.parametrize(("size", "turned"), [((40, 20), False), ((20, 40), True)])
def test_labels_of_a_photograph_on_its_side_are_upright_whichever_frame_the_file_says(tmp_path, size, turned):
    """Stored 20 high and 40 wide; upright 40 high and 20 wide."""
    picture = Image.fromarray(np.zeros((20, 40), dtype=np.uint8))
    exif = picture.getexif()
    exif[274] = 6
    (tmp_path / "images").mkdir()
    picture.save(tmp_path / "images" / "a.jpg", exif=exif)
    points = "2,3;12,3;12,13;2,13" if turned else "7,2;17,2;17,12;7,12"
    text = document(
        f'<polygon label="cell" points="{points}"/>', name="a.jpg", size=f'height="{size[0]}" width="{size[1]}"'
    )
    dataset = read_cvat(tmp_path / "images", write(tmp_path / "images", text))
    assert dataset.defects == ()
    assert dataset.records[0].size == (40, 20)
    assert dataset.records[0].annotations[0]["bbox"] == [7, 2, 10, 10]


def test_a_stray_shape_of_a_group_is_left_out_alone(images):
    point = '<points label="cell" points="1,1" group_id="{}"/>'
    grouped = SQUARE.replace("/>", ' group_id="3"/>')
    dataset = read(images, grouped, point.format(3), point.format(4))
    assert [defect.keeps_objects for defect in dataset.defects] == [True, False]
