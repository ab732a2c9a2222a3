"""Which RoIs the second stage is trained on, and what each stands for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample, label_rois, sample_rois
from maskwright.models.mask_rcnn.rules import MatchingRule, SamplingRule
from maskwright.ops.matching import BACKGROUND, IGNORED

NUM_CLASSES = 3
HALF = MatchingRule(0.5, 0.5, None, keeps_best_of_each_object=False)
# two on the second object (class 1), two on nothing, one on the first object (class 0)
PROPOSALS = torch.tensor(
    [
        [40.0, 30.0, 70.0, 60.0],
        [80.0, 0.0, 90.0, 10.0],
        [40.0, 30.0, 70.0, 50.0],
        [6.0, 4.0, 26.0, 20.0],
        [0.0, 50.0, 10.0, 60.0],
    ]
)


@pytest.fixture
def truth(make_targets) -> TrueObjects:
    return TrueObjects.of(make_targets([(4, 6, 20), (30, 40, 30)]))


def sample(truth: TrueObjects, proposals: torch.Tensor = PROPOSALS, key: int = 0, **changes: Any) -> RoiSample:
    settings: dict[str, Any] = {"matching": HALF, "sampling": SamplingRule(100, 0.5), "adds_true_boxes": False}
    (found,) = sample_rois([proposals], [truth], [key], num_classes=NUM_CLASSES, **{**settings, **changes})
    return found


def test_positives_come_first_with_their_objects_and_classes(truth) -> None:
    found = sample(truth)
    assert found.objects.tolist() == [1, 1, 0]
    assert found.labels.tolist() == [1, 1, 0, NUM_CLASSES, NUM_CLASSES]
    assert torch.equal(found.rois, PROPOSALS[[0, 2, 3, 1, 4]])


def test_true_boxes_are_proposals_where_the_lineage_adds_them(truth) -> None:
    found = sample(truth, adds_true_boxes=True)
    assert found.objects.tolist() == [1, 1, 0, 0, 1]
    assert torch.equal(found.rois[3:5], truth.single.boxes)
    assert len(found.rois) == len(PROPOSALS) + 2


@pytest.mark.parametrize(("adds_true_boxes", "objects"), [(True, [0, 1]), (False, [])])
def test_without_proposals_only_the_true_boxes_are_left(truth, adds_true_boxes, objects) -> None:
    found = sample(truth, torch.zeros((0, 4)), adds_true_boxes=adds_true_boxes)
    assert found.objects.tolist() == objects
    assert found.rois.shape == (len(objects), 4)


def test_without_objects_all_is_background_and_nothing_where_the_sample_is_balanced(make_targets) -> None:
    nothing = TrueObjects.of(make_targets([]))
    assert sample(nothing, adds_true_boxes=True).labels.tolist() == [NUM_CLASSES] * 5
    balanced = sample(nothing, sampling=SamplingRule(100, 0.33, keeps_ratio=True))
    assert (balanced.rois.shape, balanced.labels.tolist(), balanced.objects.tolist()) == ((0, 4), [], [])


def test_a_balanced_sample_has_no_more_background_than_its_positives_make_up_for(truth) -> None:
    far = torch.tensor([[80.0, 0.0, 90.0, 10.0]]).repeat(50, 1)
    found = sample(truth, torch.cat([PROPOSALS, far]), sampling=SamplingRule(100, 0.25, keeps_ratio=True))
    assert (len(found.objects), len(found.rois)) == (3, 12)


def test_the_sample_is_a_function_of_the_key(truth) -> None:
    many = PROPOSALS.repeat(20, 1) + torch.arange(100)[:, None] / 1000
    small = SamplingRule(10, 0.5)
    rois = [sample(truth, many, key, sampling=small).rois for key in (1, 1, 2)]
    assert torch.equal(rois[0], rois[1])
    assert not torch.equal(rois[0], rois[2])


def test_crowds_are_no_objects_and_what_lies_on_them_is_no_background_where_the_lineage_looks(make_targets) -> None:
    truth = TrueObjects.of(make_targets([(4, 6, 20), (30, 40, 30), (0, 76, 20)], [False, False, True]))
    assert len(truth.single) == 2 and truth.crowds.tolist() == [[76, 0, 96, 20]]
    ignoring = MatchingRule(0.5, 0.5, 0.001, keeps_best_of_each_object=False)
    assert truth.match(PROPOSALS, HALF).objects.tolist() == [1, BACKGROUND, 1, 0, BACKGROUND]
    assert truth.match(PROPOSALS, ignoring).objects.tolist() == [1, IGNORED, 1, 0, BACKGROUND]
    found = sample(truth, matching=ignoring, adds_true_boxes=True)
    assert len(found.rois) == 6  # the crowd's box is none of them


def test_a_crowd_takes_no_object_its_proposals(make_targets) -> None:
    truth = TrueObjects.of(make_targets([(30, 40, 30), (0, 0, 64)], [False, True]))
    ignoring = MatchingRule(0.5, 0.5, 0.001, keeps_best_of_each_object=False)
    assert truth.match(PROPOSALS[:1], ignoring).objects.tolist() == [0]
    assert truth.match(torch.zeros((0, 4)), ignoring).objects.tolist() == []


def test_all_rois_of_a_further_stage_are_labelled_by_its_own_rule(truth) -> None:
    strict = MatchingRule(0.7, 0.7, None, keeps_best_of_each_object=False)
    (found,) = label_rois([PROPOSALS], [truth], matching=strict, num_classes=NUM_CLASSES)
    assert found.objects.tolist() == [1, 0]  # IoU 1 and 0.8; the other on the second object has ⅔
    assert torch.equal(found.rois, PROPOSALS[[0, 3, 1, 2, 4]])
    assert found.labels.tolist() == [1, 0, NUM_CLASSES, NUM_CLASSES, NUM_CLASSES]


def test_positives_alone_are_limited_and_drawn_by_the_key(truth) -> None:
    found = sample(truth)
    assert torch.equal(found.positives().rois, found.rois[:3])
    assert torch.equal(found.positives().labels, found.labels[:3])
    few = [found.positives(2, key) for key in range(20)]
    assert {tuple(one.objects.tolist()) for one in few} == {(1, 1), (1, 0)}
    assert all(one.labels.tolist() == one.objects.tolist() for one in few)
    assert torch.equal(found.positives(2, 5).rois, found.positives(2, 5).rois)
