"""A binary mask per class for each RoI (Mask R-CNN, section 3), and the variants of its ablations (table 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.norms import ConvNorm
from maskwright.models.mask_rcnn.mask_targets import MaskTargets, sample_mask_targets
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.roi_features import RoiFeatures
from maskwright.models.mask_rcnn.roi_head import Columns, RoiHead
from maskwright.models.segmenter import Selected
from maskwright.ops.losses import LossSum, loss_sum
from maskwright.structures import ImageBatch, RoiMasks
from maskwright.structures.masks.roi import Pasting

# a sigmoid for each class, one for all classes, or a softmax over classes and background (table 2b)
Competition = Literal["per_class", "agnostic", "softmax"]


@dataclass(frozen=True)
class MaskPasting:
    """How masks come onto the image; see `structures.masks.roi`."""

    manner: Pasting
    stretches_range: bool
    threshold: float

    def masks(self, logits: Tensor, selected: Sequence[Selected], batch: ImageBatch) -> list[RoiMasks]:
        """The masks of the detections of each image, of which logits (ΣN, M, M) lie behind each other."""
        parts = logits.sigmoid().split([len(found.boxes) for found in selected])
        return [
            RoiMasks(size, part, found.boxes - shift, self.threshold, self.manner, self.stretches_range)
            for size, part, found, shift in zip(batch.sizes, parts, selected, batch.shifts, strict=True)
        ]


@dataclass(frozen=True)
class MaskRule:
    """What all mask heads have in common.

    Attributes:
        pool_px: side that RoIs are pooled to.
        mask_px: M, side of the masks.
        num_classes: C, without background.
        competition: how classes share a pixel.
        targets: how true masks are brought onto the RoI's grid.
        rois_per_image: at most so many positives of an image enter the loss; None: all.
        pasting: how masks come onto the image.
    """

    pool_px: int
    mask_px: int
    num_classes: int
    competition: Competition
    targets: MaskTargets
    rois_per_image: int | None
    pasting: MaskPasting

    @property
    def num_channels(self) -> int:
        """Masks that are predicted for each RoI."""
        return {"per_class": self.num_classes, "agnostic": 1, "softmax": self.num_classes + 1}[self.competition]

    def positives(self, samples: Sequence[RoiSample], keys: Sequence[int]) -> list[RoiSample]:
        """The RoIs of each image that enter the loss, drawn by the image's key."""
        return [sample.positives(self.rois_per_image, key) for sample, key in zip(samples, keys, strict=True)]

    def channel_of(self, labels: Tensor) -> Tensor:
        """(F,) int64 the channel of each class; classes that compete have none to themselves."""
        return labels if self.competition == "per_class" else torch.zeros_like(labels)


