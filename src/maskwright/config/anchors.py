"""Where the anchors of a model lie: what every family with anchors can say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors of one feature map; every cell has one of each size and ratio.

    Attributes:
        sizes_px: square roots of their areas.
        ratios: height ÷ width.
        is_rounded: their corners are whole numbers.
        inner: sizes vary fastest, or ratios.
        is_square: they are as high as wide, whatever their ratio.
        stride_px: of the map.
        spacing: distance of neighbouring anchors: the stride (`nominal`), the input's side divided by the map's and
            rounded down (`measured`), or that not rounded, with anchors at the centres of cells (`centred`).
    """

    sizes_px: tuple[float, ...]
    ratios: tuple[float, ...]
    is_rounded: bool
    inner: Literal["sizes", "ratios"]
    is_square: bool
    stride_px: int
    spacing: Literal["nominal", "measured", "centred"]


@dataclass(frozen=True)
class AnchorLayout:
    """All anchors of a model, whose recipe lists their sizes in `anchors.sizes_px`.

    Attributes:
        negative_iou: an anchor is background below this IoU.
        levels: finest first.
    """

    negative_iou: float
    levels: tuple[AnchorLevel, ...]
