"""RoI pooling: torchvision's operators, and tables worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align, roi_pool

from maskwright.ops import roi_align_cpu
from maskwright.ops.roi_pooling import LevelRounding, PoolingKind, assign_levels, pool_rois

STRIDES = (4, 8, 16, 32)
HEIGHT, WIDTH = 128, 192
KINDS: tuple[PoolingKind, ...] = ("align", "align_max", "pool", "crop_and_resize")


@pytest.fixture
def levels() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn((2, 3, HEIGHT // s, WIDTH // s), generator=generator) for s in STRIDES]


def random_rois(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor([WIDTH, HEIGHT])
    corners = torch.rand((count, 2, 2), generator=generator).pow(2).sort(dim=1).values * limits
    return corners.reshape(count, 4)


def pool(
    levels: list[Tensor],
    rois: Tensor,
    images: Tensor,
    roi_levels: Tensor,
    output_px: int = 7,
    kind: PoolingKind = "align",
    samples: int = 2,
    is_aligned: bool = False,
) -> Tensor:
    return pool_rois(
        levels, STRIDES, rois, images, roi_levels, output_px, kind=kind, samples=samples, is_aligned=is_aligned
    )


# levels


@pytest.mark.parametrize("rounding", ["floor_after", "floor_inside"])
@pytest.mark.parametrize(
    ("side", "level"), [(10, 0), (111.9, 0), (112, 1), (223.9, 1), (224, 2), (447.9, 2), (448, 3), (5000, 3), (0, 0)]
)
def test_level_follows_the_side(side: float, level: int, rounding: LevelRounding) -> None:
    assert assign_levels(torch.tensor([[0.0, 0.0, side, side]]), 2, 4, 224.0, 4, rounding).tolist() == [level]


@pytest.mark.parametrize(
    # from one level to the next at 224 · 2^(k + ½)
    ("side", "level"),
    [(79, 0), (80, 1), (158, 1), (159, 2), (316, 2), (317, 3), (5000, 3), (0, 0)],
)
def test_the_nearest_level_changes_halfway_between_the_canonical_sides(side: float, level: int) -> None:
    assert assign_levels(torch.tensor([[0.0, 0.0, side, side]]), 2, 4, 224.0, 4, "nearest").tolist() == [level]


def test_the_guard_stands_where_its_lineage_put_it() -> None:
    # half a millionth below twice the canonical size: the logarithm is 7e-7 short of a whole level
    side = 448.0 * (1 - 5e-7)
    rois = torch.tensor([[0.0, 0.0, side, side]])
    assert assign_levels(rois, 2, 4, 224.0, 4, "floor_after").tolist() == [3]
    assert assign_levels(rois, 2, 4, 224.0, 4, "floor_inside").tolist() == [2]


@pytest.mark.parametrize("rounding", ["floor_after", "floor_inside", "nearest"])
def test_boxes_of_no_area_or_less_are_pooled_from_the_finest_level(rounding: LevelRounding) -> None:
    rois = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 90.0], [9.0, 3.0, 3.0, 90.0]])
    assert assign_levels(rois, 2, 4, 224.0, 4, rounding).tolist() == [0, 0, 0]
    assert assign_levels(rois[:0], 2, 4, 224.0, 4, rounding).tolist() == []


# torchvision's operators


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """One small map of two images, RoIs in its pixels, and their images: inside, over the border, tiny, of no area."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    height, width, count = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 6))
    # 16ths, so that edges fall on pixels, on their halves, and between
    corners = torch.randint(-80, 16 * 14, (count, 2, 2), generator=generator).sort(dim=1).values / 16
    flat = torch.randint(0, 6, (count, 1), generator=generator)
    corners[:, 1] = torch.where(flat == 0, corners[:, 0], corners[:, 1])
    corners[:, 1] = torch.where(flat == 1, corners[:, 0] + 0.3, corners[:, 1])
    images = torch.randint(0, 2, (count,), generator=generator)
    return torch.randn((2, 3, height, width), generator=generator), corners.reshape(count, 4), images


