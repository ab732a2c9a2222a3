"""What a recipe loses of a dataset: objects too small at the size of its network input, or that no anchor fits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from maskwright.config.anchors import AnchorLevel
from maskwright.config.images import ShortSideResize
from maskwright.config.run import Recipe
from maskwright.data.record import ImageRecord
from maskwright.ops.anchors import cell_anchors

Numbers = npt.NDArray[np.float64]

# objects whose IoUs are computed at once; bounds the table to a few MB
_AT_ONCE = 100_000
_WORTH_TELLING = 0.01


@dataclass(frozen=True)
class ScaleLoss:
    """How the single objects of a dataset meet a recipe, without its augmentation.

    Attributes:
        num_objects: in all.
        num_thin: whose shorter side is less than a pixel of the network input.
        min_side_px: below which `data.augment.min_side_px` drops an object, in pixels of the network input.
        num_dropped: whose shorter side is less than that.
        anchor_iou: below which an anchor is background.
        num_unmatched: whose best anchor overlaps it by less; it gets that one anchor all the same, and learns badly.
        median_side_px: shorter side of an object, in pixels of the network input; NaN without objects.
        unmatched_side_px: the same of those in `num_unmatched`.
    """

    num_objects: int
    num_thin: int
    min_side_px: float
    num_dropped: int
    anchor_iou: float
    num_unmatched: int
    median_side_px: float
    unmatched_side_px: float


@dataclass(frozen=True)
class _Level:
    """The anchors of a pyramid level: (A, 4) around the origin, the stride of their map, and how they are laid out."""

    cells: Numbers
    stride_px: float
    layout: Literal["nominal", "measured", "centred"]

    @staticmethod
    def of(level: AnchorLevel) -> _Level:
        """The anchors that a recipe describes."""
        cells = cell_anchors(level.sizes_px, level.ratios, level.is_rounded, level.inner).double().numpy()
        if level.is_square:
            cells[:, 1::2] = cells[:, 0::2]
        return _Level(cells, level.stride_px, level.spacing)

    def spacing(self, sizes: Numbers) -> tuple[Numbers, Numbers]:
        """(G, 2) horizontal and vertical number of anchors on inputs of (G, 2) height and width, and their distance."""
        counts = np.maximum(np.ceil(sizes[:, ::-1] / self.stride_px), 1)
        if self.layout == "nominal":
            return counts, np.full_like(counts, self.stride_px)
        distance = sizes[:, ::-1] / counts
        return counts, distance if self.layout == "centred" else np.floor(distance)


def scale_lines(recipe: Recipe, records: Sequence[ImageRecord]) -> list[str]:
    """What `scale_loss` counts, in words with a remedy; no lines where less than a hundredth of the objects is lost."""
    return list(_lines(recipe, scale_loss(recipe, records))) if recipe.finds_objects else []


def scale_summary(recipe: Recipe, records: Sequence[ImageRecord]) -> str:
    """The objects at network size, in one line: how many, how large, and how many of them the recipe loses."""
    loss = scale_loss(recipe, records)
    if not loss.num_objects:
        return "no objects"
    dropped = f"{loss.num_dropped} below data.augment.min_side_px={loss.min_side_px:g}, " if loss.min_side_px else ""
    return (
        f"{loss.num_objects} objects, their shorter side {loss.median_side_px:.0f} pixels at the network's size in the "
        f"median; {loss.num_thin} thinner than a pixel, {dropped}{loss.num_unmatched} without a fitting anchor"
    )


def scale_loss(recipe: Recipe, records: Sequence[ImageRecord]) -> ScaleLoss:
    """Count the objects that a recipe loses; no image is opened.

    Args:
        recipe: of any family.
        records: whose annotations are read; crowds are left out.
    """
    boxes, sizes = _at_network_scale(recipe, records)
    sides = boxes[:, 2:].min(axis=1)
    layout, levels = recipe.anchor_layout, _levels(recipe)
    iou_limit = 0.0 if layout is None else layout.negative_iou
    ious = np.concatenate(
        [
            _best_ious(boxes[at : at + _AT_ONCE], sizes[at : at + _AT_ONCE], levels)
            for at in range(0, max(1, len(boxes)), _AT_ONCE)
        ]
    )
    is_unmatched = (ious < iou_limit) & (sides > 0) & bool(levels)
    least = recipe.data.augment.min_side_px
    return ScaleLoss(
        num_objects=len(boxes),
        num_thin=int((sides < 1).sum()),
        min_side_px=least,
        num_dropped=int((sides < least).sum()),
        anchor_iou=iou_limit,
        num_unmatched=int(is_unmatched.sum()),
        median_side_px=_median(sides),
        unmatched_side_px=_median(sides[is_unmatched]),
    )


def _lines(recipe: Recipe, loss: ScaleLoss) -> Iterator[str]:
    resize = recipe.resize
    larger = "resize.short_side and resize.long_side" if isinstance(resize, ShortSideResize) else "resize.size"
    if _is_much(loss.num_thin, loss):
        yield (
            f"{_share(loss.num_thin, loss)} are thinner than a pixel at the network's size ({_size(recipe)}): raise "
            f"{larger}, or cut the images into tiles"
        )
    if loss.num_dropped > loss.num_thin and _is_much(loss.num_dropped, loss):
        yield (
            f"{_share(loss.num_dropped, loss)} have a side below data.augment.min_side_px={loss.min_side_px:g} at the "
            f"network's size ({_size(recipe)}) and are dropped in training: lower that, or raise {larger}"
        )
    if _is_much(loss.num_unmatched, loss):
        yield (
            f"{_share(loss.num_unmatched, loss)} overlap no anchor by {loss.anchor_iou:g} or more (their shorter side "
            f"is {loss.unmatched_side_px:.0f} pixels at the network's size, in the median), so each learns from one "
            f"badly fitting anchor: give anchors.sizes_px and anchors.ratios that fit them, or change {larger}"
        )


def _is_much(count: int, loss: ScaleLoss) -> bool:
    return count > 0 and count >= _WORTH_TELLING * loss.num_objects


def _share(count: int, loss: ScaleLoss) -> str:
    return f"{count} of {loss.num_objects} objects ({count / loss.num_objects:.0%})"


def _size(recipe: Recipe) -> str:
    if isinstance(recipe.resize, ShortSideResize):
        return f"resize.short_side={recipe.resize.short_side}, resize.long_side={recipe.resize.long_side}"
    return f"resize.size={recipe.resize.side_px}"


def _median(values: Numbers) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _at_network_scale(recipe: Recipe, records: Sequence[ImageRecord]) -> tuple[Numbers, Numbers]:
    """(G, 4) x y w h of all single objects in the network input, and (G, 2) height and width of it, padded."""
    boxes: list[Numbers] = []
    sizes: list[Numbers] = []
    for record in records:
        given = [annotation["bbox"] for annotation in record.annotations if not annotation.get("iscrowd")]
        if given:
            height, width = recipe.resize.scaled_size(record.size)
            scale = (width / record.size[1], height / record.size[0]) * 2
            boxes.append(np.asarray(given, dtype=np.float64) * scale)
            padded = [
                math.ceil(side / recipe.resize.pad_multiple) * recipe.resize.pad_multiple for side in (height, width)
            ]
            sizes.append(np.full((len(given), 2), padded, dtype=np.float64))
    if not boxes:
        return np.zeros((0, 4)), np.zeros((0, 2))
    return np.concatenate(boxes), np.concatenate(sizes)


def _levels(recipe: Recipe) -> list[_Level]:
    """The anchors of each level of a model; none of a model without anchors."""
    layout = recipe.anchor_layout
    return [] if layout is None else [_Level.of(level) for level in layout.levels]


def _best_ious(boxes: Numbers, sizes: Numbers, levels: Sequence[_Level]) -> Numbers:
    """(G,) IoU of each box (x y w h) with the anchor that overlaps it most, on a padded input of (height, width).

    Of the anchors of one shape it is the one whose centre is nearest, along either axis.
    """
    best = np.zeros(len(boxes))
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    areas = boxes[:, 2:].prod(axis=1)
    for level in levels:
        counts, distance = level.spacing(sizes)
        first = distance / 2 if level.layout == "centred" else 0.0
        for cell in level.cells:
            offset, side = (cell[:2] + cell[2:]) / 2 + first, cell[2:] - cell[:2]
            indices = np.clip(np.round((centres - offset) / distance), 0, counts - 1)
            away = np.abs(indices * distance + offset - centres)
            reach = (boxes[:, 2:] + side) / 2 - away
            overlap = np.minimum(reach, np.minimum(boxes[:, 2:], side)).clip(min=0).prod(axis=1)
            best = np.maximum(best, overlap / (areas + side.prod() - overlap))
    return best
