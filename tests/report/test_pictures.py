"""Small pictures with objects drawn on them."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from maskwright.data.record import ImageRecord
from maskwright.errors import DataError
from maskwright.report.pictures import (
    as_thumbnail,
    draw_frame,
    draw_objects,
    instances_of_annotations,
    instances_of_results,
    read_small,
)
from maskwright.structures import Categories

CATEGORIES = Categories(("cat", "dog"), (1, 7))
SQUARE = {"bbox": [20, 10, 40, 30], "category_id": 7, "segmentation": [[20, 10, 60, 10, 60, 40, 20, 40]]}
RED = (255, 0, 0)


@pytest.fixture
def grey() -> np.ndarray:
    return np.full((50, 80, 3), 128, np.uint8)


def test_objects_are_drawn_where_they_are_in_an_image_twice_as_large(grey) -> None:
    instances, places = instances_of_annotations([SQUARE], (100, 160), CATEGORIES)
    drawn = draw_objects(grey, instances, [""], [RED])
    changed = (drawn != grey).any(axis=2)
    assert places == [0]
    assert np.flatnonzero(changed.any(axis=1)).tolist() == list(range(5, 20))
    assert np.flatnonzero(changed.any(axis=0)).tolist() == list(range(10, 30))
    assert tuple(drawn[5, 15]) == RED  # the outline
    assert 128 < drawn[12, 20, 0] < 255  # the inside shows the image
    assert (grey == 128).all()


def test_objects_without_masks_are_drawn_as_boxes(grey) -> None:
    box = {**SQUARE, "segmentation": None}
    instances, _ = instances_of_annotations([box], (50, 80), CATEGORIES)
    drawn = draw_objects(grey, instances, [""], [RED])
    assert (drawn[25, 40] == 128).all()
    assert (drawn != grey).any()


def test_objects_outside_the_image_keep_the_others_in_place() -> None:
    outside = {**SQUARE, "bbox": [500, 500, 10, 10]}
    instances, places = instances_of_annotations([outside, SQUARE], (50, 80), CATEGORIES)
    assert places == [1]
    assert instances.labels.tolist() == [1]


def test_keypoints_that_nobody_labelled_are_not_drawn(grey) -> None:
    person = {**SQUARE, "segmentation": None, "keypoints": [0, 0, 0, 40, 25, 2]}
    instances, _ = instances_of_annotations([person], (50, 80), CATEGORIES)
    drawn = draw_objects(grey, instances, [""], [RED])
    assert (drawn[0, 0] == 128).all()
    assert (drawn[25, 40] != 128).any()


def test_detections_of_masks_alone_and_keypoints_alone_have_boxes() -> None:
    rle = {"size": [4, 4], "counts": [5, 2, 2, 2, 5]}
    masks = instances_of_results([{"category_id": 1, "score": 0.5, "segmentation": rle}], (4, 4), CATEGORIES)
    assert masks.boxes.tolist() == [[1, 1, 3, 3]]
    points = {"category_id": 1, "score": 0.5, "keypoints": [1, 2, 0.3, 5, 4, 0.6]}
    assert instances_of_results([points], (9, 9), CATEGORIES).boxes.tolist() == [[1, 2, 5, 4]]


def test_frame_surrounds_its_box(grey) -> None:
    framed = draw_frame(grey, [40, 40, 80, 60], (100, 160), RED)
    assert (framed[20:30, 20:40] == 128).all()
    assert (framed == RED).all(axis=2).any()


def test_large_images_are_made_smaller_and_small_ones_kept(tmp_path) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (300, 100)).save(path)
    record = ImageRecord(1, path, (100, 300), ())
    assert read_small(record, 150).shape == (50, 150, 3)
    assert read_small(record, 640).shape == (100, 300, 3)
    with pytest.raises(DataError, match=r"300 × 100 .* 30 × 10"):
        read_small(ImageRecord(1, path, (10, 30), ()), 640)


def test_thumbnail_is_the_picture(grey) -> None:
    thumbnail = as_thumbnail(grey)
    kind, _, data = thumbnail.uri.partition(",")
    assert kind == "data:image/webp;base64"
    assert (thumbnail.height, thumbnail.width) == (50, 80)
    assert np.abs(np.asarray(Image.open(BytesIO(base64.b64decode(data)))).astype(int) - 128).max() < 4
