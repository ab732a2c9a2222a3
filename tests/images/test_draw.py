"""Overlays show every object in its colour, where it is, and stay light and readable however many there are."""

from __future__ import annotations

import colorsys
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import DataError
from maskwright.images.draw import colour_of, draw_instances, object_colours
from maskwright.structures.categories import Categories
from maskwright.structures.instances import Instances
from maskwright.structures.masks.roi import RoiMasks
from maskwright.structures.semantic_map import PanopticRule, SemanticMap

BLACK = np.zeros((80, 120, 3), np.uint8)


def filled(boxes: list[list[float]], size: tuple[int, int], num_classes: int = 1, has_masks: bool = True) -> Instances:
    """Objects that fill their boxes; the i-th has the label i modulo the classes."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    count = len(corners)
    masks = RoiMasks(size, torch.ones(count, 28, 28), corners, 0.5) if has_masks else None
    categories = Categories.of([f"class {label}" for label in range(num_classes)])
    labels, scores = torch.arange(count) % num_classes, torch.linspace(0.9, 0.5, count)
    return Instances(size, corners, labels, scores, masks, categories)


def masks_alone(image: np.ndarray, instances: Instances, opacity: float = 0.5) -> np.ndarray:
    return draw_instances(image, instances, opacity=opacity, has_boxes=False, has_labels=False)


def test_a_mask_blends_its_colour_into_its_own_pixels_only() -> None:
    instances = filled([[10, 20, 40, 50]], (80, 120))
    assert instances.masks is not None
    inside = instances.masks.bitmap(0)
    for opacity in (0.0, 0.25, 1.0):
        picture = masks_alone(BLACK + np.uint8(40), instances, opacity)
        expected = np.array(colour_of(0)) * opacity + 40 * (1 - opacity)
        assert picture.shape == BLACK.shape and picture.dtype == np.uint8
        assert np.abs(picture[inside] - expected).max() <= 0.5
        assert (picture[~inside] == 40).all()


def test_stuff_is_tinted_where_no_object_is() -> None:
    size, objects = (80, 120), filled([[10, 20, 40, 50]], (80, 120))
    grid = torch.zeros((3, 21, 31)).index_fill(0, torch.tensor([2]), 1.0)
    stuff, rule = Categories.of(["sky", "grass"]), PanopticRule(0.5, 0.5, 1)
    with_stuff = replace(objects, semantic=SemanticMap(size, grid, size, 4, stuff, True, rule))
    assert objects.masks is not None
    inside, picture = objects.masks.bitmap(0), masks_alone(BLACK, with_stuff)
    assert np.array_equal(picture[inside], masks_alone(BLACK, objects)[inside])
    assert np.abs(picture[~inside] - np.array(colour_of(2)) / 4).max() <= 0.5


def test_red_is_red() -> None:
    red, green, blue = masks_alone(BLACK, filled([[10, 20, 40, 50]], (80, 120)), 1.0)[35, 25].tolist()
    assert red > 200 > green == blue
    boxes_only = filled([[10, 20, 40, 50]], (80, 120), has_masks=False)
    assert tuple(draw_instances(BLACK, boxes_only, has_labels=False)[20, 25]) == colour_of(0)
    assert colour_of(0) in {tuple(pixel) for pixel in draw_instances(BLACK, boxes_only).reshape(-1, 3).tolist()}


def test_the_given_image_is_not_changed() -> None:
    for image in (BLACK.copy(), torch.zeros(3, 80, 120, dtype=torch.uint8), torch.zeros(3, 1, 1, dtype=torch.uint8)):
        size = (1, 1) if len(image.ravel()) == 3 else (80, 120)
        draw_instances(image, filled([[0, 0, *size[::-1]]], size))
        assert not image.any()


def test_drawing_nothing_gives_the_image_back() -> None:
    image = np.random.default_rng(0).integers(0, 256, BLACK.shape, dtype=np.uint8)
    for has_masks in (True, False):
        assert (draw_instances(image, filled([], (80, 120), has_masks=has_masks)) == image).all()


def test_an_object_without_area_or_at_the_border_is_no_error() -> None:
    boxes = [[5, 5, 5, 5], [0, 0, 120, 80], [119, 79, 120, 80], [120, 80, 120, 80], [-9, -9, 200, 300]]
    for has_masks in (True, False):
        instances = filled([[float(edge) for edge in box] for box in boxes], (80, 120), has_masks=has_masks)
        assert draw_instances(BLACK, instances, has_boxes=True, has_labels=True).shape == BLACK.shape


def test_a_small_object_stays_visible_on_a_large_one_whatever_their_order() -> None:
    small, large = [40.0, 30.0, 60.0, 50.0], [0.0, 0.0, 120.0, 80.0]
    for boxes in ([small, large], [large, small]):
        picture = masks_alone(BLACK, filled(boxes, (80, 120)), 1.0)
        assert tuple(picture[40, 50]) == colour_of(boxes.index(small))
        assert tuple(picture[10, 10]) == colour_of(boxes.index(large))


def test_objects_of_one_class_have_colours_of_their_own_and_several_classes_one_each() -> None:
    boxes = [[0.0, 0.0, 9.0, 9.0]] * 6
    assert len(set(object_colours(filled(boxes, (80, 120), num_classes=1)))) == 6
    assert object_colours(filled(boxes, (80, 120), num_classes=3)) == [colour_of(label) for label in (0, 1, 2) * 2]


@given(st.integers(0, 100_000))
def test_neighbouring_colours_are_bright_and_far_apart_in_hue(index: int) -> None:
    hues = [
        colorsys.rgb_to_hsv(*(value / 255 for value in colour_of(neighbour)))[0]
        for neighbour in range(index, index + 4)
    ]
    for one, other in pairwise(hues):
        assert 0.3 < abs(one - other) < 0.7
    assert max(colour_of(index)) == 255


def test_bands_of_a_large_mask_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    instances = filled([[3, 2, 117, 78], [20, 20, 90, 60]], (80, 120))
    image = np.random.default_rng(1).integers(0, 256, BLACK.shape, dtype=np.uint8)
    whole = masks_alone(image, instances)
    monkeypatch.setattr("maskwright.images.draw._PIXELS_AT_ONCE", 700)
    assert (masks_alone(image, instances) == whole).all()


def test_a_crowded_picture_shows_its_masks_alone_unless_more_is_asked_for() -> None:
    boxes = [[float(x), float(y), x + 16.0, y + 16.0] for x in range(0, 240, 20) for y in range(0, 240, 20)]
    image = np.zeros((240, 240, 3), np.uint8)
    crowd, few = filled(boxes, (240, 240)), filled(boxes[30:32], (240, 240))
    assert (draw_instances(image, crowd) == masks_alone(image, crowd)).all()
    assert (draw_instances(image, crowd, has_boxes=True) != masks_alone(image, crowd)).any()
    assert (draw_instances(image, crowd, has_labels=True) != masks_alone(image, crowd)).any()
    assert (draw_instances(image, few) != draw_instances(image, few, has_labels=False)).any()
    without_masks = filled(boxes, (240, 240), has_masks=False)
    assert draw_instances(image, without_masks).any()


def test_boxes_too_small_to_read_get_no_label() -> None:
    specks = filled([[50, 50, 55, 55]], (80, 120))
    assert (draw_instances(BLACK, specks) == draw_instances(BLACK, specks, has_labels=False)).all()


def test_labels_stay_inside_the_picture() -> None:
    at_corner = filled([[90, 0, 120, 30]], (80, 120), has_masks=False)
    written = (draw_instances(BLACK, at_corner) != draw_instances(BLACK, at_corner, has_labels=False)).any(axis=2)
    rows, columns = np.nonzero(written)
    assert columns.max() - columns.min() > 50 and rows.max() - rows.min() > 8


def test_an_image_of_another_size_is_an_error_that_names_both() -> None:
    with pytest.raises(DataError, match="80 × 120 pixels, the instances 60 × 70"):
        draw_instances(BLACK, filled([], (60, 70)))


def test_many_objects_on_a_large_image_need_little_more_than_the_picture() -> None:
    image = np.zeros((2000, 2000, 3), np.uint8)
    draws = np.random.default_rng(2)
    corners = draws.uniform(0, 1900, (150, 2))
    boxes = np.hstack([corners, corners + draws.uniform(10, 60, (150, 2))]).tolist()
    instances = filled([[0, 0, 2000, 2000], *boxes], image.shape[:2])
    masks_alone(BLACK, filled([], (80, 120)))  # imports supervision
    tracemalloc.start()
    masks_alone(image, instances)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * image.nbytes  # of full-size bitmaps there would be 50 times the picture
