"""PointRend's mask head beside the same computation in slow, plain loops, re-derived from the paper and its facts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskwright.models.mask_rcnn.mask_head import Competition, MaskPasting, MaskRule
from maskwright.models.mask_rcnn.mask_targets import MaskTargets
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.point_head import PointMaskHead, PointRule
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.roi_features import PoolingRule, RoiFeatures
from maskwright.ops.randomness import random_generator
from maskwright.structures import CropMasks, Targets
from maskwright.structures.masks.crop import Crop

CHANNELS, CLASSES, COARSE, POOL, STRIDE = 5, 3, 3, 6, 4
POINTS = PointRule(points_per_roi=12, oversampling=3.0, uncertain_share=0.75, subdivisions=3, points_per_step=30)
SIZE = (30, 44)
ROIS = (torch.tensor([[3.0, 2.0, 31.5, 27.0], [-5.0, 10.0, 12.0, 34.0]]), torch.tensor([[20.25, 4.0, 47.0, 15.0]]))
LABELS = (torch.tensor([2, 0]), torch.tensor([1]))


class Case(NamedTuple):
    """A head with weights of some spread, and the maps of two images."""

    head: PointMaskHead
    features: RoiFeatures


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def head_of(points: PointRule = POINTS, width: int = 4, competition: Competition = "per_class") -> PointMaskHead:
    rule = MaskRule(
        pool_px=POOL,
        mask_px=COARSE * 2**points.subdivisions,
        num_classes=CLASSES,
        competition=competition,
        targets=MaskTargets("bitmaps", 0, None, False),
        rois_per_image=None,
        pasting=MaskPasting("centres", False, 0.5),
    )
    head = PointMaskHead(
        in_channels=CHANNELS,
        width=width,
        coarse_px=COARSE,
        num_coarse_fcs=2,
        coarse_fc_channels=7,
        num_fcs=3,
        fc_channels=6,
        rule=rule,
        points=points,
    )
    with torch.no_grad():
        for index, parameter in enumerate(head.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=index) * 0.6)
    return head.eval()


def features_of(*maps: Tensor) -> RoiFeatures:
    return RoiFeatures(
        maps,
        [STRIDE * 2**level for level in range(len(maps))],
        PoolingRule(224.0, 4, "floor_inside", "align", 0, is_aligned=True),
        nn.Identity(),
    )


@pytest.fixture
def case() -> Case:
    return Case(head_of(), features_of(drawn(2, CHANNELS, 8, 12, seed=50), drawn(2, CHANNELS, 4, 6, seed=51)))


# --- the oracle: numbers and loops; it shares nothing with the code but the weights and where they stand ---


def bilinear(image: Tensor, x: float, y: float) -> float:
    """The value of (h, w) pixels at (x, y), pixel centres at .5 and zero around."""
    total = 0.0
    for row in range(math.floor(y - 0.5), math.floor(y - 0.5) + 2):
        for column in range(math.floor(x - 0.5), math.floor(x - 0.5) + 2):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += (1 - abs(row + 0.5 - y)) * (1 - abs(column + 0.5 - x)) * float(image[row, column])
    return total


def vector_at(fine: Tensor, box: list[float], x: float, y: float) -> list[float]:
    """Features at a share (x, y) of a box's sides."""
    on_map = [(box[axis] + share * (box[axis + 2] - box[axis])) / STRIDE for axis, share in enumerate((x, y))]
    return [bilinear(channel, *on_map) for channel in fine]


