"""SA-1B, Darwin, QuPath, Datumaro: the same pixels as the truth, holes and parts kept, and defects in words."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_with_defects
from maskwright.data.record import Dataset
from maskwright.errors import DataError
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import crop_to_rle

HEIGHT, WIDTH = 40, 60
RECTANGLE = np.zeros((HEIGHT, WIDTH), dtype=bool)
RECTANGLE[8:30, 10:40] = True
RING = RECTANGLE.copy()
RING[12:20, 15:25] = False
OUTER = [[10, 8], [40, 8], [40, 30], [10, 30]]
INNER = [[15, 12], [25, 12], [25, 20], [15, 20]]
TWO = np.zeros((HEIGHT, WIDTH), dtype=bool)
TWO[2:6, 2:9] = TWO[30:38, 40:55] = True
ROUND = {"center": {"x": 30, "y": 20}, "radius": {"x": 20, "y": 10}, "angle": 0}
PARTS = [[[2, 2], [9, 2], [9, 6], [2, 6]], [[40, 30], [55, 30], [55, 38], [40, 38]]]


def flat(points: list[list[int]]) -> list[int]:
    return [coordinate for point in points for coordinate in point]


def named(points: list[list[int]]) -> list[dict[str, int]]:
    return [{"x": x, "y": y} for x, y in points]


def rle(mask: np.ndarray) -> dict[str, Any]:
    return crop_to_rle(Crop(mask, 0, 0), mask.shape)


def darwin(*annotations: Any) -> dict[str, Any]:
    slots = [{"type": "image", "width": WIDTH, "height": HEIGHT}]
    return {"version": "2.0", "item": {"name": "im0.png", "path": "/", "slots": slots}, "annotations": annotations}


def sa1b(*annotations: Any) -> dict[str, Any]:
    image = {"image_id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "im0.png"}
    return {"image": image, "annotations": annotations, "predicted_iou": 0}


def qupath(*geometries: Any) -> dict[str, Any]:
    properties = {"objectType": "annotation", "classification": {"name": "cell", "color": [200, 0, 0]}}
    features = [{"type": "Feature", "geometry": geometry, "properties": properties} for geometry in geometries]
    return {"type": "FeatureCollection", "features": features}


def datumaro(*annotations: Any, **image: Any) -> dict[str, Any]:
    item = {"id": "im0", "annotations": annotations, "image": {"path": "im0.png", "size": [HEIGHT, WIDTH], **image}}
    return {"info": {}, "categories": {"label": {"labels": [{"name": "cell"}, {"name": "dish"}]}}, "items": [item]}


def read(folder: Path, format_: str, document: Any) -> Dataset:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "ann").mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "im0.png")
    name = "im0.geojson" if format_ == "qupath" else "im0.json"
    (folder / "ann" / name).write_text(json.dumps(document))
    return read_with_defects(folder / "images", folder / "ann", format_)


def masks(dataset: Dataset) -> list[tuple[str, np.ndarray]]:
    assert not dataset.defects, dataset.defects
    (record,) = dataset.records
    targets = record.targets(dataset.categories)
    names = [dataset.categories.names[label] for label in targets.labels.tolist()]
    return list(zip(names, targets.masks.bitmaps(), strict=True))


@pytest.mark.parametrize(
    ("format_", "document", "category", "expected"),
    [
        ("darwin", darwin({"name": "cell", "polygon": {"paths": [named(OUTER)]}}), "cell", RECTANGLE),
        ("darwin", darwin({"name": "cell", "polygon": {"paths": [named(OUTER), named(INNER)]}}), "cell", RING),
        ("darwin", darwin({"name": "cell", "polygon": {"paths": [named(part) for part in PARTS]}}), "cell", TWO),
        ("darwin", darwin({"name": "cell", "polygon": {"path": named(OUTER)}}), "cell", RECTANGLE),
        ("darwin", darwin({"name": "cell", "complex_polygon": {"path": [named(OUTER), named(INNER)]}}), "cell", RING),
        ("darwin", darwin({"name": "cell", "bounding_box": {"x": 10, "y": 8, "w": 30, "h": 22}}), "cell", RECTANGLE),
        ("sa1b", sa1b({"id": 1, "bbox": [10, 8, 30, 22], "segmentation": rle(RING)}), "object", RING),
        ("qupath", qupath({"type": "Polygon", "coordinates": [[*OUTER, OUTER[0]]]}), "cell", RECTANGLE),
        ("qupath", qupath({"type": "Polygon", "coordinates": [[*OUTER, OUTER[0]], INNER]}), "cell", RING),
        ("qupath", qupath({"type": "MultiPolygon", "coordinates": [[part] for part in PARTS]}), "cell", TWO),
        ("qupath", qupath({"type": "Polygon", "coordinates": [OUTER]})["features"], "cell", RECTANGLE),
        ("datumaro", datumaro({"type": "polygon", "label_id": 1, "points": flat(OUTER)}), "dish", RECTANGLE),
        ("datumaro", datumaro({"type": "mask", "label_id": 0, "rle": rle(RING)}), "cell", RING),
        ("datumaro", datumaro({"type": "bbox", "label_id": 0, "bbox": [10, 8, 30, 22]}), "cell", RECTANGLE),
        (
            "datumaro",
            datumaro(*({"type": "polygon", "label_id": 0, "group": 7, "points": flat(part)} for part in PARTS)),
            "cell",
            TWO,
        ),
    ],
)
def test_shapes_cover_the_same_pixels_as_in_their_tool(tmp_path, format_, document, category, expected) -> None:
    ((name, found),) = masks(read(tmp_path, format_, document))
    assert name == category
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("format_", "document"),
    [
        (
            "darwin",
            darwin(
                {"name": "cell", "ellipse": {"center": {"x": 30, "y": 20}, "radius": {"x": 20, "y": 10}, "angle": 0}}
            ),
        ),
        ("datumaro", datumaro({"type": "ellipse", "label_id": 0, "points": [10, 10, 50, 30]})),
    ],
)
def test_ellipses_are_round(tmp_path, format_, document) -> None:
    ((_, found),) = masks(read(tmp_path, format_, document))
    assert found.sum() == pytest.approx(np.pi * 20 * 10, rel=0.02)
    assert found[20, 11] and found[11, 30] and not found[11, 11]


def test_masks_of_darwins_layer_are_those_of_their_objects(tmp_path) -> None:
    layer = np.zeros((HEIGHT, WIDTH), dtype=int)
    layer[RECTANGLE], layer[TWO] = 1, 2
    values, runs = layer.ravel(), []
    borders = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), values.size]
    for start, end in zip(borders, borders[1:], strict=False):
        runs += [int(values[start]), end - start]
    raster = {"dense_rle": runs, "mask_annotation_ids_mapping": {"a": 1, "b": 2}, "total_pixels": HEIGHT * WIDTH}
    found = masks(
        read(
            tmp_path,
            "darwin",
            darwin(
                {"id": "a", "name": "cell", "mask": {}},
                {"id": "b", "name": "dish", "mask": {}},
                {"id": "c", "name": "__raster_layer__", "raster_layer": raster},
            ),
        )
    )
    assert [name for name, _ in found] == ["cell", "dish"]
    assert np.array_equal(found[0][1], RECTANGLE & ~TWO) and np.array_equal(found[1][1], TWO)


def test_version_1_of_darwin_is_read(tmp_path) -> None:
    document = {
        "dataset": "d",
        "image": {"filename": "im0.png", "width": WIDTH, "height": HEIGHT},
        "annotations": [{"name": "cell", "polygon": {"path": named(OUTER)}}, {"name": "sharp", "tag": {}}],
    }
    dataset = read(tmp_path, "darwin", document)
    assert [name for name, _ in masks(dataset)] == ["cell"]
    assert [remark.kind for remark in dataset.remarks] == ["tag"]


def test_a_box_beside_the_outline_of_its_group_is_no_object_of_its_own(tmp_path) -> None:
    polygon = {"type": "polygon", "label_id": 0, "group": 3, "points": flat(OUTER)}
    box = {"type": "bbox", "label_id": 0, "group": 3, "bbox": [10, 8, 30, 22]}
    ((_, found),) = masks(read(tmp_path, "datumaro", datumaro(polygon, box)))
    assert np.array_equal(found, RECTANGLE)


def test_what_qupath_did_not_classify_is_an_object_and_remarked(tmp_path) -> None:
    document = qupath({"type": "Polygon", "coordinates": [OUTER]})
    document["features"][0]["properties"] = {"objectType": "cell"}
    dataset = read(tmp_path, "qupath", document)
    assert [name for name, _ in masks(dataset)] == ["object"]
    assert [remark.kind for remark in dataset.remarks] == ["no-class"]


@pytest.mark.parametrize(
    ("format_", "document", "kind"),
    [
        ("darwin", darwin({"name": "cell", "line": {"path": []}}), "shape-without-area"),
        ("darwin", darwin({"polygon": {"paths": [named(OUTER)]}}), "missing-class"),
        ("darwin", darwin({"name": "cell", "polygon": {"paths": [[{"x": 1, "y": "?"}]]}}), "bad-shape"),
        ("darwin", darwin({"id": "a", "name": "cell", "mask": {}}), "missing-mask"),
        ("sa1b", sa1b({"id": 1}), "missing-mask"),
        ("sa1b", sa1b({"id": 1, "segmentation": {"size": [64, 96], "counts": "Z>"}}), "bad-rle"),
        ("qupath", qupath({"type": "Point", "coordinates": [3, 4]}), "shape-without-area"),
        ("qupath", qupath({"type": "Polygon", "coordinates": [[[3, None], [4, 5], [6, 7]]]}), "bad-shape"),
        ("datumaro", datumaro({"type": "points", "label_id": 0, "points": [1, 2]}), "shape-without-area"),
        ("datumaro", datumaro({"type": "polygon", "label_id": 2, "points": flat(OUTER)}), "unknown-category"),
        ("datumaro", datumaro(size=[HEIGHT + 1, WIDTH]), "size-mismatch"),
    ],
)
def test_what_cannot_be_used_is_a_defect_with_its_place(tmp_path, format_, document, kind) -> None:
    (defect, *_) = read(tmp_path, format_, document).defects
    assert defect.kind == kind
    assert "[" in defect.where or kind == "size-mismatch"


def hostile(value: Any) -> Iterator[Any]:
    """The document with each of its values replaced by what no tool writes."""
    if isinstance(value, dict):
        for key in value:
            yield {other: part for other, part in value.items() if other != key}
            for changed in hostile(value[key]):
                yield {**value, key: changed}
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            for changed in hostile(part):
                yield [*value[:index], changed, *value[index + 1 :]]
    yield from (None, True, -1, 1e308, "\x1b[31m", [], {}, [[]])


@pytest.mark.parametrize(
    ("format_", "document"),
    [
        ("darwin", darwin({"id": "a", "name": "cell", "polygon": {"paths": [named(OUTER[:3])]}})),
        (
            "darwin",
            darwin({"name": "c", "ellipse": {"center": {"x": 9, "y": 9}, "radius": {"x": 2, "y": 1}, "angle": 0}}),
        ),
        ("sa1b", sa1b({"id": 1, "segmentation": rle(RING)})),
        ("qupath", qupath({"type": "Polygon", "coordinates": [OUTER[:3]]})),
        ("datumaro", datumaro({"type": "polygon", "label_id": 0, "group": 1, "points": flat(OUTER[:3])})),
    ],
)
def test_no_value_ends_in_a_traceback(tmp_path, format_, document) -> None:
    document = json.loads(json.dumps(document))
    for changed in hostile(copy.deepcopy(document)):
        with contextlib.suppress(DataError):
            read(tmp_path, format_, changed)


@pytest.mark.parametrize("format_", ["darwin", "sa1b", "qupath", "datumaro"])
def test_the_format_is_recognised_when_another_is_asked_for(tmp_path, format_) -> None:
    document = {
        "darwin": darwin({"name": "cell", "polygon": {"paths": [named(OUTER)]}}),
        "sa1b": sa1b({"id": 1, "segmentation": rle(RING)}),
        "qupath": qupath({"type": "Polygon", "coordinates": [OUTER]}),
        "datumaro": datumaro({"type": "polygon", "label_id": 1, "points": flat(OUTER)}),
    }[format_]
    read(tmp_path, format_, document)
    with pytest.raises(DataError, match=f"--format {format_}"):
        read_with_defects(tmp_path / "images", tmp_path / "ann", "coco")
