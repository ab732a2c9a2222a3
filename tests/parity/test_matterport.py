"""matterport's Mask R-CNN gives here the numbers that its PyTorch port gave, from the input to gradients.

Coordinates were recorded as y x, in the padded square or as shares of its side. The photographs may not ship with the
project, so these tests need ../shared.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from agreement import (
    GRADIENTS,
    HEADS,
    INPUT,
    LOSS_NAMES,
    LOSSES,
    MAPS,
    MASK_PROBABILITIES,
    SCORES,
    assert_masks_agree,
    assert_proposals_agree,
    matching,
    near_sum,
)
from recorded import DottedCase
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou
from tracing import features_of

import maskwright as mw
from maskwright.models.mask_rcnn import object_matching, rpn
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.ops import sampling
from maskwright.ops.matching import BACKGROUND, Matches, match_boxes
from maskwright.ops.sampling import Sample
from maskwright.predict.losses import loss_sums

SIDE_PX = 1024


@pytest.fixture(scope="module")
def case(shared) -> DottedCase:
    return DottedCase(shared / "parity" / "matterport" / "resnet101_coco")


@pytest.fixture(scope="module")
def predictor(case, checkpoint) -> mw.Predictor:
    return mw.load(case.recipe, checkpoint, device="cpu")


# the second was recorded with torchvision's suppression instead of the port's own
@pytest.fixture(scope="module", params=["", "plain_nms."], ids=["inclusive", "plain"])
def run(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def run_predictor(case, run, checkpoint, predictor) -> mw.Predictor:
    return mw.load(case.recipe, checkpoint, device="cpu", overrides={"suppression": "plain"}) if run else predictor


@pytest.fixture(scope="module")
def proposals(case, run) -> Tensor:
    """The recorded ones, in pixels of the network input."""
    return swapped(case.expected[f"{run}rois_normalized"]) * SIDE_PX


@pytest.fixture(scope="module")
def detected(run_predictor, proposals, trace) -> mw.Instances:
    """What the network finds in the recorded proposals, at the network's size.

    A RoI at the end of the map ends there to the last bit or one bit later, where crop-and-resize reads zeros: the last
    digits of a free proposal may decide about a detection.
    """
    model = run_predictor.model
    with (
        torch.inference_mode(),
        mock.patch.object(model, "encode", return_value=trace.levels),
        mock.patch.object(model.rpn, "propose", return_value=[proposals]),
    ):
        (found,) = model.detect(trace.batch)
    return found


def swapped(values: Any) -> Tensor:
    """Between y x y x or y x h w and x y x y or x y w h, along the last axis."""
    return torch.as_tensor(values)[..., [1, 0, 3, 2]]


def test_network_input_agrees_to_the_last_bits(case, trace) -> None:
    assert case.difference("input", trace.batch.pixels) < INPUT
    assert swapped(trace.batch.windows[0]).tolist() == case.expected["window"].tolist()


def test_backbone_and_pyramid_agree(case, predictor, trace) -> None:
    with torch.inference_mode():
        stem = predictor.model.backbone.pooling(predictor.model.backbone.stem(trace.batch.pixels))
    maps = {f"backbone.C{number}": stage for number, stage in enumerate([stem, *trace.stages], start=1)}
    maps |= {f"fpn.P{number}": level for number, level in enumerate(trace.levels, start=2)}
    differences = {name: case.difference(name, map_) for name, map_ in maps.items()}
    assert max(differences.values()) < MAPS, differences


@torch.inference_mode()
def test_scores_and_deltas_of_all_anchors_agree(case, predictor, trace) -> None:
    head = predictor.model.rpn.head
    both = [head.objectness(F.relu(head.convs[0](level))).permute(0, 2, 3, 1).flatten(1, 3) for level in trace.levels]
    logits = torch.cat(both, dim=1).unflatten(1, (-1, 2))
    assert case.difference("rpn.class_logits", logits) < MAPS
    scores = trace.rpn.logits.sigmoid()
    assert case.difference("rpn.probs", torch.stack([1 - scores, scores], dim=2)) < SCORES
    assert case.difference("rpn.bbox", swapped(trace.rpn.deltas)) < MAPS
    best = scores[0].topk(predictor.recipe.rpn.test_proposals_before_nms).values
    assert case.apart(best[[0, -1]], case.expected["rpn.score_of_first_and_last_kept"]) < SCORES


def test_anchors_are_the_same(case, trace) -> None:
    anchors = swapped(trace.rpn.anchors)
    assert case.difference("anchors", anchors) < 1e-4  # the port computes them in double precision
    assert case.apart(anchors[:12], case.expected["anchors.first"]) < 1e-5
    assert case.apart(anchors[-12:], case.expected["anchors.last"]) < 1e-4


def test_proposals_are_the_same_but_for_a_few(run_predictor, proposals, trace) -> None:
    model = run_predictor.model
    assert_proposals_agree(model.rpn.propose(trace.rpn, trace.batch, model.test_proposals)[0], proposals)


@torch.inference_mode()
def test_box_head_agrees_on_the_recorded_proposals(case, run, predictor, proposals, trace) -> None:
    model = predictor.model
    features = features_of(model, trace.levels)

    def outputs(key: str, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Our logits and deltas of the RoIs of samples, their indices in a row, and what was recorded."""
        index = torch.from_numpy(case.expected[f"{key}.index"])
        pooled = features.pool([proposals[index // width]], model.boxes.pool_px)
        return (*model.box_head(pooled), index % width, torch.from_numpy(case.expected[f"{key}.value"]))

    sample = torch.arange(128)
    logits, _, cell, recorded = outputs(f"{run}classifier.logits", 81)
    assert case.apart(logits.roll(1, dims=1)[sample, cell], recorded) < HEADS
    logits, _, cell, recorded = outputs(f"{run}classifier.probs", 81)
    assert case.apart(logits.softmax(dim=1).roll(1, dims=1)[sample, cell], recorded) < SCORES
    _, deltas, cell, recorded = outputs(f"{run}classifier.deltas", 81 * 4)
    with_background = torch.cat([torch.zeros(128, 4), swapped(deltas).flatten(1)], dim=1)
    is_read = cell >= 4  # nothing reads the background's
    assert case.apart(with_background[sample, cell][is_read], recorded[is_read]) < HEADS


def test_detections_in_the_recorded_proposals_agree(case, run, detected, trace) -> None:
    recorded = torch.from_numpy(case.expected[f"{run}detections"])
    # boxes without area overlap nothing, but no two scores are equal
    indices = (recorded[:, 5:] - detected.scores).abs().argmin(dim=1)
    assert sorted(indices.tolist()) == list(range(len(detected)))
    found = detected[indices]
    assert torch.equal(swapped(found.boxes + trace.batch.shifts[0]), recorded[:, :4])
    assert torch.equal(found.labels + 1, recorded[:, 4].long())
    assert (found.scores - recorded[:, 5]).abs().max() < SCORES
    assert case.apart(found.masks.probabilities, case.expected[f"{run}mask_28_of_detected_class"]) < MASK_PROBABILITIES


def test_final_detections_in_the_recorded_proposals_agree(case, run, run_predictor, detected) -> None:
    names = ("rois", "class_ids", "scores", "mask_size", "mask_area", "mask_rle")
    rois, class_ids, scores, size, areas, counts = (case.expected[f"{run}final.{name}"] for name in names)
    found = run_predictor.preprocess.restore(detected, tuple(size.tolist()))
    boxes, labels = swapped(rois).float(), torch.from_numpy(class_ids) - 1
    found = found[matching(found.boxes, found.labels, boxes, labels)]
    assert torch.equal(found.boxes, boxes)
    assert case.apart(found.scores, scores) < SCORES
    assert found.masks.areas().tolist() == areas.tolist()
    assert_masks_agree(found.masks.bitmaps(), [{"size": size.tolist(), "counts": bytes(one)} for one in counts])


def test_the_predictor_finds_the_recorded_detections_but_for_two_at_most(case, trace) -> None:
    found, recorded = trace.in_image, swapped(case.expected["final.rois"]).float()
    overlaps = box_iou(recorded, found.boxes)
    overlaps *= torch.from_numpy(case.expected["final.class_ids"])[:, None] - 1 == found.labels
    assert (overlaps.amax(dim=1) == 1).sum() >= len(recorded) - 2
    assert (overlaps.amax(dim=0) == 1).sum() >= len(found) - 2


# Training: the port's draws were recorded, or are the first of the candidates


@pytest.fixture(scope="module")
def training_image(case) -> Any:
    return case.images / case.training["image"]


@pytest.fixture(scope="module")
def targets(case, predictor) -> mw.Targets:
    height, width, _ = case.training["image_shape_hwc"]
    return mw.Targets.from_coco(case.training["annotations"], (height, width), predictor.categories)


@pytest.fixture(scope="module")
def positives(case) -> Tensor:
    """Anchors."""
    return torch.tensor(case.training["runs"][0]["rpn_match_positive_anchor_index"])


@pytest.fixture(scope="module")
def negatives(case) -> Tensor:
    """Anchors."""
    return torch.tensor(case.training["runs"][0]["rpn_match_negative_anchor_index"])


@pytest.fixture
def recorded_draws(positives, negatives, monkeypatch) -> None:
    """The second stage takes the first of its candidates, the first stage the recorded anchors."""

    def match(boxes: Tensor, gt_boxes: Tensor, *rule: Any, **more: Any) -> Matches:
        matches = match_boxes(boxes, gt_boxes, *rule, **more)
        if not rule[-1]:  # the second stage
            return matches
        # of equally good anchors another may be the first in double precision
        best = box_iou(boxes[positives], gt_boxes).argmax(dim=1)
        return Matches(matches.objects.index_put((positives,), best), matches.ious)

    monkeypatch.setattr(object_matching, "match_boxes", match)
    monkeypatch.setattr(rpn, "sample_balanced", lambda *_, **__: Sample(positives, negatives))
    monkeypatch.setattr(sampling, "choose", lambda candidates, count, _: candidates[:count])


def test_anchors_are_matched_as_recorded_but_for_equals(trace, predictor, positives, negatives, targets) -> None:
    preprocess, anchors = predictor.preprocess, trace.rpn.anchors
    size = preprocess.resize.scaled_size(targets.size)
    truth = TrueObjects.of(preprocess.targets(targets, size).moved(*corner_of(size), (SIDE_PX, SIDE_PX)))
    objects = truth.match(anchors, predictor.model.rpn.matching).objects
    ours = torch.nonzero(objects >= 0).flatten()
    assert len(ours) == len(positives)
    assert (objects[negatives] == BACKGROUND).all()
    ious = box_iou(truth.single.boxes, anchors)
    is_best = (ious[:, positives] > ious.amax(dim=1, keepdim=True) - 1e-5).any(dim=0)
    assert (is_best | torch.isin(positives, ours)).all()


def corner_of(size: tuple[int, int]) -> tuple[int, int]:
    return (SIDE_PX - size[0]) // 2, (SIDE_PX - size[1]) // 2


@pytest.fixture(scope="module", params=[True, False], ids=["mini-masks", "whole-masks"])
def training_run(request, case) -> dict[str, Any]:
    (run,) = [run for run in case.training["runs"] if run["use_mini_mask"] == request.param]
    return run


@pytest.fixture(scope="module")
def trained(case, training_run, predictor, checkpoint) -> mw.Predictor:
    if training_run["use_mini_mask"]:
        return predictor
    return mw.load(case.recipe, checkpoint, device="cpu", overrides={"mask_head.mini_mask_px": None})


@pytest.mark.usefixtures("recorded_draws")
def test_losses_agree(training_run, trained, training_image, targets) -> None:
    found = mw.losses(trained, [training_image], [targets])
    recorded = training_run["losses"]
    assert found == {LOSS_NAMES[name]: pytest.approx(value, rel=LOSSES) for name, value in recorded.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("recorded_draws")
def test_gradients_agree(case, training_run, trained, training_image, targets) -> None:
    sums = loss_sums(trained, [training_image], [targets])
    torch.stack([loss.mean() for loss in sums.values()]).sum().backward()
    ours = {name: one.grad for name, one in trained.model.named_parameters() if one.grad is not None}
    trained.model.zero_grad(set_to_none=True)
    gradients = case.in_their_order(ours)
    for name, recorded in training_run["grad_l2_before_clipping"].items():
        gradient = gradients[name].double()
        assert gradient.norm().item() == pytest.approx(recorded["l2"], rel=GRADIENTS), name
        assert gradient.sum().item() == near_sum(gradient, recorded), name
        values = gradient[recorded["sample_index"]]
        assert np.allclose(values, recorded["sample_value"], rtol=GRADIENTS, atol=GRADIENTS / 10 * recorded["l2"]), name
