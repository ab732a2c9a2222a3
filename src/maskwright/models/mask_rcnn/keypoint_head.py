"""One heat map per keypoint and RoI (Mask R-CNN, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.errors import DataError
from maskwright.models.backbones.norms import ConvNorm
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.roi_features import RoiFeatures
from maskwright.models.mask_rcnn.roi_head import Columns, RoiHead
from maskwright.models.segmenter import Selected
from maskwright.ops.keypoints import keypoint_cells, locate_peaks
from maskwright.ops.losses import LossSum, loss_sum
from maskwright.structures import ImageBatch, Targets

KeypointScore = Literal["logit", "share"]


class KeypointHead(RoiHead):
    """Convolutions, a deconvolution to one map per keypoint, and a bilinear ×2: heat maps four times as large.

    Args:
        in_channels: of the pooled features.
        pool_px: side of the pooled square.
        num_convs: 3×3 convolutions.
        channels: of those.
        num_keypoints: of an object.
        score: what the score of a keypoint is; see `locate`.
        planned_rois: the loss is divided by all keypoints of that many RoIs in each image (detectron2); None: by those
            that are labelled and inside their RoIs (torchvision).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        pool_px: int,
        num_convs: int,
        channels: int,
        num_keypoints: int,
        score: KeypointScore,
        planned_rois: float | None,
    ) -> None:
        super().__init__()
        self.pool_px, self.num_keypoints = pool_px, num_keypoints
        self.score, self.planned_rois = score, planned_rois
        sizes = [in_channels, *[channels] * num_convs]
        self.convs = nn.ModuleList(ConvNorm(a, b, 3, norm="none", norm_eps=0.0) for a, b in pairwise(sizes))
        self.upsample = nn.ConvTranspose2d(sizes[-1], num_keypoints, 4, stride=2, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    @property
    def map_px(self) -> int:
        """M, the side of a heat map."""
        return 4 * self.pool_px

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features (P, C, pool_px, pool_px) → logits of the keypoints' positions, (P, K, M, M) float32."""
        for conv in self.convs:
            pooled = F.relu(conv(pooled), inplace=True)
        maps = self.upsample(pooled).float()
        return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)

    def select(self, rois: Tensor, objects: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The RoIs of an image that can be learnt from: those with a labelled keypoint of their object inside.

        The others would add nothing to the loss, only to its cost.

        Args:
            rois: (F, 4) x1 y1 x2 y2 in pixels of the network input.
            objects: (F,) int64 the object that each is matched to.
            targets: the image's objects.

        Returns:
            (P, 4) RoIs, and (P, K, 3) the keypoints of their objects.

        Raises:
            DataError: the objects have another number of keypoints than the model.
        """
        if targets.keypoints is None:
            return rois[:0], rois.new_zeros((0, self.num_keypoints, 3))
        if targets.keypoints.shape[1] != self.num_keypoints:
            raise DataError(
                f"objects have {targets.keypoints.shape[1]} keypoints, but the model {self.num_keypoints}; name those "
                "of the data in keypoint_head.names"
            )
        keypoints = targets.keypoints[objects]
        is_useful = keypoint_cells(keypoints, rois, self.map_px)[1].any(dim=1)
        return rois[is_useful], keypoints[is_useful]

    def losses(
        self,
        features: RoiFeatures,
        samples: Sequence[RoiSample],
        truth: Sequence[TrueObjects],
        keys: Sequence[int],  # noqa: ARG002 - all positives are taken, so none is drawn
    ) -> dict[str, LossSum]:
        """The loss `keypoint` of the positives that can be learnt from; see `RoiHead`."""
        positives = [sample.positives() for sample in samples]
        chosen = [
            self.select(sample.rois, sample.objects, objects.single)
            for sample, objects in zip(positives, truth, strict=True)
        ]
        rois, keypoints = zip(*chosen, strict=True)
        return {"keypoint": self.loss_of(self(features.pool(rois, self.pool_px)), rois, keypoints)}

    def detect(self, features: RoiFeatures, selected: Sequence[Selected], batch: ImageBatch) -> Columns:
        """The column `keypoints`; see `RoiHead`."""
        logits = self(features.pool([found.boxes for found in selected], self.pool_px))
        parts = logits.split([len(found.boxes) for found in selected])
        columns = zip(parts, selected, batch.shifts, strict=True)
        return {"keypoints": [self.locate(part, found.boxes - shift) for part, found, shift in columns]}

    def loss_of(self, logits: Tensor, rois: Sequence[Tensor], keypoints: Sequence[Tensor]) -> LossSum:
        """Cross-entropy of each labelled keypoint inside its RoI, over the M × M cells where it could be.

        Args:
            logits: (ΣP, K, M, M), images in order.
            rois: (P, 4) of each image, as from `select`.
            keypoints: (P, K, 3) of each image.
        """
        cells, is_inside = keypoint_cells(torch.cat(list(keypoints)), torch.cat(list(rois)), self.map_px)
        total = F.cross_entropy(logits.flatten(2)[is_inside], cells[is_inside], reduction="sum")
        if self.planned_rois is None:
            return loss_sum(total, int(is_inside.sum()))
        return loss_sum(total, round(self.planned_rois * self.num_keypoints * len(rois)))

    def locate(self, logits: Tensor, boxes: Tensor) -> Tensor:
        """The keypoints of N detections, (N, K, 3) x y score, each at the peak of its heat map.

        A score is the enlarged map's height there (`logit`, torchvision), or the exponential of that over the sum of
        exponentials on the map itself (`share`, detectron2): about a probability, but above one where the enlarged peak
        overshoots.

        Args:
            logits: (N, K, M, M).
            boxes: (N, 4) x1 y1 x2 y2 in pixels.
        """
        peaks, heights = locate_peaks(logits, boxes)
        scores = heights if self.score == "logit" else (heights - logits.flatten(2).logsumexp(dim=2)).exp()
        return torch.cat([peaks, scores[..., None]], dim=-1)
