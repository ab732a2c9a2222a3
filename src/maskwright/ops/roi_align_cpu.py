"""Bilinear sampling on grids that boxes lay over feature maps, as weighted sums of whole pixels: fast on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# pixels read in one piece; bounds the scratch memory of `sum_samples` to some 200 MB
_READS_AT_ONCE = 10_000_000


class AxisSamples(NamedTuple):
    """Along one axis: where each of M cells of each of P RoIs looks on its own map, and how much each look counts.

    Attributes:
        positions: (P, M, S) float in pixels, 0 at the centre of the first; outside the map, its border holds.
        shares: (P, M, S) float; 0 for a look that does not count.
    """

    positions: Tensor
    shares: Tensor


class _AxisReads(NamedTuple):
    """The same as whole pixels, each named once in a cell.

    Attributes:
        pixels: (P, M, T) int32.
        weights: (P, M, T) float.
        counts: (P,) int64 how many of the T a RoI needs; the others have no weight.
    """

    pixels: Tensor
    weights: Tensor
    counts: Tensor


class _Bags(NamedTuple):
    """What the cells of some RoIs read from a table whose rows are pixels; the bags of a RoI follow each other.

    Attributes:
        rows: (T,) int32 of the table, bag after bag.
        weights: (T,) float.
        sizes: (cells,) int32 of the bags.
        rois: whose bags they are, one RoI after the other; int64.
    """

    rows: Tensor
    weights: Tensor
    sizes: Tensor
    rois: Tensor


def sum_samples(
    levels: Sequence[Tensor], roi_levels: Tensor, image_index: Tensor, rows: AxisSamples, columns: AxisSamples
) -> Tensor:
    """Each cell's sum of bilinear samples at all crossings of its rows with its columns.

    A channels-last map is a table of embeddings, and a cell is a bag of its rows. Bilinear samples are separable, so
    that a cell needs no more than the product of the pixels it touches along either axis, however densely it is
    sampled. torchvision's CPU kernel visits every sample, one channel at a time.

    Args:
        levels: L maps (B, C, H, W).
        roi_levels: (P,) int64 the map of each RoI; at least one.
        image_index: (P,) int64 its image of the batch.
        rows: P RoIs × M cells, along the height.
        columns: P RoIs × N cells, along the width.

    Returns:
        (P, C, M, N) in the precision of the maps, but at least single; channels last in memory.
    """
    tables = [features.permute(0, 2, 3, 1).flatten(0, 2) for features in levels]
    tables = [table.to(torch.promote_types(table.dtype, torch.float32)) for table in tables]
    grid = rows.positions.shape[1], columns.positions.shape[1]
    heights, widths = torch.tensor([features.shape[2:] for features in levels], device=rows.shares.device)[roi_levels].T
    down, across = _reads(rows, heights), _reads(columns, widths)
    lines = (image_index * heights)[:, None, None] + down.pixels
    down = down._replace(pixels=(lines * widths[:, None, None]).to(torch.int32))
    pieces = []
    for piece in _pieces(down.counts * across.counts * (grid[0] * grid[1])):
        parts = [_AxisReads(*(part[piece] for part in axis)) for axis in (down, across)]
        own = roi_levels[piece]
        bags = {level: _bags(torch.nonzero(own == level).flatten(), *parts) for level in own.unique().tolist()}
        pieces.append(_BagSums.apply(bags, *tables))
    cells = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
    sums: Tensor = cells.unflatten(1, grid).permute(0, 3, 1, 2)
    return sums


def _reads(axis: AxisSamples, limits: Tensor) -> _AxisReads:
    """Split samples between their two pixels, and join what falls on the same pixel; (P,) pixels along the axis."""
    last = (limits - 1)[:, None, None]
    positions = torch.minimum(axis.positions.clamp(min=0), last)
    lower = positions.floor()
    upper_weights = (positions - lower) * axis.shares
    first = lower.amin(dim=2, keepdim=True)
    offsets = (lower - first).to(torch.int64)
    weights = positions.new_zeros((*positions.shape[:2], int(offsets.max()) + 2))
    weights.scatter_add_(2, offsets, axis.shares - upper_weights).scatter_add_(2, offsets + 1, upper_weights)
    counts = (weights != 0).sum(dim=2)
    # what is needed goes to the front, since samples may lie far apart
    needed = (weights != 0).to(torch.uint8).argsort(dim=2, descending=True, stable=True)[:, :, : int(counts.max())]
    pixels = torch.minimum(first.to(torch.int64) + needed, last)
    return _AxisReads(pixels.to(torch.int32), weights.gather(2, needed), counts.amax(dim=1))


def _pieces(reads: Tensor) -> list[slice]:
    """The RoIs in runs that read about `_READS_AT_ONCE` pixels at most; (P,) reads of each RoI."""
    run = (reads.cumsum(0) - reads) // _READS_AT_ONCE
    ends = run.unique_consecutive(return_counts=True)[1].cumsum(0).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _bags(rois: Tensor, down: _AxisReads, across: _AxisReads) -> _Bags:
    """The bags of some RoIs, at least one; those with bags of one shape are together, in tensors without holes."""
    shapes = torch.stack([down.counts[rois], across.counts[rois]], dim=1)
    shapes, group, lengths = torch.unique(shapes, dim=0, return_inverse=True, return_counts=True)
    members = rois[group.argsort(stable=True)]
    groups = []
    for (height, width), some in zip(shapes.tolist(), members.split(lengths.tolist()), strict=True):
        rows = down.pixels[some, :, None, :height, None] + across.pixels[some, None, :, None, :width]
        weights = down.weights[some, :, None, :height, None] * across.weights[some, None, :, None, :width]
        groups.append((rows.flatten(), weights.flatten(), rows.new_full((rows.shape[:3].numel(),), height * width)))
    rows, weights, sizes = (torch.cat(parts) for parts in zip(*groups, strict=True))
    return _Bags(rows, weights, sizes, members)


class _BagSums(torch.autograd.Function):
    """Weighted sums of the rows of several tables, in the bags given for each of them.

    The gradient is the same the other way round: a row sums up the cells that read it. That takes one sort, where
    embedding_bag's own gradient adds row to row.
    """

    @staticmethod
    def forward(ctx: Any, bags: dict[int, _Bags], *tables: Tensor) -> Tensor:
        """(P, cells of a RoI, C), RoIs in their own order whatever their table."""
        ctx.bags, ctx.lengths = bags, [len(table) for table in tables]
        num_rois, num_cells = (sum(len(getattr(part, name)) for part in bags.values()) for name in ("rois", "sizes"))
        sums = tables[0].new_empty((num_rois, num_cells // num_rois, tables[0].shape[1]))
        for level, part in bags.items():
            own = _sum_bags(tables[level], part.rows, part.weights, part.sizes)
            sums.index_copy_(0, part.rois, own.reshape(len(part.rois), *sums.shape[1:]))
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        cells = torch.arange(gradient.shape[:2].numel(), dtype=torch.int32, device=gradient.device)
        cells = cells.reshape(gradient.shape[:2])
        gradients: list[Tensor | None] = [None] * len(ctx.lengths)
        for level, part in ctx.bags.items():
            readers = cells[part.rois].flatten().repeat_interleave(part.sizes)
            by_row = part.rows.argsort(stable=True)
            sizes = part.rows.bincount(minlength=ctx.lengths[level]).to(torch.int32)
            gradients[level] = _sum_bags(gradient.flatten(0, 1), readers[by_row], part.weights[by_row], sizes)
        return None, *gradients


def _sum_bags(table: Tensor, rows: Tensor, weights: Tensor, sizes: Tensor) -> Tensor:
    starts = sizes.cumsum(0, dtype=torch.int32) - sizes
    sums: Tensor = F.embedding_bag(rows, table, starts, per_sample_weights=weights.to(table), mode="sum")
    return sums
