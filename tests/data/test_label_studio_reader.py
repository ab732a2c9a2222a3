"""Label Studio: the long and the short export, every region, brushes bit for bit, several annotators, and flaws."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.data.tools import box, classes, kinds, masks, write_images, write_json

from maskwright.data.readers import read_dataset
from maskwright.data.readers.label_studio import read_label_studio
from maskwright.errors import DataError

# percent of 40 × 20 pixels: x 2 to 12, y 3 to 13
SQUARE = [[5, 15], [30, 15], [30, 65], [5, 65]]


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def item(value, kind="polygonlabels", **more):
    sizes = {"original_width": 40, "original_height": 20, "image_rotation": 0}
    return {"id": None, "type": kind, "value": value, "from_name": "label", "to_name": "image", **sizes, **more}


def polygon(label="cell", points=SQUARE, **more):
    return item({"points": points, "polygonlabels": [label], "closed": True}, **more)


def task(*results, name="/data/upload/1/7f3d2c1a-a.png", **more):
    annotation = {"id": 1, "result": list(results), "was_cancelled": False, "ground_truth": False}
    return {"id": 5, "annotations": [annotation], "data": {"image": name}, **more}


def read(images, *tasks):
    return read_label_studio(images, write_json(images.parent / "project-1.json", list(tasks)))


def bits_of(values, is_run=True):
    """A brush's stream: one run, or one list of single values, for each stretch of equal values."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in (3, 4, 8, 16))
    borders = [0, *(np.flatnonzero(np.diff(values)) + 1), len(values)]
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        length = f"11{end - start - 1:016b}"
        bits += f"1{length}{values[start]:08b}" if is_run else f"0{length}" + f"{values[start]:08b}" * (end - start)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def brush(mask, is_run=True):
    values = np.repeat((mask * 77).astype(int).ravel(), 4)
    return {"format": "rle", "rle": bits_of(values, is_run), "brushlabels": ["cell"]}


def test_every_region_with_an_area_is_an_object(images):
    corner = {"x": 12.5, "y": 20, "width": 25, "height": 30, "rectanglelabels": ["cell"]}
    centre = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 15, "ellipselabels": ["cell"]}
    dataset = read(
        images,
        task(
            polygon(),
            item({**corner, "rotation": 0}, "rectanglelabels"),
            item({**corner, "x": 50, "rotation": 90}, "rectanglelabels"),
            item({**centre, "rotation": 0}, "ellipselabels"),
            item({**centre, "rotation": 90}, "ellipselabels"),
        ),
    )
    assert dataset.defects == ()
    found = masks(dataset)
    assert np.array_equal(found[0], box(2, 3, 12, 13))
    assert np.array_equal(found[1], box(5, 4, 15, 10))
    assert np.array_equal(found[2], box(14, 4, 20, 14))  # turned clockwise about its first corner (20, 4)
    y, x = np.mgrid[:20, :40] + 0.5
    assert (found[3] ^ (np.hypot((x - 20) / 8, (y - 10) / 3) < 1)).sum() <= 6
    assert (found[4] ^ (np.hypot((x - 20) / 3, (y - 10) / 8) < 1)).sum() <= 6


@pytest.mark.parametrize("is_run", [True, False])
def test_a_brush_is_read_pixel_for_pixel(images, is_run):
    mask = np.random.default_rng(1).random((20, 40)) > 0.7
    dataset = read(images, task(item(brush(mask, is_run), "brushlabels")))
    assert dataset.defects == ()
    assert np.array_equal(masks(dataset)[0], mask)


@pytest.mark.parametrize(
    "rle", [[], None, "AAAA", [1, 2], [300], [-1], [0.5], bits_of(np.ones(81 * 40, dtype=int)), [0, 0, 12, 128, 57]]
)
def test_a_brush_that_is_cut_short_or_of_another_size_is_a_defect(images, rle):
    value = {"format": "rle", "rle": rle, "brushlabels": ["cell"]}
    assert kinds(read(images, task(item(value, "brushlabels")))) == ["bad-rle"]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_bitmask_covers_what_is_not_transparent(images, mode):
    mask = np.random.default_rng(1).random((20, 40)) > 0.7
    alpha = Image.fromarray(mask.astype(np.uint8) * 255)
    black = Image.new("L", (40, 20))
    buffer = BytesIO()
    Image.merge(mode, [black] * (len(mode) - 1) + [alpha]).save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    value = {"imageDataURL": f"data:image/png;base64,{text}", "bitmasklabels": ["cell"]}
    dataset = read(images, task(item(value, "bitmasklabels")))
    assert dataset.defects == ()
    assert np.array_equal(masks(dataset)[0], mask)


@pytest.mark.parametrize(
    "address", [None, "", "data:image/png;base64,", "data:image/png;base64,å", "https://host/a.png"]
)
def test_a_bitmask_without_a_picture_is_a_defect(images, address):
    value = {"imageDataURL": address, "bitmasklabels": ["cell"]}
    assert kinds(read(images, task(item(value, "bitmasklabels")))) == ["bad-mask"]


