"""Objects and stuff share the pixels of a map: who gets what, on maps small enough to draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from maskwright.errors import ConfigError
from maskwright.structures import Categories, CropMasks, Instances, PanopticMap, SemanticMap
from maskwright.structures.masks.crop import Crop
from maskwright.structures.panoptic_map import merge_panoptic
from maskwright.structures.semantic_map import PanopticClasses, PanopticRule

SIZE = (6, 10)
THINGS = Categories(("cat", "dog"), (3, 7))
STUFF = Categories(("sky", "grass"), (92, 95))
CLASSES = PanopticClasses(THINGS, STUFF, has_things=True)


def merged(
    boxes: list[tuple[int, int, int, int]],
    scores: list[float],
    semantic: torch.Tensor | None = None,
    classes: PanopticClasses = CLASSES,
    min_stuff_px: int = 1,
    overlap_share: float = 0.5,
) -> PanopticMap:
    """Of objects that are filled boxes (top, left, bottom, right), cats and dogs in turn; by default all is things."""
    crops = [Crop(np.ones((bottom - top, right - left), dtype=bool), top, left) for top, left, bottom, right in boxes]
    return merge_panoptic(
        CropMasks.from_crops(crops, SIZE),
        torch.arange(len(boxes)) % 2,
        torch.tensor(scores),
        torch.zeros(SIZE, dtype=torch.uint8) if semantic is None else semantic,
        classes,
        PanopticRule(score_threshold=0.5, overlap_share=overlap_share, min_stuff_px=min_stuff_px),
    )


def halves(left: int, right: int) -> torch.Tensor:
    semantic = torch.full(SIZE, left, dtype=torch.uint8)
    semantic[:, 5:] = right
    return semantic


def test_the_better_object_keeps_the_pixels_that_both_want() -> None:
    panoptic = merged([(0, 0, 4, 4), (0, 2, 4, 6)], [0.6, 0.9])
    assert [segment["instance_id"] for segment in panoptic.segments] == [1, 0]
    assert [segment["area"] for segment in panoptic.segments] == [16, 8]
    assert panoptic.ids[0].tolist() == [2, 2, 1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(("left", "is_kept"), [(2, True), (1, False)])
def test_an_object_goes_when_better_ones_took_more_than_the_share(left: int, is_kept: bool) -> None:
    panoptic = merged([(0, 0, 4, 4), (0, left, 4, left + 4)], [0.9, 0.8])
    assert (len(panoptic.segments) == 2) == is_kept


def test_an_object_without_a_pixel_left_is_no_segment_whatever_the_share() -> None:
    assert len(merged([(0, 0, 4, 4), (1, 1, 2, 2)], [0.9, 0.8], overlap_share=1.0).segments) == 1


@pytest.mark.parametrize(("score", "is_kept"), [(0.5, True), (0.4999, False)])
def test_objects_enter_from_the_threshold_on(score: float, is_kept: bool) -> None:
    assert bool(merged([(0, 0, 4, 4)], [score]).segments) == is_kept


def test_stuff_comes_where_no_object_is_in_the_order_of_its_classes() -> None:
    panoptic = merged([(0, 0, 6, 3)], [0.9], halves(2, 1))
    assert [(s["id"], s["isthing"], s["category_id"], s["label"], s["area"]) for s in panoptic.segments] == [
        (1, True, 3, 0, 18),
        (2, False, 92, 0, 30),
        (3, False, 95, 1, 12),
    ]
    assert panoptic.ids[0].tolist() == [1, 1, 1, 3, 3, 2, 2, 2, 2, 2]


def test_small_stuff_and_things_without_an_object_stay_void() -> None:
    panoptic = merged([(0, 0, 6, 3)], [0.9], halves(1, 0), min_stuff_px=13)
    assert [segment["isthing"] for segment in panoptic.segments] == [True]
    assert set(panoptic.ids.ravel().tolist()) == {0, 1}


def test_without_an_output_for_things_the_first_output_is_stuff() -> None:
    panoptic = merged([], [], halves(0, 255), PanopticClasses(THINGS, STUFF, has_things=False))
    assert [(segment["label"], segment["area"]) for segment in panoptic.segments] == [(0, 30)]


def test_an_image_with_nothing_in_it_is_void() -> None:
    panoptic = merged([], [])
    assert (panoptic.segments, panoptic.ids.any(), panoptic.size) == ([], False, SIZE)
    assert panoptic.to_coco(1, "a.png")[0]["segments_info"] == []


def test_coco_form_tells_of_each_segment_what_the_picture_shows() -> None:
    panoptic = merged([(1, 2, 4, 5)], [0.9], halves(2, 1))
    annotation, picture = panoptic.to_coco(8, "a.png")
    assert (annotation["image_id"], annotation["file_name"]) == (8, "a.png")
    ids = picture.astype(int) @ [1, 256, 65536]
    assert np.array_equal(ids, panoptic.ids)
    for info in annotation["segments_info"]:
        rows, columns = np.nonzero(ids == info["id"])
        left, top, width, height = info["bbox"]
        assert info["area"] == len(rows)
        assert (top, left, height, width) == (rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert [info["category_id"] for info in annotation["segments_info"]] == [3, 92, 95]


def test_ids_beyond_a_byte_go_into_the_next_colour() -> None:
    _, picture = PanopticMap(np.array([[70_000]], dtype=np.int32), [], CLASSES).to_coco(1, "a.png")
    assert picture[0, 0].tolist() == [112, 17, 1]


def test_coco_categories_say_what_is_a_thing() -> None:
    assert [(entry["id"], entry["isthing"]) for entry in CLASSES.to_coco()] == [(3, 1), (7, 1), (92, 0), (95, 0)]


def test_stuff_whose_ids_are_those_of_things_is_numbered_on_from_these() -> None:
    found = instances(has_masks=True, has_semantic=True)
    assert found.semantic is not None
    panoptic = replace(found, semantic=replace(found.semantic, stuff=Categories(("sky", "grass"), (1, 7)))).panoptic()
    assert [segment["category_id"] for segment in panoptic.segments] == [7, 8]
    assert [entry["id"] for entry in panoptic.classes.to_coco()] == [3, 7, 8, 9]


def instances(has_masks: bool, has_semantic: bool) -> Instances:
    masks = CropMasks.from_crops([Crop(np.ones((2, 2), dtype=bool), 0, 0)], SIZE)
    rule = PanopticRule(0.5, 0.5, 1)
    grid = torch.zeros((3, 2, 3)).index_fill(0, torch.tensor([1]), 1.0)
    return Instances(
        size=SIZE,
        boxes=torch.tensor([[0.0, 0.0, 2.0, 2.0]]),
        labels=torch.tensor([1]),
        scores=torch.tensor([0.9]),
        masks=masks if has_masks else None,
        categories=THINGS,
        semantic=SemanticMap(SIZE, grid, SIZE, 4, STUFF, True, rule) if has_semantic else None,
    )


def test_instances_give_their_panoptic_map_at_any_size() -> None:
    found = instances(has_masks=True, has_semantic=True).restored_to((12, 20))
    panoptic = found.to("cpu").panoptic()
    assert panoptic.size == (12, 20)
    assert [(segment["category_id"], segment["area"]) for segment in panoptic.segments] == [(7, 16), (92, 224)]


def test_choosing_objects_leaves_the_rest_of_the_map_to_stuff() -> None:
    none = instances(has_masks=True, has_semantic=True)[[]].panoptic()
    assert [(segment["category_id"], segment["area"]) for segment in none.segments] == [(92, 60)]


@pytest.mark.parametrize(("has_masks", "missing"), [(True, "semantic_head.is_on"), (False, "mask_head.is_on")])
def test_a_model_that_lacks_a_part_gives_no_panoptic_map(has_masks: bool, missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        instances(has_masks, has_semantic=not has_masks).panoptic()
