"""Which anchors become detections, against the three suppressions written as loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from maskwright.models.yolact.detect import Selection, select
from maskwright.models.yolact.rules import DetectionRule

RULE = DetectionRule(score_threshold=0.3, nms="fast", nms_iou=0.5, candidates=6, max_detections=8, mask_threshold=0.5)
Found = list[tuple[int, int, float]]


def random_case(seed: int, num_anchors: int = 20, num_classes: int = 3) -> tuple[Tensor, Tensor]:
    """Boxes that overlap a lot and reach over the image, and probabilities of which all differ."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand((num_anchors, 2), generator=generator) * 30 - 15
    boxes = torch.cat([corners, corners + 5 + torch.rand((num_anchors, 2), generator=generator) * 20], dim=1)
    logits = torch.randn((num_anchors, num_classes + 1), generator=generator) * 1.5
    return boxes, logits.softmax(dim=1)[:, :-1]


def iou(one: list[float], other: list[float], added: float = 0.0) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0]) + added
    height = min(one[3], other[3]) - max(one[1], other[1]) + added
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0] + added) * (box[3] - box[1] + added) for box in (one, other)]
    return shared / (sum(areas) - shared)


def sorted_best(found: Found, limit: int | None) -> Found:
    return sorted(found, key=lambda one: -one[2])[:limit]


def plain_fast(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Found:
    """Each class: rank the anchors of which some class passes, and drop what any better one overlaps."""
    passing = [anchor for anchor in range(len(boxes)) if scores[anchor].max() > rule.score_threshold]
    found: Found = []
    for label in range(scores.shape[1]):
        ranked = sorted(passing, key=lambda anchor: -scores[anchor, label].item())[: rule.candidates]
        for index, anchor in enumerate(ranked):
            overlaps = [iou(boxes[anchor].tolist(), boxes[better].tolist()) for better in ranked[:index]]
            if all(overlap <= rule.nms_iou for overlap in overlaps):
                found.append((anchor, label, scores[anchor, label].item()))
    return sorted_best(found, rule.max_detections)


def plain_cross_class(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Found:
    """The same once, each anchor with its best class."""
    passing = [anchor for anchor in range(len(boxes)) if scores[anchor].max() > rule.score_threshold]
    ranked = sorted(passing, key=lambda anchor: -scores[anchor].max().item())[: rule.candidates]
    found = [
        (anchor, int(scores[anchor].argmax()), scores[anchor].max().item())
        for index, anchor in enumerate(ranked)
        if all(iou(boxes[anchor].tolist(), boxes[better].tolist()) <= rule.nms_iou for better in ranked[:index])
    ]
    return sorted_best(found, rule.max_detections)


def plain_traditional(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Found:
    """Greedy, per class, of all that pass in that class; sides count one pixel more, and the threshold itself goes."""
    found: Found = []
    for label in range(scores.shape[1]):
        passing = [anchor for anchor in range(len(boxes)) if scores[anchor, label] > rule.score_threshold]
        kept: list[int] = []
        for anchor in sorted(passing, key=lambda anchor: -scores[anchor, label].item()):
            if all(iou(boxes[anchor].tolist(), boxes[other].tolist(), 1.0) < rule.nms_iou for other in kept):
                kept.append(anchor)
        found += [(anchor, label, scores[anchor, label].item()) for anchor in kept]
    return sorted_best(found, rule.max_detections)


PLAIN = {"fast": plain_fast, "cross_class": plain_cross_class, "traditional": plain_traditional}


def as_list(selection: Selection) -> Found:
    return list(zip(*(part.tolist() for part in selection), strict=True))


@pytest.mark.parametrize("nms", PLAIN)
@given(
    seed=st.integers(0, 10_000),
    score_threshold=st.sampled_from([0.05, 0.3, 0.6, 0.99]),
    nms_iou=st.sampled_from([0.2, 0.5, 0.8]),
    candidates=st.sampled_from([1, 5, 100]),
    max_detections=st.sampled_from([1, 8, None]),
)
def test_the_selection_is_that_of_the_loops(nms, seed, score_threshold, nms_iou, candidates, max_detections) -> None:
    boxes, scores = random_case(seed)
    rule = DetectionRule(score_threshold, nms, nms_iou, candidates, max_detections, 0.5)
    assert as_list(select(boxes, scores, rule)) == PLAIN[nms](boxes, scores, rule)


@pytest.mark.parametrize("nms", PLAIN)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_anchors_does_not_matter(nms, seed: int) -> None:
    boxes, scores = random_case(seed)
    order = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(seed))
    found = select(boxes, scores, replace(RULE, nms=nms))
    mixed = select(boxes[order], scores[order], replace(RULE, nms=nms))
    assert (order[mixed.anchors].tolist(), mixed.labels.tolist()) == (found.anchors.tolist(), found.labels.tolist())


def test_one_anchor_may_be_found_as_several_classes_but_not_across_classes() -> None:
    boxes, scores = torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([[0.5, 0.4]])
    assert as_list(select(boxes, scores, RULE)) == [(0, 0, 0.5), (0, 1, pytest.approx(0.4))]
    assert as_list(select(boxes, scores, replace(RULE, nms="cross_class"))) == [(0, 0, 0.5)]


def test_lower_classes_of_a_passing_anchor_are_found_by_fast_suppression_alone() -> None:
    boxes, scores = torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([[0.5, 0.01]])
    assert [len(select(boxes, scores, replace(RULE, nms=nms)).anchors) for nms in PLAIN] == [2, 1, 1]


@pytest.mark.parametrize("nms", PLAIN)
@pytest.mark.parametrize("score", [0.3, 0.0])
def test_scores_at_the_threshold_or_below_are_no_detections(nms, score: float) -> None:
    rule = replace(RULE, nms=nms, score_threshold=torch.tensor(0.3).item())
    found = select(torch.tensor([[0.0, 0.0, 9.0, 9.0]] * 3), torch.full((3, 2), score), rule)
    assert [part.shape for part in found] == [(0,)] * 3
