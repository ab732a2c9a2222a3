"""Box heads behind each other, against the cascade written out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.models.mask_rcnn.box_stages import BoxStages
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample, label_rois
from maskwright.models.mask_rcnn.roi_features import PoolingRule, RoiFeatures
from maskwright.models.mask_rcnn.rules import BoxRegression, MatchingRule
from maskwright.ops.box_coding import decode_boxes, encode_boxes

STAGE_WEIGHTS = [(10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)]
IOUS = (0.5, 0.6, 0.7)
NUM_CLASSES, PX = 3, 3
# the first image fills the input, the second lies inside of it
WINDOWS = torch.tensor([[0.0, 0.0, 96.0, 64.0], [8.0, 4.0, 70.0, 60.0]])


def head_of(stage: int, spread: float = 0.3, *, is_agnostic: bool = True) -> BoxHead:
    torch.manual_seed(stage)
    head = BoxHead(
        in_channels=4,
        cells_px=PX,
        num_convs=0,
        conv_channels=1,
        norm="none",
        num_fcs=1,
        fc_channels=8,
        fc_norm="none",
        norm_eps=1e-5,
        has_biases=False,
        num_classes=NUM_CLASSES,
        is_class_agnostic=is_agnostic,
        regression=BoxRegression(STAGE_WEIGHTS[stage], 0.0),
        normalizer="sampled_rois",
    )
    nn.init.normal_(head.class_logits.weight, std=0.5)
    nn.init.normal_(head.deltas.weight, std=spread * STAGE_WEIGHTS[stage][0] / 10)
    return head


def stages_of(*heads: BoxHead) -> BoxStages:
    matchings = [MatchingRule(iou, iou, None, keeps_best_of_each_object=False) for iou in IOUS[1:]]
    return BoxStages(heads[0], nn.ModuleList(heads[1:]), tuple(matchings[: len(heads) - 1]), PX)


@pytest.fixture
def features() -> RoiFeatures:
    maps = torch.randn((2, 4, 16, 24), generator=torch.Generator().manual_seed(0)).requires_grad_()
    return RoiFeatures([maps], (4,), PoolingRule(224, 4, "floor_after", "align", 2, True), nn.Identity())


@pytest.fixture
def truth(targets) -> list[TrueObjects]:
    return [TrueObjects.of(target) for target in targets]


@pytest.fixture
def proposals(truth) -> list[Tensor]:
    """Around the objects, and elsewhere."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for objects in truth:
        near = objects.single.boxes.repeat(6, 1)
        near = near + 3 * torch.randn(near.shape, generator=generator)
        corners = torch.rand((6, 2, 2), generator=generator) * torch.tensor([96.0, 64.0])
        far = torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 2], dim=1)
        found.append(torch.cat([near, far]))
    return found


@pytest.fixture
def samples(proposals, truth) -> list[RoiSample]:
    matching = MatchingRule(0.5, 0.5, None, keeps_best_of_each_object=False)
    return label_rois(proposals, truth, matching=matching, num_classes=NUM_CLASSES)


def clipped(boxes: Tensor, window: Tensor) -> Tensor:
    return torch.stack([boxes[:, side].clamp(window[side % 2], window[side % 2 + 2]) for side in range(4)], dim=1)


def test_without_further_heads_all_is_as_with_one(features, proposals, samples, truth) -> None:
    head = head_of(0)
    stages = stages_of(head)
    logits, deltas = head(features.pool(proposals, PX))
    found = stages.classify(features, proposals, WINDOWS)
    assert stages.heads == (head,)
    assert torch.equal(torch.cat([image.scores for image in found]), logits.softmax(dim=1))
    assert torch.equal(torch.cat([image.deltas for image in found]), deltas)
    assert all(torch.equal(image.rois, rois) for image, rois in zip(found, proposals, strict=True))

    together = stages.losses(features, samples, truth, WINDOWS)[0]
    plain = head.losses(*head(features.pool([sample.rois for sample in samples], PX)), samples, truth)
    for name, loss in together.items():
        assert (loss.total, loss.count) == (plain[name].total, plain[name].count)
        (ours,), (theirs,) = (
            torch.autograd.grad(one.total, features.levels, retain_graph=True) for one in (loss, plain[name])
        )
        assert torch.allclose(ours, theirs)


