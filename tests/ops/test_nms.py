"""Suppression against a slow greedy walk."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from maskwright.ops.nms import suppress


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
