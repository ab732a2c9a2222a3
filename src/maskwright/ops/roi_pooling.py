"""Fixed-size features for boxes of any size: RoIAlign, RoIPool and crop-and-resize, each RoI from its own level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align, roi_pool

from maskwright.ops.roi_align_cpu import AxisSamples, sum_samples

LevelRounding = Literal["floor_after", "floor_inside", "nearest"]
PoolingKind = Literal["align", "align_max", "pool", "crop_and_resize"]

# k0 and sqrt(area) ÷ canonical size → k; torchvision and detectron2 guard against rounding, each in its own way
_LEVEL_ROUNDINGS: dict[LevelRounding, Callable[[int, Tensor], Tensor]] = {
    "floor_after": lambda k0, ratios: torch.floor(k0 + torch.log2(ratios) + 1e-6),
    "floor_inside": lambda k0, ratios: torch.floor(k0 + torch.log2(ratios + 1e-8)),
    "nearest": lambda k0, ratios: torch.round(k0 + torch.log2(ratios)),
}


def assign_levels(
    rois: Tensor,
    finest_level: int,
    num_levels: int,
    canonical_px: float,
    canonical_level: int,
    rounding: LevelRounding,
) -> Tensor:
    """The pyramid level each RoI is pooled from: k = k0 + log2(sqrt(area) / canonical size), rounded (FPN, eq. 1).

    Args:
        rois: (P, 4) x1 y1 x2 y2 in pixels of the network input.
        finest_level: number of the first level at hand (2 for P2, stride 4).
        num_levels: how many levels there are.
        canonical_px: side of a square RoI that belongs to `canonical_level`.
        canonical_level: k0 of the formula.
        rounding: down, with 1e-6 added after the logarithm (torchvision) or 1e-8 inside it (detectron2), or to the
            nearest level, ties to even (matterport).

    Returns:
        (P,) int64, 0 for the finest level, which RoIs without area get as well.

    >>> rois = torch.tensor([[0.0, 0.0, 200.0, 200.0], [5.0, 5.0, 5.0, 9.0]])
    >>> assign_levels(rois, 2, 4, 224.0, 4, "nearest").tolist()
    [2, 0]
    """
    areas = (rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])
    levels = _LEVEL_ROUNDINGS[rounding](canonical_level, torch.sqrt(areas.clamp(min=0)) / canonical_px)
    return levels.clamp(finest_level, finest_level + num_levels - 1).to(torch.int64) - finest_level


def pool_rois(
    levels: Sequence[Tensor],
    strides_px: Sequence[float],
    rois: Tensor,
    image_index: Tensor,
    roi_levels: Tensor,
    output_px: int,
    *,
    kind: PoolingKind,
    samples: int,
    is_aligned: bool,
) -> Tensor:
    """Pool each RoI from its own level.

    Args:
        levels: L feature maps (B, C, H, W), finest first.
        strides_px: of each level.
        rois: (P, 4) x1 y1 x2 y2 in pixels of the network input; may reach over its border.
        image_index: (P,) int64 image of the batch.
        roi_levels: (P,) int64 index into `levels`.
        output_px: side of the pooled square.
        kind: "align", the average of bilinear samples in each cell (Mask R-CNN, section 3); "align_max", their maximum
            (its table 2c); "pool", the maximum of whole pixels (Fast R-CNN, section 2.1); "crop_and_resize", a bilinear
            sample per cell (TensorFlow).
        samples: of RoIAlign, per cell and axis; 0: as many as the cell has pixels, rounded up.
        is_aligned: of RoIAlign: pixels are at their centres, half a pixel from their corners, and a RoI may be smaller
            than a pixel (detectron2); or at their corners, and no side is shorter than one (the paper).

    Returns:
        (P, C, output_px, output_px) in the precision of the maps, rows in the order of `rois`.
    """
    if len(rois) == 0:
        return levels[0].new_zeros((0, levels[0].shape[1], output_px, output_px))
    strides = torch.tensor(strides_px, dtype=torch.float32, device=rois.device)[roi_levels]
    # RoIs stay in single precision where features do not: bf16 would move them by up to half a percent
    placed = _PlacedRois(rois.float() / strides[:, None], image_index, roi_levels)
    if kind == "pool":
        pooled = _level_by_level(levels, placed, partial(roi_pool, output_size=output_px))
    elif kind == "crop_and_resize":
        pooled = _crop_and_resize(levels, placed, output_px)
    else:
        on_cpu = rois.device.type == "cpu"
        align: _Align = partial(_align_by_rows if on_cpu else _align_by_torchvision, levels)
        take = align if kind == "align" else partial(_highest_samples, align)
        pooled = take(placed, (output_px, output_px), samples, is_aligned)
    return pooled.to(levels[0].dtype)


class _PlacedRois(NamedTuple):
    """P RoIs on their own maps.

    Attributes:
        boxes: (P, 4) x1 y1 x2 y2 in pixels of the map.
        images: (P,) int64.
        levels: (P,) int64.
    """

    boxes: Tensor
    images: Tensor
    levels: Tensor

    def sides(self, is_aligned: bool) -> Tensor:
        """(P, 2) width and height as RoIAlign takes them."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides if is_aligned else sides.clamp(min=1)


# RoIs, (rows, columns) of the grid, samples per cell and axis, is_aligned → (P, C, rows, columns)
_Align = Callable[[_PlacedRois, tuple[int, int], int, bool], Tensor]