class MaskHead(RoiHead, ABC):
    """From pooled RoIs to the mask of one class each, and the loss of these masks."""

    def __init__(self, rule: MaskRule) -> None:
        super().__init__()
        self.rule = rule

    @abstractmethod
    def channels(self, pooled: Tensor, index: Tensor | None) -> Tensor:
        """Pooled (F, C, m, m) → logits of the channel in `index` (F,), (F, M, M); of all: (F, channels, M, M)."""

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Pooled RoIs and the class of each (F,) → (F, M, M) logits of the probability that a pixel is of the object.

        Only the asked class's predictor runs where classes do not compete: the others change nothing.
        """
        if self.rule.competition == "softmax":
            shares = self.channels(pooled, None).softmax(dim=1)
            return shares[torch.arange(len(labels), device=labels.device), labels].logit(eps=1e-6)
        return self.channels(pooled, self.rule.channel_of(labels))

    def losses(
        self,
        features: RoiFeatures,
        samples: Sequence[RoiSample],
        truth: Sequence[TrueObjects],
        keys: Sequence[int],
    ) -> dict[str, LossSum]:
        """The loss `mask` of the positives; see `RoiHead`."""
        positives = self.rule.positives(samples, keys)
        pooled = features.pool([sample.rois for sample in positives], self.rule.pool_px)
        return {"mask": self.loss_of(pooled, positives, truth)}

    def detect(self, features: RoiFeatures, selected: Sequence[Selected], batch: ImageBatch) -> Columns:
        """The column `masks`; see `RoiHead`."""
        pooled = features.pool([found.boxes for found in selected], self.rule.pool_px)
        logits = self(pooled, torch.cat([found.labels for found in selected]))
        return {"masks": self.rule.pasting.masks(logits, selected, batch)}

    def loss_of(self, pooled: Tensor, samples: Sequence[RoiSample], truth: Sequence[TrueObjects]) -> LossSum:
        """Mean cross-entropy over the pixels of each positive RoI, divided by the positives.

        Args:
            pooled: features of the positives, images in order.
            samples: positives only.
            truth: of the same images.
        """
        labels = torch.cat([sample.labels for sample in samples])
        wanted = torch.cat(
            [
                sample_mask_targets(self.rule.targets, objects.single, sample.rois, sample.objects, self.rule.mask_px)
                for sample, objects in zip(samples, truth, strict=True)
            ]
        )
        if self.rule.competition == "softmax":
            is_object = wanted >= 0.5
            classes = torch.where(is_object, labels[:, None, None], self.rule.num_classes)
            pixels = F.cross_entropy(self.channels(pooled, None), classes, reduction="none")
        else:
            logits = self.channels(pooled, self.rule.channel_of(labels))
            pixels = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return loss_sum(pixels.mean(dim=(1, 2)).sum(), len(labels))


class FcnMaskHead(MaskHead):
    """Convolutions, a deconvolution that doubles the resolution, and one 1×1 predictor per channel (fig. 4).

    Args:
        in_channels: of the pooled features.
        num_convs: 3×3 convolutions.
        width: channels of them and of the deconvolution.
        norm: normalisation after each convolution.
        norm_eps: added to the variance.
        has_biases: convolutions have biases in front of their norms.
        rule: of all mask heads.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_convs: int,
        width: int,
        norm: str,
        norm_eps: float,
        has_biases: bool,
        rule: MaskRule,
    ) -> None:
        super().__init__(rule)
        sizes = [in_channels, *[width] * num_convs]
        self.convs = nn.ModuleList(
            ConvNorm(a, b, 3, norm=norm, norm_eps=norm_eps, has_bias=has_biases) for a, b in pairwise(sizes)
        )
        self.upsample = nn.ConvTranspose2d(sizes[-1], width, 2, stride=2)
        self.logits = nn.Conv2d(width, rule.num_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def channels(self, pooled: Tensor, index: Tensor | None) -> Tensor:
        for conv in self.convs:
            pooled = F.relu(conv(pooled), inplace=True)
        features = F.relu(self.upsample(pooled), inplace=True)
        if index is None:
            every: Tensor = self.logits(features).float()
            return every
        weight, bias = self.logits.weight[index, :, 0, 0], self.logits.bias
        assert bias is not None
        logits = torch.einsum("fchw,fc->fhw", features, weight.to(features)) + bias[index][:, None, None]
        return logits.float()


class MlpMaskHead(MaskHead):
    """Two fully connected layers and a predictor for all pixels of all channels (table 2e).

    Args:
        in_channels: of the pooled features.
        cells_px: their side.
        width: of the two layers.
        rule: of all mask heads.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        cells_px: int,
        width: int,
        rule: MaskRule,
    ) -> None:
        super().__init__(rule)
        self.fcs = nn.ModuleList([nn.Linear(in_channels * cells_px**2, width), nn.Linear(width, width)])
        self.logits = nn.Linear(width, rule.num_channels * rule.mask_px**2)
        for module in [*self.fcs, self.logits]:
            nn.init.kaiming_uniform_(module.weight, a=1)
            nn.init.zeros_(module.bias)

    def channels(self, pooled: Tensor, index: Tensor | None) -> Tensor:
        vectors = pooled.flatten(1)
        for fc in self.fcs:
            vectors = F.relu(fc(vectors), inplace=True)
        shape = (self.rule.num_channels, self.rule.mask_px, self.rule.mask_px)
        logits: Tensor = self.logits(vectors).float().reshape(-1, *shape)
        if index is None:
            return logits
        chosen: Tensor = logits[torch.arange(len(index), device=index.device), index]
        return chosen
