"""The proposal network: fixed sizes inside, proposals inside their images, and the ways lineages choose them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maskwright.models.mask_rcnn.rpn import Rpn, RpnHead, RpnOutput
from maskwright.models.mask_rcnn.rules import BoxRegression, MatchingRule, ProposalRule, SamplingRule
from maskwright.ops.anchors import cell_anchors
from maskwright.ops.boxes import box_areas
from maskwright.ops.nms import suppress, suppress_inclusive
from maskwright.structures import ImageBatch

PLAIN = ProposalRule(
    before_nms=60,
    after_nms=50,
    nms_iou=0.7,
    min_side_px=1e-3,
    levels_apart=True,
    clips_to_input=False,
    suppress=suppress,
)


def rpn_of(cells: Tensor, strides_px: list[int] | None, *, is_softmax: bool = False) -> Rpn:
    torch.manual_seed(0)
    head = RpnHead(in_channels=2, channels=3, num_convs=1, anchors_per_cell=cells.shape[1], is_softmax=is_softmax)
    return Rpn(
        head=head,
        cells=cells,
        strides_px=strides_px,
        matching=MatchingRule(0.7, 0.3, None, keeps_best_of_each_object=True),
        sampling=SamplingRule(8, 0.5),
        regression=BoxRegression((1.0, 1.0, 1.0, 1.0), 0.0),
        normalizer="sampled_anchors",
    )


def output_of(model, batch) -> RpnOutput:
    with torch.no_grad():
        return model.rpn(model.encode(batch), batch)


def output_with(boxes: list[list[float]], logits: list[float], level_counts: tuple[int, ...]) -> RpnOutput:
    """Of one image, whose anchors are the proposals themselves."""
    return RpnOutput(torch.tensor([logits]), torch.zeros((1, len(boxes), 4)), torch.tensor(boxes), level_counts)


def blank(padded: tuple[int, int], size: tuple[int, int], corner: tuple[int, int] | None = None) -> ImageBatch:
    return ImageBatch(torch.zeros((1, 3, *padded)), (size,), (0,), () if corner is None else (corner,))


def proposals(output: RpnOutput, rule: ProposalRule, batch: ImageBatch | None = None) -> list[list[float]]:
    (found,) = rpn_of(torch.zeros((1, 1, 4)), None).propose(output, batch or blank((64, 96), (64, 96)), rule)
    return found.tolist()


@pytest.mark.parametrize("limit", [1, 20, 300, 100_000])
@pytest.mark.parametrize("levels_apart", [True, False])
def test_number_of_candidates_depends_on_the_input_size_alone(build, batch, limit, levels_apart) -> None:
    model = build()
    output = output_of(model, batch)
    tiny = ImageBatch(torch.zeros_like(batch.pixels), ((64, 96), (1, 1)), batch.keys)
    counts = output.level_counts if levels_apart else [sum(output.level_counts)]
    wanted = sum(min(limit, count) for count in counts)
    rule = replace(PLAIN, before_nms=limit, levels_apart=levels_apart)
    for shown, seen in ((output, batch), (output_of(model, tiny), tiny)):
        boxes, scores, levels = model.rpn._candidates(shown, seen, rule)
        assert tuple(boxes.shape) == (2, wanted, 4)
        assert tuple(scores.shape) == (2, wanted)
        assert tuple(levels.shape) == (wanted,)


def test_anchors_cover_every_cell_of_every_level(build, batch) -> None:
    output = output_of(build(), batch)
    cells = [(64 // stride) * (96 // stride) for stride in (4, 8, 16, 32)] + [1 * 2]
    assert output.level_counts == tuple(3 * count for count in cells)
    assert len(output.anchors) == output.logits.shape[1] == output.deltas.shape[1] == sum(output.level_counts)


@pytest.mark.parametrize(("strides_px", "wanted"), [(None, [4, 8, 16, 32, 61]), ([4, 8, 16, 32, 64],) * 2])
def test_measured_anchors_of_the_coarsest_level_stand_closer_than_its_stride(strides_px, wanted) -> None:
    maps = [torch.zeros((1, 2, 2, side)) for side in (200, 100, 50, 25, 13)]
    rpn = rpn_of(torch.zeros((5, 1, 4)), strides_px)
    with torch.no_grad():
        output = rpn(maps, blank((800, 800), (800, 800)))
    first_rows = [
        anchors[: count // 2, 0] for anchors, count in zip(_by_level(output), output.level_counts, strict=True)
    ]
    assert [row.diff().unique().tolist() for row in first_rows] == [[spacing] for spacing in wanted]


def _by_level(output: RpnOutput) -> list[Tensor]:
    return list(output.anchors.split(output.level_counts))


def test_several_sizes_on_one_level_have_a_score_each_in_the_order_of_their_anchors() -> None:
    cells = cell_anchors([8.0, 16.0, 32.0], [0.5, 1.0], False, "ratios")[None]
    rpn = rpn_of(cells, [16])
    with torch.no_grad():
        rpn.head.objectness.weight.zero_()
        rpn.head.objectness.bias.copy_(torch.arange(6.0))
        rpn.head.deltas.weight.zero_()
        rpn.head.deltas.bias.copy_(torch.arange(24.0))
        output = rpn([torch.randn((2, 2, 4, 5))], blank((64, 80), (64, 80)))
    assert output.level_counts == (4 * 5 * 6,)
    assert torch.equal(output.logits, torch.arange(6.0).repeat(2, 20))
    assert torch.equal(output.deltas, torch.arange(24.0).reshape(6, 4).repeat(2, 20, 1))
    assert torch.allclose(output.anchors[7 * 6 + 2], cells[0, 2] + torch.tensor([32.0, 16.0, 32.0, 16.0]))


def test_a_softmax_of_two_scores_is_the_sigmoid_of_their_difference() -> None:
    rpn = rpn_of(torch.zeros((1, 3, 4)), [16], is_softmax=True)
    features = torch.randn((2, 2, 4, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rpn.head.objectness.weight.mul_(3000)
        logits, deltas = rpn.head(features)
        scores = rpn.head.objectness(rpn.head.convs[0](features).relu())
    pairs = scores.permute(0, 2, 3, 1).reshape(2, -1, 2)  # background, object
    assert logits.shape == (2, 60) and deltas.shape == (2, 60, 4)
    assert logits.std() > 0.1
    assert torch.allclose(logits.sigmoid(), pairs.softmax(dim=2)[:, :, 1], atol=1e-6)


def test_proposals_lie_in_their_own_image_and_have_an_area(build, batch) -> None:
    model = build()
    smaller = ImageBatch(batch.pixels, ((64, 96), (40, 50)), batch.keys)
    proposals = model.rpn.propose(output_of(model, smaller), smaller, model.test_proposals)
    for boxes, (height, width) in zip(proposals, smaller.sizes, strict=True):
        assert len(boxes) > 0
        assert boxes.min() >= 0 and boxes[:, 2].max() <= width and boxes[:, 3].max() <= height
        assert (box_areas(boxes) > 0).all()


def test_proposals_end_where_the_image_does_or_where_the_input_does() -> None:
    output = output_with([[-5.0, -5.0, 90.0, 50.0]], [0.0], (1,))
    batch = blank((64, 80), (32, 40), corner=(16, 20))
    assert proposals(output, PLAIN, batch) == [[20, 16, 60, 48]]
    assert proposals(output, replace(PLAIN, clips_to_input=True), batch) == [[0, 0, 80, 50]]


def test_a_proposal_beside_its_image_is_dropped_unless_the_smallest_side_is_nothing() -> None:
    output = output_with([[0.0, 0.0, 8.0, 8.0], [20.0, 20.0, 30.0, 30.0]], [1.0, 0.0], (2,))
    batch = blank((64, 80), (32, 40), corner=(16, 20))
    assert proposals(output, PLAIN, batch) == [[20, 20, 30, 30]]
    assert proposals(output, replace(PLAIN, min_side_px=0.0), batch) == [[20, 16, 20, 16], [20, 20, 30, 30]]


def test_the_best_are_chosen_on_each_level_or_over_all() -> None:
    boxes = [[0.0, 0.0, 8.0, 8.0], [8.0, 8.0, 16.0, 16.0], [16.0, 16.0, 24.0, 24.0], [24.0, 24.0, 32.0, 32.0]]
    output = output_with(boxes, [4.0, 3.0, 2.0, 1.0], (2, 2))
    one = replace(PLAIN, before_nms=1)
    assert proposals(output, one) == [boxes[0], boxes[2]]
    assert proposals(output, replace(one, levels_apart=False)) == [boxes[0]]
    assert proposals(output, replace(one, before_nms=3, levels_apart=False)) == boxes[:3]


def test_the_same_box_on_two_levels_is_one_proposal_only_where_levels_are_ranked_together() -> None:
    box = [10.0, 10.0, 30.0, 30.0]
    output = output_with([box, box], [0.0, 1.0], (1, 1))
    assert proposals(output, PLAIN) == [box, box]
    assert proposals(output, replace(PLAIN, levels_apart=False)) == [box]


def test_the_suppression_is_that_of_the_rule() -> None:
    # IoU 10 · 7 ÷ 100 as they are, 11 · 8 ÷ 121 ≈ 0.727 with an edge of one pixel
    boxes = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 7.0]]
    output = output_with(boxes, [1.0, 0.0], (2,))
    rule = replace(PLAIN, nms_iou=0.71)
    assert proposals(output, rule) == boxes
    assert proposals(output, replace(rule, suppress=suppress_inclusive)) == boxes[:1]


def test_fewer_proposals_are_the_best_of_more(build, batch) -> None:
    model = build()
    output = output_of(model, batch)
    many = model.rpn.propose(output, batch, PLAIN)
    few = model.rpn.propose(output, batch, replace(PLAIN, after_nms=7))
    assert all(torch.equal(some, boxes[:7]) for some, boxes in zip(few, many, strict=True))


def test_proposals_carry_no_gradient(build, batch) -> None:
    model = build()
    output = model.rpn(model.encode(batch), batch)
    assert output.deltas.requires_grad
    assert not any(boxes.requires_grad for boxes in model.rpn.propose(output, batch, model.train_proposals))
