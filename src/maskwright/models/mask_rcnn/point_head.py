"""PointRend's mask head (Kirillov et al. 2020): a coarse mask, computed anew where it is least certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.models.mask_rcnn.mask_head import MaskRule
from maskwright.models.mask_rcnn.mask_targets import sample_mask_targets
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.point_layers import CoarseHead, PointHead
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.roi_features import RoiFeatures
from maskwright.models.mask_rcnn.roi_head import Columns, RoiHead
from maskwright.models.segmenter import Selected
from maskwright.ops.losses import LossSum, loss_sum
from maskwright.ops.points import (
    cell_centres,
    grid_points,
    most_uncertain,
    points_in_boxes,
    sample_grids,
    sample_map,
    sample_masks,
)
from maskwright.ops.randomness import random_generator
from maskwright.structures import ImageBatch

# detections that are refined together; bounds the scratch memory of `detect` to some 150 MB at 784 points
_ROIS_AT_ONCE = 32


@dataclass(frozen=True)
class PointRule:
    """How many points are computed, and which; see `config.roi_heads.PointMaskConfig`."""

    points_per_roi: int
    oversampling: float
    uncertain_share: float
    subdivisions: int
    points_per_step: int

    @property
    def num_uncertain(self) -> int:
        """Points of a RoI that are chosen for their uncertainty; the others are drawn evenly."""
        return int(self.uncertain_share * self.points_per_roi)

    @property
    def num_candidates(self) -> int:
        """Points that are drawn to choose those from."""
        return int(self.oversampling * self.points_per_roi)

    def start_px(self, coarse_px: int) -> tuple[int, int]:
        """The side from which masks are doubled, and how often: sides whose every point would be taken are left out."""
        side, steps = coarse_px, self.subdivisions
        while steps > 0 and 4 * side**2 <= self.points_per_step:
            side, steps = 2 * side, steps - 1
        return side, steps


@dataclass(frozen=True, eq=False)
class _FineMap:
    """The finest feature map (B, C, h, w) of a batch, and its stride."""

    values: Tensor
    stride_px: float

    @staticmethod
    def of(features: RoiFeatures) -> _FineMap:
        return _FineMap(features.levels[0], features.strides_px[0])

    def of_image(self, index: int) -> _FineMap:
        return _FineMap(self.values[index : index + 1], self.stride_px)

    def at(self, points: Tensor, rois: Sequence[Tensor]) -> Tensor:
        """(ΣP, S, C) at points (ΣP or 1, S, 2) that are shares of the sides of RoIs (P, 4) of each image."""
        on_image = points_in_boxes(points, torch.cat(list(rois)))
        return sample_map(self.values, self.stride_px, on_image.split([len(boxes) for boxes in rois]))


class PointMaskHead(RoiHead):
    """A coarse head and a point head on the finest feature map, trained together.

    Args:
        in_channels: of the map.
        width: of the coarse head's convolution.
        coarse_px: side of its masks.
        num_coarse_fcs: its fully connected layers.
        coarse_fc_channels: of those.
        num_fcs: layers of the point head.
        fc_channels: of those.
        rule: of all mask heads.
        points: which points are computed.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        coarse_px: int,
        num_coarse_fcs: int,
        coarse_fc_channels: int,
        num_fcs: int,
        fc_channels: int,
        rule: MaskRule,
        points: PointRule,
    ) -> None:
        super().__init__()
        self.rule, self.points = rule, points
        self.coarse = CoarseHead(
            in_channels=in_channels,
            pool_px=rule.pool_px,
            width=width,
            num_fcs=num_coarse_fcs,
            fc_channels=coarse_fc_channels,
            num_channels=rule.num_channels,
            mask_px=coarse_px,
        )
        self.point = PointHead(
            in_channels=in_channels, num_fcs=num_fcs, width=fc_channels, num_channels=rule.num_channels
        )

    def losses(
        self,
        features: RoiFeatures,
        samples: Sequence[RoiSample],
        truth: Sequence[TrueObjects],
        keys: Sequence[int],
    ) -> dict[str, LossSum]:
        """`mask`, of the coarse masks' cells, and `mask_point`, of the points; see `RoiHead`.

        Both are mean cross-entropies of a RoI, divided by the positive RoIs.
        """
        positives = self.rule.positives(samples, keys)
        rois, fine = [sample.rois for sample in positives], _FineMap.of(features)
        channels = self.rule.channel_of(torch.cat([sample.labels for sample in positives]))
        coarse = self._coarse(fine, rois)
        own = coarse[torch.arange(len(channels), device=channels.device), channels]
        points = self._training_points(own.detach(), [len(boxes) for boxes in rois], keys)
        logits = self._at(points, fine, rois, coarse, channels)
        wanted = [
            self._wanted(*one)
            for one in zip(positives, truth, points.split([len(boxes) for boxes in rois]), strict=True)
        ]
        small, at_points = (torch.cat(column) for column in zip(*wanted, strict=True))
        return {
            "mask": _cross_entropy(own.flatten(1), small.flatten(1)),
            "mask_point": _cross_entropy(logits, at_points),
        }

    def detect(self, features: RoiFeatures, selected: Sequence[Selected], batch: ImageBatch) -> Columns:
        """The column `masks`; see `RoiHead`."""
        logits = self(features, [found.boxes for found in selected], [found.labels for found in selected])
        return {"masks": self.rule.pasting.masks(logits, selected, batch)}

    def forward(self, features: RoiFeatures, rois: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Logits (ΣN, M, M) of the masks of boxes (N, 4) of the classes (N,) of each image, images in order."""
        fine = _FineMap.of(features)
        parts = [
            self._refined(fine.of_image(index), *some)
            for index, image in enumerate(zip(rois, labels, strict=True))
            for some in zip(*(column.split(_ROIS_AT_ONCE) for column in image), strict=True)
        ]
        return torch.cat(parts)

    def _refined(self, fine: _FineMap, rois: Tensor, labels: Tensor) -> Tensor:
        """Double the side of masks again and again; each time, compute the least certain points anew (section 3.1)."""
        channels = self.rule.channel_of(labels)
        coarse = self._coarse(fine, [rois])
        side, steps = self.points.start_px(self.coarse.mask_px)
        every = grid_points(side, rois.device).expand(len(rois), -1, -1)
        logits = self._at(every, fine, [rois], coarse, channels)
        for _ in range(steps):
            larger = F.interpolate(
                logits.reshape(-1, 1, side, side), scale_factor=2, mode="bilinear", align_corners=False
            )
            side, logits = 2 * side, larger.flatten(1)
            cells = most_uncertain(logits, self.points.points_per_step)
            logits = logits.scatter(1, cells, self._at(cell_centres(cells, side), fine, [rois], coarse, channels))
        return logits.reshape(-1, side, side)

    def _coarse(self, fine: _FineMap, rois: Sequence[Tensor]) -> Tensor:
        """(ΣP, K, m, m) coarse logits, from one bilinear sample in each cell of a grid on the RoI."""
        px = self.coarse.pool_px
        grids = fine.at(grid_points(px, fine.values.device)[None], rois).transpose(1, 2)
        coarse: Tensor = self.coarse(grids.unflatten(2, (px, px)))
        return coarse

    def _at(self, points: Tensor, fine: _FineMap, rois: Sequence[Tensor], coarse: Tensor, channels: Tensor) -> Tensor:
        """(ΣP, S) logits at points (ΣP, S, 2), shares of the sides of RoIs (P, 4) of each image."""
        logits: Tensor = self.point(fine.at(points, rois), sample_grids(coarse, points), channels)
        return logits

    def _wanted(self, sample: RoiSample, truth: TrueObjects, points: Tensor) -> tuple[Tensor, Tensor]:
        """The true masks of an image's positives, (P, m, m) on the coarse grid, and (P, S) at points of the RoIs."""
        small = sample_mask_targets(self.rule.targets, truth.single, sample.rois, sample.objects, self.coarse.mask_px)
        masks = truth.single.masks.packed
        return small, sample_masks(masks, sample.objects, points_in_boxes(points, sample.rois))

    def _training_points(self, own: Tensor, counts: Sequence[int], keys: Sequence[int]) -> Tensor:
        """(ΣP, S, 2) points of RoIs: the least certain of many that are drawn, and others drawn evenly (section 3.1).

        Args:
            own: (ΣP, m, m) coarse logits of each RoI's class.
            counts: RoIs of each image.
            keys: of each image.
        """
        rule = self.points
        num_free = rule.points_per_roi - rule.num_uncertain
        shape = (rule.num_candidates + num_free, 2)
        drawn = [
            torch.rand((count, *shape), generator=random_generator(key, "points"))
            for count, key in zip(counts, keys, strict=True)
        ]
        candidates, free = torch.cat(drawn).to(own.device).split([rule.num_candidates, num_free], dim=1)
        # values between the cells decide: between two cells of opposite certainty lies the border
        chosen = most_uncertain(sample_grids(own[:, None], candidates)[..., 0], rule.num_uncertain)
        return torch.cat([candidates.gather(1, chosen[..., None].expand(-1, -1, 2)), free], dim=1)


def _cross_entropy(logits: Tensor, wanted: Tensor) -> LossSum:
    """The mean over the columns of (P, S) logits and shares, as a sum over the rows."""
    values = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return loss_sum(values.mean(dim=1).sum(), len(values))
