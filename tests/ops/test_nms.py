"""Suppression against a slow greedy walk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from maskwright.ops.nms import fast_nms, suppress, suppress_inclusive


def greedy(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> list[int]:
    ious, kept = box_iou(boxes, boxes), list[int]()
    for index in scores.argsort(descending=True, stable=True).tolist():
        if not any(groups[other] == groups[index] and ious[other, index] > iou for other in kept):
            kept.append(index)
    return kept


def random_case(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand((count, 2), generator=generator) * 20
    boxes = torch.cat([corners, corners + 2 + torch.rand((count, 2), generator=generator) * 20], dim=1)
    return boxes, torch.rand(count, generator=generator), torch.randint(0, 3, (count,), generator=generator)


@given(st.integers(0, 10_000), st.integers(0, 25), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_what_is_kept_is_what_a_greedy_walk_keeps(seed: int, count: int, iou: float) -> None:
    boxes, scores, groups = random_case(seed, count)
    assert suppress(boxes, scores, groups, iou, limit=100).tolist() == greedy(boxes, scores, groups, iou)


@given(st.integers(0, 10_000), st.integers(0, 10))
def test_limit_keeps_the_best(seed: int, limit: int) -> None:
    boxes, scores, groups = random_case(seed, 25)
    assert torch.equal(suppress(boxes, scores, groups, 0.5, limit), suppress(boxes, scores, groups, 0.5, 100)[:limit])


@given(st.integers(0, 10_000))
def test_suppressing_twice_is_suppressing_once(seed: int) -> None:
    boxes, scores, groups = random_case(seed, 25)
    kept = suppress(boxes, scores, groups, 0.5, 100)
    assert suppress(boxes[kept], scores[kept], groups[kept], 0.5, 100).tolist() == list(range(len(kept)))


def test_groups_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]] * 3)
    scores = torch.tensor([0.2, 0.9, 0.5])
    assert suppress(boxes, scores, torch.tensor([0, 0, 1]), 0.5, 100).tolist() == [1, 2]


def test_overlap_exactly_at_the_threshold_stays() -> None:
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0]])  # IoU one half
    scores, groups = torch.tensor([0.9, 0.8]), torch.tensor([0, 0])
    assert suppress(boxes, scores, groups, 0.5, 100).tolist() == [0, 1]
    assert suppress(boxes, scores, groups, 0.49, 100).tolist() == [0]


def test_half_precision_is_suppressed_like_full() -> None:
    boxes, scores, groups = random_case(3, 25)
    boxes, scores = boxes.bfloat16(), scores.bfloat16()
    assert torch.equal(suppress(boxes, scores, groups, 0.5, 9), suppress(boxes.float(), scores.float(), groups, 0.5, 9))


# boxes of whole pixels, both ends in them


def inclusive_iou(one: list[float], other: list[float]) -> float:
    """As the compiled suppression of Fast R-CNN counts, in single precision."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = torch.tensor(one), torch.tensor(other)
    width = (torch.minimum(x2, u2) - torch.maximum(x1, u1) + 1).clamp(min=0)
    height = (torch.minimum(y2, v2) - torch.maximum(y1, v1) + 1).clamp(min=0)
    shared = width * height
    areas = (x2 - x1 + 1) * (y2 - y1 + 1) + (u2 - u1 + 1) * (v2 - v1 + 1)
    return (shared / (areas - shared)).item()


