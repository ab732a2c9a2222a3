"""Each loss of YOLACT against the same written out plainly: dense maps, loops and sorting."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from maskwright.models.yolact.anchor_targets import AnchorTargets, match_anchors
from maskwright.models.yolact.mask_loss import AssembledMasks, assemble_positives, mask_losses
from maskwright.models.yolact.prediction_head import HeadOutput, PredictionHead
from maskwright.models.yolact.rescoring import Rescoring
from maskwright.models.yolact.rules import LossRule, MatchingRule
from maskwright.models.yolact.semantic_head import SemanticHead
from maskwright.ops.anchors import relative_anchors
from maskwright.structures import CropMasks, Targets

RULE = LossRule(
    box_factor=1.5,
    class_factor=2.0,
    mask_factor=6.125,
    semantic_factor=0.5,
    mask_iou_factor=25.0,
    negatives_per_positive=3,
    masks_per_image=4,
    keeps_thin=False,
)
GRID = (6, 8)
MATCHING = MatchingRule(positive_iou=0.5, negative_iou=0.4, crowd_share=0.7)
NO_MASKS = CropMasks.from_crops([], (48, 64))


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# masks


def assembled(seed: int, count: int, share: float = 1.0) -> AssembledMasks:
    """Boxes inside the grid, over its border, and thinner than a pixel of the network input."""
    corners = torch.rand((count, 2, 2), generator=random(seed)) * torch.tensor([10.0, 8.0]) - 1
    boxes = corners.sort(dim=1).values.reshape(count, 4)
    if count > 2:
        boxes[1, 2] = boxes[1, 0] + 0.01
        boxes[2, 3] = boxes[2, 1]
    logits = torch.randn((count, *GRID), generator=random(seed + 1)) * 4
    true = torch.rand((count, *GRID), generator=random(seed + 2)) < 0.4
    return AssembledMasks(logits.requires_grad_(), true, boxes, torch.arange(count) % 3, share)


def inside(box: Tensor) -> Tensor:
    """(h, w) the cells at most one cell beside the box, by comparing each."""
    x1, y1, x2, y2 = box.tolist()
    rows, columns = torch.arange(GRID[0])[:, None], torch.arange(GRID[1])
    return (rows >= y1 - 1) & (rows < y2 + 1) & (columns >= x1 - 1) & (columns < x2 + 1)


def plain_mask_loss(masks: AssembledMasks) -> Tensor:
    """Sigmoid, crop, cross-entropy of the whole grid, sum, divided by the area of the box."""
    total = torch.zeros(())
    for logits, true, box in zip(masks.logits, masks.true, masks.boxes, strict=True):
        probabilities = logits.sigmoid() * inside(box)
        loss = F.binary_cross_entropy(probabilities, true.float(), reduction="sum")
        total = total + loss / ((box[2] - box[0]).clamp(min=0.25) * (box[3] - box[1]).clamp(min=0.25))
    return masks.share * total


@given(st.integers(0, 1000), st.integers(0, 6), st.sampled_from([1.0, 2.5]))
def test_mask_loss_and_its_gradient_are_those_of_dense_maps(seed: int, count: int, share: float) -> None:
    masks = assembled(seed, count, share)
    wanted = RULE.mask_factor * plain_mask_loss(masks)
    (found,) = mask_losses([masks], 7, RULE).values()
    assert found.count == 7
    torch.testing.assert_close(found.total, wanted, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(found.total, masks.logits)
    if count:
        (wanted_gradient,) = torch.autograd.grad(wanted, masks.logits)
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-4)


def test_logits_far_out_leave_the_mask_loss_finite() -> None:
    masks = assembled(0, 4)
    extreme = AssembledMasks(
        (masks.logits * 1e4).detach().requires_grad_(), masks.true, masks.boxes, masks.labels, masks.share
    )
    (found,) = mask_losses([extreme], 1, RULE).values()
    (gradient,) = torch.autograd.grad(found.total, extreme.logits)
    assert found.total.isfinite() and gradient.isfinite().all()


def anchor_targets(objects: list[int], seed: int = 0, count: int = 3) -> AnchorTargets:
    corners = torch.rand((count, 2, 2), generator=random(seed)).sort(dim=1).values
    bitmaps = torch.rand((count, 48, 64), generator=random(seed)) < 0.6
    return AnchorTargets(torch.tensor(objects), corners.reshape(count, 4), torch.arange(count) % 3, packed(bitmaps))


def packed(bitmaps: Tensor) -> CropMasks:
    count, height, width = bitmaps.shape
    return CropMasks(
        (height, width),
        bitmaps.flatten().to(torch.uint8),
        torch.zeros((count, 2), dtype=torch.int64),
        torch.tensor([[height, width]] * count),
    )


def test_positives_are_assembled_by_adding_up_prototypes() -> None:
    target = anchor_targets([-1, 2, -2, 0, 2, -1])
    prototypes = torch.rand((5, *GRID), generator=random(1))
    coefficients = torch.rand((6, 5), generator=random(2)) - 0.5
    masks = assemble_positives(prototypes, coefficients, target, key=3, rule=replace(RULE, masks_per_image=10))
    for index, (anchor, an_object) in enumerate([(1, 2), (3, 0), (4, 2)]):
        wanted = sum(coefficients[anchor, k] * prototypes[k] for k in range(5))
        torch.testing.assert_close(masks.logits[index], wanted)
        assert torch.equal(masks.true[index], target.masks.shrunk(GRID)[an_object])
        torch.testing.assert_close(masks.boxes[index], target.boxes[an_object] * torch.tensor([8.0, 6.0, 8.0, 6.0]))
        assert masks.labels[index] == target.labels[an_object]
    assert masks.share == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_above_the_limit_a_few_stand_for_all(limit: int) -> None:
    target = anchor_targets([0, 1, 2, 0, -1, 1, -2, 0])
    prototypes, coefficients = torch.rand((5, *GRID)), torch.rand((8, 5))
    rule = replace(RULE, masks_per_image=limit)
    drawn = [assemble_positives(prototypes, coefficients, target, key, rule) for key in range(20)]
    assert {len(masks.logits) for masks in drawn} == {limit}
    assert {masks.share for masks in drawn} == {6 / limit}
    assert len({tuple(masks.logits.flatten().tolist()) for masks in drawn}) > 1
    again = assemble_positives(prototypes, coefficients, target, 5, rule)
    assert torch.equal(again.logits, drawn[5].logits)


# classes and boxes


@pytest.fixture(scope="module")
def head() -> PredictionHead:
    return PredictionHead(in_channels=4, channels=4, num_convs=1, anchors_per_cell=3, num_classes=3, num_prototypes=5)


def head_output(num_images: int, num_anchors: int, seed: int) -> HeadOutput:
    corners = torch.rand((num_anchors, 2, 2), generator=random(seed)).sort(dim=1).values
    return HeadOutput(
        logits=torch.randn((num_images, num_anchors, 4), generator=random(seed)).requires_grad_(),
        deltas=torch.randn((num_images, num_anchors, 4), generator=random(seed + 1)).requires_grad_(),
        coefficients=torch.zeros((num_images, num_anchors, 5)),
        anchors=corners.reshape(num_anchors, 4) + torch.tensor([0.0, 0.0, 0.05, 0.05]),
    )


def plain_class_loss(logits: Tensor, target: AnchorTargets) -> Tensor:
    """Positives, and of the background those of least background probability, sorted one by one."""
    log_probabilities = logits.log_softmax(dim=-1)
    positives = [index for index, an_object in enumerate(target.objects.tolist()) if an_object >= 0]
    background = [index for index, an_object in enumerate(target.objects.tolist()) if an_object == -1]
    hardest = sorted(background, key=lambda index: log_probabilities[index, -1].item())[: 3 * max(len(positives), 1)]
    total = torch.zeros(())
    for index in positives:
        total = total - log_probabilities[index, target.labels[target.objects[index]]]
    for index in hardest:
        total = total - log_probabilities[index, -1]
    return total


def plain_box_loss(deltas: Tensor, anchors: Tensor, target: AnchorTargets) -> Tensor:
    total = torch.zeros(())
    for index, an_object in enumerate(target.objects.tolist()):
        if an_object < 0:
            continue
        x1, y1, x2, y2 = target.boxes[an_object].tolist()
        u1, v1, u2, v2 = anchors[index].tolist()
        width, height = u2 - u1, v2 - v1
        wanted = [
            ((x1 + x2) / 2 - (u1 + u2) / 2) / (0.1 * width),
            ((y1 + y2) / 2 - (v1 + v2) / 2) / (0.1 * height),
            math.log((x2 - x1) / width) / 0.2,
            math.log((y2 - y1) / height) / 0.2,
        ]
        for delta, value in zip(deltas[index], wanted, strict=True):
            off = (delta - value).abs()
            total = total + (0.5 * off**2 if off < 1 else off - 0.5)
    return total


objects_of_anchors = st.lists(st.sampled_from([-2, -1, -1, -1, -1, -1, -1, 0, 1, 2]), min_size=14, max_size=14)


@given(objects_of_anchors, objects_of_anchors, st.integers(0, 1000))
def test_class_and_box_losses_are_the_plain_sums(head, some: list[int], others: list[int], seed: int) -> None:
    output = head_output(2, 14, seed)
    targets = [anchor_targets(some, seed), anchor_targets(others, seed + 1)]
    found = head.losses(output, targets, RULE)
    for loss in found.values():
        assert loss.count == sum(an_object >= 0 for an_object in some + others)
    classes = sum(plain_class_loss(logits, target) for logits, target in zip(output.logits, targets, strict=True))
    boxes = sum(
        plain_box_loss(deltas, output.anchors, target) for deltas, target in zip(output.deltas, targets, strict=True)
    )
    torch.testing.assert_close(found["class"].total, RULE.class_factor * classes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["box"].total, RULE.box_factor * boxes, rtol=1e-3, atol=1e-3)


def test_ignored_anchors_get_no_gradient(head) -> None:
    output, target = head_output(1, 6, 0), anchor_targets([-2, 0, -1, -2, 1, -2])
    losses = head.losses(output, [target], RULE)
    logits, deltas = torch.autograd.grad(losses["class"].total + losses["box"].total, [output.logits, output.deltas])
    is_used = torch.tensor([False, True, True, False, True, False])
    assert ((logits[0] != 0).any(dim=1) == is_used).all()
    assert ((deltas[0] != 0).any(dim=1) == (target.objects >= 0)).all()


def test_an_image_without_objects_gives_as_many_negatives_as_one_with_a_single_positive(head) -> None:
    output = head_output(1, 9, 0)
    (logits,) = torch.autograd.grad(head.losses(output, [anchor_targets([-1] * 9)], RULE)["class"].total, output.logits)
    assert (logits[0] != 0).any(dim=1).sum() == RULE.negatives_per_positive


# semantic segmentation


@given(st.integers(0, 1000))
def test_semantic_loss_is_the_mean_over_cells_of_the_sum_over_classes(seed: int) -> None:
    torch.manual_seed(seed)
    part = SemanticHead(in_channels=4, num_classes=3)
    finest = torch.randn((2, 4, *GRID), generator=random(seed))
    none = AnchorTargets(torch.tensor([-1]), torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64), NO_MASKS)
    targets = [anchor_targets([0, 1, 2], seed, count=5), none]
    wanted = 0.0
    with torch.no_grad():
        for logits, target in zip(part.logits(finest), targets, strict=True):
            shrunk = target.masks.shrunk(GRID)
            for label in range(3):
                for row in range(GRID[0]):
                    for column in range(GRID[1]):
                        of_class = [shrunk[i, row, column] for i in range(len(shrunk)) if target.labels[i] == label]
                        probability = 1 / (1 + math.exp(-logits[label, row, column].item()))
                        wanted -= math.log(probability if any(of_class) else 1 - probability)
    (loss,) = part.losses(finest, targets, 0.5).values()
    assert loss.count == 2
    assert loss.total.item() == pytest.approx(0.5 * wanted / (GRID[0] * GRID[1]), rel=1e-4)


# re-scoring


def rescoring(seed: int = 0) -> Rescoring:
    torch.manual_seed(seed)
    return Rescoring(channels=(6, 7), num_classes=3, min_area=18)


def plain_scores(net: Rescoring, masks: Tensor) -> Tensor:
    features = masks[:, None]
    for index, conv in enumerate(net.convs):
        features = F.conv2d(features, conv.weight, conv.bias, stride=2 if index < 2 else 1).clamp(min=0)
    return features.amax(dim=(2, 3))


@pytest.mark.parametrize("grid", [(7, 7), (9, 16), (31, 20)])
def test_scores_are_the_maximum_over_the_map(grid: tuple[int, int]) -> None:
    net, masks = rescoring(), torch.rand((4, *grid), generator=random(0))
    torch.testing.assert_close(net.of_all_classes(masks), plain_scores(net, masks))
    labels = torch.tensor([2, 0, 1, 2])
    torch.testing.assert_close(net(masks, labels), plain_scores(net, masks)[torch.arange(4), labels])


@pytest.mark.parametrize("grid", [(1, 1), (2, 9), (6, 6)])
def test_grids_too_small_for_the_convolutions_get_background_around(grid: tuple[int, int]) -> None:
    net, masks = rescoring(), torch.rand((4, *grid), generator=random(0))
    padded = F.pad(masks, (0, max(0, 7 - grid[1]), 0, max(0, 7 - grid[0])))
    torch.testing.assert_close(net.of_all_classes(masks), plain_scores(net, padded))


def test_no_masks_get_no_scores() -> None:
    assert rescoring()(torch.zeros((0, 9, 9)), torch.zeros(0, dtype=torch.int64)).shape == (0,)


@given(st.integers(0, 1000), st.integers(0, 6))
def test_mask_iou_loss_compares_predicted_and_real_iou_of_large_masks(seed: int, count: int) -> None:
    net, masks = rescoring(seed), assembled(seed, count)
    wanted, num_large = torch.zeros(()), 0
    for logits, true, box, label in zip(masks.logits, masks.true, masks.boxes, masks.labels, strict=True):
        if true.sum() <= 18:
            continue
        num_large += 1
        probabilities = logits.sigmoid() * inside(box)
        found = probabilities > 0.5
        iou = (found & true).sum() / (found | true).sum()
        padded = F.pad(probabilities, (0, 0, 0, 1))  # seven rows are what two strided convolutions need
        off = (plain_scores(net, padded[None])[0, label] - iou).abs()
        wanted = wanted + (0.5 * off**2 if off < 1 else off - 0.5)
    (loss,) = net.losses([masks], 9, 25.0).values()
    assert loss.count == 9
    torch.testing.assert_close(loss.total, 25 * wanted, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(loss.total, masks.logits)
    if num_large:
        (plain,) = torch.autograd.grad(25 * wanted, masks.logits)
        torch.testing.assert_close(gradient, plain, rtol=1e-3, atol=1e-4)


# matching

ANCHORS = relative_anchors([16.0], [1.0], True, (6, 8), (48, 64))


def targets_of(boxes: list[list[float]], is_crowd: list[bool]) -> Targets:
    bitmaps = torch.ones((len(boxes), 48, 64), dtype=torch.bool)
    boxes_px = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return Targets((48, 64), boxes_px, torch.arange(len(boxes)) % 3, packed(bitmaps), torch.tensor(is_crowd))


def test_crowds_make_the_background_inside_them_neutral_and_nothing_else() -> None:
    single = targets_of([[4.0, 4.0, 20.0, 20.0]], [False])
    both = targets_of([[4.0, 4.0, 20.0, 20.0], [0.0, 0.0, 32.0, 48.0]], [False, True])
    without, with_crowd = (match_anchors(ANCHORS, target, (48, 64), MATCHING) for target in (single, both))
    assert len(with_crowd.boxes) == len(with_crowd.labels) == len(with_crowd.masks) == 1
    for index, (x1, y1, x2, y2) in enumerate((ANCHORS * torch.tensor([64.0, 48.0] * 2)).tolist()):
        in_crowd = max(0, min(x2, 32) - max(x1, 0)) * max(0, min(y2, 48) - max(y1, 0)) / ((x2 - x1) * (y2 - y1))
        is_neutral = in_crowd > MATCHING.crowd_share and without.objects[index] < 0
        assert with_crowd.objects[index] == (-2 if is_neutral else without.objects[index])
    assert (with_crowd.objects == 0).any() and (with_crowd.objects == -2).any() and (with_crowd.objects == -1).any()


def test_objects_count_without_the_crowds_between_them() -> None:
    boxes = [[0.0, 0.0, 64.0, 48.0], [4.0, 4.0, 20.0, 20.0], [32.0, 16.0, 48.0, 32.0]]
    target = targets_of(boxes, [True, False, False])
    matched = match_anchors(ANCHORS, target, (48, 64), MATCHING)
    assert matched.labels.tolist() == [1, 2]
    assert set(matched.objects.tolist()) == {-2, -1, 0, 1}  # anchors at the border reach out of the crowd
    labels = matched.anchor_labels(background=3)
    assert {int(label) for label in labels[matched.objects == 1]} == {2}
    assert {int(label) for label in labels[matched.objects < 0]} == {3}


def test_objects_without_area_are_not_learnt() -> None:
    target = targets_of([[4.0, 4.0, 4.0, 20.0], [4.0, 4.0, 20.0, 20.0], [9.0, 9.0, 3.0, 3.0]], [False] * 3)
    matched = match_anchors(ANCHORS, target, (48, 64), MATCHING)
    assert matched.labels.tolist() == [1]
    assert matched.objects.max() == 0


def test_masks_reach_over_the_padding() -> None:
    target = targets_of([[4.0, 4.0, 20.0, 20.0]], [False])
    matched = match_anchors(ANCHORS, target, (96, 64), MATCHING)
    assert matched.masks.size == (96, 64)
    assert matched.masks.shrunk((4, 2)).tolist() == [[[True, True], [True, True], [False, False], [False, False]]]
    torch.testing.assert_close(matched.boxes, torch.tensor([[4 / 64, 4 / 96, 20 / 64, 20 / 96]]))
