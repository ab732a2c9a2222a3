"""What the mask head learns: the true mask of each positive RoI, on the RoI's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from maskwright.structures import Targets


@dataclass(frozen=True)
class MaskTargets:
    """How true masks come onto the grids of RoIs.

    Attributes:
        kind: RoIAlign of their pixels (`aligned`, torchvision), polygons drawn where there are some (`polygons`,
            detectron2), RoIAlign and rounding (`bitmaps`, detectron2), or crop-and-resize and rounding (`cropped`,
            matterport).
        samples: of `aligned`, per cell and axis; 0: as many as the RoI is large.
        mini_px: of `cropped`, the side of the squares to which masks are shrunk on their boxes first; none: they stay.
        stretches_range: of those squares, see `MaskHeadConfig`.
    """

    kind: Literal["aligned", "polygons", "bitmaps", "cropped"]
    samples: int
    mini_px: int | None
    stretches_range: bool


def sample_mask_targets(rule: MaskTargets, targets: Targets, rois: Tensor, objects: Tensor, output_px: int) -> Tensor:
    """The true masks of the positives of one image.

    Args:
        rule: how they come onto the grids.
        targets: the image's single objects, in pixels of the network input.
        rois: (P, 4) x1 y1 x2 y2 in pixels of the network input.
        objects: (P,) int64 the object of each RoI.
        output_px: M, side of a mask.

    Returns:
        (P, M, M) float32 from 0 to 1; no shares but whole numbers, unless the rule is `aligned`.
    """
    if rule.kind == "polygons":
        return targets.masks.drawn(rois, objects, output_px)
    if rule.kind == "bitmaps":
        return (targets.masks.sampled(rois, objects, output_px, rule.samples, is_aligned=True) >= 0.5).float()
    if rule.kind == "cropped":
        return targets.masks.cropped(rois, objects, output_px, rule.mini_px, rule.stretches_range)
    return targets.masks.sampled(rois, objects, output_px, rule.samples)
