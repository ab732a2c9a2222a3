"""The proposal network: fixed sizes inside, proposals inside their images."""

from __future__ import annotations

import pytest
import torch

from maskwright.models.mask_rcnn.rpn import RpnOutput
from maskwright.models.mask_rcnn.rules import ProposalRule
from maskwright.ops.boxes import box_areas
from maskwright.structures import ImageBatch


def output_of(model, batch) -> RpnOutput:
    with torch.no_grad():
        return model.rpn(model._levels(batch), batch)


@pytest.mark.parametrize("limit", [1, 20, 300, 100_000])
def test_number_of_candidates_depends_on_the_input_size_alone(build, batch, limit) -> None:
    model = build()
    output = output_of(model, batch)
    blank = ImageBatch(torch.zeros_like(batch.pixels), ((64, 96), (1, 1)), batch.keys)
    wanted = sum(min(limit, count) for count in output.level_counts)
    for shown, seen in ((output, batch), (output_of(model, blank), blank)):
        boxes, scores, levels = model.rpn._candidates(shown, seen, limit)
        assert tuple(boxes.shape) == (2, wanted, 4)
        assert tuple(scores.shape) == (2, wanted)
        assert tuple(levels.shape) == (wanted,)


def test_anchors_cover_every_cell_of_every_level(build, batch) -> None:
    output = output_of(build(), batch)
    cells = [(64 // stride) * (96 // stride) for stride in (4, 8, 16, 32)] + [1 * 2]
    assert output.level_counts == tuple(3 * count for count in cells)
    assert len(output.anchors) == output.logits.shape[1] == output.deltas.shape[1] == sum(output.level_counts)


def test_proposals_lie_in_their_own_image_and_have_an_area(build, batch) -> None:
    model = build()
    smaller = ImageBatch(batch.pixels, ((64, 96), (40, 50)), batch.keys)
    proposals = model.rpn.propose(output_of(model, smaller), smaller, model.test_proposals)
    for boxes, (height, width) in zip(proposals, smaller.sizes, strict=True):
        assert len(boxes) > 0
        assert boxes.min() >= 0 and boxes[:, 2].max() <= width and boxes[:, 3].max() <= height
        assert (box_areas(boxes) > 0).all()


def test_fewer_proposals_are_the_best_of_more(build, batch) -> None:
    model = build()
    output = output_of(model, batch)
    many = model.rpn.propose(output, batch, ProposalRule(60, 50, 0.7, 1e-3))
    few = model.rpn.propose(output, batch, ProposalRule(60, 7, 0.7, 1e-3))
    assert all(torch.equal(some, boxes[:7]) for some, boxes in zip(few, many, strict=True))


def test_proposals_carry_no_gradient(build, batch) -> None:
    model = build()
    output = model.rpn(model._levels(batch), batch)
    assert output.deltas.requires_grad
    assert not any(boxes.requires_grad for boxes in model.rpn.propose(output, batch, model.train_proposals))