def greedy_inclusive(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> list[int]:
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        rivals = [other for other in kept if groups[other] == groups[index]]
        if all(inclusive_iou(boxes[other].tolist(), boxes[index].tolist()) < iou for other in rivals):
            kept.append(index)
    return kept


@given(st.integers(0, 10_000), st.integers(0, 25), st.sampled_from([0.25, 0.3, 0.5, 0.7]), st.booleans())
def test_inclusive_suppression_is_the_greedy_walk(seed: int, count: int, iou: float, is_whole: bool) -> None:
    boxes, scores, groups = random_case(seed, count)
    boxes = (boxes.round() if is_whole else boxes) - 15  # many begin outside the image
    assert suppress_inclusive(boxes, scores, groups, iou, 100).tolist() == greedy_inclusive(boxes, scores, groups, iou)


@pytest.mark.parametrize(("rows", "iou"), [(5, 0.5), (3, 0.3), (7, 0.7), (6, 0.6)])
def test_an_overlap_of_exactly_the_threshold_goes(rows: int, iou: float) -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, rows - 1.0]])  # of ten rows, ends inclusive
    scores, groups = torch.tensor([0.9, 0.8]), torch.tensor([0, 0])
    assert inclusive_iou(*boxes.tolist()) == pytest.approx(iou)
    assert suppress_inclusive(boxes, scores, groups, inclusive_iou(*boxes.tolist()), 100).tolist() == [0]
    assert suppress_inclusive(boxes, scores, groups, iou + 1e-6, 100).tolist() == [0, 1]
    assert suppress_inclusive(boxes, scores, groups, iou - 1e-6, 100).tolist() == [0]


def test_groups_stay_apart_where_boxes_begin_outside_the_image() -> None:
    boxes = torch.tensor([[-40.0, 0.0, 10.0, 40.0], [-40.0, 0.0, 10.0, 40.0], [-40.0, 0.0, 60.0, 40.0]])
    scores, groups = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 0])
    assert suppress_inclusive(boxes, scores, groups, 0.6, 100).tolist() == [0, 1, 2]


@given(st.integers(0, 10_000), st.integers(0, 10))
def test_inclusive_suppression_keeps_the_best_up_to_its_limit(seed: int, limit: int) -> None:
    case = random_case(seed, 25)
    assert torch.equal(suppress_inclusive(*case, 0.5, limit), suppress_inclusive(*case, 0.5, 100)[:limit])


def walk_of_the_c_routine(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    """As matterport's port: every edge counts as a pixel, whole or not; what reaches the threshold goes."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    left, kept = np.argsort(-scores, kind="stable"), list[int]()
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left]) + 1
        height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left]) + 1
        shared = width.clip(min=0) * height.clip(min=0)
        left = left[shared / (areas[best] + areas[left] - shared) < iou]
    return kept


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_proposals_of_no_whole_pixels_are_suppressed_as_by_the_c_routine(seed: int, iou: float) -> None:
    generator = np.random.default_rng(seed)
    centres, sides = generator.uniform(0, 100, (300, 2)), generator.uniform(0, 60, (300, 2))
    sides[:20] = 0  # without area, but of a pixel to the routine
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)
    scores = generator.uniform(0, 1, 300).astype(np.float32)
    kept = suppress_inclusive(*map(torch.from_numpy, (boxes, scores, np.zeros(300, np.int64))), iou, 1000)
    assert 20 < len(kept) < 300
    assert kept.tolist() == walk_of_the_c_routine(boxes, scores, iou)


# fast suppression


def literally_fast(boxes: Tensor, iou: float) -> list[bool]:
    """A box stays where no box before it, whether that one stays or not, overlaps it more."""
    ious = box_iou(boxes, boxes)
    return [not any(ious[better, box] > iou for better in range(box)) for box in range(len(boxes))]


@given(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([0.0, 0.3, 0.5, 0.7]))
def test_fast_suppression_asks_all_better_boxes(seed: int, count: int, iou: float) -> None:
    groups = torch.stack([random_case(seed + group, count)[0] for group in range(3)])
    assert fast_nms(groups, iou).tolist() == [literally_fast(boxes, iou) for boxes in groups]


def test_a_box_that_is_gone_still_suppresses_in_fast_suppression() -> None:
    chain = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 4.0, 10.0, 14.0], [0.0, 8.0, 10.0, 18.0]]])
    assert fast_nms(chain, 0.4).tolist() == [[True, False, False]]
    scores, groups = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 0, 0])
    assert suppress(chain[0], scores, groups, 0.4, 100).tolist() == [0, 2]


def test_the_best_box_of_a_group_always_stays() -> None:
    same = torch.tensor([[[1.0, 1.0, 5.0, 5.0]] * 4, [[2.0, 2.0, 2.0, 2.0]] * 4])
    assert fast_nms(same, 0.5).tolist() == [[True, False, False, False], [True] * 4]