def test_scores_are_the_mean_of_all_heads_and_boxes_those_of_the_last(features, proposals) -> None:
    heads = [head_of(stage) for stage in range(3)]
    stages = stages_of(*heads)
    found = stages.classify(features, proposals, WINDOWS)

    rois, scores = proposals, []
    for stage, head in enumerate(heads):
        logits, deltas = head(features.pool(rois, PX))
        scores.append(logits.softmax(dim=1))
        if stage < 2:
            counts = [len(boxes) for boxes in rois]
            moved = decode_boxes(deltas[:, 0], torch.cat(rois), STAGE_WEIGHTS[stage]).split(counts)
            rois = [clipped(boxes, window) for boxes, window in zip(moved, WINDOWS, strict=True)]
    assert torch.allclose(torch.cat([image.scores for image in found]), sum(scores) / 3, atol=1e-5)
    assert torch.allclose(torch.cat([image.deltas for image in found]), deltas, atol=1e-4)
    assert all(torch.allclose(image.rois, boxes, atol=1e-3) for image, boxes in zip(found, rois, strict=True))


def test_boxes_are_clipped_to_their_image_between_the_heads(features, proposals) -> None:
    far = [head_of(0, spread=5.0), head_of(1)]
    for image, window, boxes in zip(
        stages_of(*far).classify(features, proposals, WINDOWS), WINDOWS, proposals, strict=True
    ):
        assert (image.rois >= window[[0, 1, 0, 1]]).all() and (image.rois <= window[[2, 3, 2, 3]]).all()
        assert not torch.equal(image.rois, boxes)
        assert len(image.rois) == len(boxes)