def pooled_with_gradient(pooled: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    direction = torch.linspace(-1, 1, max(pooled.numel(), 1))[: pooled.numel()].reshape(pooled.shape)
    if not pooled.requires_grad:  # nothing was pooled
        return pooled.detach(), torch.zeros_like(features)
    return pooled.detach(), torch.autograd.grad((pooled * direction).sum(), features)[0]


def assert_equal_with_gradients(ours: Tensor, theirs: Tensor, features: Tensor) -> None:
    for one, other in zip(pooled_with_gradient(ours, features), pooled_with_gradient(theirs, features), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@settings(max_examples=60)
@given(cases(), st.integers(1, 4), st.sampled_from([0, 1, 2, 3]), st.booleans(), st.sampled_from([1, 4, 32]))
def test_aligned_pooling_is_torchvisions(case, output_px: int, samples: int, is_aligned: bool, stride: int) -> None:
    features, rois, images = case[0].requires_grad_(), case[1] * stride, case[2]
    ours = pool_rois(
        [features],
        [stride],
        rois,
        images,
        torch.zeros_like(images),
        output_px,
        kind="align",
        samples=samples,
        is_aligned=is_aligned,
    )
    rows = torch.cat([images[:, None].float(), rois], dim=1)
    assert_equal_with_gradients(
        ours, roi_align(features, rows, output_px, 1 / stride, samples or -1, is_aligned), features
    )


@settings(max_examples=30)
@given(cases(), st.integers(1, 4), st.sampled_from([1, 4]))
def test_pooling_of_whole_pixels_is_torchvisions(case, output_px: int, stride: int) -> None:
    features, rois, images = case[0].requires_grad_(), case[1] * stride, case[2]
    ours = pool_rois(
        [features],
        [stride],
        rois,
        images,
        torch.zeros_like(images),
        output_px,
        kind="pool",
        samples=0,
        is_aligned=False,
    )
    rows = torch.cat([images[:, None].float(), rois], dim=1)
    assert_equal_with_gradients(ours, roi_pool(features, rows, output_px, 1 / stride), features)


@settings(max_examples=30)
@given(cases(), st.integers(1, 3), st.sampled_from([0, 1, 2]), st.booleans())
def test_maximum_of_samples_is_that_of_single_samples_of_torchvision(case, output_px, samples, is_aligned) -> None:
    features, rois, images = case[0].requires_grad_(), case[1], case[2]
    none = torch.zeros_like(images)
    ours = pool_rois(
        [features], [1], rois, images, none, output_px, kind="align_max", samples=samples, is_aligned=is_aligned
    )
    theirs = []
    for roi, image in zip(rois, images, strict=True):
        sides = (roi[2:] - roi[:2]).clamp(min=0 if is_aligned else 1)
        across, down = (samples or max(1, math.ceil(side / output_px)) for side in sides.tolist())
        row = torch.cat([image[None].float(), roi])[None]
        single = roi_align(features, row, (output_px * down, output_px * across), 1.0, 1, is_aligned)
        theirs.append(single.reshape(1, 3, output_px, down, output_px, across).amax(dim=(3, 5)))
    wanted = torch.cat(theirs) if theirs else features.new_zeros((0, 3, output_px, output_px))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("output_px", "samples"), [(7, 2), (14, 2), (5, 3), (3, 1)])
def test_features_of_a_pyramid_are_torchvisions(levels: list[Tensor], output_px: int, samples: int) -> None:
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], output_px, samples, canonical_scale=56)
    rois = random_rois(40, 1)
    by_name = {str(level): features for level, features in enumerate(levels)}
    expected = theirs(by_name, [rois[:25], rois[25:]], [(HEIGHT, WIDTH)] * 2)
    roi_levels = assign_levels(rois, 2, 4, 56.0, 4, "floor_after")
    images = torch.tensor([0] * 25 + [1] * 15)
    assert len(roi_levels.unique()) > 2
    torch.testing.assert_close(pool(levels, rois, images, roi_levels, output_px, samples=samples), expected)


