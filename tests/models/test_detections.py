"""From classified RoIs to detections: what each lineage keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.detections import Classified, _ranks_in_class, select
from maskwright.models.mask_rcnn.rules import BoxRegression, DetectionRule
from maskwright.models.segmenter import AS_RECIPE, Limits, Selected
from maskwright.ops.box_coding import encode_boxes
from maskwright.ops.nms import suppress, suppress_inclusive

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
WINDOW = torch.tensor([0.0, 0.0, 100.0, 80.0])
RULE = DetectionRule(
    score_threshold=0.05,
    nms_iou=0.5,
    max_detections=100,
    max_per_class=None,
    min_side_px=1e-2,
    best_class_only=False,
    rounds_boxes=False,
    suppress=suppress,
)


def head_of(num_classes: int = 2, *, is_class_agnostic: bool = False) -> BoxHead:
    return BoxHead(
        in_channels=1,
        cells_px=1,
        num_convs=0,
        conv_channels=1,
        norm="none",
        num_fcs=1,
        fc_channels=1,
        fc_norm="none",
        norm_eps=1e-5,
        has_biases=False,
        num_classes=num_classes,
        is_class_agnostic=is_class_agnostic,
        regression=BoxRegression(WEIGHTS, 1.0),
        normalizer="sampled_rois",
    )


def classified(rois: list[list[float]], scores: list[list[float]], deltas: Tensor | None = None) -> Classified:
    """Scores of two classes and the background each; without deltas the RoIs are the boxes."""
    return Classified(
        torch.tensor(rois).reshape(-1, 4),
        torch.tensor(scores).reshape(-1, 3),
        torch.zeros((len(rois), 2, 4)) if deltas is None else deltas,
    )


def chosen(image: Classified, window: Tensor = WINDOW, head: BoxHead | None = None, **changes: Any) -> Selected:
    return select(image, head or head_of(), window, replace(RULE, **changes))


def rows(found: Selected) -> list[tuple[list[float], int, float]]:
    return [
        (box, label, pytest.approx(score))
        for box, label, score in zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    ]


A, B, C = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 30.0], [50.0, 50.0, 60.0, 70.0]


def test_every_class_above_the_threshold_is_a_detection_of_its_own_but_for_the_background() -> None:
    found = chosen(classified([A, B], [[0.5, 0.4, 0.1], [0.02, 0.05, 0.93]]))
    assert rows(found) == [(A, 0, 0.5), (A, 1, 0.4)]  # 0.05 is not above 0.05


def test_the_best_class_alone_is_a_candidate_and_none_where_that_is_the_background() -> None:
    image = classified([A, B, C], [[0.5, 0.4, 0.1], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1]])
    assert rows(chosen(image, best_class_only=True)) == [(C, 1, 0.8), (A, 0, 0.5)]
    assert rows(chosen(image, best_class_only=True, score_threshold=0.7)) == [(C, 1, 0.8)]


def test_boxes_are_rounded_to_whole_pixels_half_to_even_and_before_the_suppression() -> None:
    halves = [[0.5, 1.5, 10.5, 11.5], [0.6, 2.4, 10.4, 11.6]]
    image = classified(halves, [[0.9, 0.0, 0.1], [0.8, 0.0, 0.2]])
    found = chosen(image, rounds_boxes=True, nms_iou=0.99)
    assert found.boxes.tolist() == [[0, 2, 10, 12], [1, 2, 10, 12]]
    assert chosen(image, rounds_boxes=True, nms_iou=0.89).boxes.tolist() == [[0, 2, 10, 12]]


def test_a_class_has_at_most_its_share_of_the_detections() -> None:
    scores = [[0.9, 0.5, 0.0], [0.8, 0.6, 0.0], [0.7, 0.1, 0.2]]
    image = classified([A, B, C], scores)
    assert rows(chosen(image, max_per_class=1)) == [(A, 0, 0.9), (B, 1, 0.6)]
    assert rows(chosen(image, max_per_class=2, max_detections=3)) == [(A, 0, 0.9), (B, 0, 0.8), (B, 1, 0.6)]
    assert len(chosen(image, max_per_class=3).boxes) == 6


@given(st.lists(st.integers(0, 4), max_size=30))
def test_places_in_a_class_count_those_of_it_that_stand_before(labels: list[int]) -> None:
    wanted = [labels[:index].count(label) for index, label in enumerate(labels)]
    assert _ranks_in_class(torch.tensor(labels, dtype=torch.int64)).tolist() == wanted


def test_places_in_a_class_of_very_many_candidates_take_no_square_table() -> None:
    labels = torch.arange(200_000) % 90
    assert torch.equal(_ranks_in_class(labels), torch.arange(200_000) // 90)


def test_overlaps_at_the_threshold_itself_go_where_suppression_is_inclusive() -> None:
    # 10 × 10 of 20 × 10 pixels, when the edge counts
    image = classified([[0.0, 0.0, 19.0, 9.0], [0.0, 0.0, 9.0, 9.0]], [[0.9, 0.0, 0.1], [0.8, 0.0, 0.2]])
    assert len(chosen(image).boxes) == 2
    assert len(chosen(image, suppress=suppress_inclusive).boxes) == 1


def test_classes_do_not_suppress_each_other() -> None:
    for suppression in (suppress, suppress_inclusive):
        image = classified([A, A], [[0.9, 0.0, 0.1], [0.0, 0.8, 0.2]])
        assert rows(chosen(image, suppress=suppression)) == [(A, 0, 0.9), (A, 1, 0.8)]


def test_boxes_end_where_their_image_does_wherever_it_lies() -> None:
    image = classified([[0.0, 0.0, 60.0, 60.0], A], [[0.9, 0.0, 0.1], [0.8, 0.0, 0.2]])
    window = torch.tensor([10.0, 20.0, 50.0, 50.0])
    assert chosen(image, window).boxes.tolist() == [[10, 20, 50, 50]]
    with_empty = chosen(image, window, min_side_px=0.0)
    assert with_empty.boxes.tolist() == [[10, 20, 50, 50], [10, 20, 10, 20]]


def test_each_class_has_deltas_of_its_own_or_shares_those_of_all() -> None:
    wanted = torch.tensor([[1.0, 2.0, 13.0, 14.0], [20.0, 22.0, 38.0, 36.0]])
    deltas = encode_boxes(wanted, torch.tensor([A, A]), WEIGHTS)
    own = chosen(classified([A], [[0.5, 0.4, 0.1]], deltas[None]))
    torch.testing.assert_close(own.boxes, wanted)
    agnostic = head_of(is_class_agnostic=True)
    shared = chosen(classified([A], [[0.5, 0.4, 0.1]], deltas[None, :1]), head=agnostic)
    torch.testing.assert_close(shared.boxes, wanted[[0, 0]])
    assert shared.labels.tolist() == [0, 1]


def test_limit_and_threshold_can_be_changed_for_a_call() -> None:
    assert RULE.within(AS_RECIPE) == RULE
    changed = RULE.within(Limits(0.0, 7))
    assert (changed.score_threshold, changed.max_detections) == (0.0, 7)
    assert replace(changed, score_threshold=0.05, max_detections=100) == RULE


@pytest.mark.parametrize("best_class_only", [True, False])
@pytest.mark.parametrize("suppression", [suppress, suppress_inclusive])
def test_no_roi_gives_no_detection_and_so_does_background_alone(best_class_only, suppression) -> None:
    for image in (classified([], []), classified([A, B], [[0.0, 0.0, 1.0]] * 2)):
        found = chosen(image, best_class_only=best_class_only, suppress=suppression, max_per_class=3)
        assert (found.boxes.shape, found.labels.shape, found.scores.shape) == ((0, 4), (0,), (0,))


@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([None, 2]))
def test_detections_are_sorted_within_their_window_and_above_the_threshold(seed, best_class_only, limit) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand((20, 2, 2), generator=generator) * 100
    rois = torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 1], dim=1)
    scores = (3 * torch.randn((20, 3), generator=generator)).softmax(dim=1)
    deltas = torch.randn((20, 2, 4), generator=generator)
    window = torch.tensor([5.0, 15.0, 90.0, 70.0])
    image = Classified(rois, scores, deltas)
    found = chosen(image, window, best_class_only=best_class_only, max_per_class=limit, max_detections=9)
    assert len(found.boxes) <= 9
    assert (found.scores.diff() <= 0).all() and (found.scores > RULE.score_threshold).all()
    assert (found.boxes >= window[[0, 1, 0, 1]]).all() and (found.boxes <= window[[2, 3, 2, 3]]).all()
    assert limit is None or (found.labels.bincount(minlength=2) <= limit).all()
    assert (found.labels < 2).all()