def stage_loss(
    head: BoxHead, features: RoiFeatures, rois: list[Tensor], truth, iou: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Class loss, box loss and deltas of one head, images in order, by the formulas."""
    logits, deltas = head(features.pool(rois, PX))
    labels, wanted, is_positive = [], [], []
    for boxes, objects in zip(rois, truth, strict=True):
        overlap, best = box_iou(boxes, objects.single.boxes).max(dim=1)
        is_positive.append(overlap >= iou)
        labels.append(torch.where(overlap >= iou, objects.single.labels[best], NUM_CLASSES))
        wanted.append(encode_boxes(objects.single.boxes[best], boxes, head.regression.weights))
    positive = torch.cat(is_positive)
    class_loss = F.cross_entropy(logits, torch.cat(labels))
    box_loss = (deltas[positive, 0] - torch.cat(wanted)[positive]).abs().sum() / len(logits)
    assert 0 < positive.sum() < len(positive)
    return class_loss, box_loss, deltas.detach()


def test_losses_add_up_and_each_head_passes_its_share_of_the_gradient_on(features, samples, truth) -> None:
    heads = [head_of(stage) for stage in range(3)]
    found = stages_of(*heads).losses(features, samples, truth, WINDOWS)[0]

    rois, class_losses, box_losses = [sample.rois for sample in samples], [], []
    for stage, head in enumerate(heads):
        class_loss, box_loss, deltas = stage_loss(head, features, rois, truth, IOUS[stage])
        class_losses.append(class_loss)
        box_losses.append(box_loss)
        moved = decode_boxes(deltas[:, 0], torch.cat(rois), STAGE_WEIGHTS[stage]).split([len(boxes) for boxes in rois])
        rois = [clipped(boxes, window) for boxes, window in zip(moved, WINDOWS, strict=True)]
        rois = [boxes[((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)] for boxes in rois]

    maps = features.levels[0]
    weights = [parameter for head in heads for parameter in head.parameters()]
    for name, stages in (("class", class_losses), ("box", box_losses)):
        mean, wanted = found[name].mean(), sum(stages)
        assert mean.item() == pytest.approx(wanted.item(), rel=1e-5)
        (through_maps,) = torch.autograd.grad(mean, maps, retain_graph=True)
        (all_through_maps,) = torch.autograd.grad(wanted, maps, retain_graph=True)
        assert all_through_maps.abs().max() > 1e-4
        assert torch.allclose(through_maps, all_through_maps / 3, rtol=1e-4, atol=1e-6)
        for ours, theirs in zip(
            torch.autograd.grad(mean, weights, retain_graph=True, allow_unused=True),
            torch.autograd.grad(wanted, weights, retain_graph=True, allow_unused=True),
            strict=True,
        ):
            assert (ours is None) == (theirs is None)
            assert ours is None or torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("is_agnostic", [True, False])
def test_other_heads_learn_on_the_rois_or_on_the_boxes_that_the_first_makes_of_them(
    features, samples, truth, is_agnostic
) -> None:
    head = head_of(0, is_agnostic=is_agnostic)
    stages = stages_of(head)
    _, same = stages.losses(features, samples, truth, WINDOWS)
    assert same is samples
    losses, refined = replace(stages, refines_for_heads=True).losses(features, samples, truth, WINDOWS)
    plain, _ = stages.losses(features, samples, truth, WINDOWS)
    assert {name: loss.total for name, loss in losses.items()} == {name: loss.total for name, loss in plain.items()}
    for sample, moved in zip(samples, refined, strict=True):
        rois = [each.rois if each is sample else each.rois[:0] for each in samples]
        _, deltas = head(features.pool(rois, PX))
        assert not moved.rois.requires_grad
        assert (moved.labels is sample.labels) and (moved.objects is sample.objects)
        assert len(moved.rois) == len(sample.rois)
        for index, label in enumerate(sample.positives().labels.tolist()):
            wanted = decode_boxes(deltas[index, 0 if is_agnostic else label], sample.rois[index], STAGE_WEIGHTS[0])
            assert torch.allclose(moved.rois[index], wanted, atol=1e-4)


def _moving_everything_away(head: BoxHead) -> BoxHead:
    with torch.no_grad():
        head.deltas.weight.zero_()
        head.deltas.bias.copy_(torch.tensor([1e4, 0.0, 0.0, 0.0]))
    return head


def test_a_stage_without_any_roi_left_costs_nothing_and_still_has_gradients(features, samples, truth) -> None:
    first, second, third = _moving_everything_away(head_of(0)), head_of(1), head_of(2)
    losses = stages_of(first, second, third).losses(features, samples, truth, WINDOWS)[0]
    alone = stages_of(first).losses(features, samples, truth, WINDOWS)[0]
    assert all(losses[name].mean().item() == pytest.approx(alone[name].mean().item()) for name in alone)
    sum(loss.mean() for loss in losses.values()).backward()
    for head in (first, second, third):
        assert all(one.grad is not None and one.grad.isfinite().all() for one in head.parameters())


def test_boxes_without_area_are_classified_but_not_trained_on(features, proposals) -> None:
    heads = [_moving_everything_away(head_of(0)), head_of(1)]
    found = stages_of(*heads).classify(features, proposals, WINDOWS)
    assert [len(image.rois) for image in found] == [len(boxes) for boxes in proposals]
    assert all(image.scores.isfinite().all() and image.deltas.isfinite().all() for image in found)


def test_images_without_rois_are_no_trouble(features, samples, truth) -> None:
    heads = [head_of(stage) for stage in range(3)]
    none = torch.zeros(0, dtype=torch.int64)
    empty = RoiSample(torch.zeros((0, 4)), none, none)
    stages = stages_of(*heads)
    for some in ([samples[0], empty], [empty, samples[1]], [empty, empty]):
        losses, _ = stages.losses(features, some, truth, WINDOWS)
        assert all(loss.total.isfinite() for loss in losses.values())
        found = stages.classify(features, [one.rois for one in some], WINDOWS)
        assert [len(image.scores) for image in found] == [len(one.rois) for one in some]
    assert all(loss.mean() == 0 for loss in losses.values())


def test_layers_that_all_heads_share_run_on_what_each_pools(features, proposals) -> None:
    doubled = replace(features, shared=nn.AvgPool2d(2))
    assert torch.equal(doubled.pool(proposals, 6), F.avg_pool2d(features.pool(proposals, 6), 2))