def _align_by_rows(
    levels: Sequence[Tensor], rois: _PlacedRois, grid: tuple[int, int], samples: int, is_aligned: bool
) -> Tensor:
    starts, sides = rois.boxes[:, :2] - (0.5 if is_aligned else 0.0), rois.sides(is_aligned)
    limits = _map_sizes(levels, rois)
    rows = _spread_samples(starts[:, 1], sides[:, 1], grid[0], samples, limits[:, 0])
    columns = _spread_samples(starts[:, 0], sides[:, 0], grid[1], samples, limits[:, 1])
    return sum_samples(levels, rois.levels, rois.images, rows, columns)


def _align_by_torchvision(
    levels: Sequence[Tensor], rois: _PlacedRois, grid: tuple[int, int], samples: int, is_aligned: bool
) -> Tensor:
    pool = partial(roi_align, output_size=grid, sampling_ratio=samples, aligned=is_aligned)
    return _level_by_level(levels, rois, pool)


def _highest_samples(align: _Align, rois: _PlacedRois, grid: tuple[int, int], samples: int, is_aligned: bool) -> Tensor:
    """The maximum of each cell's samples, at least one; RoIs of equal counts share a finer grid of single samples."""
    sides = rois.sides(is_aligned)
    counts = torch.stack([_sample_counts(sides[:, 1 - axis], grid[axis], samples) for axis in (0, 1)], dim=1)
    shapes, groups = counts.clamp(min=1).unique(dim=0, return_inverse=True)

    def pool_group(group: int, here: Tensor) -> Tensor:
        down, across = (int(count) for count in shapes[group])
        finer = align(_PlacedRois(*(part[here] for part in rois)), (grid[0] * down, grid[1] * across), 1, is_aligned)
        return F.max_pool2d(finer, (down, across))

    return _in_groups(groups, len(shapes), pool_group)


def _level_by_level(levels: Sequence[Tensor], rois: _PlacedRois, pool: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Call an operator of torchvision, (B, C, H, W) and (P, 5) → (P, C, M, N), for each level."""
    boxes = torch.cat([rois.images[:, None].to(rois.boxes), rois.boxes], dim=1)
    return _in_groups(rois.levels, len(levels), lambda level, here: pool(levels[level].float(), boxes[here]))


def _in_groups(groups: Tensor, num_groups: int, pool: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Pool each group's RoIs together; rows come back in the order of `groups`, (P,) int64."""
    members = [torch.nonzero(groups == group).flatten() for group in range(num_groups)]
    pooled = torch.cat([pool(group, here) for group, here in enumerate(members)])
    return pooled.index_select(0, torch.cat(members).argsort())


def _crop_and_resize(levels: Sequence[Tensor], rois: _PlacedRois, output_px: int) -> Tensor:
    limits = _map_sizes(levels, rois)
    rows = _corner_samples(rois.boxes[:, 1], rois.boxes[:, 3], output_px, limits[:, 0])
    columns = _corner_samples(rois.boxes[:, 0], rois.boxes[:, 2], output_px, limits[:, 1])
    return sum_samples(levels, rois.levels, rois.images, rows, columns)


def _map_sizes(levels: Sequence[Tensor], rois: _PlacedRois) -> Tensor:
    """(P, 2) height and width of each RoI's map."""
    return torch.tensor([features.shape[2:] for features in levels], device=rois.levels.device)[rois.levels]


def _sample_counts(sides: Tensor, cells: int, samples: int) -> Tensor:
    """(P,) how many samples a cell has along an axis, for sides in pixels; whole numbers."""
    return torch.full_like(sides, samples) if samples else (sides / cells).ceil()


def _spread_samples(starts: Tensor, sides: Tensor, cells: int, samples: int, limits: Tensor) -> AxisSamples:
    """RoIAlign along one axis of (P,) RoIs: samples spread evenly over each cell, which takes their average."""
    counts = _sample_counts(sides, cells, samples)[:, None, None]
    cell = (sides / cells)[:, None, None]
    # at least one sample, which does not count where there are none
    steps = torch.arange(max(1, int(counts.max())), device=starts.device)
    offsets = torch.where(steps < counts, steps + 0.5, 0.5) * cell / counts.clamp(min=1)
    # the order of operations is torchvision's, since positions decide between neighbouring pixels
    positions = (starts[:, None, None] + torch.arange(cells, device=starts.device)[:, None] * cell) + offsets
    counting = (steps < counts) & (positions >= -1) & (positions <= limits[:, None, None])
    return AxisSamples(positions, counting / counts.clamp(min=1))


def _corner_samples(starts: Tensor, ends: Tensor, cells: int, limits: Tensor) -> AxisSamples:
    """TensorFlow's crop_and_resize along one axis of (P,) RoIs: a sample per cell, the outer ones on the RoI's edges.

    An edge at 0 is at the centre of the map's first pixel, an edge at the map's end at that of the last; there is
    nothing beyond.
    """
    first, last, span = (starts / limits)[:, None], (ends / limits)[:, None], (limits - 1)[:, None]
    if cells == 1:
        positions = 0.5 * (first + last) * span
    else:
        steps = torch.arange(cells, device=starts.device)
        positions = first * span + steps * ((last - first) * span / (cells - 1))
    counting = (positions >= 0) & (positions <= span)
    return AxisSamples(positions[..., None], counting[..., None].to(positions))
