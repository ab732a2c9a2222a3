"""Detections: indexing, going back to the image's own size, and COCO's form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.structures import Categories, Instances, RoiMasks

SIZE = (40, 60)
CATEGORIES = Categories.of([{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}])


def make(count: int = 4, has_masks: bool = True) -> Instances:
    offsets = torch.arange(count, dtype=torch.float32)[:, None]
    boxes = torch.tensor([[2.0, 4.0, 22.0, 24.0]]) + offsets * torch.tensor([[5.0, 2.0, 5.0, 2.0]])
    return Instances(
        size=SIZE,
        boxes=boxes,
        labels=torch.arange(count) % 2,
        scores=torch.linspace(0.9, 0.3, count),
        masks=RoiMasks(SIZE, torch.ones((count, 28, 28)), boxes, 0.5) if has_masks else None,
        categories=CATEGORIES,
    )


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, [0]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([2, 0], [2, 0]),
        (np.array([1, 3]), [1, 3]),
        (np.array([True, False, True, False]), [0, 2]),
        (torch.tensor([3]), [3]),
        (torch.tensor([False, False, False, True]), [3]),
        (slice(0, 0), []),
    ],
)
def test_every_kind_of_index_chooses_from_all_fields(index: Any, expected: list[int]) -> None:
    instances = make()
    chosen = instances[index]
    assert len(chosen) == len(expected)
    assert torch.equal(chosen.boxes, instances.boxes[expected])
    assert torch.equal(chosen.labels, instances.labels[expected])
    assert torch.equal(chosen.scores, instances.scores[expected])
    assert chosen.masks is not None and instances.masks is not None
    assert chosen.masks.areas().tolist() == instances.masks.areas()[expected].tolist()
    assert chosen.size == SIZE


def test_empty_list_chooses_nothing() -> None:
    assert len(make()[[]]) == 0


def test_index_beyond_the_end_is_an_error() -> None:
    with pytest.raises(IndexError):
        make()[4]


def test_iteration_gives_one_object_at_a_time() -> None:
    assert [one.scores.item() for one in make()] == make().scores.tolist()
    assert all(len(one) == 1 for one in make())


def test_threshold_and_limit_keep_the_best() -> None:
    assert make().above(0.4).scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert make().above(0.4, limit=2).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(make().above(0.95)) == 0


def test_detections_go_back_to_the_images_own_size() -> None:
    restored = make().restored_to((80, 180))
    assert restored.size == (80, 180)
    assert restored.boxes[0].tolist() == [6, 8, 66, 48]
    assert restored.masks is not None
    assert restored.masks.size == (80, 180)
    rows, columns = np.nonzero(restored.masks.bitmap(0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((8, 47, 6, 65), abs=1)


def test_restored_boxes_lie_in_the_image() -> None:
    assert (make(20).restored_to((10, 10)).boxes <= 10).all()


def test_coco_entries_hold_what_a_results_file_needs() -> None:
    instances = make(2)
    entries = instances.to_coco(image_id=42)
    assert json.loads(json.dumps(entries)) == entries
    assert [entry["category_id"] for entry in entries] == [3, 7]
    assert [entry["image_id"] for entry in entries] == [42, 42]
    assert entries[0]["bbox"] == [2, 4, 20, 20]
    assert [entry["score"] for entry in entries] == pytest.approx([0.9, 0.3])
    assert instances.masks is not None
    assert [entry["segmentation"] for entry in entries] == instances.masks.rle()


def test_without_mask_branch_entries_have_no_segmentation() -> None:
    assert all("segmentation" not in entry for entry in make(2, has_masks=False).to_coco(1))


def test_supervision_gets_the_same_objects() -> None:
    instances = make(2)
    detections = instances.to_supervision()
    assert np.array_equal(detections.xyxy, instances.boxes.numpy())
    assert instances.masks is not None
    assert np.array_equal(detections.mask, instances.masks.bitmaps())
    assert detections.data["class_name"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize("has_masks", [True, False])
def test_no_detections_are_a_normal_case(has_masks: bool) -> None:
    none = make(0, has_masks)
    assert none.to_coco(1) == []
    assert len(none.restored_to((80, 80))) == len(none.above(0.5)) == len(none.to_supervision()) == len(list(none)) == 0


def test_a_further_column_is_a_field_and_nothing_else() -> None:
    @dataclass(frozen=True, eq=False)
    class WithAges(Instances):
        ages: torch.Tensor | None = None

    instances = WithAges(**vars(make()), ages=torch.tensor([4.0, 3.0, 2.0, 1.0]))
    assert instances[[2, 0]].ages.tolist() == [2, 4]
    assert instances.above(0.6).to("cpu").ages.tolist() == [4, 3]
    assert Instances.joined([instances[:1], instances[3:]]).ages.tolist() == [4, 1]
    assert WithAges(**vars(make()))[1:].ages is None


def test_joined_objects_are_those_of_all_parts_without_masks() -> None:
    instances = make()
    joined = Instances.joined([instances[2:], instances[:0], instances[:2]])
    assert joined.scores.tolist() == instances.scores[[2, 3, 0, 1]].tolist()
    assert torch.equal(joined.boxes, instances.boxes[[2, 3, 0, 1]])
    assert joined.masks is None and joined.keypoints is None and joined.size == SIZE
