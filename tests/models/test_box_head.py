"""The box head's forms: with and without fully connected layers, normalised ones, one box for all classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.linear_norm import LinearNorm
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.rules import BoxRegression
from maskwright.ops.box_coding import encode_boxes

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def head_of(**changes: Any) -> BoxHead:
    numbers: dict[str, Any] = {
        "in_channels": 4,
        "cells_px": 3,
        "num_convs": 0,
        "conv_channels": 5,
        "norm": "none",
        "num_fcs": 2,
        "fc_channels": 6,
        "fc_norm": "none",
        "norm_eps": 1e-3,
        "has_biases": False,
        "num_classes": 3,
        "is_class_agnostic": False,
        "regression": BoxRegression(WEIGHTS, 1.0),
        "normalizer": "sampled_rois",
    }
    torch.manual_seed(0)
    return BoxHead(**{**numbers, **changes}).eval()


def pooled_features(count: int = 7) -> Tensor:
    return torch.randn((count, 4, 3, 3), generator=torch.Generator().manual_seed(1))


def disturb_(norm: nn.Module) -> None:
    """Statistics and weights that are not those of the start."""
    with torch.no_grad():
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(2)) + 0.5)


def test_scores_have_the_background_last_and_boxes_a_place_for_each_class() -> None:
    logits, deltas = head_of()(pooled_features())
    assert (logits.shape, deltas.shape) == ((7, 4), (7, 3, 4))
    logits, deltas = head_of(is_class_agnostic=True)(pooled_features())
    assert (logits.shape, deltas.shape) == ((7, 4), (7, 1, 4))


def test_deltas_of_a_class_are_its_four_rows_of_the_predictor() -> None:
    head = head_of()
    with torch.no_grad():
        head.deltas.weight.zero_()
        head.deltas.bias.copy_(torch.arange(12.0))
    assert head(pooled_features(1))[1].tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]


def test_without_fully_connected_layers_the_mean_of_the_cells_is_predicted_from() -> None:
    head = head_of(num_fcs=0)
    pooled = pooled_features()
    logits, deltas = head(pooled)
    assert len(head.fcs) == 0 and head.class_logits.in_features == 4
    assert torch.allclose(logits, head.class_logits(pooled.mean(dim=(2, 3))), atol=1e-6)
    assert torch.allclose(deltas.flatten(1), head.deltas(pooled.mean(dim=(2, 3))), atol=1e-6)
    shuffled = pooled.flatten(2)[:, :, torch.randperm(9)].unflatten(2, (3, 3))
    assert torch.allclose(head(shuffled)[0], logits, atol=1e-6)


def test_convolutions_and_layers_follow_each_other_with_relus_between() -> None:
    head, pooled = head_of(num_convs=2, num_fcs=1), pooled_features()
    features = pooled
    for conv in head.convs:
        features = F.relu(F.conv2d(features, conv.conv.weight, conv.conv.bias, padding=1))
    vectors = F.relu(head.fcs[0](features.flatten(1)))
    assert torch.allclose(head(pooled)[0], head.class_logits(vectors), atol=1e-6)


def test_normalised_layers_are_those_of_torch() -> None:
    head, pooled = head_of(fc_norm="batch"), pooled_features()
    assert all(isinstance(fc, LinearNorm) for fc in head.fcs)
    for fc in head.fcs:
        disturb_(fc.norm)
    vectors = pooled.flatten(1)
    for fc in head.fcs:
        norm = fc.norm
        vectors = F.batch_norm(
            fc.linear(vectors), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3
        ).relu()
    assert torch.allclose(head(pooled)[0], head.class_logits(vectors), atol=1e-5)


def test_a_folded_norm_gives_the_values_and_gradients_of_an_unfolded_one() -> None:
    layer, vectors = LinearNorm(4, 5, norm_eps=1e-3).eval(), torch.randn((6, 4), requires_grad=True)
    disturb_(layer.norm)
    wanted = layer.norm(layer.linear(vectors)[:, :, None, None])[:, :, 0, 0]
    found = layer(vectors)
    assert torch.allclose(found, wanted, atol=1e-5)
    parts = [vectors, *layer.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum(), parts),
        torch.autograd.grad(wanted.square().sum(), parts),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_in_training_a_norm_takes_the_statistics_of_its_rois_and_keeps_track_of_them() -> None:
    layer, vectors = LinearNorm(4, 5, norm_eps=1e-6).train(), torch.randn((50, 4))
    found = layer(vectors)
    assert torch.allclose(found.mean(dim=0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(found.var(dim=0, correction=0), torch.ones(5), atol=1e-4)
    assert torch.allclose(layer.norm.running_mean, 0.1 * layer.linear(vectors).mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_no_roi_and_one_alone_have_no_statistics_and_leave_the_layer_as_it_is(count) -> None:
    layer = LinearNorm(4, 5, norm_eps=1e-3).train()
    disturb_(layer.norm)
    mean, variance = layer.norm.running_mean.clone(), layer.norm.running_var.clone()
    found = layer(torch.randn((count, 4)))
    assert found.shape == (count, 5) and found.isfinite().all()
    assert torch.equal(layer.norm.running_mean, mean) and torch.equal(layer.norm.running_var, variance)


# losses


@pytest.fixture
def truth(make_targets) -> list[TrueObjects]:
    return [TrueObjects.of(make_targets([(4, 6, 20), (30, 40, 30)])), TrueObjects.of(make_targets([]))]


@pytest.fixture
def samples() -> list[RoiSample]:
    """Two positives of the first image, three backgrounds."""
    rois = torch.tensor([[38.0, 31.0, 72.0, 60.0], [5.0, 5.0, 26.0, 22.0], [0.0, 40.0, 20.0, 60.0]])
    first = RoiSample(rois, torch.tensor([1, 0, 3]), torch.tensor([1, 0]))
    return [first, RoiSample(rois[1:] + 3, torch.tensor([3, 3]), torch.zeros(0, dtype=torch.int64))]


@pytest.mark.parametrize(("normalizer", "count"), [("sampled_rois", 5), ("positive_rois", 8)])
@pytest.mark.parametrize("is_class_agnostic", [False, True])
def test_losses_are_those_of_the_formulas(truth, samples, normalizer, count, is_class_agnostic) -> None:
    head = head_of(normalizer=normalizer, is_class_agnostic=is_class_agnostic)
    logits = torch.randn((5, 4), generator=torch.Generator().manual_seed(3))
    deltas = torch.randn((5, 1 if is_class_agnostic else 3, 4), generator=torch.Generator().manual_seed(4))
    losses = head.losses(logits, deltas, samples, truth)
    labels = [1, 0, 3, 3, 3]
    assert losses["class"].mean().item() == pytest.approx(F.cross_entropy(logits, torch.tensor(labels)).item())
    wanted = encode_boxes(truth[0].single.boxes[[1, 0]], samples[0].rois[:2], WEIGHTS)
    predicted = deltas[:2, 0] if is_class_agnostic else deltas[[0, 1], [1, 0]]
    assert losses["box"].total.item() == pytest.approx(F.smooth_l1_loss(predicted, wanted, reduction="sum").item())
    assert (losses["class"].count, losses["box"].count) == (5, count)


@pytest.mark.parametrize("normalizer", ["sampled_rois", "positive_rois"])
def test_no_roi_costs_nothing(truth, normalizer) -> None:
    head = head_of(normalizer=normalizer, fc_norm="batch").train()
    none = torch.zeros(0, dtype=torch.int64)
    logits, deltas = head(torch.zeros((0, 4, 3, 3)))
    losses = head.losses(logits, deltas, [RoiSample(torch.zeros((0, 4)), none, none)] * 2, truth)
    assert [loss.mean().item() for loss in losses.values()] == [0, 0]
    sum(loss.mean() for loss in losses.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_refined_rois_are_the_decoded_boxes_within_their_windows() -> None:
    head = head_of(is_class_agnostic=True)
    rois = torch.tensor([[10.0, 10.0, 20.0, 20.0], [10.0, 10.0, 20.0, 20.0]])
    wanted = torch.tensor([[12.0, 8.0, 30.0, 18.0], [-3.0, 8.0, 30.0, 50.0]])
    windows = torch.tensor([[0.0, 0.0, 64.0, 64.0], [5.0, 4.0, 25.0, 40.0]])
    found = head.refined(encode_boxes(wanted, rois, WEIGHTS)[:, None], rois, windows)
    assert torch.allclose(found, torch.tensor([[12.0, 8.0, 30.0, 18.0], [5.0, 8.0, 25.0, 40.0]]), atol=1e-4)
