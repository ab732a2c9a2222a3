"""Class and box refinement of each RoI (Fast R-CNN, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.norms import ConvNorm
from maskwright.models.mask_rcnn.linear_norm import LinearNorm
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.rules import BoxNormalizer, BoxRegression
from maskwright.ops.box_coding import decode_boxes, encode_boxes
from maskwright.ops.boxes import clip_to_windows
from maskwright.ops.losses import LossSum, loss_sum, smooth_l1_sum


class BoxHead(nn.Module):
    """Convolutions, fully connected layers, and two predictors: C + 1 classes, background last, and deltas.

    Args:
        in_channels: of the pooled features.
        cells_px: side of the pooled features.
        num_convs: 3×3 convolutions.
        conv_channels: of them.
        norm: normalisation after each.
        num_fcs: fully connected layers; without any, the mean over all cells goes to the predictors.
        fc_channels: of them.
        fc_norm: normalisation after each.
        norm_eps: added to the variance, in both.
        has_biases: convolutions have biases in front of their norms.
        num_classes: C, without background.
        is_class_agnostic: one set of deltas for all classes.
        regression: coding and loss of the deltas.
        normalizer: what the box loss is divided by.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        cells_px: int,
        num_convs: int,
        conv_channels: int,
        norm: str,
        num_fcs: int,
        fc_channels: int,
        fc_norm: str,
        norm_eps: float,
        has_biases: bool,
        num_classes: int,
        is_class_agnostic: bool,
        regression: BoxRegression,
        normalizer: BoxNormalizer,
    ) -> None:
        super().__init__()
        self.num_classes, self.regression, self.normalizer = num_classes, regression, normalizer
        self.num_boxes = 1 if is_class_agnostic else num_classes
        conv_sizes = [in_channels, *[conv_channels] * num_convs]
        fc_sizes = [conv_sizes[-1] * (cells_px**2 if num_fcs else 1), *[fc_channels] * num_fcs]
        self.convs = nn.ModuleList(
            ConvNorm(a, b, 3, norm=norm, norm_eps=norm_eps, has_bias=has_biases) for a, b in pairwise(conv_sizes)
        )
        self.fcs = nn.ModuleList(
            nn.Linear(a, b) if fc_norm == "none" else LinearNorm(a, b, norm_eps=norm_eps) for a, b in pairwise(fc_sizes)
        )
        self.class_logits = nn.Linear(fc_sizes[-1], num_classes + 1)
        self.deltas = nn.Linear(fc_sizes[-1], self.num_boxes * 4)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.class_logits.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(P, C, M, M) → class logits (P, classes + 1) and deltas (P, classes or 1, 4)."""
        for conv in self.convs:
            pooled = F.relu(conv(pooled), inplace=True)
        vectors = pooled.flatten(1) if len(self.fcs) else pooled.mean(dim=(2, 3))
        for fc in self.fcs:
            vectors = F.relu(fc(vectors), inplace=True)
        deltas = self.deltas(vectors).reshape(-1, self.num_boxes, 4)
        return self.class_logits(vectors).float(), deltas.float()

    def losses(
        self, class_logits: Tensor, deltas: Tensor, samples: Sequence[RoiSample], truth: Sequence[TrueObjects]
    ) -> dict[str, LossSum]:
        """Cross-entropy over all RoIs, smooth L1 of the true class's deltas over the positives."""
        labels = torch.cat([sample.labels for sample in samples])
        positive = torch.nonzero(labels < self.num_classes).flatten()
        rois = torch.cat([sample.rois[: len(sample.objects)] for sample in samples])
        boxes = torch.cat(
            [objects.single.boxes[sample.objects] for sample, objects in zip(samples, truth, strict=True)]
        )
        wanted = encode_boxes(boxes, rois, self.regression.weights)
        predicted = deltas[positive, self.index_of(labels[positive])]
        return {
            "class": loss_sum(F.cross_entropy(class_logits, labels, reduction="sum"), len(labels)),
            "box": loss_sum(
                smooth_l1_sum(predicted, wanted, self.regression.beta),
                len(labels) if self.normalizer == "sampled_rois" else 4 * len(positive),
            ),
        }

    def index_of(self, labels: Tensor) -> Tensor:
        """(N,) int64 which of an RoI's deltas are those of a class."""
        return labels if self.num_boxes > 1 else torch.zeros_like(labels)

    def refined(self, deltas: Tensor, rois: Tensor, windows: Tensor) -> Tensor:
        """(P, 4) the RoIs moved by a class-agnostic head, clipped to windows (P, 4)."""
        return clip_to_windows(decode_boxes(deltas[:, 0], rois, self.regression.weights), windows)
