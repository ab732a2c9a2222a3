"""What every recorded two-stage case is asked, from the input to gradients.

Limits are a few times what another thread count or convolution backend changed in the references themselves. Proposals
and detections are matched by overlap, since nearly equal scores may change their order.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from recorded import LOSS_NAMES
from torch import Tensor
from torchvision.ops import box_iou
from tracing import features_of

import maskwright as mw
from maskwright.structures.masks.pasting import paste_bordered

INPUT = 1e-5  # of values up to 3, or whole numbers before the mean is subtracted
MAPS = 1e-4
HEADS = 5e-4
BOXES_PX = 0.02
SCORES = 1e-4
MASK_PROBABILITIES = 1e-3
LOSSES = 1e-4
GRADIENTS = 2e-3


def matching(boxes: Tensor, labels: Tensor, recorded_boxes: Tensor, recorded_labels: Tensor) -> Tensor:
    """The index of each recorded detection among ours: same class, largest overlap; each index once."""
    overlaps = box_iou(recorded_boxes, boxes) * (recorded_labels[:, None] == labels[None, :])
    indices = overlaps.argmax(dim=1)
    assert len(boxes) == len(recorded_boxes)
    assert sorted(indices.tolist()) == list(range(len(boxes)))
    return indices


def assert_proposals_agree(proposals: Tensor, recorded: Tensor) -> None:
    """All are the same, but for a few whose scores are nearly those of their neighbours."""
    assert len(proposals) == len(recorded)
    indices = box_iou(recorded, proposals).argmax(dim=1)
    assert ((proposals[indices] - recorded).abs().amax(dim=1) > BOXES_PX).sum() <= 3


def assert_masks_agree(bitmaps: Any, rles: list[dict[str, Any]]) -> None:
    """All are the same, but for a few pixels; empty against empty is agreement."""
    from pycocotools import mask as coco_mask

    recorded = coco_mask.decode(rles).transpose(2, 0, 1).astype(bool)
    num_different = (bitmaps ^ recorded).sum(axis=(1, 2))
    union = (bitmaps | recorded).sum(axis=(1, 2))
    assert num_different.max() <= 3
    # of masks of a few hundred pixels a single one is half a percent
    assert (1 - num_different / np.maximum(union, 200)).min() > 0.98
    assert (num_different > 0).mean() < 0.2


class PredictionAgreement:
    """Inference, step by step."""

    @pytest.fixture
    def indices(self, case, trace) -> Tensor:
        """Where each recorded detection is among ours."""
        found = trace.in_image
        return matching(found.boxes, found.labels, case.tensor("final/0/boxes"), case.labels("final/0/labels"))

    def test_network_input_agrees_to_the_last_bits(self, case, trace) -> None:
        if "input/image_sizes" in case.expected:
            assert [list(size) for size in trace.batch.sizes] == case.expected["input/image_sizes"].tolist()
        assert case.largest_difference("input", trace.batch.pixels) < INPUT

    def test_backbone_and_levels_agree(self, case, trace) -> None:
        differences = case.map_differences(trace.stages, trace.levels)
        assert max(differences.values()) < MAPS, differences

    def test_proposal_maps_agree_on_every_level(self, case, trace) -> None:
        logits = trace.rpn.logits.split(trace.rpn.level_counts, dim=1)
        deltas = trace.rpn.deltas.split(trace.rpn.level_counts, dim=1)
        for level, features in enumerate(trace.levels):
            grid = features.shape[-2:]
            objectness_map = logits[level].unflatten(1, (*grid, -1)).permute(0, 3, 1, 2)
            delta_map = deltas[level].reshape(1, *grid, -1).permute(0, 3, 1, 2)
            assert case.largest_difference(f"rpn/level{level}/objectness", objectness_map) < MAPS
            assert case.largest_difference(f"rpn/level{level}/deltas", delta_map) < MAPS

    def test_anchors_are_the_same_to_the_bit(self, case, trace) -> None:
        anchors = trace.rpn.anchors
        tables = {"anchors": anchors}
        if "anchors/rows" not in case.expected:
            levels = anchors.split(trace.rpn.level_counts)
            tables = {f"anchors/level{level}": rows for level, rows in enumerate(levels)}
        assert all(case.largest_row_difference(key, rows) == 0 for key, rows in tables.items())

    def test_proposals_are_the_same_but_for_a_few(self, case, predictor, trace) -> None:
        model = predictor.model
        (proposals,) = model.rpn.propose(trace.rpn, trace.batch, model.test_proposals)
        assert_proposals_agree(proposals, case.tensor("proposals/0/boxes"))

    @torch.inference_mode()
    def test_box_head_agrees_on_the_recorded_proposals(self, case, predictor, trace) -> None:
        model, rows = predictor.model, case.expected["box/class_logits/rows_idx"]
        assert np.array_equal(rows, case.expected["box/deltas/rows_idx"])
        pooled = features_of(model, trace.levels).pool([case.tensor("proposals/0/boxes")[rows]], model.boxes.pool_px)
        class_logits, deltas = model.box_head(pooled)
        assert (case.class_rows(class_logits) - case.tensor("box/class_logits/rows")).abs().max() < HEADS
        assert (deltas.flatten(1) - case.recorded_deltas("box/deltas/rows")).abs().max() < HEADS

    def test_detections_in_the_network_input_agree(self, case, trace) -> None:
        boxes = case.tensor("roi/0/boxes")
        indices = matching(trace.in_input.boxes, trace.in_input.labels, boxes, case.labels("roi/0/labels"))
        found = trace.in_input[indices]
        assert (found.boxes - boxes).abs().max() < 2 * BOXES_PX  # the input is larger than the image
        assert (found.scores - case.tensor("roi/0/scores")).abs().max() < SCORES
        assert (found.masks.probabilities - case.tensor("roi/0/mask_probs")).abs().max() < MASK_PROBABILITIES

    def test_final_boxes_scores_and_labels_agree(self, case, trace, indices) -> None:
        final = trace.in_image[indices]
        assert (final.boxes - case.tensor("final/0/boxes")).abs().max() < BOXES_PX
        assert (final.scores - case.tensor("final/0/scores")).abs().max() < SCORES
        assert torch.equal(final.labels, case.labels("final/0/labels"))

    def test_final_masks_agree_but_for_a_few_pixels(self, case, trace, indices) -> None:
        assert_masks_agree(trace.in_image[indices].masks.bitmaps(), case.mask_rles)


class SoftMaskAgreement:
    """Of a subclass of `PredictionAgreement`: masks before the threshold, over the whole image."""

    IS_INCLUSIVE: ClassVar[bool]

    def test_soft_masks_agree(self, case, trace, indices) -> None:
        found = trace.in_image[indices]
        masks = zip(found.masks.probabilities, found.boxes, strict=True)
        pieces = [paste_bordered(*mask, found.size, is_inclusive=self.IS_INCLUSIVE) for mask in masks]
        sums = torch.stack([piece.values.double().sum() for piece in pieces])
        assert torch.allclose(sums, case.tensor("final/0/mask_sum"), rtol=MASK_PROBABILITIES, atol=0.1)
        samples = torch.unravel_index(case.tensor("final/0/mask_soft/idx"), (len(found), *found.size))
        values = torch.tensor([value_at(pieces[mask], row, column) for mask, row, column in zip(*samples, strict=True)])
        assert (values - case.tensor("final/0/mask_soft/val")).abs().max() < MASK_PROBABILITIES


def value_at(piece: Any, row: Tensor, column: Tensor) -> float:
    """Of a part of the image, outside of which there is nothing."""
    y, x = int(row) - piece.top, int(column) - piece.left
    is_inside = 0 <= y < piece.values.shape[0] and 0 <= x < piece.values.shape[1]
    return float(piece.values[y, x]) if is_inside else 0.0


class LossAgreement:
    """The public call; samplers take all candidates, so that no chance is left."""

    def test_losses_agree(self, case, predictor, targets) -> None:
        found = mw.losses(predictor, [case.image], [targets])
        recorded = case.training["losses"]
        assert found == {LOSS_NAMES[name]: pytest.approx(value, rel=LOSSES) for name, value in recorded.items()}


def near_sum(gradient: Tensor, recorded: dict[str, Any]) -> Any:
    """The recorded sum of a gradient; noise of one sign in all its n numbers grows by √n more than its norm does."""
    noise = GRADIENTS / 20 * recorded["l2"] * math.sqrt(gradient.numel())
    return pytest.approx(recorded["sum"], rel=GRADIENTS, abs=noise)


class GradientAgreement:
    """Of the summed losses."""

    def test_gradients_agree(self, case, gradients) -> None:
        for name, recorded in case.training["grad_norms"].items():
            gradient = gradients[name].double()
            assert gradient.norm().item() == pytest.approx(recorded["l2"], rel=GRADIENTS), name
            assert gradient.sum().item() == near_sum(gradient, recorded), name

    def test_every_parameter_of_the_reference_has_a_gradient(self, case, gradients) -> None:
        assert len(gradients) == case.training["n_params_with_grad"]
        total = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients.values()))
        assert total == pytest.approx(case.training["total_grad_norm"], rel=GRADIENTS)