def linear(layer: nn.Module, values: list[float], *, is_last: bool = False) -> list[float]:
    weight, bias = layer.weight.flatten(1).tolist(), layer.bias.tolist()
    sums = [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
    return sums if is_last else [max(0.0, value) for value in sums]


def coarse_masks(head: PointMaskHead, fine: Tensor, box: list[float]) -> Tensor:
    """(K, m, m) of one box."""
    grid = [
        [vector_at(fine, box, (column + 0.5) / POOL, (row + 0.5) / POOL) for column in range(POOL)]
        for row in range(POOL)
    ]
    if head.coarse.project is not None:
        grid = [[linear(head.coarse.project, cell) for cell in row] for row in grid]
    halved = []
    for row in range(0, POOL, 2):
        for column in range(0, POOL, 2):
            cells = [grid[row + down][column + across] for down in (0, 1) for across in (0, 1)]
            patch = [cell[channel] for channel in range(len(cells[0])) for cell in cells]
            halved.append(linear(head.coarse.halve, patch))
    vector = [cell[channel] for channel in range(len(halved[0])) for cell in halved]
    for fc in head.coarse.fcs:
        vector = linear(fc, vector)
    return torch.tensor(linear(head.coarse.logits, vector, is_last=True)).reshape(-1, COARSE, COARSE)


def point_logit(
    head: PointMaskHead, fine: Tensor, coarse: Tensor, box: list[float], x: float, y: float, channel: int
) -> float:
    around = [bilinear(mask, x * COARSE, y * COARSE) for mask in coarse]
    values = vector_at(fine, box, x, y)
    for fc in head.point.fcs:
        values = linear(fc, values + around)
    return linear(head.point.logits, values + around, is_last=True)[channel]


def doubled(mask: list[list[float]]) -> list[list[float]]:
    """Bilinear, with the border's values beyond the border."""
    side = len(mask)

    def neighbours(index: int) -> list[tuple[int, float]]:
        position = (index + 0.5) / 2 - 0.5
        low = math.floor(position)
        return [(min(max(cell, 0), side - 1), 1 - abs(cell - position)) for cell in (low, low + 1)]

    return [
        [
            sum(mask[r][c] * down * across for r, down in neighbours(row) for c, across in neighbours(column))
            for column in range(2 * side)
        ]
        for row in range(2 * side)
    ]


def refined(head: PointMaskHead, fine: Tensor, box: list[float], channel: int) -> Tensor:
    """From the point head's own values on the coarse grid, every doubling done, whether or not it takes all points."""
    coarse = coarse_masks(head, fine, box)
    centres = [(cell + 0.5) / COARSE for cell in range(COARSE)]
    mask = [[point_logit(head, fine, coarse, box, x, y, channel) for x in centres] for y in centres]
    for _ in range(head.points.subdivisions):
        mask = doubled(mask)
        side = len(mask)
        cells = sorted(range(side * side), key=lambda cell: abs(mask[cell // side][cell % side]))
        for cell in cells[: head.points.points_per_step]:
            x, y = (cell % side + 0.5) / side, (cell // side + 0.5) / side
            mask[cell // side][cell % side] = point_logit(head, fine, coarse, box, x, y, channel)
    return torch.tensor(mask)


def entropy(logit: float, wanted: float) -> float:
    return max(logit, 0) - logit * wanted + math.log1p(math.exp(-abs(logit)))


# --- inference ---


# 36 points: the first doubling, to 6 × 6, takes all
@pytest.mark.parametrize(("width", "count"), [(4, 30), (CHANNELS, 30), (4, 36)])
def test_masks_are_those_of_the_plain_loops(case, width, count) -> None:
    head = head_of(replace(POINTS, points_per_step=count), width)
    assert (head.coarse.project is None) == (width == CHANNELS)
    with torch.no_grad():
        found = head(case.features, ROIS, LABELS)
        wanted = [
            refined(head, case.features.levels[0][image], box, label)
            for image in (0, 1)
            for box, label in zip(ROIS[image].tolist(), LABELS[image].tolist(), strict=True)
        ]
    assert found.shape == (3, 24, 24)
    assert torch.allclose(found, torch.stack(wanted), atol=1e-5)


def test_one_mask_may_serve_all_classes(case) -> None:
    head = head_of(competition="agnostic")
    with torch.no_grad():
        found = head(case.features, ROIS[1:], LABELS[1:])
        assert torch.allclose(found[0], refined(head, case.features.levels[0][0], ROIS[1][0].tolist(), 0), atol=1e-5)


@pytest.mark.parametrize(
    ("coarse_px", "subdivisions", "points", "wanted"),
    [(7, 5, 784, (28, 3)), (7, 5, 783, (14, 4)), (7, 5, 100, (7, 5)), (7, 1, 9999, (14, 0)), (7, 0, 784, (7, 0))],
)
def test_sides_whose_every_point_would_be_taken_are_left_out(coarse_px, subdivisions, points, wanted) -> None:
    assert PointRule(196, 3.0, 0.75, subdivisions, points).start_px(coarse_px) == wanted


def test_many_detections_are_refined_a_few_at_a_time_with_the_same_result(case, monkeypatch) -> None:
    monkeypatch.setattr("maskwright.models.mask_rcnn.point_head._ROIS_AT_ONCE", 3)
    rois, labels = drawn(8, 4, seed=9).abs() * 5, torch.arange(8) % CLASSES
    rois[:, 2:] += rois[:, :2] + 3
    first, second = (features_of(one) for one in case.features.levels[0].split(1))
    counts: list[int] = []
    case.head.point.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    with torch.no_grad():
        together = case.head(case.features, (rois[:5], rois[5:]), (labels[:5], labels[5:]))
        assert max(counts) == 3
        single = [
            case.head(of_image, rois[index : index + 1][None], labels[index : index + 1][None])
            for index, of_image in enumerate([first] * 5 + [second] * 3)
        ]
    assert torch.allclose(together, torch.cat(single), atol=1e-5)


def test_no_detections_have_no_masks(case) -> None:
    empty = (torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
    assert case.head(case.features, (empty[0], ROIS[1]), (empty[1], LABELS[1])).shape == (1, 24, 24)
    assert case.head(case.features, (empty[0], empty[0]), (empty[1], empty[1])).shape == (0, 24, 24)


def test_a_box_without_area_has_a_finite_mask(case) -> None:
    flat = torch.tensor([[5.0, 5.0, 5.0, 9.0]])
    assert case.head(case.features, (flat, ROIS[1]), (LABELS[1], LABELS[1])).isfinite().all()


# --- training ---

KEYS = (21, 22)


def truth_of(seed: int, boxes: list[tuple[int, int, int, int]]) -> TrueObjects:
    """Ragged masks in boxes (left, top, width, height)."""
    random = np.random.default_rng(seed)
    crops = [Crop(random.random((height, width)) > 0.35, top, left) for left, top, width, height in boxes]
    corners = torch.tensor([[x, y, x + width, y + height] for x, y, width, height in boxes], dtype=torch.float32)
    nothing = torch.zeros(len(boxes), dtype=torch.bool)
    labels = torch.arange(len(boxes)) % CLASSES
    return TrueObjects.of(Targets(SIZE, corners, labels, CropMasks.from_crops(crops, SIZE), nothing))


SAMPLES = (RoiSample(ROIS[0], LABELS[0], torch.tensor([1, 0])), RoiSample(ROIS[1], LABELS[1], torch.tensor([0])))
TRUTH = (truth_of(1, [(0, 8, 14, 20), (4, 3, 25, 22)]), truth_of(2, [(18, 2, 26, 14)]))


def chosen_points(head: PointMaskHead, coarse: Tensor, candidates: Tensor, free: Tensor) -> list[list[float]]:
    """Nine of 36 candidates for their uncertainty, and three more."""
    logits = [bilinear(coarse, x * COARSE, y * COARSE) for x, y in candidates.tolist()]
    order = sorted(range(len(logits)), key=lambda index: abs(logits[index]))
    return [candidates[index].tolist() for index in order[:9]] + free.tolist()


def coarse_target(bitmap: Tensor, box: list[float]) -> list[list[float]]:
    """RoIAlign, half-pixel-aligned, with as many samples as a cell has pixels, rounded at one half."""
    left, top, right, bottom = box
    steps = [max(1, math.ceil(side / COARSE)) for side in (bottom - top, right - left)]

    def edge(position: float, limit: int) -> float | None:
        return None if position < -1 or position > limit else min(max(position, 0.0), limit - 1.0)

    result = []
    for row in range(COARSE):
        line = []
        for column in range(COARSE):
            total = 0.0
            for down in range(steps[0]):
                for across in range(steps[1]):
                    y = top - 0.5 + (row + (down + 0.5) / steps[0]) * (bottom - top) / COARSE
                    x = left - 0.5 + (column + (across + 0.5) / steps[1]) * (right - left) / COARSE
                    y_inside, x_inside = edge(y, bitmap.shape[0]), edge(x, bitmap.shape[1])
                    if y_inside is not None and x_inside is not None:
                        total += bilinear(bitmap, x_inside + 0.5, y_inside + 0.5)
            line.append(float(total / (steps[0] * steps[1]) >= 0.5))
        result.append(line)
    return result


def test_losses_are_those_of_the_plain_loops(case) -> None:
    head = case.head
    coarse_sum = point_sum = 0.0
    for image, (sample, objects, key) in enumerate(zip(SAMPLES, TRUTH, KEYS, strict=True)):
        bitmaps = torch.from_numpy(objects.single.masks.bitmaps()).float()
        points = torch.rand((len(sample.rois), 36 + 3, 2), generator=random_generator(key, "points"))
        for roi, box in enumerate(sample.rois.tolist()):
            label, bitmap = int(sample.labels[roi]), bitmaps[sample.objects[roi]]
            fine = case.features.levels[0][image]
            coarse = coarse_masks(head, fine, box)
            wanted = coarse_target(bitmap, box)
            cells = [entropy(float(coarse[label, r, c]), wanted[r][c]) for r in range(COARSE) for c in range(COARSE)]
            coarse_sum += sum(cells) / len(cells)
            values = []
            for x, y in chosen_points(head, coarse[label], points[roi, :36], points[roi, 36:]):
                on_image = (box[0] + x * (box[2] - box[0]), box[1] + y * (box[3] - box[1]))
                truth = bilinear(bitmap, *on_image)
                values.append(entropy(point_logit(head, fine, coarse, box, x, y, label), truth))
            assert len(values) == 12
            point_sum += sum(values) / len(values)
    losses = head.losses(case.features, SAMPLES, TRUTH, KEYS)
    assert {name: loss.count.item() for name, loss in losses.items()} == {"mask": 3, "mask_point": 3}
    assert losses["mask"].total.item() == pytest.approx(coarse_sum, abs=1e-5)
    assert losses["mask_point"].total.item() == pytest.approx(point_sum, abs=1e-5)


def test_points_are_a_function_of_the_images_key(case) -> None:
    def loss(keys: tuple[int, int]) -> float:
        return case.head.losses(case.features, SAMPLES, TRUTH, keys)["mask_point"].total.item()

    torch.manual_seed(5)
    first = loss(KEYS)
    torch.manual_seed(6)
    assert loss(KEYS) == first
    assert loss((21, 23)) != first


def test_both_losses_reach_every_weight_and_the_map(case) -> None:
    fine = case.features.levels[0].clone().requires_grad_()
    losses = case.head.losses(features_of(fine), SAMPLES, TRUTH, KEYS)
    for name in losses:
        fine.grad = None
        case.head.zero_grad(set_to_none=True)
        losses[name].total.backward(retain_graph=True)
        assert fine.grad is not None and fine.grad.abs().sum() > 0
        reached = {part.split(".")[0] for part, one in case.head.named_parameters() if one.grad is not None}
        # the coarse logits are features of the points, so that loss goes through them as well
        assert reached == ({"coarse"} if name == "mask" else {"coarse", "point"})


def test_without_positives_the_losses_are_zero_and_have_gradients(case) -> None:
    empty = RoiSample(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    losses = case.head.losses(case.features, (empty, empty), TRUTH, KEYS)
    assert [loss.mean().item() for loss in losses.values()] == [0, 0]
    torch.stack([loss.total for loss in losses.values()]).sum().backward()
    assert all(one.grad is not None for one in case.head.parameters())