def test_the_short_export_says_the_same(images):
    sizes = {"original_width": 40, "original_height": 20}
    entry = {"id": 5, "image": "/data/upload/1/7f3d2c1a-a.png", "annotator": 1, "annotation_id": 1, "lead_time": 3.1}
    shape = {"points": SQUARE, "polygonlabels": ["cell"], **sizes}
    old = {**entry, "updated_at": "2024-01-01T00:00:00Z", "label": [{**shape, "polygonlabels": ["old"]}]}
    new = {**entry, "updated_at": "2024-05-01T00:00:00Z", "label": [shape]}
    dataset = read(images, new, old)
    assert dataset.defects == ()
    assert classes(dataset) == ["cell"]
    assert np.array_equal(masks(dataset)[0], box(2, 3, 12, 13))
    assert "several-annotations" in [remark.kind for remark in dataset.remarks]


def test_a_region_whose_label_and_answers_stand_apart_is_one_object(images):
    shape = {"points": SQUARE, "closed": True}
    dataset = read(
        images,
        task(
            item(shape, "polygon", id="r1"),
            item({**shape, "labels": ["cell"]}, "labels", id="r1"),
            item({**shape, "text": ["big"]}, "textarea", id="r1"),
            {"type": "choices", "value": {"choices": ["night"]}, "id": "c1"},
            {"type": "relation", "from_id": "r1", "to_id": "r1"},
        ),
    )
    assert dataset.defects == ()
    assert classes(dataset) == ["cell"]
    assert [remark.kind for remark in dataset.remarks].count("unused-answer") == 2


@pytest.mark.parametrize("key", ["ground_truth", "updated_at"])
def test_of_several_annotations_the_ground_truth_or_else_the_newest_is_read(images, key):
    values = {"ground_truth": (True, False), "updated_at": ("2024-05-01", "2024-01-01")}[key]
    one, other = ({"result": [polygon(name)], key: value} for name, value in zip(("yes", "no"), values, strict=True))
    skipped = {"result": [polygon("never")], "was_cancelled": True, "updated_at": "2025"}
    dataset = read(images, {**task(), "annotations": [skipped, one, other]})
    assert classes(dataset) == ["yes"]


@pytest.mark.parametrize("annotations", [[], [{"result": [], "was_cancelled": True}], [None]])
def test_a_task_that_is_not_labelled_is_a_defect_and_an_empty_one_a_negative_example(images, annotations):
    assert kinds(read(images, {**task(), "annotations": annotations})) == ["missing-annotation"]
    assert read(images, task()).defects == ()


def test_drafts_and_predictions_are_reported_where_nothing_was_submitted(images):
    dataset = read(images, {**task(), "annotations": [], "predictions": [{"result": [polygon()]}]})
    assert "only predictions" in dataset.defects[0].message


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (item({"x": 5, "y": 5, "width": 0.3, "keypointlabels": ["nose"]}, "keypointlabels"), "shape-without-area"),
        (item({"points": SQUARE, "closed": False, "polygonlabels": ["a"]}), "shape-without-area"),
        (item({"vertices": [], "vectorlabels": ["a"]}, "vectorlabels"), "shape-without-area"),
        (item({"points": SQUARE}), "missing-class"),
        (item({"points": SQUARE, "polygonlabels": [None, 3]}), "missing-class"),
        (item({"points": SQUARE, "polygonlabels": ["a", "b"]}), "several-classes"),
        (polygon(points=SQUARE[:2]), "bad-polygon"),
        (polygon(points=None), "bad-shape"),
        (polygon(points=[[1, float("nan")], [2, 2], [3, 1]]), "bad-shape"),
        (item({"x": 1, "y": 1, "width": "w", "height": 1, "rectanglelabels": ["a"]}), "bad-shape"),
        (item({"x": 1, "y": 1, "radiusX": 1, "ellipselabels": ["a"]}), "bad-shape"),
        (polygon(image_rotation=90), "turned-image"),
        (polygon(item_index=1), "several-images"),
        ("cell", "bad-shape"),
        ({"value": 3}, "bad-shape"),
    ],
)
def test_a_region_that_cannot_be_used_is_named_and_the_others_are_read(images, wrong, kind):
    dataset = read(images, task(polygon(), wrong, polygon()))
    assert [(defect.kind, defect.where) for defect in dataset.defects] == [(kind, "task 5 result[1]")]
    assert len(dataset.records[0].annotations) == 2


def test_a_size_that_is_not_the_images_is_a_defect(images):
    assert kinds(read(images, task(polygon(original_width=20, original_height=40)))) == ["size-mismatch"]


@pytest.mark.parametrize(
    "data",
    [
        {"image": "s3://bucket/a.png"},
        {"img": "/data/local-files/?d=shots/a.png", "text": "a"},
        {"photo": ["https://host/a.png?sign=1"]},
        {"text": "no image"},
    ],
)
def test_the_image_is_found_by_whatever_the_task_calls_it(images, data):
    dataset = read(images, task(polygon(), data=data, file_upload="ab12cd34-a.png"))
    assert dataset.defects == ()


@pytest.mark.parametrize("document", [[], {}, [3], [{"a": "b"}], "x", [{"data": {}, "annotations": 3}]])
def test_what_is_not_label_studios_is_refused(images, document):
    with pytest.raises(DataError, match="Label Studio"):
        read_label_studio(images, write_json(images.parent / "a.json", document))


@pytest.mark.parametrize("wrong", ["coco", "yolo", "via", "labelbox"])
def test_it_is_recognised(images, wrong):
    path = write_json(images.parent / "project.json", [task(polygon())])
    with pytest.raises(DataError, match="--format label_studio"):
        read_dataset(images, path, wrong)
