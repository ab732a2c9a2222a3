"""The proposal network's losses, on anchors few enough to compute by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.rpn import Rpn, RpnHead, RpnOutput
from maskwright.models.mask_rcnn.rules import BoxRegression, MatchingRule, SamplingRule

# of an object at 0 0 10 10 the first is foreground, the second in between (IoU ½), the others are background
ANCHORS = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [50.0, 0.0, 60.0, 10.0], [30.0, 30.0, 40.0, 50.0]]


def rpn_of(**changes: Any) -> Rpn:
    numbers: dict[str, Any] = {
        "strides_px": None,
        "matching": MatchingRule(0.7, 0.3, None, keeps_best_of_each_object=True),
        "sampling": SamplingRule(8, 0.5),
        "regression": BoxRegression((1.0, 1.0, 1.0, 1.0), 0.0),
        "normalizer": "sampled_anchors",
    }
    head = RpnHead(in_channels=1, channels=1, num_convs=1, anchors_per_cell=1, is_softmax=False)
    return Rpn(head=head, cells=torch.zeros((1, 1, 4)), **{**numbers, **changes})


def output_with(logits: list[list[float]], deltas: float = 0.0) -> RpnOutput:
    anchors = torch.tensor(ANCHORS)
    return RpnOutput(torch.tensor(logits), torch.full((len(logits), 4, 4), deltas), anchors, (4,))


@pytest.fixture
def truth(make_targets) -> TrueObjects:
    """One object, on the first anchor."""
    return TrueObjects.of(make_targets([(0, 0, 10)]))


@pytest.mark.parametrize(
    ("normalizer", "objectness", "box"),
    [("sampled_anchors", 3, 3), ("anchors_per_image", 8, 8), ("box_positives", 3, 4)],
)
def test_losses_are_divided_as_the_lineage_says(truth, normalizer, objectness, box) -> None:
    losses = rpn_of(normalizer=normalizer).losses(output_with([[0.0] * 4], deltas=0.5), [truth], [0])
    # three anchors of which nothing is known cost log 2 each; the positive's four deltas are ½ too large
    assert losses["rpn_objectness"].total.item() == pytest.approx(3 * math.log(2))
    assert losses["rpn_box"].total.item() == pytest.approx(4 * 0.5)
    assert losses["rpn_objectness"].count == objectness
    assert losses["rpn_box"].count == box
    assert losses["rpn_box"].mean().item() == pytest.approx(2 / box)


@pytest.mark.parametrize("normalizer", ["sampled_anchors", "anchors_per_image", "box_positives"])
def test_losses_of_two_images_are_the_joined_sums(truth, make_targets, normalizer) -> None:
    rpn, nothing = rpn_of(normalizer=normalizer), TrueObjects.of(make_targets([]))
    rows = [[0.3, 1.0, -2.0, 0.1], [0.5, -0.5, 2.0, 0.0]]
    together = rpn.losses(output_with(rows, 0.5), [truth, nothing], [0, 1])
    alone = [
        rpn.losses(output_with([row], 0.5), [one], [key])
        for row, one, key in zip(rows, (truth, nothing), (0, 1), strict=True)
    ]
    for name, loss in together.items():
        assert loss.count == sum(part[name].count for part in alone)
        assert loss.total.item() == pytest.approx(sum(part[name].total.item() for part in alone))


def test_objectness_wants_objects_up_and_background_down_and_asks_nothing_in_between(truth) -> None:
    output = output_with([[1.0, 5.0, -2.0, 0.5]])
    output.logits.requires_grad_()
    loss = rpn_of().losses(output, [truth], [0])["rpn_objectness"]
    wanted = F.softplus(torch.tensor([-1.0, -2.0, 0.5])).sum()
    assert loss.total.item() == pytest.approx(wanted.item())
    loss.total.backward()
    assert output.logits.grad.sign().tolist() == [[-1, 0, 1, 1]]


def test_anchors_on_a_crowd_are_no_background_where_the_lineage_looks_at_crowds(make_targets) -> None:
    # the crowd covers the last anchor in part, and lies on the foreground too
    truth = TrueObjects.of(make_targets([(0, 0, 10), (0, 0, 40)], [False, True]))
    output = output_with([[0.0] * 4])
    assert rpn_of().losses(output, [truth], [0])["rpn_objectness"].count == 3
    for crowd_iou, count in ((0.001, 2), (0.1, 3)):
        matching = MatchingRule(0.7, 0.3, crowd_iou, keeps_best_of_each_object=True)
        losses = rpn_of(matching=matching).losses(output, [truth], [0])
        assert losses["rpn_objectness"].count == count
        assert losses["rpn_objectness"].total.item() == pytest.approx(count * math.log(2))


def test_the_best_anchor_of_an_object_is_foreground_however_little_they_overlap(make_targets) -> None:
    truth = TrueObjects.of(make_targets([(45, 35, 20)]))
    keeps, leaves = (
        rpn_of(normalizer="box_positives", matching=MatchingRule(0.7, 0.3, None, keeps_best_of_each_object=one))
        for one in (True, False)
    )
    assert keeps.losses(output_with([[0.0] * 4]), [truth], [0])["rpn_box"].count == 4
    assert leaves.losses(output_with([[0.0] * 4]), [truth], [0])["rpn_box"].count == 0


def test_no_more_anchors_are_taken_than_are_sampled(truth) -> None:
    losses = rpn_of(sampling=SamplingRule(2, 0.5), normalizer="box_positives").losses(
        output_with([[0.0] * 4]), [truth], [0]
    )
    assert losses["rpn_objectness"].count == 2
    assert losses["rpn_box"].count == 4


def test_balanced_sampling_takes_no_background_where_there_is_no_object(truth, make_targets) -> None:
    rpn = rpn_of(sampling=SamplingRule(8, 0.5, keeps_ratio=True))
    assert rpn.losses(output_with([[0.0] * 4]), [truth], [0])["rpn_objectness"].count == 2
    nothing = rpn.losses(output_with([[0.0] * 4]), [TrueObjects.of(make_targets([]))], [0])
    assert {name: loss.mean().item() for name, loss in nothing.items()} == {"rpn_objectness": 0, "rpn_box": 0}


def test_deltas_are_weighed_and_their_loss_is_quadratic_below_beta(truth) -> None:
    regression = BoxRegression((10.0, 10.0, 5.0, 5.0), 1.0)
    losses = rpn_of(regression=regression).losses(output_with([[0.0] * 4], deltas=0.5), [truth], [0])
    assert losses["rpn_box"].total.item() == pytest.approx(4 * 0.5 * 0.5**2)