def test_scratch_memory_in_pieces_changes_nothing(levels: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    rois, images = random_rois(30, 2), torch.arange(30) % 2
    roi_levels = assign_levels(rois, 2, 4, 56.0, 4, "floor_inside")
    for features in levels:
        features.requires_grad_()
    assert roi_levels.unique().tolist() == [0, 1, 2]
    whole = pool(levels, rois, images, roi_levels, samples=0, is_aligned=True)
    wanted = torch.autograd.grad(whole.square().sum(), levels[:3])
    monkeypatch.setattr(roi_align_cpu, "_READS_AT_ONCE", 3000)
    pieces = pool(levels, rois, images, roi_levels, samples=0, is_aligned=True)
    torch.testing.assert_close(pieces, whole)
    for gradient, expected in zip(torch.autograd.grad(pieces.square().sum(), levels[:3]), wanted, strict=True):
        torch.testing.assert_close(gradient, expected)


# crop and resize


def crop(features: list[list[float]], box: list[float], output_px: int, stride: int = 4) -> list[list[float]]:
    """The crop of a map of one image and channel, for a box in pixels of the network input."""
    none = torch.zeros(1, dtype=torch.int64)
    pooled = pool_rois(
        [torch.tensor(features)[None, None]],
        [stride],
        torch.tensor([box]),
        none,
        none,
        output_px,
        kind="crop_and_resize",
        samples=0,
        is_aligned=False,
    )
    return pooled[0, 0].tolist()


SLOPE = [[10.0 * row + column for column in range(4)] for row in range(4)]  # the map of a 16 × 16 input


@pytest.mark.parametrize(
    ("box", "output_px", "expected"),
    [
        # the whole input is the whole map: its corners are the centres of the corner pixels
        ([0, 0, 16, 16], 2, [[0, 3], [30, 33]]),
        ([0, 0, 16, 16], 4, SLOPE),
        # an eighth of the input's side is an eighth of the three steps between centres
        ([2, 0, 16, 16], 2, [[0.375, 3], [30.375, 33]]),
        # halfway between the edges, and the middle of the box for a single cell
        ([0, 8, 16, 16], 3, [[15, 16.5, 18], [22.5, 24, 25.5], [30, 31.5, 33]]),
        ([0, 8, 16, 16], 1, [[24]]),
        # no area: the same point for all cells
        ([8, 8, 8, 8], 2, [[16.5, 16.5], [16.5, 16.5]]),
        # nothing outside the centres of the outer pixels, not even close to them
        ([-0.01, 0, 16, 16], 2, [[0, 3], [0, 33]]),
        ([0, 0, 16, 32], 3, [[0, 1.5, 3], [30, 31.5, 33], [0, 0, 0]]),
        ([40, 40, 50, 50], 2, [[0, 0], [0, 0]]),
    ],
)
def test_crops_have_their_corners_on_the_corners_of_the_box(box, output_px, expected) -> None:
    torch.testing.assert_close(torch.tensor(crop(SLOPE, box, output_px)), torch.tensor(expected, dtype=torch.float32))


@settings(max_examples=30)
@given(cases(), st.integers(2, 5))
def test_crops_are_literally_tensorflows(case, output_px: int) -> None:
    features, rois, images = case
    height, width = features.shape[2:]
    wanted = torch.zeros(len(rois), 3, output_px, output_px)
    for index, ((x1, y1, x2, y2), image) in enumerate(zip(rois.tolist(), images.tolist(), strict=True)):
        for row in range(output_px):
            for column in range(output_px):
                y = (y1 + (y2 - y1) * row / (output_px - 1)) / height * (height - 1)
                x = (x1 + (x2 - x1) * column / (output_px - 1)) / width * (width - 1)
                is_outside = not (0 <= y <= height - 1 and 0 <= x <= width - 1)
                if is_outside:
                    continue
                (top, left), (bottom, right) = (math.floor(y), math.floor(x)), (math.ceil(y), math.ceil(x))
                upper, lower = (
                    features[image, :, line, left] * (1 - x + left) + features[image, :, line, right] * (x - left)
                    for line in (top, bottom)
                )
                wanted[index, :, row, column] = upper * (1 - y + top) + lower * (y - top)
    ours = pool_rois(
        [features],
        [1],
        rois,
        images,
        torch.zeros_like(images),
        output_px,
        kind="crop_and_resize",
        samples=0,
        is_aligned=False,
    )
    # in single precision a point on the last centre may come to lie behind it
    is_close = (ours - wanted).abs() < 1e-4
    assert (is_close | (ours == 0) | (wanted == 0)).all()
    assert is_close.float().mean() > 0.9 or len(rois) < 3


# what all kinds have in common


@pytest.mark.parametrize("kind", KINDS)
def test_rows_keep_the_order_of_rois(levels: list[Tensor], kind: PoolingKind) -> None:
    rois, images = random_rois(30, 2), torch.arange(30) % 2
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    roi_levels = assign_levels(rois, 2, 4, 56.0, 4, "nearest")
    pooled = pool(levels, rois, images, roi_levels, kind=kind, samples=0)
    shuffled = pool(levels, rois[order], images[order], roi_levels[order], kind=kind, samples=0)
    torch.testing.assert_close(shuffled, pooled[order])


@pytest.mark.parametrize("kind", KINDS)
def test_constant_features_stay_constant(kind: PoolingKind) -> None:
    constant = [torch.full((1, 2, HEIGHT // s, WIDTH // s), 3.0) for s in STRIDES]
    rois = random_rois(10, 3)
    roi_levels = assign_levels(rois, 2, 4, 56.0, 4, "floor_after")
    pooled = pool(constant, rois, torch.zeros(10).long(), roi_levels, kind=kind)
    torch.testing.assert_close(pooled, torch.full((10, 2, 7, 7), 3.0))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_the_levels_that_are_pooled(levels: list[Tensor], kind: PoolingKind) -> None:
    for features in levels:
        features.requires_grad_()
    rois = torch.tensor([[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 100.0, 100.0]])
    pool(levels, rois, torch.zeros(2).long(), torch.tensor([0, 3]), kind=kind, samples=0).sum().backward()
    reached = [features.grad is not None and bool(features.grad.any()) for features in levels]
    assert reached == [True, False, False, True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [0, 2])
def test_no_rois_give_no_features(levels: list[Tensor], kind: PoolingKind, samples: int) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    pooled = pool(levels, torch.zeros((0, 4)), none, none, kind=kind, samples=samples)
    assert pooled.shape == (0, 3, 7, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_rounds_features_but_not_where_they_are_pooled(kind: PoolingKind) -> None:
    # a bfloat16 has 8 bits: at 1200 pixels it would move a RoI by up to 4
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((1, 3, 200, 300), generator=generator, requires_grad=True)
    rois = (torch.rand((30, 2, 2), generator=generator).sort(dim=1).values * torch.tensor([1200, 800])).reshape(30, 4)
    nothing = torch.zeros(30, dtype=torch.int64)
    exact, mixed = (
        pool_rois([maps], [4], rois, nothing, nothing, 7, kind=kind, samples=2, is_aligned=True)
        for maps in (features, features.bfloat16())
    )
    with torch.autocast("cpu", torch.bfloat16):
        automatic = pool_rois(
            [features.bfloat16()], [4], rois, nothing, nothing, 7, kind=kind, samples=2, is_aligned=True
        )
    assert mixed.dtype == automatic.dtype == torch.bfloat16
    assert torch.equal(mixed, automatic)
    assert (mixed.float() - exact).abs().max() < 0.02
    mixed.float().sum().backward()
    assert features.grad is not None and bool(features.grad.any())
