"""Mask heads: only what is asked is computed, and the ablations of the paper's table 2 are what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.models.mask_rcnn.mask_head import FcnMaskHead, MaskHead, MaskPasting, MaskRule, MlpMaskHead
from maskwright.models.mask_rcnn.mask_targets import MaskTargets, sample_mask_targets
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample

NUM_CLASSES, POOL_PX, MASK_PX = 3, 4, 8
TARGETS = MaskTargets("aligned", 2, None, False)
PASTING = MaskPasting("bordered", False, 0.5)
COMPETITIONS = ("per_class", "agnostic", "softmax")
CHANNELS = {"per_class": 3, "agnostic": 1, "softmax": 4}


def rule_of(competition: str, **changes: Any) -> MaskRule:
    numbers = {"pool_px": POOL_PX, "mask_px": MASK_PX, "num_classes": NUM_CLASSES, "targets": TARGETS}
    return MaskRule(**{**numbers, "competition": competition, "rois_per_image": None, "pasting": PASTING, **changes})


def head_of(kind: str, competition: str) -> MaskHead:
    torch.manual_seed(0)
    rule = rule_of(competition)
    if kind == "mlp":
        head: MaskHead = MlpMaskHead(in_channels=5, cells_px=POOL_PX, width=12, rule=rule)
    else:
        head = FcnMaskHead(in_channels=5, num_convs=2, width=8, norm="none", norm_eps=1e-5, has_biases=False, rule=rule)
    with torch.no_grad():
        for name, bias in head.named_parameters():
            if name.endswith("bias"):
                bias.copy_(torch.rand_like(bias))
    return head.eval()


@pytest.fixture(params=[(kind, how) for kind in ("fcn", "mlp") for how in COMPETITIONS], ids=" ".join)
def head(request) -> MaskHead:
    return head_of(*request.param)


@pytest.fixture
def pooled() -> Tensor:
    return torch.randn((6, 5, POOL_PX, POOL_PX), generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([2, 0, 1, 1, 2, 0])


def test_there_is_a_mask_for_each_class_one_for_all_or_one_for_the_background_too(head, pooled) -> None:
    channels = head.channels(pooled, None)
    assert channels.shape == (6, CHANNELS[head.rule.competition], MASK_PX, MASK_PX)
    assert head(pooled, LABELS).shape == (6, MASK_PX, MASK_PX)


def test_logits_of_the_asked_channel_are_those_of_the_whole_predictor(head, pooled) -> None:
    indices = LABELS % head.rule.num_channels
    every = head.channels(pooled, None)
    assert torch.allclose(head.channels(pooled, indices), every[range(6), indices], atol=1e-5)


def test_the_logits_of_a_pixel_give_the_probability_that_its_competition_says(head, pooled) -> None:
    every = head.channels(pooled, None)
    wanted = {
        "per_class": lambda: every.sigmoid()[range(6), LABELS],
        "agnostic": lambda: every.sigmoid()[:, 0],
        "softmax": lambda: every.softmax(dim=1)[range(6), LABELS],
    }[head.rule.competition]()
    assert torch.allclose(head(pooled, LABELS).sigmoid(), wanted, atol=2e-6)


@pytest.mark.parametrize("height", [1e3, -1e3])
def test_a_share_of_nothing_or_all_has_finite_logits_and_gradients(height) -> None:
    head, pooled = head_of("fcn", "softmax"), torch.ones((1, 5, POOL_PX, POOL_PX))
    with torch.no_grad():
        head.logits.bias.copy_(torch.tensor([height, 0.0, 0.0, 0.0]))
    logits = head(pooled, torch.tensor([0]))
    assert (logits > 10).all() if height > 0 else (logits < -10).all()
    logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


@pytest.mark.parametrize("kind", ["fcn", "mlp"])
def test_without_competition_the_other_classes_predictors_do_not_run(kind, pooled) -> None:
    head = head_of(kind, "per_class")
    head(pooled, torch.full((6,), 1)).sum().backward()
    per_class = head.logits.weight.grad.reshape(NUM_CLASSES, -1).abs().sum(dim=1)
    assert per_class[1] > 0 and per_class[0] == per_class[2] == 0


def test_the_whole_convolution_is_the_published_head(build) -> None:
    head = build().mask_head
    pooled = torch.randn((5, 16, 14, 14), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0, 1, 1, 2])
    features = pooled
    for conv in head.convs:
        features = conv(features).relu()
    all_logits = F.conv2d(head.upsample(features).relu(), head.logits.weight, head.logits.bias)
    assert all_logits.shape == (5, 3, 28, 28)
    assert torch.allclose(head(pooled, labels), all_logits[range(5), labels], atol=1e-5)


def test_two_connected_layers_see_all_cells_and_predict_all_pixels(pooled) -> None:
    head = head_of("mlp", "per_class")
    vectors = pooled.flatten(1)
    for layer in head.fcs:
        vectors = F.linear(vectors, layer.weight, layer.bias).relu()
    wanted = F.linear(vectors, head.logits.weight, head.logits.bias).reshape(6, NUM_CLASSES, MASK_PX, MASK_PX)
    assert torch.allclose(head.channels(pooled, None), wanted, atol=1e-6)


def test_masks_of_no_object_are_no_masks(head) -> None:
    nothing = head(torch.zeros((0, 5, POOL_PX, POOL_PX)), torch.zeros(0, dtype=torch.int64))
    assert nothing.shape == (0, MASK_PX, MASK_PX)


# losses


@pytest.fixture
def truth(make_targets) -> list[TrueObjects]:
    return [TrueObjects.of(make_targets([(4, 6, 20), (30, 40, 30)])), TrueObjects.of(make_targets([(10, 50, 16)]))]


@pytest.fixture
def samples(truth) -> list[RoiSample]:
    """Four RoIs of the first image, two of the second; each covers its object in part."""
    shifts = torch.tensor([[3.0, -2.0, 1.0, 4.0], [-4.0, 3.0, -2.0, -6.0]])
    objects = torch.tensor([1, 0, 1, 0])
    first = truth[0].single.boxes[objects] + shifts.repeat(2, 1) * torch.tensor([1.0, 1.0, 2.0, 2.0])[:, None]
    second = truth[1].single.boxes + shifts
    return [
        RoiSample(first, truth[0].single.labels[objects], objects),
        RoiSample(second, truth[1].single.labels[[0, 0]], torch.zeros(2, dtype=torch.int64)),
    ]


def true_masks(samples, truth) -> Tensor:
    parts = zip(samples, truth, strict=True)
    return torch.cat(
        [sample_mask_targets(TARGETS, one.single, sample.rois, sample.objects, MASK_PX) for sample, one in parts]
    )


def test_the_loss_is_the_mean_over_pixels_and_rois_of_their_cross_entropy(head, pooled, samples, truth) -> None:
    loss = head.loss_of(pooled, samples, truth)
    labels = torch.cat([sample.labels for sample in samples])
    wanted, every = true_masks(samples, truth), head.channels(pooled, None)
    assert 0 < wanted.mean() < 1
    if head.rule.competition == "softmax":
        classes = [
            [[label if pixel >= 0.5 else NUM_CLASSES for pixel in row] for row in mask]
            for label, mask in zip(labels.tolist(), wanted.tolist(), strict=True)
        ]
        oracle = F.cross_entropy(every, torch.tensor(classes))
    else:
        indices = labels if head.rule.competition == "per_class" else torch.zeros_like(labels)
        oracle = F.binary_cross_entropy(every.sigmoid()[range(6), indices], wanted)
    assert loss.mean().item() == pytest.approx(oracle.item(), rel=1e-5)
    assert loss.count == 6


def test_the_loss_of_a_batch_is_the_joined_sum_of_its_images(head, pooled, samples, truth) -> None:
    together = head.loss_of(pooled, samples, truth)
    parts = [head.loss_of(pooled[:4], samples[:1], truth[:1]), head.loss_of(pooled[4:], samples[1:], truth[1:])]
    assert together.total.item() == pytest.approx(sum(part.total.item() for part in parts), rel=1e-5)
    assert together.count == sum(part.count for part in parts)


def test_no_positive_costs_nothing_and_still_gives_gradients(head, make_targets) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    empty = RoiSample(torch.zeros((0, 4)), none, none)
    truth = TrueObjects.of(make_targets([]))
    loss = head.loss_of(torch.zeros((0, 5, POOL_PX, POOL_PX)), [empty, empty], [truth, truth])
    assert loss.mean() == 0
    loss.mean().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("kind", ["fcn", "mlp"])
@pytest.mark.parametrize("competition", COMPETITIONS)
def test_a_few_steps_bring_the_masks_to_what_they_should_be(kind, competition, pooled, samples, truth) -> None:
    head = head_of(kind, competition)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(120):
        optimiser.zero_grad()
        head.loss_of(pooled, samples, truth).mean().backward()
        optimiser.step()
    labels = torch.cat([sample.labels for sample in samples])
    found, wanted = head(pooled, labels).sigmoid(), true_masks(samples, truth)
    is_clear = (wanted - 0.5).abs() > 0.2  # of the others half is object
    assert is_clear.float().mean() > 0.8
    assert ((found >= 0.5) == (wanted >= 0.5))[is_clear].float().mean() > 0.97
